"""Training by the workers of Ray Train: they run the loop that torchrun starts."""

from __future__ import annotations

import math
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headstart.cluster.connection import LOCAL, connected
from headstart.config import TrainConfig
from headstart.environment import keep_freed_memory
from headstart.errors import ConfigError, HeadstartError, RunFolderError, TrainingError, shell_command
from headstart.training.run.result import TrainResult
from headstart.training.run.run_folder import RunFolder
from headstart.training.watch.watcher import Watcher

if TYPE_CHECKING:
    from torch import nn

_MOST_LOST: Final = 10  # workers, one after the other; more of them have a cause that is not by chance
# What no lost worker causes, so that it would come again. The loss of one is a RuntimeError in the others.
_BUGS: Final = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, TypeError)
_OF_RAY: Final = ".ray"  # in the run folder: what Ray Train writes about itself


@dataclass(frozen=True)
class Workers:
    """The processes that train together.

    Attributes:
        address: Address of the cluster, or ``"local"``.
        num: Number of processes.
        gpus: GPUs for each process; 0 to train on CPUs.
    """

    address: str
    num: int
    gpus: int = 0

    @classmethod
    def of(cls, ray: str | None, num_workers: int | None, gpus_per_worker: int | None) -> Workers | None:
        """Return the workers that the arguments of ``hs.train`` ask for; None if they ask for none.

        Raises:
            ConfigError: An argument is wrong, or one is missing.
        """
        if num_workers is None and gpus_per_worker is None:
            return None
        problems = []
        if ray is None:
            problems.append(
                "num_workers and gpus_per_worker are for training on Ray. Add ray, the address of a cluster "
                "or 'local'. With torchrun, its own options set the number of processes."
            )
        if num_workers is None:
            problems.append("gpus_per_worker is given without num_workers, the number of processes. Add it.")
        for name, number, least in (("num_workers", num_workers, 1), ("gpus_per_worker", gpus_per_worker, 0)):
            if number is not None and (type(number) is not int or number < least):
                problems.append(f"{name} is {number!r}. It must be a whole number, at least {least}.")
        if problems:
            raise ConfigError(problems)
        assert ray is not None
        assert num_workers is not None
        return cls(ray, num_workers, gpus_per_worker or 0)


def refuse_on_ray(config: TrainConfig, network: nn.Module | None, watchers: Sequence[Watcher]) -> None:
    """Raise ``ConfigError`` if something is given that cannot be used in other processes."""
    problems = []
    if config.recipe == "best":
        problems.append(
            "recipe is 'best', whose runs are made by one process. Leave num_workers and ray out, or use "
            "recipe = 'deep'."
        )
    if config.folds is not None and config.fold is None:
        problems.append(
            f"folds is {config.folds}, and num_workers is given, but one process makes the runs of all "
            f"folds. Train once for each fold, with fold = 1 to {config.folds}."
        )
    if network is not None:
        problems.append(
            "ray is given, and so is network, which the processes of a cluster cannot train in place. Leave "
            "ray out, and start your program by torchrun."
        )
    if watchers:
        problems.append(
            "ray is given, and watch contains objects, which the processes of a cluster cannot notify. Use "
            "the names of trackers."
        )
    if problems:
        raise ConfigError(problems)


def train_on_ray(
    workers: Workers,
    path: Path,
    begin: Callable[[], TrainResult] | None,
    resume: Callable[[], TrainResult],
    say: Callable[[str], object],
) -> TrainResult:
    """Train in the processes of a cluster; if one is lost, all resume from the last checkpoint.

    Args:
        workers: The processes.
        path: Absolute path of the run folder, on storage that all nodes share.
        begin: Begins the run; called in every process. None for a run that has begun.
        resume: Resumes it; called likewise.
        say: Called with a sentence for each lost worker.

    Raises:
        ConfigError: The cluster cannot be used, or is too small.
        TrainingError: Too many workers were lost.
        HeadstartError: What the loop itself raised in a process.
    """
    with connected(workers.address, workers.num):
        _refuse_too_many(workers, say)
        for num_lost in range(_MOST_LOST + 1):
            has_begun = begin is None or (path / "config.toml").is_file()
            if not has_begun:
                shutil.rmtree(path / "checkpoints", ignore_errors=True)  # of a start that was cut short
            reason = _fit(workers, path, resume if has_begun or begin is None else begin, say)
            if reason is None:
                break
            if num_lost < _MOST_LOST:
                say(f"Warning: a worker was lost ({reason}). The run resumes from its last checkpoint.")
        else:
            raise TrainingError(
                f"{_MOST_LOST + 1} times, workers were lost; the last time: {reason}. What has been saved is "
                f"kept: {shell_command('resume', path)}"
            )
    metrics = RunFolder.read_metrics(path)
    if metrics is None:
        raise RunFolderError(
            f"The workers have finished, but {path} on this machine does not contain the run. Choose a run "
            f"folder on storage that all nodes of the cluster share."
        )
    return TrainResult(path, metrics)


def _fit(
    workers: Workers, path: Path, call: Callable[[], TrainResult], say: Callable[[str], object]
) -> str | None:
    """Make a call in all workers; return why one was lost, or None if none was.

    Raises:
        HeadstartError: A worker has raised it.
        Exception: A worker has raised what is an error in a program.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchTrainer

    resources = {"CPU": 1.0, "GPU": float(workers.gpus)} if workers.gpus else {"CPU": 1.0}
    trainer = TorchTrainer(
        _in_worker,
        train_loop_config={"call": call},
        scaling_config=ScalingConfig(
            num_workers=workers.num, use_gpu=workers.gpus > 0, resources_per_worker=resources
        ),
        # Restarts are ours, because Ray would also repeat what fails for a reason, such as a wrong setting.
        run_config=RunConfig(
            name="steps", storage_path=str(path / _OF_RAY), failure_config=FailureConfig(max_failures=0)
        ),
    )
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit()
    except WorkerGroupError as error:
        failures = list(error.worker_failures.values())
        for each in failures:
            if isinstance(each, HeadstartError):
                raise each from None
            if isinstance(each, _BUGS):
                raise each from error  # whose text has the traceback of the worker
        text = str(failures[0] if failures else error).strip() or type(error).__name__
        return text.splitlines()[0].rstrip(".")[:200]
    except (KeyboardInterrupt, SystemExit) as stop:
        if (path / "config.toml").is_file():
            on_ray = ("--ray", workers.address, "--num-workers", str(workers.num))
            say(f"Stopped. To resume from the last checkpoint: {shell_command('resume', path, *on_ray)}")
        if isinstance(stop, SystemExit) and stop.code in (None, 0, 1) and handler is not None:
            signal.signal(signal.SIGINT, handler)  # Ray's own has exited, as if nothing had been stopped
            signal.raise_signal(signal.SIGINT)
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # Ray has set one of its own, and leaves it
        shutil.rmtree(path / _OF_RAY, ignore_errors=True)
        with suppress(OSError):
            path.rmdir()  # nothing has begun, so that nothing is in it
    return None


def _in_worker(settings: Mapping[str, Any]) -> None:
    """Train in one of the processes; Ray has connected them, and set the variables that torchrun sets."""
    keep_freed_memory()
    settings["call"]()


def _refuse_too_many(workers: Workers, say: Callable[[str], object]) -> None:
    """Raise ``ConfigError`` if a local cluster cannot hold the workers; others may grow, which is said."""
    import ray

    needed = {"CPU": workers.num, "GPU": workers.num * workers.gpus}
    there = ray.cluster_resources()
    lacking = [
        f"{number} {name}s, and the cluster has {math.floor(there.get(name, 0))}"
        for name, number in needed.items()
        if number > there.get(name, 0)
    ]
    if not lacking:
        return
    text = f"{workers.num} workers need {' and '.join(lacking)}."
    if workers.address == LOCAL:
        raise ConfigError(f"{text} Reduce num_workers or gpus_per_worker.")
    say(f"{text} The run begins when the cluster has grown.")
