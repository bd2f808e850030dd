"""Compares scores with those that were required: ``headstart evaluate --min accuracy=0.9``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from headstart.answers.estimates import Estimate, names_of
from headstart.columns import counted, interval_text, score_text
from headstart.errors import ConfigError, did_you_mean
from headstart.inference.model_file import ModelInfo
from headstart.tasks.task import LOWER_IS_BETTER

Kind: TypeAlias = Literal["min", "min-lower", "max"]
"""The score itself is at least, or the lower end of its interval is at least, or the score is at most."""


@dataclass(frozen=True)
class Requirement:
    """What is required of one score.

    Attributes:
        kind: What is compared.
        name: Name of the score.
        limit: With what it is compared.
    """

    kind: Kind
    name: str
    limit: float

    def shortfall(self, found: Estimate) -> str:
        """Return one sentence about a score that does not meet the requirement; empty if it does."""
        value, interval = found.value, found.interval
        what = f"{self.name} is {score_text(self.name, value, 4)}"
        shown = interval_text(self.name, interval, 4) if interval else found.reason
        what += f" (95 % interval {shown})" if interval else f" ({shown})"
        of = counted(found.num_photos, "photo")
        if self.kind == "min-lower":
            if interval is not None and interval[0] >= self.limit:
                return ""
            advice = "" if interval else " Score more photos, or require a share of photos."
            return f"{what} on {of}; its lower end must be at least {self.limit:g}.{advice}"
        if not math.isnan(value) and (value >= self.limit if self.kind == "min" else value <= self.limit):
            return ""
        return f"{what} on {of}; it must be at {'least' if self.kind == 'min' else 'most'} {self.limit:g}."


def requirements(given: Mapping[Kind, Sequence[str]], info: ModelInfo) -> list[Requirement]:
    """Read requirements, before any photo is read.

    Args:
        given: Texts such as ``"accuracy=0.9"`` by kind.
        info: Description of the model, which has the scores of its task.

    Raises:
        ConfigError: A text is wrong; all problems are listed.
    """
    allowed, found, problems = names_of(info), [], []
    for kind, texts in given.items():
        for text in texts:
            name, _, number = text.partition("=")
            name = name.strip().replace(" ", "_").replace("-", "_")
            limit = _number(number)
            if name not in allowed:
                problems.append(
                    f"--{kind} {text}: {name!r} is not a score of this model.{did_you_mean(name, allowed)} "
                    f"It has {', '.join(allowed)}."
                )
            elif (name in LOWER_IS_BETTER) != (kind == "max"):
                right, word = ("max", "lower") if name in LOWER_IS_BETTER else ("min", "higher")
                problems.append(
                    f"--{kind} {text}: {word} is better for {name}. Use --{right} {name}={number}"
                )
            elif limit is None:
                problems.append(
                    f"--{kind} {text}: a number must follow the name, for example --{kind} {name}=0.9"
                )
            elif kind != "max" and limit > 1:  # all scores of which more is better are at most 1
                percent = f" For a percentage, write {limit / 100:g}." if limit <= 100 else ""
                problems.append(f"--{kind} {text}: {name} is never above 1.{percent}")
            else:
                found.append(Requirement(kind, name, limit))
    if problems:
        raise ConfigError(problems)
    return found


def shortfalls(required: Iterable[Requirement], estimates: Mapping[str, Estimate]) -> list[str]:
    """Return one sentence for each requirement that is not met.

    Args:
        required: Requirements.
        estimates: Overall scores by name.
    """
    found = (each.shortfall(estimates[each.name]) for each in required)
    return [sentence for sentence in found if sentence]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
