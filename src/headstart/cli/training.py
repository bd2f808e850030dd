"""``headstart demo``, ``train``, ``resume`` and ``lr-find``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import Data, option, with_settings
from headstart.config.keeping import RAY_ADDRESS
from headstart.environment import is_secondary, keep_freed_memory
from headstart.errors import requires_extra, shell_command

if TYPE_CHECKING:
    from headstart.training.run.result import TrainResult


def demo(
    out: Annotated[
        Path | None, option("New folder for the photos and the run.", "headstart-demo", metavar="FOLDER")
    ] = None,
    photos: Annotated[
        bool,
        typer.Option(
            "--photos",
            help="Train nothing. Only write photos to try things on: photos, with a folder for each of eight "
            "classes, and new, without classes, both into the folder of --out [default: the current one].",
        ),
    ] = False,
) -> None:
    """Train, score and predict on real photos. Works offline and takes a few seconds."""
    from headstart.demo import make_example_photos, run_demo

    if photos:
        make_example_photos(Path() if out is None else out)
    else:
        run_demo(out)


_NUM_WORKERS = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        help="With --ray: number of processes that train together, and share the run folder.",
    ),
]
_GPUS = Annotated[int | None, option("With --ray: GPUs for each process.", "0", metavar="NUMBER")]


@with_settings("train")
def train(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[Path | None, option("Run folder.", "runs/NAME-OF-DATA", metavar="RUN")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan and an estimate of the time, without training."),
    ] = False,
    num_workers: _NUM_WORKERS = None,
    gpus_per_worker: _GPUS = None,
) -> None:
    """Train a model on labelled photos."""
    if dry_run:
        from headstart.training.tools.plan import plan

        if text := plan(data, out, num_workers=num_workers, gpus_per_worker=gpus_per_worker, **settings):
            print(text)
        return
    keep_freed_memory()
    from headstart.training.train import train as train_model

    result = train_model(data, out, num_workers=num_workers, gpus_per_worker=gpus_per_worker, **settings)
    print_result(result)


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of an interrupted run.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="New location of the photos, if they have been moved. They are compared by their hashes.",
        ),
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(
            "--val", metavar="DATA", help="New location of the validation photos, if they have been moved."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="FOLDER",
            help="New location of the folder that --images named, if it has been moved.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Resume even if code, packages, settings or photos have changed.")
    ] = False,
    ray: Annotated[
        str | None,
        option(f"Ray cluster: {RAY_ADDRESS}.", "the setting of the run", metavar="ADDRESS"),
    ] = None,
    num_workers: _NUM_WORKERS = None,
    gpus_per_worker: _GPUS = None,
) -> None:
    """Resume an interrupted run. The result is the same as without the interruption."""
    keep_freed_memory()
    from headstart.training.train import resume as resume_training

    result = resume_training(
        run,
        data=data,
        val=val,
        images=images,
        force=force,
        ray=ray,
        num_workers=num_workers,
        gpus_per_worker=gpus_per_worker,
    )
    print_result(result)


@with_settings(
    "lr-find",
    backbone={"text": "a torchvision name, timm/NAME, or NAME.TAG"},
    recipe={
        "text": "the phases of training: finetune, deep, full, classic, or a FILE.toml of [[phases]]",
        "shown": "finetune",
    },
)
def lr_find(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write: .png.")] = Path(
        "lr-find.png"
    ),
    phase: Annotated[
        str | None, option("Name of the phase to test.", "the last one that takes steps", metavar="NAME")
    ] = None,
) -> None:
    """Find a learning rate for a phase. Takes 100 steps at growing rates, plots the loss, suggests a rate.

    Needs headstart[train].
    """
    with requires_extra("train", "The command lr-find"):
        from headstart.training.tools.lr_find import lr_find as find_lr

    found = find_lr(data, out, phase=phase, **settings)
    if is_secondary():
        return
    print(found)
    if found.picture is not None:
        print(f"Written: {found.picture}")
    if found.suggestion:
        print(
            f"\nTo train with it, save this as recipe.toml, and add --recipe recipe.toml:\n\n{found.recipe}"
        )


def print_result(result: TrainResult) -> None:
    """Print the best scores of a run, where it is, and what comes next."""
    if result.metrics:  # in the main process
        print(result)
        print(f"Next: {shell_command('predict', result.path)} PHOTO-OR-FOLDER")
