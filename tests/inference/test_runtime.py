from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnxruntime
import pytest

from headstart.cores import num_cores
from headstart.errors import ImageError
from headstart.images import wanted
from headstart.inference.runtime import map_images, map_in_order, open_session


def load(item: int) -> np.ndarray:
    return np.full((4, 4, 3), item % 256, np.uint8)


def mean(pixels: np.ndarray) -> np.ndarray:
    return pixels.mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_results_come_in_the_order_of_the_items(count: int, batch_size: int, workers: int) -> None:
    def slow_at_first(item: int) -> np.ndarray:
        time.sleep(0.002 * (count - item))
        return load(item)

    results = list(map_images(range(count), slow_at_first, mean, batch_size=batch_size, workers=workers))
    assert [(item, row.tolist()) for item, row in results] == [(item, [float(item)]) for item in range(count)]


def test_every_batch_is_full_and_missing_rows_are_black() -> None:
    batches = []

    def compute(pixels: np.ndarray) -> np.ndarray:
        batches.append((pixels.shape, pixels.dtype, pixels[:, 0, 0, 0].tolist()))
        return mean(pixels)

    list(map_images(range(1, 6), load, compute, batch_size=4, workers=1))
    assert batches == [((4, 4, 4, 3), np.uint8, [1, 2, 3, 4]), ((4, 4, 4, 3), np.uint8, [5, 0, 0, 0])]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_photos_that_cannot_be_loaded_are_answered_in_their_place(batch_size: int) -> None:
    def load_odd(item: int) -> np.ndarray:
        if item % 4 == 0:
            raise ImageError(str(item), "truncated")
        if item % 4 == 2:
            raise FileNotFoundError(item)
        return load(item)

    rows = dict(map_images(range(9), load_odd, mean, batch_size=batch_size, workers=2))
    assert {item: type(row) for item, row in rows.items() if item % 2 == 0} == {
        item: ImageError if item % 4 == 0 else FileNotFoundError for item in range(0, 9, 2)
    }
    # A traceback would hold the content of the photo until garbage is collected.
    assert all(rows[item].__traceback__ is None for item in range(0, 9, 2))
    assert [rows[item].tolist() for item in range(1, 9, 2)] == [[1.0], [3.0], [5.0], [7.0]]


def test_a_batch_without_a_photo_is_not_computed() -> None:
    def load_none(item: int) -> np.ndarray:
        raise ImageError(str(item), "empty file")

    def compute(pixels: np.ndarray) -> np.ndarray:
        raise AssertionError

    assert len(list(map_images(range(5), load_none, compute, batch_size=2, workers=2))) == 5


def test_endless_items_are_read_only_a_bounded_way_ahead() -> None:
    taken = itertools.count()
    stream = map_images((next(taken) for _ in itertools.repeat(None)), load, mean, batch_size=2, workers=2)
    for _ in range(500):
        next(stream)
    stream.close()
    assert next(taken) <= 500 + 2 * (4 * 2 + 2)


def map_images_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("map_in_order")]


@pytest.mark.parametrize("where", ["items", "load", "compute", "consumer"])
def test_any_other_exception_ends_the_iteration_at_once(where: str) -> None:
    loaded = []

    def items() -> Iterator[int]:
        for item in itertools.count():
            if where == "items" and item == 30:
                raise KeyboardInterrupt
            yield item

    def load_some(item: int) -> np.ndarray:
        loaded.append(item)
        if where == "load" and item == 30:
            raise KeyboardInterrupt
        return load(item)

    def compute(pixels: np.ndarray) -> np.ndarray:
        if where == "compute" and pixels.max() >= 30:
            raise KeyboardInterrupt
        return mean(pixels)

    def consume() -> None:
        for item, _ in map_images(items(), load_some, compute, batch_size=1, workers=2):
            if where == "consumer" and item == 30:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert len(loaded) < 60
    assert not map_images_threads()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_error_of_the_source_comes_after_the_results_of_the_items_before_it(
    workers: int, batch_size: int
) -> None:
    def items() -> Iterator[int]:
        yield from range(6)
        raise ConnectionError("the camera is gone")

    found: list[int] = []

    def consume() -> None:
        for item, _ in map_images(items(), load, mean, batch_size=batch_size, workers=workers):
            found.append(item)  # kept when the error comes

    with pytest.raises(ConnectionError, match="the camera is gone"):
        consume()
    assert found == list(range(6))
    assert not map_images_threads()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_is_done_does_not_wait_for_an_item_that_is_late(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.inference.runtime._LATE_SECONDS", 0.001)
    # However busy the machine: what is nearly done is done.
    monkeypatch.setattr("headstart.inference.runtime.wait", lambda pending, _: wait(pending))
    found: list[int] = []
    done_before = []

    def items() -> Iterator[int]:
        for item in range(5):
            time.sleep(0.01)
            done_before.append(len(found))
            yield item

    for item, _ in map_images(items(), load, mean, batch_size=batch_size, workers=2):
        found.append(item)
    assert done_before == found == list(range(5))


def test_without_threads_each_item_is_done_before_the_next_is_taken() -> None:
    taken = itertools.count()
    rows = map_in_order(str, (next(taken) for _ in range(9)), 0)
    assert [next(rows), next(rows)] == ["0", "1"]
    assert next(taken) == 2
    assert not map_images_threads()


def test_a_consumer_that_stops_early_leaves_no_thread_behind() -> None:
    stream = map_images(itertools.count(), load, mean, batch_size=1, workers=2)
    next(stream)
    assert map_images_threads()
    stream.close()
    assert not map_images_threads()


def test_loading_and_computing_overlap() -> None:
    # Two threads meet: one loads while the other computes. One after the other would break the barrier.
    loading_beside_computing = threading.Barrier(2, timeout=10)
    first = threading.Event()

    def load_and_meet(item: int) -> np.ndarray:
        if item == 1:
            loading_beside_computing.wait()
        return load(item)

    def compute_and_meet(pixels: np.ndarray) -> np.ndarray:
        if not first.is_set():
            first.set()
            loading_beside_computing.wait()
        return mean(pixels)

    assert len(list(map_images(range(2), load_and_meet, compute_and_meet, batch_size=1, workers=2))) == 2


def convolution(*, external: bool = False) -> bytes:
    weight = onnx.numpy_helper.from_array(
        np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32), "weight"
    )
    if external:
        raw = weight.raw_data
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="weight.bin")
        Path("weight.bin").write_bytes(raw)
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
            node("Transpose", ["floats"], ["channels_first"], perm=[0, 3, 1, 2]),
            node("Conv", ["channels_first", "weight"], ["maps"]),
            node("GlobalAveragePool", ["maps"], ["pooled"]),
            node("Flatten", ["pooled"], ["features"]),
        ],
        "features",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", 32, 32, 3])],
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["N", 8])],
        [weight],
    )
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def test_a_photo_gives_the_same_bits_in_any_company() -> None:
    session = open_session(convolution())
    photos = np.random.default_rng(1).integers(0, 256, (23, 32, 32, 3), dtype=np.uint8)

    def features(indices: list[int], workers: int) -> dict[int, bytes]:
        compute = lambda pixels: session.run(["features"], {"images": pixels})[0]  # noqa: E731
        stream = map_images(indices, photos.__getitem__, compute, batch_size=4, workers=workers)
        return {index: row.tobytes() for index, row in stream}

    together = features(list(range(23)), workers=3)
    assert features(list(reversed(range(23))), workers=1) == together
    for index in (0, 9, 22):
        assert features([index], workers=1) == {index: together[index]}
    assert len(set(together.values())) == 23


def test_weights_in_another_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = convolution(external=True)
    Path("model.onnx").write_bytes(model)
    onnxruntime.InferenceSession("model.onnx")  # it is only the place that is refused
    with pytest.raises(Exception, match="External data path"):
        open_session(model)


def test_results_keep_their_order_and_few_items_are_held_at_once() -> None:
    lock, running, most, started = threading.Lock(), 0, 0, 0

    def work(item: int) -> int:
        nonlocal running, most, started
        with lock:
            running, started = running + 1, started + 1
            most = max(most, running)
        time.sleep(0.001 * (item % 3))
        with lock:
            running -= 1
        return item

    ahead = 0
    for done, row in enumerate(map_in_order(work, range(200))):
        assert row == done
        if done == 0:
            time.sleep(0.5)  # a slow consumer, while the threads could do everything
        ahead = max(ahead, started - done)
    workers = num_cores() + 1
    assert ahead <= 4 * workers + 2
    assert most <= workers


def test_what_waits_for_a_server_ends_when_nobody_wants_the_photos() -> None:
    waiting, began = [], threading.Event()

    def slow(item: int) -> np.ndarray:
        if item < 4:
            began.wait(60)
        else:
            waiting.append(item)
            began.set()
            wanted.pause(60)
        return load(item)

    results = map_images(range(100), slow, mean, batch_size=4, workers=2)
    assert next(results)[0] == 0
    results.close()
    assert 1 <= len(waiting) <= 2  # one in each thread, and none of the other photos of their batches
