"""The product ``answers.csv``: one row for each photo that the model has answered."""

from __future__ import annotations

from headstart.answers.file import write_answers
from headstart.products.finished import Finished


def answers_csv(finished: Finished) -> None:
    """Write ``answers.csv``.

    Raises:
        FileWriteError: The file cannot be written.
    """
    write_answers(finished.folder / "answers.csv", finished.answers())
