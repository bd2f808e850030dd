"""The watchers that have names, and the packages that they need."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from headstart.config import TrainConfig
from headstart.errors import ConfigError, MissingPackageError
from headstart.training.watch.mlflow import MLflow
from headstart.training.watch.tensorboard import TensorBoard
from headstart.training.watch.wandb import WandB
from headstart.training.watch.watcher import METHODS, Watcher

NAMED: Final[Mapping[str, Callable[[], Watcher]]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
"""Constructors of the watchers, by their names in the setting ``watch``."""

_PACKAGES: Final = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
}


def watchers_of(names: Iterable[str]) -> list[Watcher]:
    """Return the watchers with these names, each once.

    Raises:
        MissingPackageError: A package that one of them needs is not installed.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        if missing := [each for each in _PACKAGES[name] if importlib.util.find_spec(each) is None]:
            raise MissingPackageError(
                f"watch names {name!r}, which needs the package {', '.join(missing)}, and that is not "
                f"installed: pip install 'headstart[watch]'. Or leave {name} out of watch."
            )
    return [NAMED[name]() for name in names]


def settings_and_watchers(
    data: str | os.PathLike[str] | None,
    config: TrainConfig | None,
    watch: str | Iterable[str | Watcher] | None,
    settings: Mapping[str, Any],
) -> tuple[TrainConfig, list[Watcher]]:
    """Return the settings of a run and the user's own watchers, from the arguments of ``hs.train``.

    Raises:
        ConfigError: One or more arguments are wrong.
    """
    names, watchers = split_watch(watch)
    given = {**settings, "watch": names} if names else settings
    return TrainConfig.from_settings(data, config, **given), watchers


def split_watch(watch: str | Iterable[Any] | None) -> tuple[tuple[str, ...], list[Watcher]]:
    """Split the argument of ``hs.train(watch=...)`` into names, for the settings, and watchers.

    Args:
        watch: Names and objects; or a text of names separated by commas. None for no watchers.

    Raises:
        ConfigError: An object is not a watcher.
    """
    if isinstance(watch, str):
        return tuple(name.strip() for name in watch.split(",") if name.strip()), []
    if watch is None:
        return (), []
    names: list[str] = []
    objects: list[Watcher] = []
    problems = []
    is_one = isinstance(watch, Watcher) or not isinstance(watch, Iterable)
    for each in [watch] if is_one else watch:
        if isinstance(each, str):
            names.append(each)
        elif isinstance(each, Watcher) and not isinstance(each, type):
            objects.append(each)
        else:
            lacking = [name for name in METHODS if not callable(getattr(each, name, None))]
            why = f"lacks {', '.join(lacking)}" if lacking else "is a class: make an object of it"
            problems.append(
                f"watch holds {each!r}, which {why}. Give names ({', '.join(NAMED)}) or objects whose class "
                f"is derived from headstart.Watcher."
            )
    if problems:
        raise ConfigError(problems)
    return tuple(names), objects
