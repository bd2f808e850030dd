"""Checks values from a user: types, limits, choices and unknown names. Reports all problems at once.

A class of settings is a frozen dataclass with fields made by ``setting``. Each field holds the meaning and
the limits of its value, written down once, for messages and for the help of the command line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headstart.config.peers import explained, meanings, value_meant
from headstart.errors import did_you_mean

Need = Literal["steps", "boxes", "split", "test"]


@dataclass(frozen=True, eq=False, repr=False)  # generating these methods would slow the command line down
class Setting:
    """The meaning of a setting and the values it may have.

    Attributes:
        text: Its meaning, without a full stop: in messages after the value, in the help at the beginning.
        choices: The allowed values; empty if it is not a choice.
        at_least, above, at_most, below: Limits of its number or numbers.
        kind: ``one``: a single value of the annotated type. The others are for operations on photos.
            ``range``: two numbers, lowest and highest. ``around 0`` and ``around 1``: two numbers, or, as in
            torchvision, a single number for both directions: 15 means [-15, 15], 0.2 means [0.8, 1.2].
        unit: The unit of a number; a value that looks like another unit gets a hint.
        check: Checks and converts the value instead of ``converted``. It is called with the value, the text
            at the beginning of each problem, and the list of problems.
        shown: The default in the help, where the value alone does not explain it.
        metavar: The placeholder for the value in the help; by default CHOICE or NUMBER.
        commands: Commands besides ``train`` that have this option.
        needs: A run without this ignores the setting: training steps, boxes to learn, or a validation or test
            split that Headstart makes.
        section: Its heading in the help. Empty: the setting is not an option of the command line.
    """

    text: str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    kind: Literal["one", "range", "around 0", "around 1"] = "one"
    unit: Literal["degrees", "share", "share of the circle", "grey level", ""] = ""
    check: Callable[[Any, str, list[str]], Any] | None = None
    shown: str | None = None
    metavar: str | None = None
    commands: tuple[str, ...] = ()
    needs: Need | None = None
    section: str = ""


def as_it_is(value: Any, where: str, problems: list[str]) -> Any:
    """Return a value unchecked, as a ``Setting.check``: phases are checked together, later."""
    return value


def setting(default: Any, text: str, **about: Any) -> Any:
    """Return a dataclass field with a ``Setting`` as its metadata.

    Args:
        default: The default value.
        text: As in ``Setting``.
        about: Other attributes of ``Setting``.
    """
    return dataclasses.field(default=default, metadata={"setting": Setting(text, **about)})


def settings_of(cls: Any) -> dict[str, Setting]:
    """Return the ``Setting`` of each field of a class of settings, by name."""
    return {f.name: f.metadata["setting"] for f in dataclasses.fields(cls) if "setting" in f.metadata}


class RefusedError(ValueError):
    """A value is not allowed.

    Args:
        reason: Why, such as "it must be a whole number".
        hint: A space and a sentence, such as " Did you mean 16?".
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def checked(
    cls: Any,
    given: Mapping[str, Any],
    where: str,
    problems: list[str],
    *,
    convert: Callable[[Any, str, Setting], Any] | None = None,
    elsewhere: tuple[Collection[str], str] = ((), ""),
) -> dict[str, Any]:
    """Check values against a class of settings, and convert each to the type of its field.

    Args:
        cls: The class of settings.
        given: Values by name.
        where: Text at the beginning of each problem.
        problems: Problems are appended to this list, each with the value, what is allowed, and a suggestion.
        convert: Used instead of ``converted``.
        elsewhere: Names of settings of another class, and where the user has to write them.

    Returns:
        The values without problems, converted.
    """
    known = settings_of(cls)
    annotations = {f.name: str(f.type) for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            hint = hint_at(name, known, *elsewhere)
            problems.append(f"{where}unknown setting {name!r}.{hint} Settings are {', '.join(known)}.")
            continue
        about = known[name]
        try:
            if about.check is not None:
                values[name] = about.check(value, where, problems)
            else:
                values[name] = (convert or converted)(value, annotations[name], about)
        except RefusedError as error:
            problems.append(f"{where}{name} is {value!r}; {error}: {about.text}.{error.hint}")
    return values


def check_fields(settings: Any, problems: list[str], where: str = "", **how: Any) -> None:
    """Check each value of an object of settings, and convert it to the type of its field: "16" becomes 16.

    Args:
        settings: An object of a class of settings. It is changed in place.
        problems: Problems are appended to this list.
        where: Text at the beginning of each problem.
        how: Other arguments of ``checked``.
    """
    given = {name: getattr(settings, name) for name in settings_of(settings)}
    given = {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in given.items()}
    for name, value in checked(type(settings), given, where, problems, **how).items():
        object.__setattr__(settings, name, value)


def hint_at(name: str, known: Collection[str], others: Collection[str] = (), place: str = "") -> str:
    """Return a suggestion for an unknown name, or an empty string.

    Args:
        name: As the user wrote it.
        known: The allowed names.
        others: Names that are allowed in another place.
        place: That place in words, with ``{}`` for the name.
    """
    name = str(name)
    meant = (name, *meanings(name))
    for each in meant:
        if each in known:
            return f" Headstart calls it {each!r}."
    for each in meant:
        if each in others:
            called = "It" if each == name else f"Headstart calls it {each!r}, which"
            return f" {called} is a setting of {place.format(each)}."
    return f" {sentence}" if (sentence := explained(name)) else did_you_mean(name, known)


def converted(value: Any, annotation: str, about: Setting, *, text: bool = True) -> Any:
    """Convert a value to the type of its field, and check its limits.

    Args:
        value: As the user gave it.
        annotation: The type of the field, such as ``float | str``.
        about: Its limits.
        text: Whether numbers may be text, as on a command line.

    Raises:
        RefusedError: The value has the wrong type, or is outside its limits.
    """
    result = _typed(value, annotation, text=text)
    check_limits(result, about)
    return result


def nearest_value(word: str, allowed: Collection[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the allowed value that a word means or resembles, or nothing."""
    meant = value_meant(word, allowed)
    return f" Did you mean {meant!r}?" if meant else did_you_mean(word, allowed)


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; ``True`` is not."""
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    )


_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "None": "left out"}


def _typed(value: Any, annotation: str, *, text: bool) -> Any:
    """Convert a value to one of the types of an annotation, preferring numbers to text."""
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        value = value.tolist()
    if annotation == "bool":
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise RefusedError("it must be true or false")
    if "None" in annotation and value in (None, ""):
        return None
    if annotation.startswith("tuple"):
        parts = value.split(",") if isinstance(value, str) and text else value
        if annotation.startswith("tuple[str"):
            if isinstance(parts, (list, tuple)) and all(isinstance(part, str) for part in parts):
                return tuple(part.strip() for part in parts if part.strip())
            raise RefusedError("it must be names, separated by commas")
        wanted = 3 if annotation.startswith("tuple[float") else None
        if isinstance(parts, (list, tuple)) and wanted in (None, len(parts)):
            with contextlib.suppress(RefusedError):
                return tuple(_typed(part, "float" if wanted else "int", text=text) for part in parts)
        if wanted:
            raise RefusedError("it must be three numbers, for red, green and blue, as in 0.5,0.5,0.5")
        raise RefusedError("it must be whole numbers, as in [20, 50]")
    kinds = [kind if kind in _WORDS else "str" for kind in annotation.split(" | ")]  # a Literal is text
    if not isinstance(value, bool) and (text or not isinstance(value, str)):
        if "int" in kinds and isinstance(value, (int, str)):
            with contextlib.suppress(ValueError):
                return int(value)
        if "float" in kinds and isinstance(value, (int, float, str)):
            with contextlib.suppress(ValueError, OverflowError):  # a whole number beyond any float
                if math.isfinite(number := float(value)):
                    return number
    if "str" in kinds and isinstance(value, str):
        return value
    raise RefusedError(f"it must be {' or '.join(_WORDS[kind] for kind in kinds)}")


def check_limits(value: Any, about: Setting) -> None:
    """Raise ``RefusedError`` if a value, or one of several, is outside the limits of its setting."""
    it = "each" if isinstance(value, tuple) else "it"
    for each in value if isinstance(value, tuple) else (value,):
        if about.choices and each is not None and each not in about.choices:
            hint = nearest_value(str(each), about.choices)
            raise RefusedError(f"{it} must be one of {', '.join(about.choices)}", hint)
        if not isinstance(each, (int, float)):
            continue
        for limit, is_wrong, words in (
            (about.at_least, operator.lt, "at least"),
            (about.above, operator.le, "above"),
            (about.at_most, operator.gt, "at most"),
            (about.below, operator.ge, "below"),
        ):
            if limit is not None and is_wrong(each, limit):
                raise RefusedError(f"{it} must be {words} {limit:g}")
