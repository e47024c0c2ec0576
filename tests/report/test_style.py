"""What all figures share."""

from __future__ import annotations

from pathlib import Path

import pytest

from physjax.report import style

LONG = (
    "googlenet with divisive-from-1 on scikit-learn digits (CIFAR-10 not at hand), recipe smoke, "
    "seed 4294967295, views: mirror+shift"
)


@pytest.mark.parametrize("width", [6.8, 7.0, 10.0])
def test_a_long_heading_stays_inside_its_figure(width: float, tmp_path: Path) -> None:
    with style.figure(tmp_path / "a" / "x.png", width) as drawing:
        axes = drawing.subplots()
        style.head(drawing, LONG)
        drawing.draw_without_rendering()
        (heading,) = drawing.texts
        assert heading.get_text().replace("\n", " ") == LONG
        box, below = heading.get_window_extent(), axes.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= drawing.bbox.x1
        assert box.y0 >= below.y1
    assert (tmp_path / "a" / "x.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("losses", "scale"), [([2.0, 0.1], "linear"), ([30.0, 0.1], "log"), ([2.0, 0.0], "linear")]
)
def test_small_losses_can_be_read_beside_large_ones(
    losses: list[float], scale: str, tmp_path: Path
) -> None:
    with style.figure(tmp_path / "x.png") as drawing:
        axes = drawing.subplots()
        axes.plot([1, 2], losses)
        axes.plot([1, 2], [1.0, 1.0])
        style.scale_losses(axes)
        assert axes.get_yscale() == scale
        low, high = axes.get_ylim()
        assert high >= max(losses)
        assert low == (0 if scale == "linear" else pytest.approx(0.05))


def test_a_figure_that_fails_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), style.figure(tmp_path / "x.png"):
        _ = 1 / 0
    assert not (tmp_path / "x.png").exists()
