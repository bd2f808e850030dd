"""The frozen stages of a PyTorch network as a prefix, on the fastest available runtime."""

from __future__ import annotations

import functools
import importlib.metadata
import math
import threading
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from headstart.errors import NetworkError
from headstart.frozen.graph import function_hashes
from headstart.frozen.prefix import ACTIVATIONS, BATCH_SIZE, RUNTIME, OnnxPrefix, Pair
from headstart.images.settings import Preprocessing
from headstart.model.code import code_digest
from headstart.model.memory import is_out_of_memory, memory_explained, release_memory
from headstart.model.normalise import Normalise, NormalisedStages
from headstart.model.stage import StageSequence
from headstart.model.stages import cut
from headstart.model.to_onnx import export_untrained

TOLERANCE: Final = 1e-3
"""Largest difference between the two runtimes, relative to the largest activation of the batch."""

_HALFWAY: Final = "halfway"
_BATCH_SIZE_ON_TORCH: Final = 32

_AUTOCAST: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NetworkPrefix:
    """The frozen stages after normalisation, from pixels to activations, with reproducible bits for a photo.

    On a CPU the stages are exported to ONNX Runtime, which is several times faster there than eager PyTorch.
    The first batch runs on both, and if they disagree, PyTorch is used. On other devices PyTorch runs them,
    in channels_last and the precision of the run. The last bits of eager PyTorch depend on the batch size, so
    it is always called with ``batch_size`` photos (by ``runtime.map_images``).

    A later phase often freezes fewer stages. Its features are intermediate results, so one pass can serve
    both: ``pairs``. Both outputs have the same bits as a separate prefix (``OnnxPrefix``).

    Args:
        stages: The frozen stages.
        preprocessing: Preprocessing with mean and std.
        device: Device of the stages.
        precision: Number format if PyTorch runs the stages on an accelerator.
        halfway: Number of stages that a later phase freezes; 0 for none.

    Attributes:
        stages: The frozen stages. Without any, the prefix hands the pixels through as they are.
        batch_size: Photos per call. ``row`` makes it smaller where PyTorch runs out of memory.
        relative_error: How far the two runtimes were apart on the first batch; None before, or without both.
        why_torch: Why ONNX Runtime is not used on this CPU; empty if it is.
    """

    def __init__(
        self,
        stages: StageSequence,
        preprocessing: Preprocessing,
        device: torch.device,
        precision: str = "fp32",
        halfway: int = 0,
    ) -> None:
        self.stages = stages
        self.precision = precision
        self.device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        self.relative_error: float | None = None
        self.why_torch = ""
        self._device = device
        self._size_px = preprocessing.size_px
        further = [stages.names[halfway - 1]] if halfway else []
        self._module = NormalisedStages(Normalise(preprocessing).to(device), stages, further)
        self._model: bytes | None = None
        self._refused: NetworkError | None = None
        self._functions: list[str] = []
        self._on_onnx = device.type == "cpu" and len(stages) > 0
        self._onnx: OnnxPrefix | None = None
        self._finite: dict[bytes, bool] = {}  # by colour, whether photos of it give finite numbers
        self._lock = threading.RLock()  # PyTorch keeps all cores busy by itself, so its calls take turns
        # Where nothing is frozen, pixels pass through, and the first ones should not wait for many others.
        self.batch_size = BATCH_SIZE if self._on_onnx or not len(stages) else _BATCH_SIZE_ON_TORCH
        self._fits = False  # a batch into memory, as far as is known

    @property
    def runtime(self) -> str:
        """Library that runs the stages, with its version; part of the features' fingerprint."""
        if self._on_onnx:
            return RUNTIME
        # What is not in the graph that was exported may still run here.
        versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
        return f"{versions}, batch {self.batch_size}, code {self._code}"

    @functools.cached_property
    def _code(self) -> str:
        return code_digest(self.stages)  # reads files, and ``runtime`` is asked for with every row

    @property
    def is_empty(self) -> bool:
        """Whether nothing is frozen."""
        return not len(self.stages)

    @property
    def is_on_onnx(self) -> bool:
        """Whether ONNX Runtime runs the stages, as far as is known before the first batch."""
        return self._on_onnx

    @property
    def function(self) -> str:
        """Hash of the operations, parameters and buffers from pixels to activations.

        Raises:
            NetworkError: The stages cannot be exported.
        """
        return self._exported()[1][0]

    @property
    def halfway_function(self) -> str:
        """Hash for the activations after ``halfway`` stages; only if ``halfway`` is not 0."""
        return self._exported()[1][1]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute activations.

        Args:
            pixels: (B, H, W, 3) uint8.

        Returns:
            (B, ...) float32; the pixels themselves if nothing is frozen.
        """
        return self._run(pixels)[0] if self.stages else pixels

    def pairs(self, pixels: np.ndarray) -> list[Pair]:
        """Compute the final activations, and those after ``halfway`` stages, for each photo.

        The latter are None if PyTorch runs the stages on a CPU.

        Args:
            pixels: (B, H, W, 3) uint8.
        """
        if not self.stages:
            return [(photo, None) for photo in pixels]
        rows, *halfway = self._run(pixels)
        return list(zip(rows, halfway[0] if halfway else [None] * len(rows), strict=True))

    def _run(self, pixels: np.ndarray) -> list[np.ndarray]:
        if self._on_onnx and self._onnx is None:
            with self._lock:
                if self._on_onnx and self._onnx is None:
                    self._onnx = self._checked(pixels)
                    self._on_onnx = self._onnx is not None
        if self._onnx is None:
            with self._lock:
                return self._by_torch(pixels)
        outputs = self._onnx.outputs(pixels)
        for place in _of_one_colour(pixels):
            if not self._is_finite(pixels[place]):
                for output in outputs:
                    output[place] = np.nan
        return outputs

    def _is_finite(self, photo: np.ndarray) -> bool:
        """Return whether PyTorch computes finite numbers for a photo of one colour.

        ONNX Runtime may hide that it does not: its ReLU may convert NaN to 0, and different rounding of a
        mean turns a division by zero into one by almost zero.
        """
        colour = photo[0, 0].tobytes()
        if colour not in self._finite:
            batch = np.zeros((self.batch_size, *photo.shape), np.uint8)
            batch[0] = photo
            with self._lock:
                outputs = self._by_torch(batch)
            self._finite[colour] = all(bool(np.isfinite(output[0]).all()) for output in outputs)
        return self._finite[colour]

    def row(self, size_px: int) -> np.ndarray:
        """Return the activations of a black photo, to determine their shape and size."""
        pixels = np.zeros((1, size_px, size_px, 3), np.uint8)
        if not self.stages:
            return np.squeeze(pixels, 0)
        with self._lock:
            if not self._on_onnx:
                self._fit_into_memory(size_px)
            return np.squeeze(self._by_torch(pixels)[0], 0)

    def _fit_into_memory(self, size_px: int) -> None:
        """Halve the batch size until a batch fits into memory, before any row is computed or stored."""
        while not self._fits and self.batch_size > 1:
            try:
                self._forward(np.zeros((self.batch_size, size_px, size_px, 3), np.uint8))
                self._fits = True
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if not self._fits:
                release_memory()
                self.batch_size = math.ceil(self.batch_size / 2)

    def _exported(self) -> tuple[bytes, list[str]]:
        """Export the stages once; return the model, and the hash of each of its outputs."""
        with self._lock:
            if self._refused is not None:
                raise self._refused
            if self._model is None:
                # Noise, the same for ever: where tensors of a photo become constants, they are always these.
                shape = (2, self._size_px, self._size_px, 3)
                pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
                names = self._output_names
                try:
                    model = export_untrained(self._module, torch.from_numpy(pixels).to(self._device), names)
                except NetworkError as error:
                    self._refused = error
                    raise
                hashes = function_hashes(onnx.load_from_string(model))
                self._model, self._functions = model, [hashes[name] for name in names]
            return self._model, self._functions

    @property
    def _output_names(self) -> list[str]:
        return [ACTIVATIONS, _HALFWAY] if self._module.further else [ACTIVATIONS]

    def _checked(self, pixels: np.ndarray) -> OnnxPrefix | None:
        second = _HALFWAY if self._module.further else None
        try:
            model, _ = self._exported()
        except NetworkError as error:
            self.why_torch = str(error)
            return None
        finally:
            self._module.further = ()  # PyTorch checks the first output, or takes its place
        expected = self._by_torch(pixels)[0]
        prefix = OnnxPrefix(model, second=second)
        try:
            activations = prefix(pixels)
        except Exception as error:  # whatever a runtime does not support
            reason = str(error).splitlines()[0][:120]
            self.why_torch = f"ONNX Runtime cannot run them ({type(error).__name__}: {reason})"
            return None
        self.relative_error = relative_error(activations, expected)
        if not self.relative_error <= TOLERANCE:  # NaN is too large as well
            self.why_torch = f"ONNX Runtime's relative error is {self.relative_error:.1e}"
            return None
        return prefix

    def _by_torch(self, pixels: np.ndarray) -> list[np.ndarray]:
        with memory_explained():
            return self._forward(pixels)

    @torch.inference_mode()
    def _forward(self, pixels: np.ndarray) -> list[np.ndarray]:
        images = torch.from_numpy(pixels).to(self._device)
        with torch.autocast(self._device.type, _AUTOCAST.get(self.precision), self.precision in _AUTOCAST):
            outputs: tuple[Tensor, ...] = self._module(images)
        return [output.float().contiguous().cpu().numpy() for output in outputs]


@functools.cache
def library_versions() -> dict[str, str]:
    """Return the versions of PyTorch, torchvision and timm."""
    names = ("torch", "torchvision", "timm")
    return {name: importlib.metadata.version(name) for name in names} | {"torch": str(torch.__version__)}


def _of_one_colour(pixels: np.ndarray) -> list[int]:
    """Return which of (B, H, W, 3) photos have a single colour; a coarse check spares most the full one."""
    step = max(pixels.shape[1] // 8, 1)
    coarse = pixels[:, ::step, ::step]
    likely = np.flatnonzero((coarse == coarse[:, :1, :1]).all((1, 2, 3)))
    return [int(place) for place in likely if (pixels[place] == pixels[place, :1, :1]).all()]


def relative_error(activations: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference relative to the largest number.

    Photos for which both runtimes return NaN are ignored; whoever reads their rows reports them. If only one
    of them returns NaN, the error is infinite.
    """
    is_finite = np.isfinite(expected)
    if (is_finite != np.isfinite(activations)).any():
        return float("inf")
    expected, activations = expected[is_finite], activations[is_finite]
    if not expected.size:
        return 0.0
    return float(np.abs(activations - expected).max() / (np.abs(expected).max() + 1e-12))


def cut_for_training(
    network: nn.Module,
    at: str | int,
    preprocessing: Preprocessing,
    device: torch.device,
    precision: str = "fp32",
    halfway: int = 0,
) -> tuple[NetworkPrefix, nn.Module]:
    """Cut a network into a frozen prefix, computed once, and a trained suffix.

    Args:
        network: The network, on the device.
        at: The first trained stage, as in ``cut``.
        preprocessing: Preprocessing with mean and std.
        device: Device of the network.
        precision: Number format of the prefix if PyTorch runs it on an accelerator.
        halfway: Number of stages in the prefix of a later phase, if it is computed in the same pass.

    Returns:
        The prefix, and the suffix as one module that takes the output of the prefix. If nothing is frozen,
        that output is pixels, a quarter of the size of normalised values, and the suffix normalises them.
    """
    prefix, suffix = cut(network, at)
    trained: nn.Module = suffix
    if not len(prefix):
        trained = nn.Sequential(Normalise(preprocessing).to(device), suffix)
    return NetworkPrefix(prefix, preprocessing, device, precision, halfway), trained
