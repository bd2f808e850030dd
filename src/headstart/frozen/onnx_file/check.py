"""Tries a user's ONNX file as a backbone on real photos, to detect problems that the file cannot show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import onnx
import onnx.numpy_helper

from headstart.cores import num_cores
from headstart.errors import ImageError, NetworkError
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.onnx_file.batch import close
from headstart.frozen.onnx_file.surgery import SCALE, SHIFT, serialised, set_normalisation
from headstart.images.photo import Photo
from headstart.images.preprocess import load_pixels
from headstart.inference.runtime import open_session

MAX_PHOTOS: Final = 32
_FEW_PHOTOS: Final = 8  # for what takes one pass for each of them, or for each normalisation

USUAL: Final = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "one for inputs from -1 to 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "one for inputs from 0 to 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
"""Usual means and standard deviations. Others, such as CLIP's or 0..1, differ little from the first two."""

SUSPICIOUS: Final = 1.5
"""A normalisation is recommended if photos are this many times as distinct under it.

The right one was always the most distinct; a wrong scale of 255 made photos 1.3 to 1,000 times less distinct,
and others within 1.3 times (docs/measurements.md).
"""

CONSTANT: Final = 1e-3
"""Relative differences between photos below this count as equal features."""


def check_on_photos(backbone: OnnxBackbone, pixels: np.ndarray, say: Callable[[str], object] = print) -> None:
    """Check that the features of a user's backbone are usable, and that its normalisation is right.

    A wrong mean and std hardly shows in single features, but in the differences between photos: far from its
    training data, a network gives different photos similar features.

    Args:
        backbone: A backbone from ``onnx_file.open.open_backbone``.
        pixels: (N, size_px, size_px, 3) uint8, photos of the user, of which up to ``MAX_PHOTOS`` are used.
        say: Called with a warning if the normalisation looks wrong.

    Raises:
        NetworkError: Features are not finite, are the same for different photos, or depend on the other
            photos in a batch.
    """
    pixels = np.unique(pixels[:MAX_PHOTOS], axis=0)
    if len(pixels) < 2:
        return
    compute = _Computed(backbone.graph)
    features = compute(pixels)
    few = pixels[:: -(-len(pixels) // _FEW_PHOTOS)]
    advice = " ".join(_advice(backbone, few))
    if num_wrong := int((~np.isfinite(features).all(axis=1)).sum()):
        raise NetworkError(
            f"{backbone.name} gives features that are not finite for {num_wrong} of {len(pixels)} photos. "
            f"{advice or 'If it is in half precision, export it in float32.'}"
        )
    largest = np.abs(features).max(initial=0)
    if np.ptp(features, axis=0).max(initial=0) <= CONSTANT * largest:
        raise NetworkError(
            f"{backbone.name} gives the same features for {len(pixels)} different photos. "
            f"{advice or 'Another tensor of the file may hold its features: --output-name NAME.'}"
        )
    alone = np.concatenate([compute(photo[None]) for photo in few])
    if not close(compute(few), alone):
        raise NetworkError(
            f"{backbone.name} gives other features for a photo in a batch than alone. Export it in "
            f"evaluation mode: in PyTorch, after model.eval()."
        )
    if advice:
        say(advice)


def check_on_files(
    backbone: OnnxBackbone, photos: Sequence[Photo], say: Callable[[str], object] = print
) -> None:
    """Run ``check_on_photos`` with photos from a list of files, skipping unreadable ones."""
    pixels = []
    for photo in photos[:: max(1, len(photos) // MAX_PHOTOS)][:MAX_PHOTOS]:
        with contextlib.suppress(ImageError):
            pixels.append(load_pixels(photo.content(), backbone.preprocessing, path=photo.key))
    if pixels:
        check_on_photos(backbone, np.stack(pixels), say)


def distinctness(features: np.ndarray) -> float:
    """Return the mean cosine distance between the features of two photos; NaN if they are not finite.

    Args:
        features: (N, D).
    """
    rows = features.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    num = len(rows)
    total = np.square(rows.sum(axis=0)).sum() - np.square(rows).sum()
    return float(1 - total / (num * (num - 1)))


def _advice(backbone: OnnxBackbone, pixels: np.ndarray) -> Iterator[str]:
    """Return advice about a usual normalisation under which photos are far more distinct."""
    model = onnx.load_from_string(backbone.graph)
    if not {SCALE, SHIFT} <= {each.name for each in model.graph.initializer}:
        return  # normalisation is a part of the file
    now = distinctness(_Computed(backbone.graph)(pixels))
    found = {}
    for which, (mean, std) in USUAL.items():
        set_normalisation(model, mean, std)
        if np.isfinite(value := distinctness(_Computed(serialised(model))(pixels))):
            found[which] = value
    best = max(found, key=found.__getitem__, default="")
    if not best or found[best] <= SUSPICIOUS * (now if np.isfinite(now) else 0):
        return
    mean_text, std_text = (",".join(f"{value:.6g}" for value in values) for values in USUAL[best])
    times = f"{found[best] / now:,.1f} times as distinct" if now > 0 else "distinct"
    yield (
        f"The normalisation of {backbone.name} looks wrong: photos are {times} with {best}. Try "
        f"--mean {mean_text} --std {std_text}"
    )


class _Computed:
    """Runs a graph on photos."""

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph, num_threads=num_cores())

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        parts = [pixels[at : at + _FEW_PHOTOS] for at in range(0, len(pixels), _FEW_PHOTOS)]
        return np.concatenate([self._session.run(None, {"images": part})[0] for part in parts])
