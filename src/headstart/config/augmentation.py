"""Checks augmentations as users write them: the name of a preset, or a list of operations."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from headstart.config.checking import RefusedError, Setting, checked, is_number
from headstart.config.operations import OPERATIONS, PRESETS, Augment, Operation
from headstart.errors import did_you_mean

# Pairs of operations that serve the same purpose, so that only one of them may be used.
_ALTERNATIVES: Final = (
    ("resized-crop", "padded-crop", "two crops"),
    ("randaugment", "trivialaugment", "two policies"),
)


def check_augment(value: Any, where: str, problems: list[str]) -> Augment:
    """Check an augmentation as a user writes it.

    Args:
        value: The name of a preset, or a list of tables such as ``{op = "rotation", degrees = 15}`` or of
            ``Operation`` objects.
        where: Text at the beginning of each problem, such as the phase.
        problems: Problems are appended to this list, each a sentence with the value and what is allowed.

    Returns:
        The name of the preset, or the operations in the order in which they are applied, with ranges as
        pairs. If there are problems, only the operations without problems.
    """
    if isinstance(value, str):
        if value not in PRESETS:
            hint = did_you_mean(value, PRESETS)
            if value in OPERATIONS:
                hint = f' To use the operation alone, write [{{op = "{value}"}}].'
            problems.append(
                f"{where}augment is {value!r}.{hint} Allowed are {', '.join(PRESETS)}, and a list of "
                f'operations such as [{{op = "rotation", degrees = 15}}].'
            )
            return "none"
        return value
    if not isinstance(value, (list, tuple)):
        problems.append(
            f"{where}augment is {value!r}; it must be one of {', '.join(PRESETS)}, or a list of operations "
            f'such as [{{op = "rotation", degrees = 15}}].'
        )
        return "none"
    found: dict[str, Operation] = {}
    for number, table in enumerate(value, 1):
        operation = _check_table(table, f"{where}augment {number}", problems)
        if operation is None:
            continue
        if operation.op in found:
            problems.append(f"{where}augment: {operation.op} occurs twice. Give it once.")
        found[operation.op] = operation
    for one, other, what in _ALTERNATIVES:
        if one in found and other in found:
            problems.append(f"{where}augment: {one} and {other} are {what}. Choose one.")
    return tuple(found[name] for name in OPERATIONS if name in found) or "none"


def _check_table(table: Any, where: str, problems: list[str]) -> Operation | None:
    if dataclasses.is_dataclass(table) and not isinstance(table, type):
        table = dataclasses.asdict(table)
    if not isinstance(table, Mapping):
        problems.append(f'{where} is {table!r}; write a table such as {{op = "rotation", degrees = 15}}.')
        return None
    name = table.get("op")
    if not isinstance(name, str) or name not in OPERATIONS:
        problems.append(f"{where}: {_unknown(name)} Operations are {', '.join(OPERATIONS)}.")
        return None
    given = {key: value for key, value in table.items() if key != "op"}
    values = checked(OPERATIONS[name], given, f"{where}: {name}: ", problems, convert=_converted)
    if values.get("p") == 0:
        problems.append(
            f"{where}: {name}: p is 0, so no view would get it. Leave the operation out, or make p larger."
        )
    return OPERATIONS[name](**values)


def _unknown(name: Any) -> str:
    """Return a message about an unknown operation; torchvision's names get ours as a suggestion."""
    if name is None:
        return 'no operation is named. Write op = "rotation", for example.'
    kebab = re.sub(r"(?<=[a-z])(?=[A-Z])|[_ ]", "-", str(name)).lower().removeprefix("random-")
    if kebab in ("color-jitter", "colour-jitter"):
        return f"there is no operation {name!r}. Use brightness, contrast, saturation and hue, one by one."
    known = {
        "grayscale": "greyscale",
        "crop": "padded-crop",
        "gaussian-blur": "blur",
        "gaussian-noise": "noise",
        "rand-augment": "randaugment",
        "trivial-augment": "trivialaugment",
        "trivial-augment-wide": "trivialaugment",
        "adjust-sharpness": "sharpness",
    }
    nearest = f" Did you mean {known[kebab]!r}?" if kebab in known else did_you_mean(kebab, OPERATIONS)
    return f"there is no operation {name!r}.{nearest}"


def _converted(given: Any, annotation: str, about: Setting) -> Any:
    """Convert a value to the kind of its parameter, or raise ``RefusedError`` with a suggestion."""
    if about.kind == "one":
        if not is_number(given) or (annotation == "int" and given != int(given)):
            raise RefusedError("it must be a whole number" if annotation == "int" else "it must be a number")
        _check_limits([given], about)
        return int(given) if annotation == "int" else float(given)
    is_range = isinstance(given, (list, tuple))
    values = given if is_range else [given]
    if (
        len(values) != (2 if is_range else 1)
        or not all(map(is_number, values))
        or (about.kind == "range" and not is_range)
    ):
        single = "" if about.kind == "range" else "a number, or "
        raise RefusedError(f"it must be {single}two numbers, as in [from, to]")
    if is_range:
        _check_limits(given, about)
        low, high = map(float, given)
        if low > high:
            raise RefusedError("the lower number must come first", f" Did you mean [{high:g}, {low:g}]?")
        return low, high
    # A factor cannot fall below 0, so its largest change is 1.
    middle, largest = (0.0, about.at_most) if about.kind == "around 0" else (1.0, 1.0)
    assert largest is not None
    if given < 0:
        raise RefusedError(
            "a single number is the largest change in either direction, so it must not be negative",
            f" Did you mean {-given:g}?" if -given <= largest else "",
        )
    _check_limits(values, dataclasses.replace(about, at_least=0, at_most=largest))
    return middle - given, middle + given


def _check_limits(values: Sequence[float], about: Setting) -> None:
    """Refuse values outside the limits, and values that were probably meant in another unit.

    What a message suggests is within the limits.
    """
    largest, low, high = max(map(abs, values)), about.at_least, about.at_most
    assert low is not None
    assert high is not None
    if about.unit == "degrees" and 0 < largest < 1:
        hint = f" Did you mean {largest * 100:g}?" if largest * 100 <= high else ""
        raise RefusedError(f"that is {largest:g} degrees", hint)
    if about.unit == "grey level" and 0 < largest < 1:
        raise RefusedError("grey levels range from 0 to 255", f" Did you mean {largest * 255:.0f}?")
    if all(low <= value <= high for value in values):
        return
    hint = ""
    if about.unit == "share of the circle" and 1 <= largest <= 360 * high:
        hint = f" Did you mean {largest / 360:.2g} ({largest:g} degrees)?"
    elif about.unit == "share" and largest > 1 and all(low <= value / 100 <= high for value in values):
        shares = ", ".join(f"{value / 100:g}" for value in values)
        hint = f" Did you mean {shares if len(values) == 1 else f'[{shares}]'} ({largest:g} %)?"
    raise RefusedError(f"it must be from {low:g} to {high:g}", hint)
