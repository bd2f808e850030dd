"""``headstart features``: photos to vectors, by a backbone without its head."""

from __future__ import annotations

import os
import sys
from typing import Unpack

from headstart.config import FeatureSettings
from headstart.files import FEATURES, refuse_to_write
from headstart.frozen.extract import Features, extract_features
from headstart.training.tools.extractor import open_extractor


def features(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    verbose: bool = True,
    **settings: Unpack[FeatureSettings],
) -> Features:
    """Compute the features of photos: the inputs of a network's head, for other tools.

    The columns are ``path``, the labels, ``split``, ``group`` (where there are any) and ``vector``, (N, D)
    float32. The labels are ``label`` (one class), ``labels`` (several: (N, K) bool, and ``class_names``; in
    Parquet lists of names), a column per target by its name (numbers, float64), or xmin, ymin, xmax and ymax
    in pixels of the photo as a viewer shows it, with ``label`` if boxes have classes. What the data do not
    say is empty (in Parquet null).

    Args:
        data: As for training; or a folder of photos without classes, or a table without labels.
        out: A ``.parquet`` or ``.npz`` file, which is replaced; None for arrays in memory.
        verbose: Whether progress and warnings are written to standard error.
        settings: Those fields of ``TrainConfig`` that decide which photos are read, and how.

    Raises:
        UsageError: The settings, the photos or the file cannot be used.
        HeadstartError: The work failed, for a reason that the message names.
    """
    if out is not None:
        refuse_to_write(out, FEATURES)
    return extract_features(
        data, out, open_extractor=open_extractor, say=_say if verbose else _ignore, **settings
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _ignore(text: str) -> None:
    pass
