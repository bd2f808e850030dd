"""What scores of folds are, in words: they are not those of the model file."""

from __future__ import annotations

from typing import Final

SCORES_OF: Final = "models that were trained without the photo's fold, not model.onnx"
"""In ``metrics.json``."""


def sentence_on_folds(num_folds: int) -> str:
    """Say whose scores the scores of folds are."""
    return (
        f"Each photo was answered by one of {num_folds} models, which was trained without it; this is not a "
        f"score of the model in the file, whose training has used all of these photos."
    )
