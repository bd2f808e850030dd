"""The settings of folds, and what contradicts them and other settings of splits."""

from __future__ import annotations

from typing import Any, Final

from headstart.config.sections import splits

MOST: Final = 20
"""Largest number of folds."""


def folds_setting() -> Any:
    """Return the field for the number of folds."""
    return splits(
        None,
        "score every photo by a model that was trained without its fold, of this number of folds; the model "
        "in the run folder is trained on all of them, or in steps, on all but those that choose its weights",
        at_least=2,
        at_most=MOST,
        shown="none",
    )


def fold_setting() -> Any:
    """Return the field for the number of the only fold that is held out."""
    return splits(
        None,
        "of folds, train only the model without the fold of this number, from 1, and score it on that fold",
        at_least=1,
        at_most=MOST,
        shown="none",
    )


def contradictions_of_splits(config: Any) -> list[str]:
    """Return a sentence for each contradiction between settings of splits.

    Args:
        config: A ``TrainConfig``. Untyped, because its module imports this one.
    """
    if config.val_fraction + config.test >= 1:
        return [f"val is {config.val:g} and test is {config.test:g}; together they must be below 1."]
    if config.fold is not None and config.folds is None:
        return [f"fold is {config.fold}, but folds is not set. Set the number of folds, such as folds = 5."]
    if config.folds is None:
        return []
    problems: list[str] = []
    if config.fold is not None and config.fold > config.folds:
        problems.append(f"fold is {config.fold}, but folds is {config.folds}. Use 1 to {config.folds}.")
    if isinstance(config.val, str):
        problems.append(
            f"folds is {config.folds}, but val names photos: {config.val!r}. With folds, every photo is "
            f"scored in one of them. Leave out val, or put its photos beside the others."
        )
    if config.recipe == "best" and not config.phases:
        problems.append(
            f"folds is {config.folds}, but recipe is 'best', which chooses among runs by validation photos "
            f"that all of them share. Use the recipe that it has chosen, such as recipe = 'finetune'."
        )
    return problems
