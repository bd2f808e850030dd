"""MLflow: records a run in ``mlflow.db`` beside the run folder, or at ``MLFLOW_TRACKING_URI``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.config import PhaseConfig
from headstart.training.run.history import EpochRecord
from headstart.training.watch.tracked import (
    final_numbers,
    keep_id,
    kept_id,
    numbers_of,
    settings_of,
    variables,
)
from headstart.training.watch.watcher import RunStart, Watcher

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_MOST_CHARACTERS = 6000  # of a parameter's value


class MLflow(Watcher):
    """Logs settings as parameters, scores of epochs as metrics, and phases as tags.

    The experiment is ``MLFLOW_EXPERIMENT_NAME``, or "headstart". A step is a row of ``history.csv``, counted
    from 1. If a resumed run repeats an epoch, values that differ (its ``seconds``) are logged again, and the
    latest value counts. MLflow's own active run is not changed, and its telemetry is disabled unless the user
    has set it.
    """

    def __init__(self) -> None:
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._step = 0
        self._logged: dict[tuple[str, int], float] = {}

    def run_begun(self, start: RunStart) -> None:
        """Create a run, or continue that of a resumed run."""
        with _quiet():
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=_tracking_uri(start.path))
            run_id = kept_id(start.path, "mlflow") if start.is_resumed else None
            if run_id is None:
                self._create(start)
            else:
                self._continue(run_id)
            for record in start.history:
                self._log_record(record)

    def phase_begun(self, phase: PhaseConfig, frozen_stages: tuple[str, ...], num_trainable: int) -> None:
        """Set a tag with the first step of the phase."""
        with _quiet():
            self._open.set_tag(self._run_id, f"phase.{phase.name}", f"from step {self._step + 1}")

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """Log the scores of an epoch."""
        with _quiet():
            self._log_record(record)

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        """Log the final scores."""
        with _quiet():
            self._log(final_numbers(metrics))
            self._open.set_terminated(self._run_id, "FINISHED")

    def run_stopped(self, error: BaseException) -> None:
        """Mark the run as failed, or as killed if a signal has stopped it."""
        with _quiet():
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            self._open.set_terminated(self._run_id, status)

    @property
    def _open(self) -> MlflowClient:
        assert self._client is not None
        return self._client

    def _create(self, start: RunStart) -> None:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "headstart")
        experiment = self._open.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else self._new_experiment(name, start.path)
        run = self._open.create_run(experiment_id, run_name=start.path.absolute().name)
        self._run_id = run.info.run_id
        settings = settings_of(start.config).items()
        params = [Param(key, value[:_MOST_CHARACTERS]) for key, value in settings]
        for first in range(0, len(params), 100):  # as many as a call may have
            self._open.log_batch(self._run_id, params=params[first : first + 100])
        keep_id(start.path, "mlflow", self._run_id)

    def _new_experiment(self, name: str, path: Path) -> str:
        if "MLFLOW_TRACKING_URI" in os.environ:
            return str(self._open.create_experiment(name))
        folder = path.absolute().parent / "mlartifacts"  # which only appears if somebody logs a file
        return str(self._open.create_experiment(name, artifact_location=folder.as_uri()))

    def _continue(self, run_id: str) -> None:
        run = self._open.get_run(run_id)
        self._run_id = run_id
        self._open.update_run(run_id, status="RUNNING")
        for name in run.data.metrics:
            for metric in sorted(self._open.get_metric_history(run_id, name), key=lambda m: m.timestamp):
                self._logged[name, metric.step] = metric.value

    def _log_record(self, record: EpochRecord) -> None:
        self._step += 1
        self._log(numbers_of(record))

    def _log(self, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [
            Metric(name, value, now, self._step)
            for name, value in numbers.items()
            if self._logged.get((name, self._step)) != value
        ]
        self._open.log_batch(self._run_id, metrics=metrics)


def _tracking_uri(path: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{path.absolute().parent / 'mlflow.db'}"


def _quiet() -> Any:
    return variables(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_LOGGING_LEVEL="WARNING")
