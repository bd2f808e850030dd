"""Detects flips that would turn one class into another, by the names of the classes."""

from __future__ import annotations

import re
from typing import Final

from headstart.config.operations import Augment, operations_of

# Words that a mirror exchanges, in the languages in which folders are often named.
_LEFT_RIGHT: Final = (
    ("left", "right"),
    ("L", "R"),
    ("lhs", "rhs"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("west", "east"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("cw", "ccw"),
    ("links", "rechts"),
    ("gauche", "droite"),
    ("izquierda", "derecha"),
    ("esquerda", "direita"),
    ("sinistra", "destra"),
    ("левый", "правый"),
    ("左", "右"),
    ("b", "d"),
    ("p", "q"),
    ("←", "→"),
    ("⬅", "➡"),
    ("↖", "↗"),
    ("↙", "↘"),
    ("<", ">"),
    ("(", ")"),
    ("[", "]"),
)
_UP_DOWN: Final = (
    ("up", "down"),
    ("upward", "downward"),
    ("upwards", "downwards"),
    ("top", "bottom"),
    ("above", "below"),
    ("over", "under"),
    ("north", "south"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("cw", "ccw"),
    ("oben", "unten"),
    ("haut", "bas"),
    ("arriba", "abajo"),
    ("上", "下"),
    ("b", "p"),
    ("d", "q"),
    ("m", "w"),
    ("n", "u"),
    ("↑", "↓"),
    ("⬆", "⬇"),
    ("↖", "↙"),
    ("↗", "↘"),
    ("^", "v"),
)
# Words that say by themselves that direction matters, whatever the other classes are called.
_DIRECTIONS: Final = frozenset(
    {"left", "right", "links", "rechts", "gauche", "droite", "izquierda", "derecha"}
)
_ARROWS: Final = frozenset({"arrow", "arrows", "turn", "pfeil", "flecha"})


_WITHOUT: Final = "If so, write augment as a list of operations without it."

_KINDS: Final = (
    ("horizontal-flip", _LEFT_RIGHT, _WITHOUT),
    ("vertical-flip", _UP_DOWN, _WITHOUT),
    ("mirror", _LEFT_RIGHT, "If so, leave mirror out."),
)
"""What flips photos: a name, the words that it exchanges, and how to do without it."""


def flip_warnings(class_names: tuple[str, ...], augment: Augment, *, mirror: bool = False) -> list[str]:
    """Return warnings about flips that would turn classes into each other.

    Args:
        class_names: Names of the classes.
        augment: The name of a preset, or operations.
        mirror: Whether a phase mirrors the inputs of its trained stages.

    Returns:
        A sentence for each such flip, with the classes and advice.
    """
    flips = {operation.op for operation in operations_of(augment) if operation.p > 0}
    if mirror:
        flips.add("mirror")
    warnings = []
    for op, pairs, advice in _KINDS:
        if op not in flips:
            continue
        exchanged = _exchanged(class_names, pairs)
        if exchanged:
            named = ", ".join(f"{one!r} and {other!r}" for one, other in exchanged[:3])
            more = f" and {len(exchanged) - 3} more pairs" if len(exchanged) > 3 else ""
            warnings.append(
                f"{op} may make {named}{more} look like each other, under the wrong label. {advice}"
            )
        elif pairs is _LEFT_RIGHT and (directed := [n for n in class_names if _has_direction(n)]):
            warnings.append(
                f"{op} reverses directions, and the class {directed[0]!r} seems to have one. {advice}"
            )
    return warnings


def _exchanged(class_names: tuple[str, ...], pairs: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Return pairs of classes whose names differ only in one word that is the mirror image of the other."""
    words_of = {name: _words(name) for name in class_names}
    name_of = {words: name for name, words in words_of.items()}
    found = []
    for name, words in words_of.items():
        for one, other in pairs:
            if one == "L" and len(words) == 1:  # the letter itself
                continue
            mirrored = tuple(other if word == one else one if word == other else word for word in words)
            # Each pair once: from the side of the word that comes first in the table.
            if one in words and mirrored != words and mirrored in name_of:
                pair = (name, name_of[mirrored])
                if pair not in found:
                    found.append(pair)
    return found


def _has_direction(name: str) -> bool:
    words = set(_words(name))
    return bool(words & _DIRECTIONS) or (bool(words & _ARROWS) and len(words) > 1)


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a name: turn_left, TurnLeft and "turn left" are the same. Symbols are words.

    Single letters keep their case, because b and d are mirror images, but B and D are not.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = re.findall(r"[^\W\d_]+|\d+|[^\w\s\-.]", spaced)
    return tuple(word if len(word) == 1 else word.casefold() for word in words)
