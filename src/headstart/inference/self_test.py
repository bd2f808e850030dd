"""The self-test in a model file: four inputs that are made from a seed, and the outputs that belong to them.

It shows that a runtime computes what the model computed when it was written, without any photos. The rule for
the inputs uses only small integers, so that programs in other languages can make the same pixels: see
docs/reference/other-languages.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from headstart.config.checking import is_number

NUM_INPUTS: Final = 4
TOLERANCE: Final = 1e-3
"""Largest difference of an output that passes: see ``differences``."""

SEED: Final = 1
"""Seed of the inputs in new files."""

_SMALLEST_CELL_PX: Final = 8
_MODULUS: Final = 2**31  # products of the rule stay below 2**53, so floating-point numbers hold them, too


@dataclass(frozen=True)
class SelfTest:
    """Outputs of a model for inputs that are made from a seed.

    Attributes:
        seed: Seed of the inputs: see ``inputs_of``.
        outputs: By name of the output, one row of numbers for each of the inputs. Heat maps are left out.
    """

    seed: int
    outputs: Mapping[str, tuple[tuple[float, ...], ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return the self-test as a dictionary for JSON."""
        return {"seed": self.seed, "outputs": {name: list(rows) for name, rows in self.outputs.items()}}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> SelfTest:
        """Build from what ``to_dict`` returned.

        Raises:
            ValueError, KeyError, TypeError: It is not valid.
        """
        seed, outputs = fields["seed"], fields["outputs"]
        if type(seed) is not int or not 0 <= seed < 1024:
            raise ValueError(f"self_test.seed is {seed!r}; it must be an integer from 0 to 1023")
        for name, rows in outputs.items():
            if len(rows) != NUM_INPUTS or not all(is_number(value) for row in rows for value in row):
                raise ValueError(f"self_test.outputs.{name} must be {NUM_INPUTS} rows of finite numbers")
        return cls(
            seed, {name: tuple(tuple(map(float, row)) for row in rows) for name, rows in outputs.items()}
        )


def inputs_of(seed: int, size_px: int) -> np.ndarray:
    """Make the inputs of a self-test: squares of random colours, of 8, 16, 32 and 64 pixels.

    The pixel in row y and column x of the input n, 0 to 3, has in its channel c the value v from

        p = 8 × 2ⁿ
        k = ((seed × 4 + n) × 512 + y // p) × 512 + x // p
        a = ((k × 4 + c) × 16807 + 12345) mod 2³¹
        b = ((a xor a // 2¹⁵) × 69069 + 1) mod 2³¹
        v = b // 2²³

    Args:
        seed: 0 to 1023.
        size_px: Side of the input, at most 4096.

    Returns:
        (4, size_px, size_px, 3) uint8.
    """
    image = np.arange(NUM_INPUTS)[:, None, None, None]
    cells = np.arange(size_px) // (_SMALLEST_CELL_PX << image)
    key = ((seed * NUM_INPUTS + image) * 512 + cells.reshape(NUM_INPUTS, -1, 1, 1)) * 512
    key = key + cells.reshape(NUM_INPUTS, 1, -1, 1)
    first = ((key * 4 + np.arange(3)) * 16807 + 12345) % _MODULUS
    second = ((first ^ first >> 15) * 69069 + 1) % _MODULUS
    return (second >> 23).astype(np.uint8)


def differences(self_test: SelfTest, found: Mapping[str, np.ndarray], scale: np.ndarray) -> dict[str, float]:
    """Compare outputs with those in the file.

    Args:
        self_test: The self-test of the file.
        found: (4, D) float32 by name of the output.
        scale: (D,), standard deviations of the predicted numbers; empty if no numbers are predicted.

    Returns:
        By name of the output, the largest difference: of ``numbers``, in standard deviations of their
        targets; of others, as a fraction of the largest absolute value in the file, or of 1 if that is less.
        NaN if an output is not a number, infinity if it is missing or has another shape.
    """
    result = {}
    for name, rows in self_test.outputs.items():
        expected = np.array(rows, np.float32).astype(np.float64)
        actual = found.get(name)
        if actual is None or actual.shape != expected.shape:
            result[name] = float("inf")
            continue
        unit = scale if name == "numbers" else max(1.0, float(np.abs(expected).max(initial=0)))
        result[name] = float((np.abs(actual - expected) / unit).max(initial=0))
    return result
