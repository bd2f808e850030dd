"""The command line: parse, one call, print. Everything heavy is imported where it is used."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.errors import requires_extra

app = typer.Typer(
    name="headstart",
    help="Transfer learning for images: from a folder of labelled photos to a model you can trust and deploy.",
    epilog="Begin with: headstart demo, or headstart train PHOTOS",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How predictions are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"


@app.command(epilog="Example: headstart demo --out runs/demo")
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder for photos and run. [default: runs/demo]")] = None,
) -> None:
    """Real photos, offline, one minute: train, evaluate, predict."""
    with requires_extra("train"):
        from headstart.demo import run_demo

    run_demo(out)


@app.command(epilog="Example: headstart train photos/ --backbone resnet18 --recipe probe")
def train(
    data: Annotated[Path, typer.Argument(help="Folder of class folders, or of train/val/test above them.")],
    out: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/NAME-OF-DATA]")] = None,
    val: Annotated[str | None, typer.Option(help="Fraction held out, or a folder. [default: 0.2]")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="torchvision name, timm/NAME or NAME.TAG. [default: timm/tf_efficientnet_lite0]"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="default, random, or a .pth or .safetensors file.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="probe, finetune, full, classic or FILE.toml. [default: finetune]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Decides split, order and dropout. [default: 0]")] = None,
    resize: Annotated[str | None, typer.Option(help="crop, pad or squash. [default: the backbone's]")] = None,
    size_px: Annotated[int | None, typer.Option(help="Side of the input. [default: the backbone's]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photos per step. [default: 32]")] = None,
    select: Annotated[
        str | None, typer.Option(help="Best weights by val_loss or val_accuracy. [default: val_loss]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. [default: auto]")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16. [default: auto]")] = None,
    allow_quarantined: Annotated[
        float | None, typer.Option(help="Train although up to this fraction of photos is unreadable.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting of config.toml.")
    ] = None,
) -> None:
    """Train a model on a folder of photos."""
    from headstart.config import settings_from_pairs

    options = {
        "val": val,
        "backbone": backbone,
        "weights": weights,
        "recipe": recipe,
        "seed": seed,
        "resize": resize,
        "size_px": size_px,
        "batch_size": batch_size,
        "select": select,
        "device": device,
        "precision": precision,
        "allow_quarantined": allow_quarantined,
    }
    settings: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    settings.update(settings_from_pairs(set_ or []))
    with requires_extra("train"):
        from headstart.training.train import train as train_on

    result = train_on(data, out, **settings)
