"""What all figures share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from physjax import plotting
from physjax.report.registry import draw_figures

LONG = (
    "googlenet with divisive-from-1 on scikit-learn digits (CIFAR-10 not at hand), recipe smoke, "
    "seed 4294967295, views: mirror+shift"
)


@pytest.mark.parametrize("width", [6.8, 7.0, 10.0])
def test_a_long_heading_stays_inside_its_figure(width: float, tmp_path: Path) -> None:
    with plotting.figure(tmp_path / "a" / "x", width) as fig:
        axes = fig.subplots()
        fig.suptitle(LONG, wrap=True)
        fig.draw_without_rendering()
        (heading,) = fig.texts
        assert heading.get_text() == LONG
        box, below = heading.get_window_extent(), axes.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= fig.bbox.x1
        assert box.y0 >= below.y1
    assert (tmp_path / "a" / "x.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("losses", "scale"), [([2.0, 0.1], "linear"), ([30.0, 0.1], "log"), ([2.0, 0.0], "linear")]
)
def test_small_losses_can_be_read_beside_large_ones(
    losses: list[float], scale: str, tmp_path: Path
) -> None:
    with plotting.figure(tmp_path / "x") as fig:
        axes = fig.subplots()
        axes.plot([1, 2], losses)
        axes.plot([1, 2], [1.0, 1.0])
        plotting.set_loss_scale(axes)
        assert axes.get_yscale() == scale
        low, high = axes.get_ylim()
        # Room for the whole marker of the highest point.
        assert high >= 1.05 * max(losses)
        assert low == (0 if scale == "linear" else pytest.approx(0.05))


def test_a_figure_that_fails_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), plotting.figure(tmp_path / "x"):
        _ = 1 / 0
    assert not (tmp_path / "x.png").exists()


def test_points_of_equal_height_are_seen_whole(tmp_path: Path) -> None:
    """An axis that was scaled to its data and then begun at zero has no room above them."""
    with plotting.figure(tmp_path / "x") as fig:
        axes = fig.subplots()
        axes.plot([1, 2], [3.0, 3.0])
        plotting.start_at_zero(axes)
        assert axes.get_ylim() == (0, pytest.approx(3.24))


def test_the_band_of_a_mean_reaches_from_the_lowest_to_the_highest_run(tmp_path: Path) -> None:
    """Runs end at different epochs, and some are not evaluated after each."""
    runs = pd.DataFrame(
        {"epoch": [1, 2, 3, 1, 2, 3], "loss": [4.0, None, 1.0, 2.0, None, 2.0]}, dtype=float
    )
    style = {"color": "#0072B2", "marker": "o"}
    with plotting.figure(tmp_path / "x") as fig:
        axes, bare, alone = fig.subplots(3)
        line = plotting.plot_band(axes, runs, "loss", style, label="ring")
        assert [list(line.get_xdata()), list(line.get_ydata())] == [[1, 3], [3, 1.5]]
        (band,) = axes.collections
        corners = {(x, y) for x, y in band.get_paths()[0].vertices.tolist()}  # type: ignore[union-attr]
        assert corners == {(1, 2), (1, 4), (3, 1), (3, 2)}
        plotting.start_at_zero(axes)
        assert axes.get_ylim() == (0, pytest.approx(1.08 * 4))
        plotting.plot_band(bare, runs, "loss", style, band=False)
        assert not bare.collections
        # A line of one point is none: the point is seen, whatever the style.
        line = plotting.plot_band(alone, runs[runs["epoch"] == 3], "loss", {"color": "k"})
        assert line.get_marker() == "o"


def test_a_png_has_a_palette_and_the_colours_that_were_drawn(tmp_path: Path) -> None:
    with plotting.figure(tmp_path / "x") as fig:
        fig.subplots().fill_between([0, 1], [0, 0], [1, 1], color=plotting.COLORS[1])
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "P"
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert image.size == (1050, 645)
        red, green, blue = image.convert("RGB").getpixel((525, 322))  # type: ignore[misc]
    assert f"#{red:02X}{green:02X}{blue:02X}" == plotting.COLORS[1]


def test_a_figure_is_the_same_file_in_every_format_whenever_it_is_drawn(tmp_path: Path) -> None:
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for name in ("a.1", "b.1"):
        with plotting.figure(tmp_path / name, formats=("png", "svg", "pdf")) as fig:
            fig.subplots().plot([1, 2], [1.0, 1.0], label="日本 é")
            fig.axes[0].legend()
    for kind, start in starts.items():
        content = (tmp_path / f"a.1.{kind}").read_bytes()
        assert content.startswith(start)
        assert content == (tmp_path / f"b.1.{kind}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 6


def test_nothing_drawn_is_nothing_written_and_what_was_drawn_before_goes(tmp_path: Path) -> None:
    """A figure of other numbers than those of the tables beside it would mislead."""

    def plot(numbers: list[float], fig: Figure) -> None:
        if numbers:
            fig.subplots().plot(numbers)

    drawn = draw_figures({"x": plot}, [1.0, 2.0], tmp_path, ("png", "svg"))
    assert sorted(tmp_path.iterdir()) == drawn == [tmp_path / "x.png", tmp_path / "x.svg"]
    assert draw_figures({"x": plot}, [], tmp_path, ("png",)) == []
    assert list(tmp_path.iterdir()) == []


def test_forty_series_are_told_apart_and_a_name_keeps_its_style() -> None:
    styles = plotting.series_styles([f"law {i}" for i in range(40)] * 2)
    assert len(styles) == 40
    assert len({tuple(sorted(style.items())) for style in styles.values()}) == 40
