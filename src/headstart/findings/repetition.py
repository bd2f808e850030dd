"""How far a picture repeats itself, like bricks, stripes or fabric.

Two photos of such a pattern agree at many poses without showing the same part of it, so that agreement proves
less.
"""

from __future__ import annotations

from typing import Final

import numpy as np

_SIZE_PX: Final = 48
_NEAREST_PX, _FARTHEST_PX = 4, 24  # shifts at which a picture is compared with itself
_SAME_DIRECTION: Final = 0.9  # cosine of 26 degrees
_WIDE_PX: Final = _SIZE_PX + _FARTHEST_PX  # so that shifts do not wrap around


def repetition(details: np.ndarray) -> np.ndarray:
    """Return the largest autocorrelation of pictures at shifts that are not small, in a second direction.

    In the first direction, one straight line repeats itself, too: a horizon, for example.

    Args:
        details: (P, 48, 48) float32, pictures without their coarse grey levels.

    Returns:
        (P,) float32: 0.1 to 0.2 for most photos, 0.5 to 1 for patterns that repeat.
    """
    centred = details - details.mean((1, 2), keepdims=True)
    wide = (_WIDE_PX, _WIDE_PX)
    products = np.fft.irfft2(np.square(np.abs(np.fft.rfft2(centred, wide))), wide)
    power = np.maximum(products[:, 0, 0], 1e-6)
    correlation = products[:, _IS_FAR] / _OVERLAP / power[:, None]
    first = _DIRECTIONS[:, correlation.argmax(1)]
    correlation[np.abs(first.T @ _DIRECTIONS) > _SAME_DIRECTION] = 0
    return np.asarray(correlation.max(1, initial=0), np.float32)


_STEPS: Final = np.rint(np.fft.fftfreq(_WIDE_PX) * _WIDE_PX)  # 0, 1, ... 35, -36, ... -1
_SHIFTS: Final = np.stack(np.meshgrid(_STEPS, _STEPS, indexing="ij"))
_IS_FAR: Final = (np.abs(_SHIFTS) <= _FARTHEST_PX).all(0) & (np.hypot(*_SHIFTS) >= _NEAREST_PX)
_FAR: Final = _SHIFTS[:, _IS_FAR]
_DIRECTIONS: Final = _FAR / np.hypot(*_FAR)  # (2, S), of length 1
_OVERLAP: Final = (1 - np.abs(_FAR) / _SIZE_PX).prod(0)  # part of the picture that is compared with itself
