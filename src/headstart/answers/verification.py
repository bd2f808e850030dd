"""What ``verify`` found out about a model, and how it is shown."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headstart import tasks
from headstart.answers.agreement import Agreement
from headstart.columns import align, counted, listed
from headstart.images.steps import numbered_steps
from headstart.inference.model_file import STATES_TEMPERATURES, ModelInfo
from headstart.inference.self_test import NUM_INPUTS, TOLERANCE

_TOLERANCES: Final = {"float16": 0.03}
_USUAL_TOLERANCE: Final = 1e-3

_MOST_NAMED: Final = 10


def photo_tolerance(info: ModelInfo) -> float:
    """Return the largest difference of an answer for a photo that passes: see ``Agreement``."""
    return _TOLERANCES.get(info.stored_as, _USUAL_TOLERANCE)


@dataclass(frozen=True, repr=False)
class Verification:
    """Whether a model is what it says. It is shown as text, and is true if everything passed.

    Attributes:
        path: The model file, whose checksum matches.
        info: Description of the model.
        differences: Result of the self-test, by name of the output: see ``inference/self_test.py``. Up to
            ``TOLERANCE`` passes. Empty if the file has no self-test.
        seconds: Time of opening the file and of its self-test.
        agreement: Comparison of the answers for photos with those of the run; None without photos.
        failures: A sentence for each check that failed.
        notes: Sentences about what could not be checked.
    """

    path: Path
    info: ModelInfo
    differences: Mapping[str, float]
    seconds: float
    agreement: Agreement | None = None
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return not self.failures

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The numbered steps from a photo's file to the input, as in the file: see ``numbered_steps``."""
        return numbered_steps(self.info.preprocessing)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        rows = [*self._checks(), *_description(self.info)]
        lines = [align(row, (-11, 0)) for row in rows]
        changed = self.agreement.changed if self.agreement else ()
        lines += [f"Changed: {each}" for each in changed[:_MOST_NAMED]]
        if len(changed) > _MOST_NAMED:
            lines.append(f"... and {len(changed) - _MOST_NAMED} more")
        lines += [f"Note: {note}" for note in self.notes]
        lines += [f"FAILED: {failure}" for failure in self.failures] or ["Passed."]
        return "\n".join([str(self.path), *lines])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return f"<pre>{html.escape(repr(self))}</pre>"

    def _checks(self) -> Iterator[tuple[str, str]]:
        yield "checksum", "matches"
        if self.differences:
            names = ", ".join(self.differences)
            yield (
                "self-test",
                f"largest difference {_largest(self.differences):.2g}, {TOLERANCE:g} is allowed "
                f"({NUM_INPUTS} inputs, {names}), {self.seconds:.2f} s",
            )
        if self.agreement is not None:
            yield (
                "photos",
                f"{counted(self.agreement.num_photos, 'photo')}: largest difference "
                f"{self.agreement.max_difference:.2g}, {photo_tolerance(self.info):g} is allowed; "
                f"{counted(len(self.agreement.changed), 'changed answer')}",
            )


def _largest(differences: Mapping[str, float]) -> float:
    return max(differences.values(), key=lambda each: math.inf if math.isnan(each) else each)


def _description(info: ModelInfo) -> Iterator[tuple[str, str]]:
    """Yield what a model says of itself, in words."""
    names = info.targets or info.class_names
    kind = "target" if info.targets else "class"
    number = counted(len(names), kind, "targets" if info.targets else "classes")
    yield "task", f"{info.task}, {number}: {listed(names, _MOST_NAMED)}"
    yield "backbone", f"{info.backbone}; head: {info.head}"
    facts = [
        info.weights_from or "of unknown origin",
        f"licence {info.licence}" if info.licence else "licence not stated",
    ]
    if info.weights and info.weights != info.weights_from:
        facts.append(f"SHA-256 {info.weights}")
    facts.append(f"stored as {info.stored_as}")
    yield "weights", ", ".join(facts)
    for step in numbered_steps(info.preprocessing):
        label = "input" if step["step"] == 1 else ""
        yield label, f"{step['step']}. {step['name']}: {step['text']}"
    if tasks.of(info.task).has_labels:
        yield "thresholds", listed([f"{each:.3g}" for each in info.thresholds], _MOST_NAMED)
    if tasks.of(info.task).activation:
        factors = [f"{each:.3g}" for each in info.temperatures]
        none = "1" if info.format >= STATES_TEMPERATURES else "not stated in this format"
        yield "temperature", listed(factors, _MOST_NAMED) or none
    if tasks.of(info.task).has_class:
        limit = info.unknown_threshold
        yield "unknown", "no output for photos of no class" if limit is None else f"above {limit:.3g}"
    yield "made with", ", ".join(f"{name} {version}" for name, version in info.versions.items()) or "unknown"
    yield "format", str(info.format)
