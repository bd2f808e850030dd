"""Runs many photos through one network, with all cores busy, constant memory, and results in order.

One batch is one task: a thread loads its photos and then computes on them, while other threads process other
batches. There are no separate loading and computing threads, so no core waits for another. Decoding, resizing
and ONNX Runtime all release Python's global lock.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from threading import Event
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import onnxruntime

from headstart.cores import num_cores
from headstart.errors import ImageError, UsageError
from headstart.images.wanted import end_with, is_wanted

Item = TypeVar("Item")
Result = TypeVar("Result")
Computed = TypeVar("Computed")
Failure: TypeAlias = ImageError | OSError
Provider: TypeAlias = str | tuple[str, dict[str, Any]]
"""An execution provider of ONNX Runtime, and its options."""

CPU: Final[tuple[Provider, ...]] = ("CPUExecutionProvider",)

Row: TypeAlias = np.ndarray | Failure | None

_LATE_SECONDS: Final = 0.1  # of an item that its source was slow to give, as from a pipe or a camera


def map_images(
    items: Iterable[Item],
    load: Callable[[Item], np.ndarray | None],
    compute: Callable[[np.ndarray], Iterable[Computed]],
    *,
    batch_size: int,
    workers: int | None = None,
) -> Generator[tuple[Item, Computed | Failure | None], None, None]:
    """Load photos and compute on them in batches, in several threads.

    Args:
        items: Arguments of ``load``; only a bounded number is read ahead.
        load: Returns the pixels of one photo, (H, W, 3) uint8, the same size for all, or None if there is
            nothing to compute for it. Called in several threads.
        compute: Maps (batch_size, H, W, 3) uint8 to one row per photo. Called in several threads; a function
            that uses all cores itself should hold a lock, so that only loading runs in parallel. The batch
            always has ``batch_size`` rows, black where photos are missing, so that no result depends on the
            other photos in the batch.
        batch_size: Photos per call of ``compute``.
        workers: Number of threads; 0 computes in the caller's thread; by default one per core
            (``cores.num_cores``), plus one.

    Yields:
        Each item with its row of the result, with None if ``load`` returned None, or with the ImageError or
        OSError that ``load`` raised, in the order of the items. Any other exception ends the iteration.
    """

    # MobileNetV2, JPEGs, 2 cores: 212 photos a second, 1.03 times the limit, (CPU time of decoding + CPU time
    # of the network) / cores; decoding threads beside one session on all cores: 170.
    def run(batch: list[Item]) -> list[tuple[Item, Computed | Failure | None]]:
        loaded: list[Row] = []
        for item in batch:
            if not is_wanted():
                return []
            try:
                loaded.append(load(item))
            except (ImageError, OSError) as error:
                loaded.append(error.with_traceback(None))  # its frames hold the photo, and `loaded`
        photos = [each for each in loaded if isinstance(each, np.ndarray)]
        rows: Iterator[Computed] = iter(())
        if photos:
            black = [np.zeros_like(photos[0])] * (batch_size - len(photos))
            rows = iter(compute(photos[0][None] if batch_size == 1 else np.stack([*photos, *black])))
        return [
            (item, next(rows) if isinstance(each, np.ndarray) else each)
            for item, each in zip(batch, loaded, strict=True)
        ]

    with closing(map_in_order(run, _batches(items, batch_size), workers)) as results:
        for rows in results:
            yield from rows


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in batches, smaller ones where the next item is late, at the end, and before an error."""
    remaining, batch, error = iter(items), list[Item](), None
    while True:
        begun = time.monotonic()
        try:
            batch.append(next(remaining))
        except StopIteration:
            break
        except Exception as its_error:
            error = its_error
            break
        if len(batch) == size or time.monotonic() - begun > _LATE_SECONDS:
            yield batch
            batch = []
    if batch:
        yield batch
    if error is not None:
        raise error


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Generator[Result, None, None]:
    """Map items in threads, a bounded number ahead, and yield the results in their order.

    Args:
        function: Called in several threads; its first exception ends the iteration.
        items: Items; only a bounded number is read ahead, in the caller's thread. An exception of theirs is
            raised after the results of the items before it.
        workers: Number of threads; 0 computes in the caller's thread, each item before the next is requested;
            by default one per core (``cores.num_cores``), plus one that works while another waits for the
            disk.

    Raises:
        UsageError: ``workers`` is negative.
    """
    refuse_workers(workers)
    if workers == 0:
        yield from map(function, items)
        return
    workers = workers or num_cores() + 1
    remaining, pending, error = iter(items), deque[Future[Result]](), None
    stopped = Event()
    pool = ThreadPoolExecutor(workers, "map_in_order", initializer=end_with, initargs=(stopped,))
    try:
        while True:
            begun = time.monotonic()
            try:
                pending.append(pool.submit(function, next(remaining)))
            except StopIteration:
                break
            except Exception as its_error:
                error = its_error
                break
            waited = time.monotonic() - begun
            if waited > _LATE_SECONDS:  # so may be the next: what is nearly done does not wait for it
                wait(pending, waited)
                while pending and pending[0].done():
                    yield pending.popleft().result()
            # Far enough ahead that a slow item at the front leaves the other threads with work.
            elif len(pending) > 4 * workers or pending[0].done():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if error is not None:
            raise error
    finally:  # also when the consumer stops early: only what is under way is waited for
        stopped.set()
        pool.shutdown(cancel_futures=True)


def refuse_workers(workers: int | None) -> None:
    """Raise a UsageError if a number of threads is negative."""
    if workers is not None and workers < 0:
        raise UsageError(f"workers is {workers}; it must be at least 0.")


def photos_per_second(
    compute: Callable[[np.ndarray], Iterable[object]], size_px: int, batch_size: int, workers: int | None
) -> float:
    """Measure how many black photos a second go through ``map_images``, without reading any.

    Args:
        compute: As for ``map_images``, like all that follow.
        size_px: Height and width of the photos.
        batch_size: Photos per call of ``compute``.
        workers: Number of threads.
    """
    black = np.zeros((size_px, size_px, 3), np.uint8)
    num_photos = batch_size * (1 if workers == 0 else num_cores())

    def one_round() -> None:
        photos = range(num_photos)
        for _ in map_images(photos, lambda _: black, compute, batch_size=batch_size, workers=workers):
            pass

    return num_photos / seconds(one_round)


def seconds(work: Callable[[], object]) -> float:
    """Return the duration of the second of two calls: the first exports, allocates and warms up."""
    work()
    begun = time.perf_counter()
    work()
    return max(time.perf_counter() - begun, 1e-9)


def open_session(
    model: bytes, providers: Sequence[Provider] = CPU, *, num_threads: int = 1, is_trial: bool = False
) -> onnxruntime.InferenceSession:
    """Open an ONNX model for ``map_images``.

    Args:
        model: Verified bytes, as returned by ``model_file.open_onnx``; weights in other files are refused.
        providers: Execution providers; the first available one is used: ``CPU``, or ``fastest_providers()``.
        num_threads: Threads that share the work of one call. ``map_images`` makes one call per core at the
            same time.
        is_trial: Whether the model may fail to run. ONNX Runtime then prints no errors itself.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    if num_threads != 1:  # waiting threads would take processor time from whatever else runs here
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    options.log_severity_level = 4 if is_trial else 3  # fatal errors, errors
    # A model in memory may name files in the working directory as its weights: look where there are none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return onnxruntime.InferenceSession(model, options, providers=list(providers))


def fastest_providers() -> tuple[Provider, ...]:
    """Return CUDA, if the installed ONNX Runtime supports it, and the CPU."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # TensorFloat-32 would be further from the trained network than the parity check allows.
        return (("CUDAExecutionProvider", {"use_tf32": "0"}), *CPU)
    return CPU
