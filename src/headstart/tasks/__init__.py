"""The tasks: what can be predicted, with one file per task.

To add a task, write a class like the existing ones, add it to ``TASKS``, and add its loss for training in
steps to ``training/steps/criterion.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headstart.tasks.box import Box
from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression
from headstart.tasks.task import Task

ANY: Final = Task()
"""Placeholder for a task that is not known yet."""

CLASSIFICATION: Final = Classification()
MULTILABEL: Final = Multilabel()
REGRESSION: Final = Regression()
BOX: Final = Box()

TASKS: Final[Mapping[str, Task]] = {task.name: task for task in (CLASSIFICATION, MULTILABEL, REGRESSION, BOX)}
"""Tasks by their name in settings and files."""


def of(name: str) -> Task:
    """Return a task by name.

    Raises:
        KeyError: No task has this name.
    """
    return TASKS[name]
