"""The contract of all stores of rows, and what only those that machines share must withstand."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from tests.frozen.test_store import FINGERPRINT, OTHER, key, row

from headstart.frozen.row_store import RowStore, StoreError
from headstart.frozen.shards import PART
from headstart.frozen.shared_store import SharedStore
from headstart.frozen.store import FeatureStore

Open = Callable[[], RowStore]


@pytest.fixture(params=["one machine", "shared folder", "shared address"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "one machine":
        return lambda: FeatureStore(tmp_path / "store.sqlite", FINGERPRINT)
    address = str(tmp_path) if request.param == "shared folder" else f"memory://{secrets.token_hex(8)}"
    return lambda: SharedStore(address, "rows", FINGERPRINT)


def fill(store: RowStore, numbers: range) -> None:
    for number in numbers:
        store.put(key(number), row(number))


def assert_holds(store: RowStore, numbers: range) -> None:
    for number in numbers:
        assert key(number) in store
        found = store.get(key(number))
        assert found is not None
        assert (found.tobytes(), found.shape, found.dtype) == (row(number).tobytes(), (3, 5), np.float32)


def test_rows_come_back_with_their_bits_before_and_after_they_are_written(open_store: Open) -> None:
    store = open_store()
    assert not store.has_rows
    fill(store, range(40))
    assert_holds(store, range(40))
    store.flush()
    assert_holds(store, range(40))
    assert store.has_rows
    store.close()
    again = open_store()
    assert_holds(again, range(40))
    assert again.has_rows
    assert key(40) not in again
    assert again.get(key(40)) is None
    assert again.get(key(0, view=1)) is None
    assert again.num_damaged == 0
    again.close()


def test_two_that_store_at_the_same_time_lose_nothing(open_store: Open) -> None:
    one, other = open_store(), open_store()
    fill(one, range(30))
    fill(other, range(20, 50))
    other.close()
    one.close()
    again = open_store()
    assert_holds(again, range(50))
    again.close()


def test_a_row_that_is_stored_again_is_returned(open_store: Open) -> None:
    store = open_store()
    for _ in range(2):
        fill(store, range(3))
        store.flush()
    assert_holds(store, range(3))
    store.close()


def test_a_store_of_this_machine_that_is_distrusted_is_empty(tmp_path: Path) -> None:
    def open_store() -> RowStore:
        return FeatureStore(tmp_path / "store.sqlite", FINGERPRINT)

    store = open_store()
    fill(store, range(5))
    store.flush()
    fill(store, range(5, 9))
    store.distrust()
    assert not store.has_rows
    assert not any(key(number) in store for number in range(9))
    fill(store, range(2))
    store.close()
    again = open_store()
    assert_holds(again, range(2))
    assert key(2) not in again
    again.close()


def test_a_shared_store_that_is_distrusted_stays_as_it_is_for_other_machines(tmp_path: Path) -> None:
    store = SharedStore(str(tmp_path), "rows", FINGERPRINT)
    fill(store, range(5))
    store.flush()
    fill(store, range(5, 9))
    with pytest.raises(StoreError, match=r"is not used, and stays as it is, .*delete it$"):
        store.distrust()
    assert not store.has_rows
    assert not any(key(number) in store for number in range(9))
    store.close()
    again = SharedStore(str(tmp_path), "rows", FINGERPRINT)
    assert_holds(again, range(5))
    assert key(5) not in again
    again.close()


@pytest.fixture
def shared(tmp_path: Path) -> tuple[Path, Callable[..., SharedStore], list[str]]:
    """A folder with two shards of 20 rows, a function that opens the store, and what it says."""
    said: list[str] = []

    def opened(**options: Any) -> SharedStore:
        return SharedStore(str(tmp_path), "rows", FINGERPRINT, say=said.append, **options)

    for numbers in (range(20), range(20, 40)):
        store = opened()
        fill(store, numbers)
        store.close()
    assert len(list((tmp_path / "rows").iterdir())) == 2
    return tmp_path / "rows", opened, said


def test_a_large_store_is_written_in_several_shards(tmp_path: Path) -> None:
    store = SharedStore(str(tmp_path), "rows", FINGERPRINT, burst_bytes=200)
    fill(store, range(40))
    store.close()
    assert len(list((tmp_path / "rows").iterdir())) == 10
    assert_holds(SharedStore(str(tmp_path), "rows", FINGERPRINT), range(40))


def test_a_flipped_bit_anywhere_in_a_shard_gives_no_wrong_row(
    shared: tuple[Path, Callable[..., SharedStore], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.frozen.shards._FIRST_PAUSE_SECONDS", 0)
    folder, opened, said = shared
    path = min(folder.iterdir())
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    noticed = 0
    for place in generator.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        said.clear()
        store = opened()
        found = [store.get(key(number)) for number in range(40)]
        assert all(each is None or each.tobytes() == row(n).tobytes() for n, each in enumerate(found))
        is_whole = sum(each is not None for each in found) == 40
        noticed += not is_whole
        assert is_whole or store.num_damaged or path.name in "".join(said)
    assert noticed > 40


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


class _Changed:
    def to_dict(self) -> dict[str, Any]:
        return FINGERPRINT.to_dict() | {"backbone": OTHER["backbone"]}


def _of_another_program(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"key": [b"1"], "value": [b"2"]}), path)


def _no_parquet(path: Path) -> None:
    path.write_bytes(b"<html>503</html>")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_cut, "damaged or incomplete"),
        (_of_another_program, "not written by Headstart"),
        (_no_parquet, "damaged or incomplete"),
    ],
)
def test_a_shard_that_is_not_whole_or_not_ours_is_named_and_replaced(
    shared: tuple[Path, Callable[..., SharedStore], list[str]],
    change: Callable[[Path], None],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headstart.frozen.shards._FIRST_PAUSE_SECONDS", 0)
    folder, opened, said = shared
    path = min(folder.iterdir())
    change(path)
    store = opened()
    assert path.name in said[0]
    assert reason in said[0]
    missing = [number for number in range(40) if store.get(key(number)) is None]
    assert missing in (list(range(20)), list(range(20, 40)))
    for number in missing:
        store.put(key(number), row(number))
    store.close()
    assert_holds(opened(), range(40))


def test_a_shard_of_other_features_is_refused_at_once(
    shared: tuple[Path, Callable[..., SharedStore], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, opened, said = shared
    other = SharedStore(str(folder.parent), "others", _Changed())
    other.put(key(0), row(9))
    other.close()
    (foreign,) = (folder.parent / "others").iterdir()
    foreign.rename(folder / foreign.name)
    monkeypatch.setattr("headstart.frozen.shards._FIRST_PAUSE_SECONDS", None)  # it is not tried again
    store = opened()
    assert "contains other features" in said[0]
    assert_holds(store, range(40))


def test_what_is_still_being_written_is_not_read(
    shared: tuple[Path, Callable[..., SharedStore], list[str]],
) -> None:
    folder, opened, said = shared
    path = min(folder.iterdir())
    path.rename(folder / f"{path.name}{PART}")
    store = opened()
    assert sum(key(number) in store for number in range(40)) == 20
    assert not said


def test_what_a_killed_writer_has_left_is_deleted_after_a_day(
    shared: tuple[Path, Callable[..., SharedStore], list[str]],
) -> None:
    folder, opened, said = shared
    whole = set(folder.iterdir())
    now = time.time()
    for name, age in (("new", 3600), ("old", 25 * 3600)):
        part = folder / f"{name}.parquet{PART}"
        part.write_bytes(b"PAR1")
        os.utime(part, (now - age, now - age))
    for path in whole:
        os.utime(path, (now - 1e6, now - 1e6))
    assert_holds(opened(), range(40))
    assert set(folder.iterdir()) - whole == {folder / f"new.parquet{PART}"}
    assert whole < set(folder.iterdir())
    assert not said


def test_storage_that_fails_for_long_is_reported_once_while_it_is_tried_again(
    shared: tuple[Path, Callable[..., SharedStore], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.frozen.shards._FIRST_PAUSE_SECONDS", 0)
    folder, opened, said = shared
    system, root = fsspec.core.url_to_fs(str(folder.parent))
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (_Unreliable(system, 3), root))
    opened()
    assert not said
    monkeypatch.setattr("headstart.frozen.shards._SILENT_SECONDS", -1)
    assert_holds(opened(), range(40))
    (sentence,) = said
    assert "does not answer as it should" in sentence
    assert sentence.endswith("503 Slow Down")
    monkeypatch.setattr("headstart.frozen.shards._LONGEST_SECONDS", -1)
    with pytest.raises(StoreError, match="503 Slow Down"):
        opened()


def test_a_process_that_is_killed_leaves_what_it_has_flushed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from tests.frozen.test_row_stores import *\n"
        "store = SharedStore(sys.argv[1], 'rows', FINGERPRINT); fill(store, range(20)); store.flush()\n"
        "fill(store, range(20, 30)); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    store = SharedStore(str(tmp_path), "rows", FINGERPRINT)
    assert_holds(store, range(20))
    assert key(20) not in store


class _Unreliable:
    """A file system of fsspec whose methods fail a few times each."""

    def __init__(self, system: Any, times: int) -> None:
        self._system = system
        self._times = times
        self._left: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._system, name)

        def call(*arguments: Any, **options: Any) -> Any:
            left = self._left.setdefault(name, self._times)
            if name != "invalidate_cache" and left:
                self._left[name] = left - 1
                raise RuntimeError("503 Slow Down")
            return method(*arguments, **options)

        return call


@pytest.mark.parametrize("times", [1, 99])
def test_storage_that_fails_for_a_moment_loses_nothing_and_otherwise_is_reported(
    shared: tuple[Path, Callable[..., SharedStore], list[str]], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.frozen.shards._FIRST_PAUSE_SECONDS", 0)
    folder, opened, _ = shared
    system, root = fsspec.core.url_to_fs(str(folder.parent))
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (_Unreliable(system, times), root))
    if times == 99:
        with pytest.raises(StoreError, match="503 Slow Down"):
            opened()
        return
    store = opened()
    fill(store, range(40, 50))
    store.close()
    monkeypatch.undo()
    assert_holds(opened(), range(50))


def test_a_folder_that_may_not_be_listed_is_reported(
    shared: tuple[Path, Callable[..., SharedStore], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.frozen.shards._FIRST_PAUSE_SECONDS", 0)
    _, opened, _ = shared
    real = os.scandir

    def refused(path: Any = ".") -> Any:
        if str(path).endswith("rows"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(StoreError, match="Permission denied"):
        opened()
