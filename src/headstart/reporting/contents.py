"""What a report is made from: the settings, scores, answers and findings of a finished run."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np

from headstart import tasks
from headstart.answers.table import Answers
from headstart.config import TrainConfig
from headstart.errors import DamagedFileError
from headstart.findings.finding import KINDS, SEVERITIES, Finding
from headstart.images.find_tars import exists, root_of
from headstart.inference.model_file import ModelInfo

_WORST: Final = 24
"""Number of rows that are kept of photos that do not count for the score."""

_IN_WORDS: Final = {"val": "validation", "test": "test", "out-of-fold": "training", "folds": "held-out"}


@dataclass(frozen=True, slots=True)
class ListedPhoto:
    """A row of ``photos.csv``.

    Attributes:
        path: Path below the data folder, or an absolute one.
        label: Its label as text.
        split: ``"train"``, ``"val"`` or ``"test"``.
        sha256: SHA-256 of the file.
    """

    path: str
    label: str
    split: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Contents:
    """What a report is made from.

    Attributes:
        info: Description of the model.
        metrics: Content of ``metrics.json``.
        config: Settings of the run; None if its ``config.toml`` is missing.
        scored: Answers that the headline score is computed from: test photos, otherwise those of folds or
            validation photos.
        others: The worst of the other answers, those with the largest loss first.
        findings: Findings without a decision, the most severe first; None if there is no ``findings.csv``.
        photos: Path, split and SHA-256 of each photo of the run, sorted by the latter; empty if there is no
            ``photos.csv``.
    """

    info: ModelInfo
    metrics: Mapping[str, Any]
    config: TrainConfig | None
    scored: Answers
    others: Answers
    findings: tuple[Finding, ...] | None
    photos: tuple[ListedPhoto, ...]

    @classmethod
    def read(
        cls, folder: Path, info: ModelInfo, metrics: Mapping[str, Any], parts: Iterable[Answers]
    ) -> Contents:
        """Read the files of a run that are there.

        Args:
            folder: The run folder.
            info: Description of its model.
            metrics: Content of its ``metrics.json``.
            parts: Its answers; of those that the score does not need, only the worst stay in memory.

        Raises:
            DamagedFileError: ``findings.csv`` is not as Headstart writes it.
        """
        config = folder / "config.toml"
        scored, others = _chosen(parts, metrics["answers"])
        return cls(
            info,
            metrics,
            TrainConfig.from_toml(config) if config.is_file() else None,
            scored,
            others,
            _findings(folder / "findings.csv"),
            tuple(sorted(map(_listed, _rows(folder / "photos.csv")), key=lambda photo: photo.sha256)),
        )

    @property
    def name(self) -> str:
        """Name of the folder or file of photos."""
        return PurePath(self.config.data).name if self.config else "the run"

    @property
    def kind(self) -> str:
        """What the scored photos are: ``"validation"``, for example."""
        return self.kind_of(self.scored.source[0])

    @staticmethod
    def kind_of(source: str) -> str:
        """Return what photos of a source are."""
        return _IN_WORDS.get(source, source)

    @property
    def scores(self) -> dict[str, float]:
        """The overall scores of the scored photos by name."""
        source = self.scored.source[0]
        found = self.metrics.get(source) if source in ("test", "folds") else None
        if found is None:
            found = {k.removeprefix("val_"): v for k, v in self.metrics["best"].items() if k != "share"}
        return {name: value for name, value in found.items() if isinstance(value, float)}

    @property
    def main_score(self) -> str:
        """Name of the main score."""
        return tasks.of(self.info.task).metrics_of(self.info.num_box_classes)[0]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the sorted SHA-256 of all photos, one per line."""
        return hashlib.sha256("".join(f"{each.sha256}\n" for each in self.photos).encode()).hexdigest()

    @property
    def root(self) -> Path | None:
        """The folder that paths are relative to, if it still exists."""
        if self.config is None or not exists(self.config.data):
            return None
        return Path(root_of(self.config.data))

    def shown(self, path: str) -> str:
        """Return a path for the report: never an absolute one, which would name folders of this machine."""
        pure = PurePath(path)
        if not pure.is_absolute():
            return path
        above = self._above
        return pure.relative_to(above).as_posix() if above and pure.is_relative_to(above) else pure.name

    @property
    def _above(self) -> str | None:
        """The folder above all photos that are not below the data folder."""
        folders = {str(PurePath(each).parent) for each in self.scored.path if PurePath(each).is_absolute()}
        try:
            return os.path.commonpath(folders) if folders else None
        except ValueError:  # on several drives
            return None


def _chosen(parts: Iterable[Answers], counts: Mapping[str, int]) -> tuple[Answers, Answers]:
    """Return the answers that the score is computed from, and the worst of the others."""
    headline = next((each for each in ("test", "folds", "val") if counts.get(each)), None)
    scored: list[Answers] = []
    worst: dict[str, Answers] = {}
    for part in parts:
        for source in dict.fromkeys(part.source):
            rows = part[np.array([each == source for each in part.source])]
            if headline in (None, source):
                scored.append(rows)
                continue
            both = Answers.concatenate([*([worst[source]] if source in worst else []), rows])
            worst[source] = both[worst_first(both)[:_WORST]]
    if not scored or not sum(map(len, scored)):
        raise DamagedFileError("answers.csv has no rows of the photos that the score is computed from.")
    whole = Answers.concatenate(scored)
    others = [worst[source] for source in ("val", "folds", "out-of-fold") if source in worst]
    return whole, Answers.concatenate(others) if others else whole[:0]


def worst_first(answers: Answers) -> np.ndarray:
    """Return the rows whose prediction differs from the label, those with the largest loss first."""
    order = np.argsort(-answers.loss, kind="stable")
    return np.asarray(order[answers.is_right[order] == 0])


def _findings(path: Path) -> tuple[Finding, ...] | None:
    """Return the findings of a file without a decision, the most severe first, as they are shown."""
    if not path.is_file():
        return None
    names = ("path", "kind", "severity", "message", "other_path", "suggestion")
    found = []
    for row in _rows(path):
        if row.get("decision"):
            continue
        if row.get("kind") not in KINDS or row.get("severity") not in SEVERITIES:
            raise DamagedFileError(f"{path} is not as Headstart writes it. Train again.")
        found.append(Finding(**{name: row[name] or "" for name in names}))  # type: ignore[arg-type]
    return tuple(sorted(found, key=lambda each: (SEVERITIES.index(each.severity), KINDS.index(each.kind))))


def _listed(row: Mapping[str, str]) -> ListedPhoto:
    return ListedPhoto(row["path"], row["class"], row["split"], row["sha256"])


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table; none if it does not exist."""
    if path.is_file():
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from csv.DictReader(file)
