"""``headstart report``: everything about a finished run on one page, in one file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headstart.answers.file import read_parts
from headstart.answers.table import Answers
from headstart.columns import printable
from headstart.errors import RunFolderError, UsageError, shell_command
from headstart.files import given_path, refuse_to_write, write_whole
from headstart.inference.model_file import ModelInfo, open_onnx
from headstart.reporting.augmented import section_of_augmentation
from headstart.reporting.boxes import section_of_boxes
from headstart.reporting.calibration import section_of_calibration
from headstart.reporting.card import section_of_card
from headstart.reporting.classes import section_of_classes
from headstart.reporting.contents import Contents
from headstart.reporting.curves import section_of_curves
from headstart.reporting.heat_maps import HeatMaps
from headstart.reporting.markup import Html, element, html_of, paragraph
from headstart.reporting.mistakes import Mistakes, section_of_mistakes
from headstart.reporting.numbers import section_of_numbers
from headstart.reporting.pairs import findings_to_show, paths_of, section_of_findings
from headstart.reporting.pictures import Pictures
from headstart.reporting.similar import SimilarPhotos
from headstart.reporting.style import CSS
from headstart.reporting.verdict import verdict

REPORT: Final = "report.html"
"""Name of the file in the run folder."""

_HTML: Final = re.compile(rb"<!doctype html>.*", re.DOTALL | re.IGNORECASE)

_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Browsers refuse everything that is not in the file."""


@dataclass(frozen=True, repr=False)
class Report:
    """A report that has been written. It is shown as its path.

    Attributes:
        path: The file.
        num_missing: Number of photos that were to be shown and could not be read.
    """

    path: Path
    num_missing: int = 0

    def __repr__(self) -> str:
        return f"Written: {self.path}"


def report(
    run: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, photos: bool = True
) -> Report:
    """Write the report of a finished run: one HTML file that needs no other file and no network.

    Args:
        run: A run folder.
        out: The file to write; by default ``report.html`` in the run folder.
        photos: Whether it shows photos; without them, it contains their names only.

    Raises:
        UsageError: The folder is not a finished run, or the file cannot be written there.
        DamagedFileError: A file of the run is damaged.
        FileWriteError: The file cannot be written.
    """
    folder = given_path(run, "run", "a run folder")
    path = folder / REPORT if out is None else given_path(out, "out", "the report")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"out is {str(path)!r}; its name must end in .html.")
    metrics = _metrics(folder)
    refuse_to_write(path, _HTML)
    info = open_onnx(folder / "model.onnx")[1]
    return write_report(path, folder, info, metrics, read_parts(folder / "answers.csv"), photos=photos)


def write_report(
    path: Path,
    folder: Path,
    info: ModelInfo,
    metrics: Mapping[str, Any],
    parts: Iterable[Answers],
    *,
    photos: bool = True,
) -> Report:
    """Write the report of a run whose answers and metrics are known already.

    Args:
        path: The file to write.
        folder: The run folder; files that are missing in it are said to be missing.
        info: Description of the model.
        metrics: Content of ``metrics.json``.
        parts: The answers, in parts.
        photos: Whether it shows photos.

    Raises:
        FileWriteError: The file cannot be written.
    """
    contents = Contents.read(folder, info, metrics, parts)
    mistakes, findings = Mistakes.of(contents), findings_to_show(contents)
    pictures = Pictures([*mistakes.paths, *paths_of(findings)], contents.root if photos else None)
    heat_maps = HeatMaps(mistakes.paths_of_file, folder, contents.root if photos else None)
    similar = SimilarPhotos.find(mistakes.paths, contents, folder) if photos else SimilarPhotos()
    sections = [
        verdict(contents),
        _note_on_photos(contents, pictures, photos=photos),
        section_of_mistakes(mistakes, contents, pictures, heat_maps, similar),
        section_of_classes(contents),
        section_of_numbers(contents),
        section_of_boxes(contents),
        section_of_calibration(contents),
        section_of_findings(findings, contents, pictures),
        section_of_curves(contents),
        section_of_augmentation(contents, contents.root if photos else None),
        section_of_card(contents),
    ]
    write_whole(path, _page(contents.name, html_of(sections)))
    return Report(path, pictures.num_missing)


def _metrics(folder: Path) -> dict[str, Any]:
    """Return the content of ``metrics.json``.

    Raises:
        RunFolderError: The folder is not a run, or its training is not finished.
    """
    file = folder / "metrics.json"
    if not (folder / "config.toml").is_file():
        raise RunFolderError(
            f"{folder} is not the folder of a run: it contains no config.toml. Name the folder that "
            f"headstart train wrote."
        )
    if not file.is_file():
        raise RunFolderError(
            f"The training in {folder} is not finished: it has no metrics.json. Resume it with: "
            f"{shell_command('resume', folder)}"
        )
    metrics: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return metrics


def _note_on_photos(contents: Contents, pictures: Pictures, *, photos: bool) -> Html | None:
    """Return a sentence about missing pictures, if they are missing."""
    if not photos:
        return paragraph("This report was made without photos.", class_="quiet")
    if contents.root is None or (pictures.num_missing and not pictures.are_shown):
        return paragraph(
            "The photos are no longer where the run read them, so this report does not show them.",
            class_="quiet",
        )
    return None


def _page(name: str, content: Html) -> str:
    """Return the whole page."""
    return "".join(_parts(f"Report: {printable(name)}", content))


def _parts(title: str, content: Html) -> Iterator[str]:
    yield "<!doctype html>\n"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(CSS)),
    )
    body = element("body", element("main", element("h1", title), content))
    yield element("html", head, body, lang="en")
    yield "\n"
