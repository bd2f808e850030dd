"""One row per photo: what a model answers for each labelled photo, and ``answers.csv``, which keeps that.

The columns are ``path`` (below the data folder, as in ``photos.csv``), ``sha256``, ``split``, ``group``,
``fold``, ``source``, ``label``, ``prediction``, ``loss``, and then one per output: ``logit:CLASS``,
``number:TARGET``, or ``box:xmin`` to ``box:ymax`` before the logits of the box's class. Before the outputs,
``label:TARGET``, or ``label:xmin`` to ``label:ymax``, repeat the numbers of the label one by one, so that a
spreadsheet can calculate with them; scores are computed from ``label``. The prefixes keep the names apart,
whatever classes are called. Outputs are those before calibration and thresholds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias, overload

import numpy as np

from headstart import tasks
from headstart.columns import counted
from headstart.data.targets import Scale, Targets
from headstart.data.text import label_text, path_below
from headstart.inference.model_file import ModelInfo
from headstart.records import Record

Source: TypeAlias = Literal["out-of-fold", "val", "test"]
"""Whose outputs a row holds: ``"out-of-fold"`` for a training photo (of a head that was solved without it),
``"val"`` and ``"test"`` for outputs of the model file."""

SPLIT_OF: Final = {"out-of-fold": "train", "val": "val", "test": "test"}

LABEL: Final = "label:"  # begins the names of columns that repeat a label's numbers


@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """The answers for N photos, as columns.

    ``answers["path"]`` is a column by its name in the file, ``answers[:100]`` are rows, and
    ``pandas.DataFrame(answers.to_dict())`` is all of it.

    Attributes:
        path: N paths below the data folder, with slashes; of photos from elsewhere, whole paths.
        sha256: Of the photos' bytes.
        split: ``"train"``, ``"val"`` or ``"test"``.
        group: What stays on one side of a split with the photo; empty where there is nothing.
        fold: (N,) int32, the part of the cross-validation that the photo was in; -1 for val and test photos.
        source: See ``Source``.
        label: What the photo is labelled with, as in ``photos.csv``: a class, a JSON list of classes, numbers
            with a space between them, or a box's class and its sides in pixels.
        prediction: What the model says, in the same form; several classes by the model's thresholds.
        loss: (N,) float32, as in training, without label smoothing.
        outputs: (N, D) float32: logits; numbers in their own units; a box's sides in pixels of the photo as a
            viewer shows it, and the logits of its class if there are several.
        output_names: D names of the outputs' columns, such as ``"logit:cat"``.
    """

    path: Sequence[str]
    sha256: Sequence[str]
    split: Sequence[str]
    group: Sequence[str]
    fold: np.ndarray
    source: Sequence[str]
    label: Sequence[str]
    prediction: Sequence[str]
    loss: np.ndarray
    outputs: np.ndarray
    output_names: tuple[str, ...]

    @classmethod
    def from_outputs(
        cls,
        records: Sequence[Record],
        outputs: np.ndarray,
        info: ModelInfo,
        source: Source,
        *,
        root: str = "",
        folds: Sequence[int] | np.ndarray | None = None,
    ) -> Answers:
        """Make the rows of photos from a model's outputs for them.

        Args:
            records: N labelled photos; of boxes, with their sizes.
            outputs: (N, D), in the form of ``Predictor.outputs``: logits; numbers in their own units; boxes
                as fractions of the input's sides, before the logits of their classes if there are several.
            info: Of the model.
            source: Whose outputs they are.
            root: The data folder.
            folds: N numbers of the cross-validation's folds, for outputs out of fold.

        Raises:
            ValueError: Shapes do not fit together.
        """
        outputs = np.asarray(outputs, np.float32)
        expected = (len(records), info.num_outputs)
        if outputs.shape != expected or (folds is not None and len(folds) != len(records)):
            raise ValueError(f"outputs of shape {outputs.shape} for {len(records)} photos: give {expected}.")
        loss = losses_of(records, outputs, info).astype(np.float32)
        task = tasks.of(info.task)
        outputs = task.in_photo(outputs, records, info)
        return cls(
            path=[path_below(record.path, root) for record in records],
            sha256=[record.sha256 for record in records],
            split=[SPLIT_OF[source]] * len(records),
            group=[record.group or "" for record in records],
            fold=np.full(len(records), -1, np.int32) if folds is None else np.asarray(folds, np.int32),
            source=[source] * len(records),
            label=[label_text(record, info.task, info.class_names) for record in records],
            prediction=task.said(outputs, info, number_texts),
            loss=loss,
            outputs=outputs,
            output_names=task.columns(info),
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Answers]) -> Answers:
        """Join parts, of which there is at least one, with the same outputs."""
        whole = list(parts)
        refuse_other_outputs(whole)
        values = {name: [getattr(part, name) for part in whole] for name in _COLUMNS}
        joined: dict[str, Any] = {
            name: np.concatenate(each)
            if isinstance(each[0], np.ndarray)
            else [text for column in each for text in column]
            for name, each in values.items()
        }
        return cls(**joined, output_names=whole[0].output_names)

    def of_source(self, source: Source) -> Answers:
        """Return the rows of one source."""
        return self[np.array([each == source for each in self.source], bool)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in the order of the file."""
        return (*FIXED, *self.label_names, *self.output_names)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the columns that repeat the numbers of the label: ``"label:TARGET"``."""
        kinds_and_names = (name.split(":", 1) for name in self.output_names)
        return tuple(f"{LABEL}{name}" for kind, name in kinds_and_names if kind != "logit")

    def to_dict(self) -> dict[str, Any]:
        """Return all columns by name, as ``pandas.DataFrame`` takes them; no fold is None."""
        fold = [None if number < 0 else number for number in self.fold.tolist()]
        return {name: self[name] for name in self.columns} | {"fold": fold}

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: slice | np.ndarray) -> Answers: ...
    def __getitem__(self, key: str | slice | np.ndarray) -> Any:
        if isinstance(key, str):
            if key in FIXED:
                return getattr(self, key)
            if key in self.label_names:
                place = self.label_names.index(key) - len(self.label_names)
                return np.array([float(text.split(" ")[place]) for text in self.label])
            if key in self.output_names:
                return self.outputs[:, self.output_names.index(key)]
            raise KeyError(f"{key!r} is not a column; there are {', '.join(self.columns)}")
        if isinstance(key, slice):
            chosen = {name: getattr(self, name)[key] for name in _COLUMNS}
        else:
            rows = np.arange(len(self))[key].tolist()
            values = {name: getattr(self, name) for name in _COLUMNS}
            chosen = {
                name: value[rows] if isinstance(value, np.ndarray) else [value[row] for row in rows]
                for name, value in values.items()
            }
        return Answers(**chosen, output_names=self.output_names)

    def __len__(self) -> int:
        return len(self.path)

    def __repr__(self) -> str:
        sources = ", ".join(f"{count:,} {source}" for source, count in Counter(self.source).items())
        loss = f", mean loss {self.loss.mean(dtype=np.float64):.4g}" if len(self) else ""
        outputs = counted(len(self.output_names), "output")
        return f"<Answers for {counted(len(self), 'photo')} ({sources or 'none'}), {outputs} each{loss}>"


_COLUMNS: Final = tuple(field.name for field in fields(Answers) if field.name != "output_names")

FIXED: Final = tuple(name for name in _COLUMNS if name != "outputs")  # of the file


def losses_of(records: Sequence[Record], outputs: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Compare a model file's outputs with the photos' labels.

    Args:
        records: N photos; of boxes, with their sizes.
        outputs: (N, D), as in ``Answers.from_outputs``.
        info: Of the model.

    Returns:
        (N,) float64.
    """
    targets = Targets(info.task, info.class_names, info.preprocessing, Scale(*info.scale))
    if not records:
        return np.zeros(0)
    task = tasks.of(info.task)
    rows = np.stack([targets.row(record) for record in records])
    return task.losses(task.from_file(outputs.astype(np.float64), info), rows)


def number_texts(values: np.ndarray) -> list[str]:
    """Return the shortest text of each float32 number."""
    return list(map(str, values))


def refuse_other_outputs(parts: Sequence[Answers]) -> None:
    """Refuse to join answers with different outputs.

    Raises:
        ValueError: Some outputs are different.
    """
    if others := {part.output_names for part in parts} - {parts[0].output_names}:
        raise ValueError(f"answers with outputs {parts[0].output_names} and {others.pop()}: join equal ones.")
