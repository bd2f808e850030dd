"""Verifies a model file: alone, by its self-test, or with photos, by the answers of its run."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from headstart import tasks
from headstart.answers.agreement import Agreement, agreement
from headstart.answers.file import read_answers
from headstart.answers.table import Answers
from headstart.answers.verification import Verification, photo_tolerance
from headstart.columns import counted
from headstart.errors import DataError, ImageError, RunFolderError, UsageError, shell_command
from headstart.files import given_path
from headstart.images.decode import image_size
from headstart.images.listed import find_images
from headstart.images.photo import Photo
from headstart.inference.predictor import Predictor, load
from headstart.inference.runtime import map_in_order
from headstart.inference.self_test import TOLERANCE, differences
from headstart.reasons import by_reason
from headstart.records import Record

_MOST_NAMED = 5


def verify(model: str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> Verification:
    """Verify a trained model on this machine.

    The checksum, the description and the graph are checked when the file is opened, and then the self-test in
    the file. With photos, the answers for them are also compared with those in the run's ``answers.csv``.

    Args:
        model: A run folder, or its ``model.onnx``.
        data: The photos of the run, in the same folders or others: photos are matched by their content. Only
            validation and test photos are compared, because ``model.onnx`` answered them in the run.

    Returns:
        What was found. It is false if a check failed.

    Raises:
        ConfigError: ``model`` or ``data`` is not a path.
        RunFolderError: The folder does not contain a finished run.
        UsageError: The file is not a Headstart model, or was written by a newer version; or the run has no
            answers of ``model.onnx``.
        DataError: None of the photos are in ``data``.
        DamagedFileError: The checksum of the file is wrong, or the file is not what it says.
    """
    begun = time.perf_counter()
    predictor = load(model)
    assert predictor.path is not None
    path = Path(predictor.path)
    failures: list[str] = []
    notes: list[str] = []
    self_test, info = predictor.info.self_test, predictor.info
    found: dict[str, np.ndarray] = {}
    try:
        found = predictor.self_test_outputs()
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        failures.append(f"ONNX Runtime cannot run the model: {str(error).strip().splitlines()[0]}")
    by_output = (
        {} if self_test is None or failures else differences(self_test, found, np.array(info.scale[1]))
    )
    wrong = [f"{name} by {each:.2g}" for name, each in by_output.items() if not each <= TOLERANCE]  # or NaN
    if wrong:
        failures.append(
            f"The outputs for the inputs of the self-test differ from those in the file: {', '.join(wrong)}; "
            f"{TOLERANCE:g} is allowed. Try another version of ONNX Runtime, or train again."
        )
    if self_test is None:
        notes.append("The file has no self-test, so only its checksum and its form were checked.")
        if not all(np.isfinite(rows).all() for rows in found.values()):
            failures.append("The outputs of the model are not finite numbers. Train again.")
    seconds = time.perf_counter() - begun
    compared = None
    if data is not None:
        photos = given_path(data, "data", "photos")
        compared, problems, more = compare_with_run(predictor, path.parent, photos)
        failures += problems
        notes += more
    return Verification(path, info, by_output, seconds, compared, tuple(failures), tuple(notes))


def compare_with_run(
    predictor: Predictor, run: Path, data: Path, sources: Sequence[str] = ("val", "test")
) -> tuple[Agreement, list[str], list[str]]:
    """Compare a model's answers for photos, from their bytes, with those in ``answers.csv``.

    Args:
        predictor: The model.
        run: The folder of a finished run.
        data: Folder with the photos, or a file in it.
        sources: Which rows are compared.

    Returns:
        The comparison, a sentence for each way in which the answers differ too much, and one for what could
        not be compared.

    Raises:
        UsageError: The run has no such rows.
        RunFolderError: The folder has no ``answers.csv``.
        DamagedFileError: ``answers.csv`` is damaged.
        DataError: None of the photos are in the folder.
    """
    file = run / "answers.csv"
    if not file.is_file():
        raise RunFolderError(f"{run} is not the folder of a finished run: it has no answers.csv. Name one.")
    answers = read_answers(file)
    answers = answers[np.isin(answers.source, sources)]
    if not len(answers):
        raise UsageError(
            f"The run in {run} has no answers of model.onnx for validation or test photos to compare with. "
            f"Leave out the photos: {shell_command('verify', run)}"
        )
    photos = _photos(answers, data)
    if not photos:
        raise DataError(
            f"None of the {counted(len(answers), 'validation or test photo')} of the run are in "
            f"{str(data)!r}; the first is {answers.path[0]}. Name the folder with these photos, unchanged."
        )
    notes = []
    if missing := len(answers) - len(photos):
        notes.append(f"{counted(missing, 'photo')} of the run were not found, and not compared.")
    rows = sorted(photos)
    found, problems = _found(predictor, answers[np.array(rows)], [photos[row] for row in rows])
    return found, [*problems, *_problems(found, photo_tolerance(predictor.info))], notes


def _problems(found: Agreement, tolerance: float) -> Iterator[str]:
    """Yield a sentence for each way in which answers differ too much."""
    if not found.max_difference <= tolerance:  # NaN counts as a difference
        yield (
            f"The answer for {found.worst} differs by {found.max_difference:.2g} from that of the run, and "
            f"{tolerance:g} is allowed. Compare the versions of Pillow and ONNX Runtime with those of the "
            f"run, which headstart verify shows under 'made with'."
        )
    clear = [each for each in found.changed if each.margin > tolerance]
    if clear:
        yield (
            f"{counted(len(clear), 'answer')} with a margin above {tolerance:g} changed, the first for "
            f"{clear[0].path}."
        )


def _found(predictor: Predictor, answers: Answers, photos: Sequence[Photo]) -> tuple[Agreement, list[str]]:
    """Answer photos from their bytes, and compare with N answers; say which photos cannot be read."""
    rows = list(predictor.outputs(photos))
    unreadable = [
        (photo.key, row.reason if isinstance(row, ImageError) else str(row))
        for photo, row in zip(photos, rows, strict=True)
        if isinstance(row, Exception)
    ]
    problems: list[str] = []
    if unreadable:
        lines = by_reason(unreadable, _MOST_NAMED)
        problems.append("\n  ".join([f"{counted(len(unreadable), 'photo')} cannot be read:", *lines]))
    kept = [index for index, row in enumerate(rows) if not isinstance(row, Exception)]
    info, sizes = predictor.info, None
    records = []
    if tasks.of(info.task).has_box:
        sizes = [image_size(photos[index]) for index in kept]
        records = [
            Record(photos[index], 0, None, "", size=size) for index, size in zip(kept, sizes, strict=True)
        ]
    after = np.array([rows[index] for index in kept], np.float32).reshape(len(kept), info.num_outputs)
    after = tasks.of(info.task).in_photo(after, records, info)
    answers = answers[np.array(kept, int)]
    return agreement(info, list(answers.path), answers.outputs, after, sizes), problems


def _photos(answers: Answers, data: Path) -> dict[int, Photo]:
    """Find photos by their content: under their names first, then anywhere in the folder, if it is one.

    Returns:
        Photo by row of the answers.
    """
    folder = data if data.is_dir() else data.parent
    named = [Photo(os.fspath(folder / path)) for path in answers.path]
    digests = list(map_in_order(_digest, named))
    found = {
        row: photo
        for row, (photo, digest) in enumerate(zip(named, digests, strict=True))
        if digest == answers.sha256[row]
    }
    if len(found) < len(named) and data.is_dir():
        others = [Photo(path) for path in find_images(data)]
        by_digest = dict(zip(map_in_order(_digest, others), others, strict=True))
        for row, sha256 in enumerate(answers.sha256):
            if row not in found and sha256 in by_digest:
                found[row] = by_digest[sha256]
    return found


def _digest(photo: Photo) -> str:
    """Return the SHA-256 of a photo; empty if it cannot be read."""
    try:
        return hashlib.sha256(photo.content()).hexdigest()
    except ImageError:
        return ""
