"""The command line: parse, one call, print. Everything heavy is imported where it is used."""

from __future__ import annotations

from typing import Annotated

import typer

import headstart
from headstart.cli import cache, networks, photos, prediction, serving, training
from headstart.cli.options import Sections

app = typer.Typer(
    name="headstart",
    help="Transfer learning for images: from a folder of labelled photos to a model you can trust.",
    epilog="Begin with: headstart demo, or: headstart train PHOTOS",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command, _example in (
    ("demo", training.demo, ""),
    ("train", training.train, "photos --recipe probe --seed 1"),
    ("resume", training.resume, "runs/photos"),
    ("lr-find", training.lr_find, "photos --size-px 96 --out lr-find.png"),
    ("predict", prediction.predict, "runs/photos new/ --top-k 3 --out answers.csv"),
    ("evaluate", prediction.evaluate, "runs/photos more-photos"),
    ("report", prediction.report, "runs/photos --out report.html"),
    ("check", photos.check, "photos --out findings.csv"),
    ("compare", prediction.compare, "runs/photos runs/photos-2"),
    ("recommend", photos.recommend, "photos --out backbones.csv"),
    ("inspect", networks.inspect, "vgg16"),
    ("backbones", networks.backbones, "--installed"),
    ("augment", photos.augment, "photos --recipe my-recipe.toml --out sheet.png"),
    ("export", networks.export, "runs/photos --to pth --out model.pth"),
    ("verify", networks.verify, "runs/photos"),
    ("serve", serving.serve, "runs/photos --port 8000"),
    ("features", photos.features, "photos --out features.npz"),
    ("cache", cache.cache, "--clear"),
):
    app.command(_name, cls=Sections, epilog=f"Example: headstart {_name} {_example}".rstrip())(_command)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"headstart {headstart.__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options of the program itself, before a command."""
