"""The command line: parse, one call, print. Everything heavy is imported where it is used."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import headstart
from headstart.columns import counted, score_text
from headstart.errors import UsageError, requires_extra, shell_command
from headstart.files import EXPORTS, FEATURES, TEXT, refuse_to_write, sha256_of_file

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

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A run folder, or a .onnx file from one.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write here instead of to standard output.")]


_CSV = (".csv", ".txt", "")
_JSON_LINES = (".jsonl", ".ndjson")


class Format(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"


class ExportFormat(StrEnum):
    """What a trained model can be written as."""

    ONNX = "onnx"
    PTH = "pth"


def option(text: str, default: str | None = None, **details: Any) -> Any:
    """An option that is None unless given, so that defaults live in ``TrainConfig`` alone."""
    return typer.Option(help=text, show_default=default if default is not None else False, **details)


# What a backbone in a file does not say.
Mean = Annotated[
    str | None,
    option(
        "Mean of each channel that a FILE.onnx expects; pixels are 0 to 1.", "ImageNet's", metavar="R,G,B"
    ),
]
Std = Annotated[
    str | None,
    option("Standard deviation of each channel, like --mean.", "ImageNet's", metavar="R,G,B"),
]
OutputName = Annotated[
    str | None,
    option("Of a FILE.onnx: the tensor to take as features.", "the likeliest output", metavar="TENSOR"),
]
# How labels are read, for every command that reads them.
Task = Annotated[
    str | None,
    option("classification, multilabel, regression or box.", "what the data hold", metavar="TASK"),
]
Target = Annotated[
    str | None, option("A table's columns of numbers, with commas between.", "none", metavar="COLUMN")
]
BoxesWanted = Annotated[
    str | None, option("Photos with several objects: refuse, skip or largest.", "refuse", metavar="WHICH")
]
ImageColumn = Annotated[str | None, option("A table's column of paths.", "image", metavar="COLUMN")]
LabelColumn = Annotated[
    str | None, option("A table's column of classes.", "label or labels", metavar="COLUMN")
]
SplitColumn = Annotated[
    str | None, option("A table's column of train, val and test.", "split", metavar="COLUMN")
]


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
    """What goes before a command."""


@app.command(epilog="Example: headstart demo")
def demo(
    out: Annotated[
        Path | None, option("New folder for the photos and the run.", "headstart-demo", metavar="FOLDER")
    ] = None,
) -> None:
    """Real photos, offline, in a few seconds: train, score, predict."""
    from headstart.demo import run_demo

    run_demo(out)


@app.command(epilog="Example: headstart train photos --recipe probe --seed 1")
def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of class folders, or of train/val/test above them; a table, Pascal VOC or COCO.",
        ),
    ],
    out: Annotated[Path | None, option("Run folder.", "runs/NAME-OF-DATA", metavar="RUN")] = None,
    val: Annotated[
        str | None, option("Fraction held out for validation, or a folder.", "0.2", metavar="FRACTION|FOLDER")
    ] = None,
    backbone: Annotated[
        str | None,
        option(
            "torchvision's NAME, timm/NAME, NAME.TAG or FILE.onnx.",
            "timm/tf_efficientnet_lite0",
            metavar="NAME",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        option(
            "default, random, a file (.pth or .safetensors), or a run's folder.", "default", metavar="WHICH"
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        option(
            "auto (finetune with PyTorch, else probe), probe, finetune, full, classic, or a FILE.toml of "
            "[[phases]].",
            "auto",
            metavar="NAME|FILE",
        ),
    ] = None,
    epochs: Annotated[
        str | None,
        option(
            "Passes over the training photos in the last phase; a probe has none.",
            "the recipe's",
            metavar="NUMBER",
        ),
    ] = None,
    lr: Annotated[
        str | None,
        option("Learning rate of the head in the last phase.", "the recipe's", metavar="NUMBER"),
    ] = None,
    task: Task = None,
    target: Target = None,
    boxes: BoxesWanted = None,
    head: Annotated[
        str | None,
        option("linear, on pooled features, or spatial, for boxes.", "what the task needs", metavar="KIND"),
    ] = None,
    min_visible: Annotated[
        str | None, option("Share of a box that an augmented view must show.", "0.5", metavar="FRACTION")
    ] = None,
    group_by: Annotated[
        str | None,
        option(
            "Keeps groups on one side of a split: a column, or a pattern of paths.",
            "column group",
            metavar="COLUMN|REGEX",
        ),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    seed: Annotated[
        str | None, option("Decides the split, the order and the dropout.", "0", metavar="NUMBER")
    ] = None,
    resize: Annotated[
        str | None, option("How photos become square: crop, pad or squash.", "the backbone's", metavar="HOW")
    ] = None,
    size_px: Annotated[
        str | None, option("Side of the network's input.", "the backbone's", metavar="PIXELS")
    ] = None,
    mean: Mean = None,
    std: Std = None,
    output_name: OutputName = None,
    batch_size: Annotated[str | None, option("Photos per training step.", "32", metavar="NUMBER")] = None,
    select: Annotated[
        str | None,
        option("What the best weights are chosen by, such as val_accuracy.", "val_loss", metavar="SCORE"),
    ] = None,
    features: Annotated[
        str | None,
        option("The frozen part's output: store, live (computed anew) or auto.", "auto", metavar="HOW"),
    ] = None,
    device: Annotated[str | None, option("auto, cpu, cuda or mps.", "auto", metavar="DEVICE")] = None,
    precision: Annotated[str | None, option("auto, fp32, bf16 or fp16.", "auto", metavar="FORMAT")] = None,
    memory_format: Annotated[
        str | None, option("Of what is trained: auto, contiguous or channels_last.", "auto", metavar="LAYOUT")
    ] = None,
    checkpoint_seconds: Annotated[
        str | None, option("Minimum time between checkpoints.", "15", metavar="SECONDS")
    ] = None,
    workers: Annotated[
        str | None,
        option(
            "Image-loading threads; 0 loads in the main thread.",
            "CPU cores + 1",
            metavar="NUMBER",
        ),
    ] = None,
    max_minutes: Annotated[
        str | None,
        option("Time limit; training then ends with the best weights so far.", "none", metavar="MINUTES"),
    ] = None,
    allow_quarantined: Annotated[
        str | None,
        option(
            "Train although up to this fraction of the photos cannot be read; each class needs one that can.",
            "0.01, or five files",
            metavar="FRACTION",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set any option by name, or PHASE.KEY=VALUE. Repeatable; overrides the option itself.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would be done, and about how long it takes; do nothing."),
    ] = False,
) -> None:
    """Train a model on labelled photos."""
    options = {**locals()}
    from headstart.config import settings_from_pairs

    settings = {
        name: value
        for name, value in options.items()
        if name not in ("data", "out", "set_", "dry_run") and value is not None
    }
    settings.update(settings_from_pairs(set_ or []))
    if dry_run:
        from headstart.training.train import plan

        if text := plan(data, out, **settings):
            print(text)
        return
    from headstart.training.train import train as train_model

    result = train_model(data, out, **settings)
    _print_result(result.path, result.metrics)


@app.command(epilog="Example: headstart resume runs/photos")
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that was stopped.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="Where the photos are now, if moved. They are compared by their hashes.",
        ),
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option("--val", metavar="DATA", help="Where the validation photos are now, if moved."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Resume although code, settings or photos have changed.")
    ] = False,
) -> None:
    """Resume an interrupted run. The result is the same as without the interruption."""
    from headstart.training.train import resume as resume_training

    result = resume_training(run, data=data, val=val, force=force)
    _print_result(result.path, result.metrics)


@app.command(name="lr-find", epilog="Example: headstart lr-find photos --backbone resnet18 --out lr-find.png")
def lr_find(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of class folders, or of train/val/test above them; a table, Pascal VOC or COCO.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write: .png.")] = Path(
        "lr-find.png"
    ),
    phase: Annotated[
        str | None, option("Name of the phase to test.", "the last one that takes steps", metavar="NAME")
    ] = None,
    val: Annotated[
        str | None, option("Fraction held out for validation, or a folder.", "0.2", metavar="FRACTION|FOLDER")
    ] = None,
    backbone: Annotated[
        str | None,
        option("torchvision's NAME, timm/NAME or NAME.TAG.", "timm/tf_efficientnet_lite0", metavar="NAME"),
    ] = None,
    weights: Annotated[str | None, option("default, random, or a file.", "default", metavar="WHICH")] = None,
    recipe: Annotated[
        str | None,
        option("finetune, full, classic, or a FILE.toml of [[phases]].", "finetune", metavar="NAME|FILE"),
    ] = None,
    task: Task = None,
    target: Target = None,
    boxes: BoxesWanted = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    seed: Annotated[
        str | None, option("Decides the split, the order and the dropout.", "0", metavar="NUMBER")
    ] = None,
    resize: Annotated[
        str | None, option("How photos become square: crop, pad or squash.", "the backbone's", metavar="HOW")
    ] = None,
    size_px: Annotated[
        str | None, option("Side of the network's input.", "the backbone's", metavar="PIXELS")
    ] = None,
    batch_size: Annotated[str | None, option("Photos per training step.", "32", metavar="NUMBER")] = None,
    device: Annotated[str | None, option("auto, cpu, cuda or mps.", "auto", metavar="DEVICE")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of headstart train. Repeatable."),
    ] = None,
) -> None:
    """Look for a phase's learning rate: 100 steps at growing rates, a picture of the loss, a suggestion."""
    options = {**locals()}
    from headstart.config import settings_from_pairs

    settings = {
        name: value
        for name, value in options.items()
        if name not in ("data", "out", "set_") and value is not None
    }
    settings.update(settings_from_pairs(set_ or []))
    with requires_extra("train", "The command lr-find"):
        from headstart.training.lr_find import lr_find as find_lr

    found = find_lr(data, out, **settings)
    if os.environ.get("RANK", "0") != "0":  # one of several processes tells
        return
    print(found)
    if found.picture is not None:
        print(f"Written: {found.picture}")
    if found.suggestion:
        print(
            f"\nTo train with it, save this as recipe.toml, and add --recipe recipe.toml:\n\n{found.recipe}"
        )


@app.command(epilog="Example: headstart predict runs/photos new/ --top-k 3 --format csv > answers.csv")
def predict(
    model: Model,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE|FOLDER|-", help="Photos, folders, or - for paths from stdin."),
    ],
    top_k: Annotated[int, typer.Option(min=1, help="Most probable classes to show.")] = 1,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="How to print. [default: table; csv when piped; by the name of --out]"),
    ] = None,
    out: Out = None,
    draw: Annotated[
        Path | None,
        typer.Option(help="A new folder for the photos with their boxes or answers drawn.", metavar="FOLDER"),
    ] = None,
) -> None:
    """Say what is on photos; without PyTorch. Exit code 1 if one of them cannot be read."""
    from headstart import tasks
    from headstart.drawings import draw_each
    from headstart.predictions import PredictionsFile, write_csv, write_jsonl, write_table
    from headstart.predictor import find_images, load

    if out is not None:
        if format_ is None and out.suffix.lower() not in (*_JSON_LINES, *_CSV):
            raise UsageError(
                f"out is {str(out)!r}; its name must end in {', '.join((*_CSV[:-1], *_JSON_LINES))}, unless "
                "--format says how to write it."
            )
        refuse_to_write(out, TEXT)
    predictor = load(model)
    for path in images:
        if path != "-" and next(find_images(path), None) is None:
            raise UsageError(
                f"There are no photos in {path!r} or in the folders below it. Name a folder of JPEG, PNG or "
                f"WebP files, for example; hidden ones and those in the folders of runs do not count."
            )
    top_k = max(1, min(top_k, len(predictor.class_names)))
    photos = (photo for path in _paths(images) for photo in find_images(path))
    # Several classes are told by their thresholds; the others' probabilities stand beside them.
    shown = None if tasks.of(predictor.info.task).has_labels else top_k
    predict_iter = partial(predictor.predict_iter, top_k=shown)
    unfinished = None
    if out is not None:
        unfinished = PredictionsFile(out, _settings_of_predictions(model, shown, draw))
        predictions = unfinished.predictions(photos, predict_iter)
        if unfinished.num_known:
            left = counted(unfinished.num_known, "prediction")
            print(
                f"headstart: reusing {left} of an interrupted call for photos that have not changed",
                file=sys.stderr,
            )
    else:
        predictions = predict_iter(photos)
    if draw is not None:
        is_continued = unfinished is not None and unfinished.num_known > 0
        predictions = draw_each(predictions, predictor.info, draw, is_continued=is_continued)
    if format_ is None:
        if out is not None:
            format_ = Format.JSONL if out.suffix.lower() in _JSON_LINES else Format.CSV
        else:
            format_ = Format.TABLE if sys.stdout.isatty() else Format.CSV
    with unfinished or nullcontext(sys.stdout) as file:
        if format_ is Format.CSV:
            num_errors = write_csv(file, predictions, predictor.info, top_k=top_k)
        elif format_ is Format.JSONL:
            num_errors = write_jsonl(file, predictions)
        else:
            num_errors = write_table(file, predictions, predictor.info, top_k=top_k)
    if num_errors:
        print(f"headstart: {counted(num_errors, 'photo')} could not be read", file=sys.stderr)
        raise typer.Exit(1)


@app.command(epilog="Example: headstart evaluate runs/photos more-photos")
def evaluate(
    model: Model,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled photos, as for training.")],
    split: Annotated[
        str | None, option("train, val or test.", "test, or else val, or else everything", metavar="SPLIT")
    ] = None,
    target: Annotated[
        str | None,
        option("A table's columns of the model's numbers, in its order.", "its own names", metavar="COLUMN"),
    ] = None,
    boxes: BoxesWanted = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
) -> None:
    """Score a model on labelled photos: the scores of its task, by class or by target."""
    from headstart.evaluation.evaluate import chosen_on_validation, evaluate_folder, num_seen_by
    from headstart.predictor import load

    given = {
        "target": target,
        "boxes": boxes,
        "image_column": image_column,
        "label_column": label_column,
        "split_column": split_column,
    }
    options = {name: value for name, value in given.items() if value is not None}
    result = evaluate_folder(load(model), data, split, **options)
    scores = result.scores.to_dict()
    for rows in (scores.get("classes"), scores.get("targets")):
        if rows:
            _print_columns(list(rows[0]), [[_cell(*item) for item in row.items()] for row in rows])
            print()
    which = f"{result.split} photos" if result.split else "photos"
    if "confusion" in scores:
        right = sum(row[i] for i, row in enumerate(scores["confusion"]))
        print(f"accuracy {scores['accuracy']:.4f} ({right} of {result.num_photos} {which})")
    else:
        print(f"{result.num_photos} {which}")
    for name, value in scores.items():
        if isinstance(value, float) and not (name == "accuracy" and "confusion" in scores):
            print(f"{name} {score_text(name, value, 4)}")
    run = model if model.is_dir() else model.parent
    seen, chosen = num_seen_by(run, result.scored), chosen_on_validation(run)
    parts = {"train": "was trained on", "val": chosen and f"had its {chosen} chosen on"}
    for each, part in parts.items():
        if part and seen[each]:
            print(
                f"headstart: the model {part} {seen[each]} of these {counted(result.num_photos, 'photo')}, "
                "so these scores are too optimistic. Score it on photos that had no part in training.",
                file=sys.stderr,
            )
    for note in result.notes:
        print(f"headstart: {note}", file=sys.stderr)
    for left_out in result.quarantined:
        print(f"headstart: left out: {left_out.path}: {left_out.reason}", file=sys.stderr)
    for photo in result.unreadable:
        print(f"headstart: {photo.path}: {photo.error}", file=sys.stderr)
    if result.unreadable:
        raise typer.Exit(1)


@app.command(epilog="Example: headstart inspect vgg16")
def inspect(
    what: Annotated[str, typer.Argument(metavar="NAME|RUN", help="A backbone's name, or a run folder.")],
) -> None:
    """Show a network's stages: shapes, parameters, multiply-adds, what is frozen."""
    with requires_extra("train", "The command inspect"):
        from headstart.config import TrainConfig
        from headstart.export.safetensors import load_network
        from headstart.model.backbones import create_native, resolve
        from headstart.model.freeze import freeze
        from headstart.model.summary import summarise

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
    _print_columns(
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


@app.command(epilog="Example: headstart backbones --installed")
def backbones(
    installed: Annotated[
        bool, typer.Option("--installed", help="Only those whose weights are here.")
    ] = False,
) -> None:
    """List backbones: size, input, where the weights come from, and whether they are on this machine."""
    from headstart.environment import has_pytorch

    if not has_pytorch():
        _print_backbones_without_pytorch(installed)
        return
    with requires_extra("train", "The command backbones"):
        from headstart.model.weights import listing

    rows = [row for row in listing() if row.installed or not installed]
    _print_columns(
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
        "Most other networks of timm work too, as timm/NAME; one that cannot be cut before its head is "
        "refused before any photo is read."
    )


def _print_backbones_without_pytorch(installed: bool) -> None:
    from headstart.features.backbones import listed

    rows = [row for row in listed() if row.source or not installed]
    _print_columns(
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


@app.command(epilog="Example: headstart augment photos --recipe my-recipe.toml --out sheet.png")
def augment(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of class folders, or of train/val/test above them; a table, Pascal VOC or COCO.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write: .png.")] = Path(
        "sheet.png"
    ),
    augment: Annotated[
        str | None,
        option("A preset to look at (none, light, medium, strong).", "what the phases say", metavar="PRESET"),
    ] = None,
    views: Annotated[int, typer.Option(min=1, max=20, help="Views of each photo.")] = 6,
    photos: Annotated[int, typer.Option(min=1, max=50, help="Photos on the picture.")] = 8,
    recipe: Annotated[
        str | None,
        option(
            "auto (finetune with PyTorch, else probe), probe, finetune, full, classic, or a FILE.toml of "
            "[[phases]].",
            "auto",
            metavar="NAME|FILE",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        option("torchvision's NAME, timm/NAME or NAME.TAG.", "timm/tf_efficientnet_lite0", metavar="NAME"),
    ] = None,
    task: Task = None,
    target: Target = None,
    boxes: BoxesWanted = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    seed: Annotated[
        str | None, option("Decides the views, as in training, and which photos.", "0", metavar="NUMBER")
    ] = None,
    resize: Annotated[
        str | None, option("How photos become square: crop, pad or squash.", "the backbone's", metavar="HOW")
    ] = None,
    size_px: Annotated[
        str | None, option("Side of the network's input.", "the backbone's", metavar="PIXELS")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of headstart train. Repeatable."),
    ] = None,
) -> None:
    """Show photos beside the views that training would make of them, as a picture."""
    options = {**locals()}
    from headstart.config import settings_from_pairs

    others = ("data", "out", "augment", "views", "photos", "set_")
    settings = {name: value for name, value in options.items() if name not in others and value is not None}
    settings.update(settings_from_pairs(set_ or []))
    from headstart.training.preview import write_sheet

    result = write_sheet(data, out, augment=augment, num_views=views, num_photos=photos, **settings)
    for path, reason in result.unreadable:
        print(f"headstart: {path}: {reason}", file=sys.stderr)
    for warning in result.warnings:
        print(f"headstart: {warning}", file=sys.stderr)
    print(f"Written: {out} ({counted(result.num_photos, 'photo')})")


@app.command(epilog="Example: headstart export runs/photos --to pth --out model.pth")
def export(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    to: Annotated[ExportFormat, typer.Option(help="What to write.")],
    out: Annotated[Path | None, option("File to write.", "model.onnx or model.pth in the run folder")] = None,
) -> None:
    """Write a trained model in another form; for pth, with the lines that load it without Headstart."""
    from headstart.model_file import info_of_safetensors, is_headstart_model, refuse_to_build

    weights, written = model / "model.safetensors", model / "model.onnx"
    if not weights.is_file():
        raise UsageError(
            f"{model} is not a folder with a model.safetensors in it. Name the folder of a finished run."
        )
    refuse_to_build(weights, info_of_safetensors(weights))
    otherwise = f"{written} needs no PyTorch: use it, or copy it, as it is." if written.is_file() else ""
    with requires_extra("train", "The command export", otherwise):
        from headstart.export.onnx import write_onnx
        from headstart.export.pth import write_pth

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


@app.command(epilog="Example: headstart features photos --out features.npz")
def features(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of photos, in class folders or not; a table, Pascal VOC or COCO.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write: .parquet or .npz.")],
    val: Annotated[
        str | None, option("Folder or file of validation photos.", "none", metavar="FOLDER")
    ] = None,
    backbone: Annotated[
        str | None,
        option(
            "torchvision's NAME, timm/NAME, NAME.TAG or FILE.onnx.",
            "timm/tf_efficientnet_lite0",
            metavar="NAME",
        ),
    ] = None,
    weights: Annotated[str | None, option("default, random, or a file.", "default", metavar="WHICH")] = None,
    task: Task = None,
    target: Target = None,
    boxes: BoxesWanted = None,
    group_by: Annotated[
        str | None,
        option("Groups to write: a column, or a pattern of paths.", "column group", metavar="COLUMN|REGEX"),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    resize: Annotated[
        str | None, option("How photos become square: crop, pad or squash.", "the backbone's", metavar="HOW")
    ] = None,
    size_px: Annotated[
        str | None, option("Side of the network's input.", "the backbone's", metavar="PIXELS")
    ] = None,
    mean: Mean = None,
    std: Std = None,
    output_name: OutputName = None,
    features: Annotated[
        str | None,
        option("Keep the features in the cache too: store, live (no) or auto.", "auto", metavar="HOW"),
    ] = None,
    device: Annotated[str | None, option("auto, cpu, cuda or mps.", "auto", metavar="DEVICE")] = None,
    precision: Annotated[str | None, option("auto, fp32, bf16 or fp16.", "auto", metavar="FORMAT")] = None,
    workers: Annotated[
        str | None,
        option("Image-loading threads; 0 loads in the main thread.", "CPU cores + 1", metavar="NUMBER"),
    ] = None,
    allow_quarantined: Annotated[
        str | None,
        option(
            "Fraction of the photos whose labels may be unusable.", "0.01, or five files", metavar="FRACTION"
        ),
    ] = None,
) -> None:
    """Write the features of photos, the input of a network's head, with their paths, labels and splits."""
    options = {**locals()}
    from headstart.features.extract import extract_features
    from headstart.training.extractor import open_extractor

    refuse_to_write(out, FEATURES)
    settings = {
        name: value for name, value in options.items() if name not in ("data", "out") and value is not None
    }
    result = extract_features(data, out, open_extractor=open_extractor, **settings)
    for path, reason in result.unreadable:
        print(f"headstart: {path}: {reason}", file=sys.stderr)
    photos = counted(result.num_rows, "photo")
    print(f"Written: {out} ({photos}, {result.num_features:,} features each)")
    if result.unreadable:
        raise typer.Exit(1)


@app.command(epilog="Example: headstart cache --clear")
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete all stored features and exported networks.")
    ] = False,
) -> None:
    """Show or clear the stored outputs of frozen stages; what is deleted is computed again when needed.

    Networks that PyTorch has exported are kept beside them, and are cleared too.
    """
    from datetime import datetime

    from headstart.features import prefixes
    from headstart.features.cache import budget_bytes, cache_folder, list_stores
    from headstart.features.store import delete_store

    stores = list_stores()
    total = sum(store.num_bytes for store in stores)
    if clear:
        deleted = [store for store in stores if delete_store(store.path)]
        num_bytes = sum(store.num_bytes for store in deleted)
        print(f"Deleted {counted(len(deleted), 'store')}, {num_bytes / 1e6:,.1f} MB, from {cache_folder()}")
        if in_use := len(stores) - len(deleted):
            print(f"headstart: {counted(in_use, 'store')} in use by another process stay", file=sys.stderr)
        num_bytes = prefixes.used_bytes()
        if num_deleted := prefixes.clear():
            print(f"Deleted {counted(num_deleted, 'exported network')}, {num_bytes / 1e6:,.1f} MB")
        return
    rows = [
        [
            str(store.about.get("backbone", "?")),
            str(store.about.get("cut", "?")),
            f"{store.num_rows:,}",
            f"{store.num_bytes / 1e6:,.1f}",
            datetime.fromtimestamp(store.opened).strftime("%Y-%m-%d %H:%M"),
        ]
        for store in stores
    ]
    if rows:
        _print_columns(["backbone", "up to", "rows", "MB", "last opened"], rows)
    print(f"{total / 1e6:,.1f} MB of at most {budget_bytes() / 1e6:,.0f} MB in {cache_folder()}")
    if names := sorted({about["name"] for about in prefixes.kept()}):
        print(f"{prefixes.used_bytes() / 1e6:,.1f} MB of exported networks: {', '.join(names)}")


def _print_result(path: Path, metrics: dict[str, Any]) -> None:
    if not metrics or os.environ.get("RANK", "0") != "0":  # one of several processes tells
        return
    from headstart.evaluation.evaluate import chosen_on_validation

    best, images = metrics["best"], metrics["images"]
    scores = {name.removeprefix("val_"): value for name, value in best.items() if name.startswith("val_")}
    mixed = f", {best['share']:.0%} of its weights, the rest from before the phase" if "share" in best else ""
    validated = counted(images["val"], "photo")
    print(f"Best: {best['phase']}, epoch {best['epoch']}{mixed}: validation {_scores(scores)} of {validated}")
    if "test" in metrics:
        print(f"Test: {_scores(metrics['test'])} of {counted(images['test'], 'photo')}")
    elif chosen := chosen_on_validation(path):
        print(
            f"The {chosen} were chosen on the validation photos, so that score is slightly optimistic. "
            "Photos in a test folder would give an honest one."
        )
    names = ("model.onnx", "model.safetensors", "answers.csv", "metrics.json", "history.csv", "curves.png")
    print(f"Run: {path} ({', '.join(name for name in names if (path / name).exists())})")
    print(f"Next: {shell_command('predict', path)} PHOTO-OR-FOLDER")


def _scores(scores: dict[str, Any]) -> str:
    """Write scores for people, the loss last."""
    numbers = {name: value for name, value in scores.items() if isinstance(value, float)}
    ordered = sorted(numbers, key=lambda name: name == "loss")
    return ", ".join(f"{name} {score_text(name, numbers[name])}" for name in ordered)


def _paths(images: list[str]) -> Iterator[str]:
    """The paths that were named; for ``-``, one per line of standard input."""
    for image in images:
        if image == "-":
            yield from (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip())
        else:
            yield image


def _settings_of_predictions(model: Path, top_k: int | None, draw: Path | None) -> dict[str, Any]:
    """What predictions depend on besides their photos: another value in any field makes other predictions."""
    import onnxruntime
    import PIL

    return {
        "model": sha256_of_file(model if model.is_file() else model / "model.onnx"),
        "--top-k": top_k,
        "--draw": None if draw is None else str(draw.absolute()),
        "version of headstart": headstart.__version__,
        "version of onnxruntime": onnxruntime.__version__,
        "version of pillow": PIL.__version__,
    }


def _print_columns(header: list[str], rows: list[list[str]]) -> None:
    """Print aligned columns, the first to the left, the others, which are mostly numbers, to the right."""
    from headstart.columns import align, width_of

    widths = [max(map(width_of, column)) for column in zip(header, *rows, strict=True)]
    widths[0] = -widths[0]
    for row in [header, *rows]:
        print(align(row, widths))


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    return score_text(name, value) if isinstance(value, float) else str(value)
