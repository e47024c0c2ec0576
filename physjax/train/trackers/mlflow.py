"""MLflow, on the server that MLFLOW_TRACKING_URI names, else in a file beside the runs."""

from __future__ import annotations

import os
from pathlib import Path

from physjax.config import Config
from physjax.train.trackers.tracker import Tracker, kept_id, parameters


class MLflow(Tracker):
    """A run of the experiment that MLFLOW_EXPERIMENT_NAME names, else of `physjax`.

    Without MLFLOW_TRACKING_URI it lies in `<runs_dir>/mlflow.db`, for
    `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`.
    """

    name = "mlflow"
    package = "mlflow"

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__(folder, config)
        self.imported()
        from mlflow.entities import Metric
        from mlflow.tracking import MlflowClient

        self._metric = Metric
        # Nothing global is set: several runs of one process track side by side.
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{folder.resolve().parent / 'mlflow.db'}")
        self._id = kept_id(folder, self.name, self._new_run)
        self._client.update_run(self._id, status="RUNNING")

    def _new_run(self) -> str:
        run = self._client.create_run(self._experiment(), run_name=self._folder.name)
        for key, value in parameters(self._config).items():
            self._client.log_param(run.info.run_id, key, value)
        return str(run.info.run_id)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "physjax")
        found = self._client.get_experiment_by_name(name)
        return self._client.create_experiment(name) if found is None else found.experiment_id

    def log(self, scalars: dict[str, float], step: int) -> None:
        # A time stamp of 0, since the x axis is the step: what is sent again is the same point.
        metrics = [self._metric(name, value, 0, step) for name, value in scalars.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._id, "FINISHED" if self._ended else "KILLED")
