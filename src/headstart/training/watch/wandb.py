"""Weights & Biases: records a run online, or with ``WANDB_MODE=offline`` in ``wandb/`` of the run folder."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.environment import make_in_cache, own_cache
from headstart.errors import UsageError
from headstart.training.run.history import EpochRecord
from headstart.training.watch.tracked import final_numbers, keep_id, kept_id, numbers_of, variables
from headstart.training.watch.watcher import RunStart, Watcher


class WandB(Watcher):
    """Logs the scores of each epoch; settings as the configuration and final scores as the summary of the
    run.

    The project is ``WANDB_PROJECT``, or "headstart". A step is a row of ``history.csv``, counted from 1. If a
    resumed run repeats an epoch, W&B keeps the first values, of which only ``seconds`` differs.
    """

    def __init__(self) -> None:
        self._run: Any = None
        self._step = 0

    def run_begun(self, start: RunStart) -> None:
        """Start a W&B run, or continue that of a resumed run."""
        with variables(WANDB_ERROR_REPORTING="false", **_folders(start.path)):
            import wandb

            if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.login(
                prompt=False, verify=False
            ):
                raise UsageError("no user is logged in. Run wandb login, or set WANDB_MODE=offline")
            run_id = kept_id(start.path, "wandb") if start.is_resumed else None
            is_new, run_id = run_id is None, run_id or secrets.token_hex(4)
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "headstart"),
                id=run_id,
                name=start.path.absolute().name,
                dir=os.environ.get("WANDB_DIR", str(start.path)),
                config=start.config.absolute().to_dict(),
                resume="allow",
                reinit="create_new",  # a run of the user's own in this process goes on
                settings=wandb.Settings(
                    console="off",
                    silent=True,
                    save_code=False,
                    disable_code=True,
                    disable_git=True,
                    x_disable_meta=True,
                    x_disable_stats=True,
                ),
            )
        if is_new:
            keep_id(start.path, "wandb", run_id)
            for record in start.history:
                self._log(record)
        self._step = len(start.history)

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """Log the scores of an epoch."""
        self._log(record)

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        """Log the final scores."""
        self._run.summary.update(final_numbers(metrics))
        self._run.finish(exit_code=0)

    def run_stopped(self, error: BaseException) -> None:
        """End the W&B run as failed."""
        self._run.finish(exit_code=1)

    def _log(self, record: EpochRecord) -> None:
        self._step += 1
        self._run.log({"phase": record.phase, **numbers_of(record)}, step=self._step, commit=True)


def _folders(path: Path) -> dict[str, str]:
    """Return folders for W&B's logs and staged files, which would otherwise be in the user's home."""
    folder = (own_cache() or path.absolute()) / "wandb"
    with contextlib.suppress(OSError):  # W&B reports it
        make_in_cache(folder)
    return {"WANDB_CACHE_DIR": str(folder / "cache"), "WANDB_DATA_DIR": str(folder / "data")}
