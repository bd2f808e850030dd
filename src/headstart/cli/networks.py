"""``headstart inspect``, ``backbones``, ``export`` and ``verify``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import headstart
from headstart.cli.options import Model, option
from headstart.errors import requires_extra


class ExportFormat(StrEnum):
    """What a trained model can be written as."""

    ONNX = "onnx"
    ONNX_FP16 = "onnx-fp16"
    PTH = "pth"
    TIMM = "timm"
    TEST_VECTOR = "test-vector"
    WEB = "web"


def inspect(
    what: Annotated[str, typer.Argument(metavar="NAME|RUN", help="A backbone's name, or a run folder.")],
) -> None:
    """Show the stages of a network. Prints shapes, parameters, multiply-adds, and which are frozen.

    Needs headstart[train].
    """
    with requires_extra("train", "The command inspect"):
        from headstart.training.tools.inspect import inspect as inspect_network
    print(inspect_network(what))


def backbones(
    installed: Annotated[
        bool, typer.Option("--installed", help="List only backbones with weights on this machine.")
    ] = False,
) -> None:
    """List backbones. Prints size, input, source of the weights, and whether they are on this machine."""
    print(headstart.backbones(installed=installed))


def export(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or the model file in it.")],
    to: Annotated[ExportFormat, typer.Option(help="Format to write.")],
    out: Annotated[
        Path | None,
        option(
            "File to write; of timm, a test vector and a page, a new folder.",
            "model.onnx, model-fp16.onnx, model.pth, timm, test-vector or web in the run folder",
        ),
    ] = None,
    photo: Annotated[
        Path | None,
        option("Photo of a test vector.", "one that is made from a seed", metavar="IMAGE"),
    ] = None,
) -> None:
    """Write a trained model in another format. For pth and timm, also prints code that loads it.

    pth is a state dict in the names of torchvision or timm. Beside it, a script predicts photos without
    Headstart, with the same pixels and answers. timm is a folder that timm and the Hugging Face Hub can load,
    with a model card: of networks of timm that predict classes or numbers. Both need a head in the place of
    the network's own: train with --head linear. Both are compared with model.onnx before they are written.

    A test vector is a folder with a photo, its pixels at network size and the model's outputs as plain files,
    to check programs in other languages. web is a page that predicts photos on the visitor's device, a folder
    for any web server; it needs onnxruntime-web, which is fetched from npm once. onnx-fp16 is model.onnx with
    weights in 16 bits, half the size; everything is still computed in 32 bits. onnx, pth and timm need
    headstart[train].

    ONNX files are compared with the run on its validation photos, if they are on this machine. Prints the
    largest difference and every changed answer.
    """
    exported = headstart.export(model, to.value, out, photo=photo)
    if exported.usage:
        print(exported.usage)
    if exported.parity is not None:
        print(exported.parity_text)
    elif exported.path.suffix == ".onnx":
        print("headstart: not compared: the run's validation photos are not here", file=sys.stderr)
    for path in filter(None, (exported.path, exported.script)):
        print(f"Written: {path}", file=sys.stderr)
    if exported.warning:
        print(f"headstart: Warning: {exported.warning}", file=sys.stderr)


def verify(
    model: Model,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA", help="Photos of the run, to compare the answers with the run's own. Any folders."
        ),
    ] = None,
) -> None:
    """Verify a model file, and show what it says.

    Checks the checksum, the form, and the self-test in the file: four inputs that are made from a seed, whose
    outputs may differ by 0.001. With photos, answers for them may differ by 0.001 from those in the run's
    answers.csv. The exit code is 1 if a check fails.
    """
    result = headstart.verify(model, data)
    print(result)
    if not result.ok:
        raise typer.Exit(1)
