"""Trackers: programs outside physjax that show runs (`--tracker`)."""

from __future__ import annotations

from physjax.train.trackers.mlflow import MLflow
from physjax.train.trackers.tensorboard import TensorBoard
from physjax.train.trackers.tracker import Tracker
from physjax.train.trackers.wandb import WandB

TRACKERS: dict[str, type[Tracker]] = {
    tracker.name: tracker for tracker in (TensorBoard, WandB, MLflow)
}
"""By name; a new one is one file, a line here, and its name in `physjax.config.TRACKER_NAMES`."""

__all__ = ["TRACKERS", "Tracker"]
