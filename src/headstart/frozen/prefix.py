"""The frozen part of a network as a function from pixels to activations, on ONNX Runtime."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
import onnx
import onnxruntime

from headstart.frozen.graph import function_hashes, part_of
from headstart.inference.runtime import open_session

Pair = tuple[np.ndarray, np.ndarray | None]
"""Activations of a photo, and the second output of its prefix, if any."""

ACTIVATIONS: Final = "activations"
"""Name of the main output of a graph."""

# One call is one thread's; with four photos it is as fast as with many (docs/measurements.md).
BATCH_SIZE: Final = 4

RUNTIME: Final = f"onnxruntime {onnxruntime.__version__} on the CPU"
"""Value of ``Fingerprint.runtime`` for ONNX Runtime."""


class Prefix(Protocol):
    """The interface of a frozen part that ``Activations`` uses, whatever library runs it."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is frozen, so that pixels are returned unchanged."""

    @property
    def batch_size(self) -> int:
        """Number of photos per call of ``pairs``."""

    @property
    def runtime(self) -> str:
        """Library that runs it, with its version; it may change after the first batch if the first choice
        fails.
        """

    @property
    def device_name(self) -> str:
        """``cpu``, or the name of the accelerator."""

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or ``fp16``."""

    @property
    def function(self) -> str:
        """Hash of the operations and weights from pixels to activations.

        Raises:
            NetworkError: The frozen part cannot be exported.
        """

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute only the activations, (B, ...) float32, from (B, H, W, 3) uint8; same bits as ``pairs``."""

    def pairs(self, pixels: np.ndarray) -> Sequence[Pair]:
        """Compute the float32 outputs of each photo, without a batch dimension, from (B, H, W, 3) uint8."""

    def row(self, size_px: int) -> np.ndarray:
        """Return the activations of a black photo, to determine their shape and size."""


class OnnxPrefix:
    """An ONNX graph from pixels to activations. The bits for a photo do not depend on others in the batch.

    The graph may have a second output. A graph with two outputs may be optimised differently from a graph
    with one, so the first batch also runs on separate graphs. If any bit differs, each output comes from a
    graph of its own.

    The values of ONNX Runtime are not checked here. It can hide NaN behind a ReLU, which only a comparison
    with another runtime reveals: see ``model.prefix``.

    Args:
        graph: A serialised model that contains all its weights: input ``images`` (N, H, W, 3) uint8, output
            ``activations``, float32, batch first; and optionally a second output.
        second: Name of the second output, float32, batch first; None if there is none.
        is_exact: Whether the second output must also have the bits of a separate graph.
    """

    is_empty: Final = False
    device_name: Final = "cpu"
    precision: Final = "fp32"
    runtime: Final = RUNTIME
    batch_size: Final = BATCH_SIZE

    def __init__(self, graph: bytes, *, second: str | None = None, is_exact: bool = True) -> None:
        self._graph = graph
        self._second = second
        self._is_exact = is_exact
        self._lock = threading.Lock()
        self._main: onnxruntime.InferenceSession | None = None
        self._sessions: list[onnxruntime.InferenceSession] = []

    def __reduce__(self) -> tuple[Callable[[bytes], OnnxPrefix], tuple[bytes]]:
        """Pickle the graph; a copy opens its own sessions."""
        make = functools.partial(type(self), second=self._second, is_exact=self._is_exact)
        return make, (self._graph,)

    @property
    def function(self) -> str:
        """Hash of the operations and weights from pixels to activations."""
        return self._functions[ACTIVATIONS]

    @property
    def second_function(self) -> str:
        """Hash of the operations and weights that lead to the second output, if there is one."""
        return self._functions[self._second or ""]

    @functools.cached_property
    def _functions(self) -> dict[str, str]:
        return function_hashes(onnx.load_from_string(self._graph))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute only the activations, (B, ...) float32, from (B, H, W, 3) uint8."""
        with self._lock:
            main = self._open_main()
        return np.asarray(main.run([ACTIVATIONS], {"images": pixels})[0])

    def pairs(self, pixels: np.ndarray) -> list[Pair]:
        """Compute the outputs of each photo from (B, H, W, 3) uint8; the second is None if there is none."""
        rows, *second = self.outputs(pixels)
        return list(zip(rows, second[0] if second else [None] * len(rows), strict=True))

    def outputs(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Compute the one or two outputs of the graph, (B, ...) float32, from (B, H, W, 3) uint8."""
        with self._lock:
            if not self._sessions:
                self._sessions = self._open(pixels)
        images = {"images": pixels}
        return [np.asarray(output) for session in self._sessions for output in session.run(None, images)]

    def row(self, size_px: int) -> np.ndarray:
        """Return the activations of a black photo, to determine their shape and size."""
        black = np.zeros((1, size_px, size_px, 3), np.uint8)
        with self._lock:
            (rows,) = self._open_main().run([ACTIVATIONS], {"images": black})
        return np.squeeze(np.asarray(rows), 0)

    def _open(self, pixels: np.ndarray) -> list[onnxruntime.InferenceSession]:
        images = {"images": pixels}
        if self._second is None:
            return [self._open_main()]
        expected = self._open_main().run([ACTIVATIONS], images)[0]
        self._main = None  # before another session takes as much memory
        both = open_session(self._graph)
        rows, second = both.run(None, images)
        is_same = np.array_equal(rows, expected)
        if is_same and self._is_exact:
            alone = open_session(self._part(self._second))
            is_same = np.array_equal(second, alone.run(None, images)[0])
        if not is_same:
            return [self._open_main(), open_session(self._part(self._second))]
        self._main = both  # it gives the same bits
        return [both]

    def _open_main(self) -> onnxruntime.InferenceSession:
        if self._main is None:
            self._main = open_session(self._part(ACTIVATIONS) if self._second else self._graph)
        return self._main

    def _part(self, output: str) -> bytes:
        return part_of(onnx.load_from_string(self._graph), "images", [output])
