"""The figures of what a law learned: by epoch and layer, and over the ring."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from physjax.plotting import series_styles
from physjax.records import EpochRecord
from physjax.report.physics import (
    measured_once,
    physics_frame,
    plot_law_parameters,
    plot_physics,
    plot_physics_at_end,
)


def epoch(number: int, **layers: dict[str, float]) -> EpochRecord:
    rates = {"learning_rate": 0.1, "images_per_second": 1.0, "seconds": 1.0}
    losses = {"train_loss": 1.0, "test_loss": 1.0, "train_accuracy": 0.5, "test_accuracy": 0.5}
    return EpochRecord(epoch=number, step=number, physics=layers, **losses, **rates)


def test_whatever_a_law_reports_has_a_panel_with_a_line_for_each_layer() -> None:
    epochs = [
        epoch(n, conv1={"strength": 2.5 - n, "pull": n / 10}, conv2={"strength": 2.5 + n})
        for n in (1, 2)
    ]
    fig = Figure()
    plot_physics(fig, physics_frame(epochs).assign(arm=""))
    strength, pull = fig.axes
    assert (strength.get_ylabel(), pull.get_ylabel()) == ("strength s", "pull")
    assert [list(line.get_ydata()) for line in strength.lines] == [[1.5, 0.5], [3.5, 4.5]]
    assert [list(line.get_ydata()) for line in pull.lines] == [[0.1, 0.2]]


def test_what_was_measured_once_has_a_line_for_each_arm_over_the_layers() -> None:
    first = [epoch(10, conv1={"strength": 2.5}, conv2={"strength": 2.7})]
    second = [epoch(10, conv1={"strength": 2.9, "pull": 0.3}, conv2={"strength": 2.1})]
    longer = [epoch(12, conv2={"pull": 0.4})]
    runs = [("ring", first), ("ring", second), ("longer", longer)]
    frame = pd.concat([physics_frame(epochs).assign(arm=arm) for arm, epochs in runs])
    assert measured_once(frame)
    fig = Figure()
    plot_physics_at_end(fig, frame, series_styles(["none", "ring", "longer"]))
    strength, pull = fig.axes
    assert (strength.get_title(), pull.get_title()) == ("strength s", "pull")
    line, _, (bars,) = strength.containers[0]
    assert line.get_ydata() == pytest.approx([2.7, 2.4])
    low, high = np.array([bar[:, 1] for bar in bars.get_segments()]).T
    assert (*low, *high) == pytest.approx((2.5, 2.1, 2.9, 2.7))
    assert [label.get_text() for label in strength.get_xticklabels()] == ["conv1", "conv2"]
    assert [round(container[0].get_xdata()[0]) for container in pull.containers] == [0, 1]
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ring", "longer"]
    assert [axes.get_yscale() for axes in fig.axes] == ["linear", "linear"]
    wild = physics_frame([epoch(10, conv1={"pull": 1e5}, conv2={"pull": 0.1})]).assign(arm="wild")
    fig = Figure()
    plot_physics_at_end(fig, pd.concat([frame, wild]), series_styles(["ring", "longer", "wild"]))
    assert [axes.get_yscale() for axes in fig.axes] == ["linear", "log"]
    assert not measured_once(physics_frame([*first, *longer]).assign(arm="ring"))


def test_one_parameter_stands_as_bars_over_the_ring_in_a_panel_for_each_layer() -> None:
    forces = {"conv1": {"neighbor_forces": [0.5, -1.0, 0.25]}, "conv2": {"neighbor_forces": [2.0]}}
    fig = Figure()
    plot_law_parameters(fig, forces)
    assert [axes.get_title() for axes in fig.axes] == list(forces)
    for axes, own in zip(fig.axes, forces.values(), strict=True):
        heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
        assert heights == own["neighbor_forces"]
        low, high = axes.get_ylim()
        assert low <= min(0, *heights)
        assert high >= max(0, *heights)
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["neighbor_forces"]


@pytest.mark.parametrize(("channels", "marked"), [(4, True), (64, False)])
def test_several_parameters_stand_as_lines_by_name(channels: int, marked: bool) -> None:
    own = {"gain": [0.1] * channels, "reach": [0.2] * channels}
    fig = Figure()
    plot_law_parameters(fig, {"conv1": own})
    drawn = {line.get_label(): line for line in fig.axes[0].lines if line.get_label() in own}
    assert {name: list(line.get_ydata()) for name, line in drawn.items()} == own
    assert all((line.get_marker() not in ("", "None")) is marked for line in drawn.values())
    assert len({line.get_color() for line in drawn.values()}) == 2


def test_what_the_channels_of_a_layer_share_stands_by_layer() -> None:
    weights = {"weights[-1]": [0.1], "weights[0]": [-0.2]}
    fig = Figure()
    plot_law_parameters(fig, {"conv1": weights, "conv2": {**weights, "weights[0]": [0.5]}})
    (axes,) = fig.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["conv1", "conv2"]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["weights[0]"] == [-0.2, 0.5]
    assert drawn["weights[-1]"] == [0.1, 0.1]
    assert not fig.get_supxlabel()


def test_shared_parameters_have_a_panel_beside_those_by_channel() -> None:
    fig = Figure()
    plot_law_parameters(fig, {"conv1": {"exponents": [0.1, 0.2], "log_kappa": [0.3]}})
    by_channel, by_layer = fig.axes
    assert [bar.get_height() for bar in by_channel.patches] == [0.1, 0.2]  # type: ignore[attr-defined]
    assert list(by_layer.lines[0].get_ydata()) == [0.3]
    (legend,) = fig.legends
    assert [t.get_text() for t in legend.get_texts()] == ["exponents", "log_kappa"]
