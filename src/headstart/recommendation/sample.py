"""Chooses photos that represent a data set, before any of them is read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from headstart.probe.folds import NUM_FOLDS
from headstart.records import Candidate

MOST_PHOTOS: Final = 2000
"""More photos take more time and hardly change the order of backbones."""


def choose_photos(candidates: Sequence[Candidate], most: int = MOST_PHOTOS) -> list[Candidate]:
    """Choose about the same fraction of each class, spread evenly over the order of the photos.

    The choice depends only on the photos' order, labels and groups, so there is no random seed. A class with
    few photos keeps at least as many as there are folds. Neighbours, which are often shots of the same
    object, are the last to be chosen together.

    Args:
        candidates: Photos in the order of their names, or of a table.
        most: Largest number of photos to choose.

    Returns:
        Chosen photos in their order. Groups are chosen as a whole; of a group that is larger than a fold, as
        many photos as a fold has are used.
    """
    if len(candidates) <= most:
        return list(candidates)
    groups: dict[str, list[int]] = defaultdict(list)
    for place, candidate in enumerate(candidates):
        groups[f"photo {place}" if candidate.group is None else f"group {candidate.group}"].append(place)
    strata: dict[str, list[list[int]]] = defaultdict(list)
    stratum_of = _strata(candidates)
    for places in groups.values():
        unit = [places[each] for each in _spread(len(places))[: max(most // NUM_FOLDS, 1)]]
        strata[Counter(stratum_of[place] for place in unit).most_common(1)[0][0]].append(unit)
    least = min(NUM_FOLDS, most // len(strata))
    ranked: list[tuple[bool, float, list[int]]] = []
    for units in strata.values():
        units.sort(key=lambda unit: candidates[unit[0]].numbers)  # so that all ranges of a number are there
        for rank, index in enumerate(_spread(len(units))):
            ranked.append((rank >= least, (rank + 0.5) / len(units), units[index]))
    chosen: list[int] = []
    for _, _, unit in sorted(ranked):
        if len(chosen) + len(unit) <= most:
            chosen += unit
    return [candidates[place] for place in sorted(chosen)]


def _strata(candidates: Sequence[Candidate]) -> list[str]:
    """Return the class of each photo; of several labels, the rarest; an empty text for photos without any."""
    numbers = Counter(label for each in candidates for label in each.labels)
    return [each.class_name or min(each.labels, key=numbers.__getitem__, default="") for each in candidates]


def _spread(number: int) -> list[int]:
    """Return 0..number - 1 in an order of which every beginning is spread evenly (van der Corput)."""
    num_bits = max(number - 1, 1).bit_length()
    return sorted(range(number), key=lambda index: int(f"{index:0{num_bits}b}"[::-1], 2))
