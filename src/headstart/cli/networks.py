"""``headstart inspect``, ``backbones`` and ``export``."""

from __future__ import annotations

import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import option
from headstart.cli.printing import print_columns
from headstart.errors import UsageError, requires_extra
from headstart.files import EXPORTS, refuse_to_write


class ExportFormat(StrEnum):
    """Formats in which a trained model can be written."""

    ONNX = "onnx"
    PTH = "pth"


def inspect(
    what: Annotated[str, typer.Argument(metavar="NAME|RUN", help="Name of a backbone, or a run folder.")],
) -> None:
    """Show the stages of a network. Prints shapes, parameters, multiply-adds, and which are frozen.

    Needs headstart[train].
    """
    with requires_extra("train", "The command inspect"):
        from headstart.config import TrainConfig
        from headstart.model.backbones import create_native, resolve
        from headstart.model.freeze import freeze
        from headstart.model.summary import summarise
        from headstart.products.safetensors import load_network

    weights = Path(what) / "model.safetensors"
    if weights.is_file():
        network, info = load_network(weights)
        phases = TrainConfig.from_toml(Path(what) / "config.toml").phases
        freeze(network, before=phases[-1].unfreeze)  # as it was at the end of training
        title, size_px = f"{info.backbone}, {len(info.class_names)} classes", info.preprocessing.size_px
    elif Path(what).is_file() or os.sep in what.removeprefix("timm/"):
        raise UsageError(
            f"{what} is not a folder with a model.safetensors in it. Name the folder of a finished run, or a "
            "backbone."
        )
    else:
        backbone = resolve(what)
        network, size_px = create_native(backbone), backbone.preprocessing.size_px
        freeze(network, before="head")
        title = f"{backbone.full_name}, {backbone.num_classes} classes"
    rows = summarise(network, size_px)
    print(f"{title}; input 3 × {size_px} × {size_px}")
    print_columns(
        ["stage", "modules", "output", "parameters", "MB", "multiply-adds", "frozen"],
        [
            [
                row.name,
                row.modules,
                " × ".join(map(str, row.output_shape)),
                f"{row.num_params:,}",
                f"{row.megabytes:.1f}",
                f"{row.multiply_adds / 1e6:,.1f} M",
                "yes" if row.frozen else "no",
            ]
            for row in rows
        ],
    )
    params, megabytes = sum(row.num_params for row in rows), sum(row.megabytes for row in rows)
    multiply_adds = sum(row.multiply_adds for row in rows)
    print(f"total: {params:,} parameters, {megabytes:.1f} MB, {multiply_adds / 1e6:,.1f} M multiply-adds")


def backbones(
    installed: Annotated[
        bool, typer.Option("--installed", help="List only backbones with weights on this machine.")
    ] = False,
) -> None:
    """List backbones. Prints size, input, source of the weights, and whether they are on this machine."""
    from headstart.environment import has_pytorch

    if not has_pytorch():
        _print_backbones_without_pytorch(installed)
        return
    with requires_extra("train", "The command backbones"):
        from headstart.model.weights import listing

    rows = [row for row in listing() if row.installed or not installed]
    print_columns(
        ["backbone", "weights", "parameters", "MB", "input", "from", "here"],
        [
            [
                row.name,
                row.full_name.rpartition(".")[2],
                f"{row.num_params / 1e6:.1f} M",
                f"{row.megabytes:.0f}",
                f"{row.size_px} px",
                row.source or "–",
                "yes" if row.installed else "no",
            ]
            for row in rows
        ],
    )
    print(
        "Most other networks of timm work too, as timm/NAME. One that cannot be cut before its head is "
        "reported as an error before any photo is read."
    )


def _print_backbones_without_pytorch(installed: bool) -> None:
    from headstart.frozen.backbones import listed

    rows = [row for row in listed() if row.source or not installed]
    print_columns(
        ["backbone", "weights", "input", "from", "here"],
        [
            [
                row.name,
                row.full_name.rpartition(".")[2],
                f"{row.size_px} px",
                row.source or "–",
                "yes" if row.source else "no",
            ]
            for row in rows
        ],
    )
    print(
        "These work without PyTorch, and so does any feature extractor as FILE.onnx. For the networks of "
        "torchvision and timm: pip install 'headstart[train]'"
    )


def export(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    to: Annotated[ExportFormat, typer.Option(help="Format to write.")],
    out: Annotated[Path | None, option("File to write.", "model.onnx or model.pth in the run folder")] = None,
) -> None:
    """Write a trained model in another format. For pth, also prints code that loads it without Headstart.

    Needs headstart[train].
    """
    from headstart.inference.model_file import info_of_safetensors, is_headstart_model, refuse_to_build

    weights, written = model / "model.safetensors", model / "model.onnx"
    if not weights.is_file():
        raise UsageError(
            f"{model} is not a folder with a model.safetensors in it. Name the folder of a finished run."
        )
    refuse_to_build(weights, info_of_safetensors(weights))
    otherwise = f"{written} needs no PyTorch: use it, or copy it, as it is." if written.is_file() else ""
    with requires_extra("train", "The command export", otherwise):
        from headstart.products.onnx import write_onnx
        from headstart.products.pth import write_pth

    if out is None:
        out = model / f"model.{to}"
        if out.exists() and not (to is ExportFormat.ONNX and is_headstart_model(out)):
            raise UsageError(
                f"{out} exists and was perhaps not written by Headstart. To replace it, add "
                f"--out {shlex.quote(str(out))}; or name another file."
            )
    refuse_to_write(out, EXPORTS)
    if to is ExportFormat.PTH:
        print(write_pth(weights, out))
    else:
        write_onnx(weights, out)
    print(f"Written: {out}", file=sys.stderr)
