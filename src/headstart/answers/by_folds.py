"""What scores of folds are, in words: they are not those of the model file."""

from __future__ import annotations


def scores_of(num_train: int, num_val: int) -> str:
    """Return whose scores those of folds are, for ``metrics.json``: see ``sentence_on_folds``."""
    used = _used(num_train, num_val)
    return f"models that were trained without the photo's fold, not model.onnx, which {used}"


def sentence_on_folds(num_folds: int, num_train: int, num_val: int) -> str:
    """Say whose scores the scores of folds are.

    Args:
        num_folds: Number of folds.
        num_train: Number of photos on which the model in the file was trained.
        num_val: Number of photos by which its weights were chosen; 0 if it needs none.
    """
    return (
        f"Each photo was answered by one of {num_folds} models, which was trained without it; this is not a "
        f"score of the model in the file, which {_used(num_train, num_val)}."
    )


def _used(num_train: int, num_val: int) -> str:
    """Return what the model in the file did with the photos."""
    if not num_val:
        return "was trained on all of these photos"
    return f"chose its weights on {num_val:,} of these photos and was trained on the other {num_train:,}"
