"""A table with one row per labelled photo: the outputs of a model for it. ``answers.csv`` is its file format.

The columns are ``path`` (below the data folder, as in ``photos.csv``), ``sha256``, ``split``, ``group``,
``alike``, ``fold``, ``source``, ``label``, ``prediction``, ``loss``, then ``label:TARGET`` or ``label:xmin``
to ``label:ymax``, and finally one column per output: ``logit:CLASS``, ``number:TARGET``, or ``box:xmin`` to
``box:ymax`` followed by the logits of the box's class. The prefixes prevent conflicts with the names of
classes. ``label:...`` repeats the numbers of ``label`` in separate columns for spreadsheets; scores are
computed from ``label``. Outputs are those before thresholds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias, overload

import numpy as np

from headstart import tasks
from headstart.columns import counted
from headstart.data.split import connected
from headstart.data.targets import Scale, Targets
from headstart.data.text import label_text, path_below
from headstart.inference.model_file import ModelInfo
from headstart.records import Record

Source: TypeAlias = Literal["out-of-fold", "folds", "val", "test"]
"""Origin of a row: ``"out-of-fold"`` for a training photo (outputs of a head that was solved without it, with
settings that were chosen on all training photos); ``"folds"`` for outputs of a model that was trained, and
whose settings were chosen, without the photo's fold; ``"val"`` or ``"test"`` for outputs of the model file.
"""

SPLIT_OF: Final = {"out-of-fold": "train", "folds": "train", "val": "val", "test": "test"}

LABEL: Final = "label:"  # begins the names of columns that repeat a label's numbers


@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """The answers for N photos, by column.

    ``answers["path"]`` is a column by its name in the file, ``answers[:100]`` selects rows, and
    ``pandas.DataFrame(answers.to_dict())`` converts the whole table.

    Attributes:
        path: N paths below the data folder, with slashes; full paths of photos elsewhere.
        sha256: SHA-256 of each photo.
        split: ``"train"``, ``"val"`` or ``"test"``.
        group: Group of each photo, which stays on one side of a split; empty if it has none.
        alike: The smallest SHA-256 among each photo and its near-duplicates; empty if none are known.
        fold: (N,) int32, fold of the cross-validation, or that scores the photo; -1 for val and test photos.
        source: Origin of each row: see ``Source``.
        label: Label as in ``photos.csv``: a class, a JSON list of classes, numbers separated by spaces, or
            the class of a box and its sides in pixels.
        prediction: Prediction in the same format; several labels are decided by the model's thresholds.
        loss: (N,) float32, as in training, without label smoothing.
        outputs: (N, D) float32: logits; numbers in their own units; or the sides of a box in pixels of the
            photo as a viewer displays it, followed by the logits of its class if there are several classes.
        output_names: Names of the D output columns, such as ``"logit:cat"``.
    """

    path: Sequence[str]
    sha256: Sequence[str]
    split: Sequence[str]
    group: Sequence[str]
    alike: Sequence[str]
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
        """Make rows from the outputs of a model.

        Args:
            records: N labelled photos; for boxes, with their sizes.
            outputs: (N, D), as returned by ``Predictor.outputs``: logits; numbers in their own units; or
                boxes as fractions of the input's sides, followed by the logits of their classes if there are
                several.
            info: Description of the model.
            source: Origin of the outputs.
            root: The data folder.
            folds: Fold of each photo, for out-of-fold outputs.

        Raises:
            ValueError: The shapes are inconsistent.
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
            alike=[record.alike or "" for record in records],
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
        """Join at least one part; all parts have the same outputs."""
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
        """Return the rows with this source."""
        return self[np.array([each == source for each in self.source], bool)]

    @property
    def units(self) -> np.ndarray:
        """(N,) ints: photos of one group have the same number, and so do copies and near-duplicates. Photos
        with different numbers are independent.
        """
        photos = (sha256 or path for sha256, path in zip(self.sha256, self.path, strict=True))
        number: dict[str, int] = {}
        names = connected(zip(photos, self.group, self.alike, strict=True))
        return np.array([number.setdefault(name, len(number)) for name in names], int)

    @property
    def is_right(self) -> np.ndarray:
        """(N,) float64: 1 where the prediction equals the label, else 0."""
        return np.array([a == b for a, b in zip(self.label, self.prediction, strict=True)], float)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in the order of the file."""
        return (*FIXED, *self.label_names, *self.output_names)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the columns that repeat the numbers of the label: ``"label:TARGET"``."""
        kinds_and_names = (name.split(":", 1) for name in self.output_names)
        return tuple(f"{LABEL}{name}" for kind, name in kinds_and_names if kind != "logit")

    def to_dict(self) -> dict[str, Any]:
        """Return all columns by name, for ``pandas.DataFrame``; a missing fold is None."""
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
    """Compute the losses of photos from the outputs of a model file.

    Args:
        records: N photos; for boxes, with their sizes.
        outputs: (N, D), as in ``Answers.from_outputs``.
        info: Description of the model.

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
        ValueError: The outputs differ.
    """
    if others := {part.output_names for part in parts} - {parts[0].output_names}:
        raise ValueError(f"answers with outputs {parts[0].output_names} and {others.pop()}: join equal ones.")
