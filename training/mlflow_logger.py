"""The logger `mlflow`: a run in the store that MLFLOW_TRACKING_URI names, else in files in `RUN/mlflow/store`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.files import write_atomically
from hilum.private_libraries import environment_variable
from hilum.training.loggers import MLFLOW

try:
    import mlflow
except ImportError as error:
    raise ImportError('MLflow (Apache-2.0) is missing: pip install "hilum[mlflow]"') from error

_EXPERIMENT = "hilum"


class MLflow:
    """A `hilum.training.loggers.Logger`."""

    def __init__(self, run: Path, config: Mapping[str, Any], done: int) -> None:
        del done  # MLflow takes nothing back; a figure of an epoch that it has is not told again
        folder = run / MLFLOW
        uri = None if mlflow.is_tracking_uri_set() else (folder / "store").resolve().as_uri()
        # A store of files needs no database's libraries, and MLflow makes one only where it is told that it may.
        with environment_variable("MLFLOW_ALLOW_FILE_STORE", "true"):
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            if not (folder / "run_id").is_file():
                found = self._client.get_experiment_by_name(_EXPERIMENT)
                experiment = found.experiment_id if found else self._client.create_experiment(_EXPERIMENT)
                began = self._client.create_run(experiment, run_name=run.name).info.run_id
                folder.mkdir(exist_ok=True)
                write_atomically(folder / "run_id", began)
                for key, value in config.items():
                    self._client.log_param(began, key, value)
            self._id = (folder / "run_id").read_text()
            self._told = self._client.get_run(self._id).data.metrics.get("epoch", 0)

    def figures(self, epoch: int, figures: Mapping[str, float]) -> None:
        if epoch > self._told:
            for name, value in {**figures, "epoch": epoch}.items():
                self._client.log_metric(self._id, name, value, step=epoch)

    def picture(self, name: str, pixels: NDArray[np.uint8]) -> None:
        self._client.log_image(self._id, pixels, artifact_file=f"{name}.png")

    def close(self) -> None:
        self._client.set_terminated(self._id)
