"""``headstart predict``, ``evaluate``, ``compare`` and ``report``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

import headstart
from headstart.cli.named_photos import FilesFrom, Images, photos_of, refuse_without_photos
from headstart.cli.options import Model, Ray, option, with_settings
from headstart.columns import counted, listed
from headstart.errors import UsageError
from headstart.files import TEXT, refuse_to_write, sha256_of_file
from headstart.messages import shortened
from headstart.reasons import Reasons

if TYPE_CHECKING:
    from headstart.inference.model_file import ModelInfo
    from headstart.inference.predictions_file import PredictionsFile
    from headstart.inference.predictor import Predictor
    from headstart.tasks.prediction import Prediction

_CSV = (".csv", ".txt", "")
_JSON_LINES = (".jsonl", ".ndjson")
_MOST_NAMED = 5
_MOST_KINDS = 8  # of ignored files


Views = Annotated[
    int,
    typer.Option(
        metavar="1|2|4",
        help="Views of each photo whose predictions are averaged: 2 adds the mirror image, 4 also a second "
        "crop of both, with 80 % of the area. Takes as many times as long.",
    ),
]


Draw = Annotated[
    Path | None,
    typer.Option(help="New folder for copies of the photos with predictions drawn.", metavar="FOLDER"),
]
Explain = Annotated[
    Path | None,
    typer.Option(
        help="New folder for copies of the photos with heat maps: where the most probable class comes from. "
        "Models of classes and of several labels only.",
        metavar="FOLDER",
    ),
]
Similar = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="K",
        help="Also name the K most similar training photos of each photo. MODEL must be a run folder. Takes "
        "about twice as long. [default: none]",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    option(
        "Threads that read photos and compute; 0 works in the main thread, and answers each photo before it "
        "reads the next path.",
        "CPU cores + 1",
        min=0,
        metavar="NUMBER",
    ),
]


class Format(StrEnum):
    """How predictions are written."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"


OutputFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="Output format. [default: by the ending of --out; else table in a terminal, csv in a pipe]",
    ),
]


def predict(
    model: Model,
    images: Images = None,
    top_k: Annotated[int, typer.Option(min=1, help="Number of most probable classes to show.")] = 1,
    format_: OutputFormat = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Output file. [default: standard output]")
    ] = None,
    views: Views = 1,
    draw: Draw = None,
    explain: Explain = None,
    similar: Similar = 0,
    files_from: FilesFrom = None,
    workers: Workers = None,
    ray: Ray = None,
) -> None:
    """Predict classes, numbers or boxes of photos. The exit code is 1 if a photo cannot be read.

    With --out, the same command continues after an interruption: predictions of photos that have not changed
    are reused. What is printed cannot be continued.
    """
    from headstart.inference.predictions_file import PredictionsFile
    from headstart.inference.predictor import load

    format_ = _usual_format(out) if format_ is None else format_
    predictor = load(model, views=views)
    refuse_without_photos(images or [], files_from)
    top_k = max(1, min(top_k, len(predictor.class_names)))
    ignored: Counter[str] = Counter()
    photos = photos_of(images or [], files_from, ignored)
    shown = _num_kept(predictor.info, top_k)
    predict_iter: Callable[..., Iterator[Prediction]] = partial(
        predictor.predict_iter, top_k=shown, explain=explain is not None, workers=workers, ray=ray
    )
    # What cannot be explained is refused before anything is written.
    predictor.predict_iter((), explain=explain is not None, workers=workers)
    if similar:
        predict_iter = _with_similar(predictor, predict_iter, similar)
    unfinished = None
    if out is None:
        predictions = predict_iter(photos)
    else:
        refuse_to_write(out, TEXT)
        settings = _settings_of_predictions(model, shown, views, draw, explain, similar)
        unfinished = PredictionsFile(out, settings, str(model))
        predictions = unfinished.predictions(photos, predict_iter, workers=workers)
        _tell_reused(unfinished.num_known)
    predictions = _with_pictures(predictions, predictor, draw, explain, unfinished)
    errors = Reasons()
    with unfinished or nullcontext(sys.stdout) as file:
        _write(file, format_, _collecting(errors, predictions), predictor.info, top_k, similar)
    _tell_changed(unfinished.num_changed if unfinished else 0)
    _tell_left_out(ignored, errors)
    if errors.total:
        raise typer.Exit(1)


@with_settings(
    "evaluate",
    has_set=False,
    allow_quarantined={"text": "largest fraction of photos that may have unusable labels"},
    target={
        "text": "a table's columns of the numbers to compare, in the order of the model's targets",
        "shown": "the names of the model's targets",
    },
    group_by={
        "text": "score photos from groups that were not in training apart: a table's column, or a regular "
        "expression that finds the group in the path with its first parentheses"
    },
)
def evaluate(
    model: Model,
    data: Annotated[str, typer.Argument(metavar="DATA", help="Labelled photos, as for training.")],
    settings: dict[str, Any],
    split: Annotated[
        str | None,
        option("Split to score: train, val or test.", "test, else val, else all photos", metavar="SPLIT"),
    ] = None,
    views: Views = 1,
    min_: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            metavar="SCORE=NUMBER",
            help="Exit with code 1 if a score is lower, for example accuracy=0.9. Repeatable.",
        ),
    ] = None,
    min_lower: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCORE=NUMBER",
            help="Exit with code 1 if the lower end of the score's 95 % interval is lower. Repeatable.",
        ),
    ] = None,
    max_: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="SCORE=NUMBER",
            help="Exit with code 1 if a score for which lower is better, such as loss or mae, is higher. "
            "Repeatable.",
        ),
    ] = None,
) -> None:
    """Score a model on labelled photos. Prints the scores of its task with 95 % intervals, overall and per
    class or target. The exit code is 1 if a photo cannot be read or a required score is not reached.
    """
    from headstart.answers.required import Kind, requirements, shortfalls
    from headstart.inference.predictor import load

    predictor = load(model, views=views)
    given: dict[Kind, list[str]] = {"min": min_ or [], "min-lower": min_lower or [], "max": max_ or []}
    required = requirements(given, predictor.info)
    result = headstart.evaluate(predictor, data, split, **settings)
    print(result.scores_as_text())
    for remark in result.remarks:
        print(f"headstart: {remark}", file=sys.stderr)
    missed = shortfalls(required, result.estimates.overall)
    for sentence in missed:
        print(f"headstart: not reached: {sentence}", file=sys.stderr)
    if result.unreadable or missed:
        raise typer.Exit(1)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Folders of finished runs.")],
) -> None:
    """Compare runs on the photos that they share.

    Prints their scores on these validation or test photos, the differences to the first run with 95 %
    intervals, and whether they mean anything.
    """
    result = headstart.compare(*runs)
    print(result.as_text())
    for note in result.notes:
        print(f"headstart: {note}", file=sys.stderr)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    out: Annotated[
        Path | None, option("Report to write: .html.", "report.html in the run folder", metavar="FILE")
    ] = None,
    no_photos: Annotated[
        bool, typer.Option("--no-photos", help="Show no photos, for private data; their names remain.")
    ] = False,
) -> None:
    """Write a report that opens in any browser. It shows what the model is worth and what it gets wrong.

    One file with the score and what limits it, the worst mistakes as pictures, scores by class, calibration,
    findings about photos and labels, training curves and a model card. It needs no network. Training
    writes it too; use this command for a report without photos.
    """
    found = headstart.report(run, out, photos=not no_photos)
    if found.num_missing:
        print(f"headstart: {counted(found.num_missing, 'photo')} could not be read", file=sys.stderr)
    print(f"Written: {found.path}", file=sys.stderr)


def _num_kept(info: ModelInfo, top_k: int) -> int | None:
    """Return of how many classes predictions keep the probability; None for all."""
    from headstart import tasks

    return None if tasks.of(info.task).has_labels else top_k  # several labels are decided by thresholds


def _with_pictures(
    predictions: Iterator[Prediction],
    predictor: Predictor,
    draw: Path | None,
    explain: Path | None,
    unfinished: PredictionsFile | None,
) -> Iterator[Prediction]:
    """Draw predictions and heat maps, each in a folder if there is one, while passing predictions on."""
    from headstart.inference.drawings import draw_each, explain_each

    if explain is not None and draw is not None and explain.absolute() == draw.absolute():
        raise UsageError(f"--draw and --explain both name {draw}. Name two folders.")
    is_continued = unfinished is not None and unfinished.num_known > 0
    if explain is not None:
        predictions = explain_each(predictions, predictor, explain, is_continued=is_continued)
    if draw is not None:
        predictions = draw_each(predictions, predictor.info, draw, is_continued=is_continued)
    return predictions


def _tell_reused(number: int) -> None:
    if number:
        kept = f"{counted(number, 'prediction')} of an interrupted call"
        print(f"headstart: {kept} kept; reused if the photo has not changed", file=sys.stderr)


def _tell_changed(number: int) -> None:
    if number:
        have = "has" if number == 1 else "have"
        have = f"{counted(number, 'photo')} {have} changed since the interrupted call"
        print(f"headstart: {have}, and {'was' if number == 1 else 'were'} predicted again", file=sys.stderr)


def _collecting(errors: Reasons, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    """Yield predictions, and add the reasons why photos cannot be read."""
    for prediction in predictions:
        if prediction.error is not None:
            errors.add(prediction.path or "", prediction.error)
        yield prediction


def _tell_left_out(ignored: Counter[str], errors: Reasons) -> None:
    """Say how many files of the folders were ignored, and of which kinds; and which photos are unreadable."""
    if total := ignored.total():
        kinds = [f"{number:,} {shortened(kind, 20)}" for kind, number in ignored.most_common()]
        are = "is no photo and was" if total == 1 else "are no photos and were"
        print(
            f"headstart: {counted(total, 'file')} {are} ignored: {listed(kinds, _MOST_KINDS)}",
            file=sys.stderr,
        )
    if not errors.total:
        return
    found = errors.lines(_MOST_NAMED, "see error in the output")
    lines = "".join(f"\n  {line}" for line in found)
    all_of_them = "" if len(found) == errors.total else " (see error in the output)"
    print(
        f"headstart: {counted(errors.total, 'photo')} could not be read{all_of_them}:{lines}", file=sys.stderr
    )


def _with_similar(
    predictor: Predictor, predict_iter: Callable[..., Iterator[Prediction]], number: int
) -> Callable[..., Iterator[Prediction]]:
    """Return a function that predicts photos and finds similar training photos."""
    from headstart.neighbours.similar import Finder

    finder = Finder(predictor, number, say=lambda text: print(f"headstart: {text}", file=sys.stderr))
    return lambda photos: finder.follow(predict_iter(photos))


def _write(
    file: TextIO,
    format_: Format,
    predictions: Iterable[Prediction],
    info: ModelInfo,
    top_k: int,
    similar: int,
) -> int:
    """Write predictions as they come, and return how many photos could not be read."""
    from headstart.inference.predictions import write_csv, write_jsonl, write_table

    match format_:
        case Format.CSV:
            return write_csv(file, predictions, info, top_k=top_k, num_similar=similar)
        case Format.JSONL:
            return write_jsonl(file, predictions)
        case Format.TABLE:
            return write_table(file, predictions, info, top_k=top_k)


def _usual_format(out: Path | None) -> Format:
    """Return how predictions are written unless the user says it."""
    if out is None:
        return Format.TABLE if sys.stdout.isatty() else Format.CSV
    if out.suffix.lower() in _JSON_LINES:
        return Format.JSONL
    if out.suffix.lower() in _CSV:
        return Format.CSV
    raise UsageError(
        f"out is {str(out)!r}; its name must end in {', '.join((*_CSV[:-1], *_JSON_LINES))}, unless "
        "--format says how to write it."
    )


def _settings_of_predictions(
    model: Path, top_k: int | None, views: int, draw: Path | None, explain: Path | None, similar: int
) -> dict[str, Any]:
    """What predictions depend on besides their photos: another value in any field makes other predictions."""
    import onnxruntime

    from headstart.images.machine import DECODER

    return {
        "model": sha256_of_file(model if model.is_file() else model / "model.onnx"),
        "--top-k": top_k,
        "--views": views,
        "--similar": similar,
        "--draw": None if draw is None else str(draw.absolute()),
        "--explain": None if explain is None else str(explain.absolute()),
        "version of headstart": headstart.__version__,
        "version of onnxruntime": onnxruntime.__version__,
        "decoders of photos": DECODER,
    }
