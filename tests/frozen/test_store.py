from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.windows import HeldFiles, is_open_here

from headstart.files import delete
from headstart.frozen.cache import Room, cache_folder, list_stores, make_room, should_keep, store_path
from headstart.frozen.fingerprint import Fingerprint, photo_key
from headstart.frozen.store import FeatureStore, StoreError, delete_store
from headstart.images.settings import Preprocessing

FINGERPRINT = Fingerprint(
    preprocessing=Preprocessing(),
    backbone="resnet18.IMAGENET1K_V1",
    cut="head",
    function="0" * 64,
    runtime="onnxruntime 1.0",
    device="cpu",
    precision="fp32",
)


def key(number: int, view: int = 0) -> bytes:
    return photo_key(f"{number:064x}", view)


def row(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(3, 5)).astype(np.float32)


def filled(path: Path, count: int) -> FeatureStore:
    store = FeatureStore(path, FINGERPRINT)
    for number in range(count):
        store.put(key(number), row(number))
    return store


def test_rows_come_back_as_they_were_before_and_after_they_reach_the_disk(tmp_path: Path) -> None:
    store = filled(tmp_path / "store.sqlite", 3)
    for _ in range(2):
        for number in range(3):
            assert key(number) in store
            found = store.get(key(number))
            assert found is not None
            assert found.tobytes() == row(number).tobytes()
            assert found.shape == (3, 5)
        assert key(9) not in store
        assert store.get(key(9)) is None
        assert store.get(key(0, view=1)) is None
        store.close()
        store = FeatureStore(tmp_path / "store.sqlite", FINGERPRINT)
    assert store.num_damaged == 0


# Another value for every part of the key.
OTHER = {
    "preprocessing": Preprocessing(size_px=192),
    "backbone": "resnet34.IMAGENET1K_V1",
    "cut": "layer4",
    "function": "1" * 64,
    "runtime": "onnxruntime 1.1",
    "device": "cuda",
    "precision": "bf16",
    "decoder": "pillow 1.0",
    "machine": "other",
    "augmentation": '{"seed": 0}',
    "code": 0,
}


def test_the_table_of_other_values_has_every_part() -> None:
    assert set(OTHER) == {field.name for field in dataclasses.fields(Fingerprint)}


@pytest.mark.parametrize("part", OTHER)
def test_another_value_of_any_part_is_another_store(part: str) -> None:
    other = dataclasses.replace(FINGERPRINT, **{part: OTHER[part]})
    assert other.hex != FINGERPRINT.hex
    assert store_path(other) != store_path(FINGERPRINT)


@pytest.mark.parametrize(
    "changed",
    [{"interpolation": "bicubic"}, {"crop_fraction": 0.9}, {"resize": "pad"}, {"mean": (0.5, 0.5, 0.5)}],
)
def test_every_setting_of_the_preprocessing_counts(changed: dict[str, object]) -> None:
    preprocessing = dataclasses.replace(Preprocessing(), **changed)  # type: ignore[arg-type]
    assert dataclasses.replace(FINGERPRINT, preprocessing=preprocessing).hex != FINGERPRINT.hex


def test_a_flipped_bit_anywhere_gives_no_wrong_row(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    filled(path, 40).close()
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    noticed = 0
    # Half anywhere in the file, half in its rows' values, which is where most of a real store is.
    values = [whole.index(row(number).tobytes()) for number in range(40)]
    anywhere = generator.integers(0, len(whole), 100)
    in_values = generator.choice(values, 100) + generator.integers(0, 60, 100)
    places = [*anywhere, *in_values]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        for beside in tmp_path.iterdir():
            beside.unlink()
        path.write_bytes(damaged)
        intact = 0
        try:
            store = FeatureStore(path, FINGERPRINT)
            for number in range(40):
                found = store.get(key(number))
                assert found is None or found.tobytes() == row(number).tobytes()
                intact += found is not None
            store.close()
            noticed += intact < 40
            assert intact == 40 or place not in values or store.num_damaged
        except StoreError:
            noticed += 1
    assert noticed >= 100  # all that hit a value; the rest may hit unused bytes


def test_a_damaged_row_is_counted_and_can_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    filled(path, 5).close()
    data = bytearray(path.read_bytes())
    data[data.index(row(2).tobytes()) + 7] ^= 16
    path.write_bytes(data)
    store = FeatureStore(path, FINGERPRINT)
    assert store.get(key(2)) is None
    assert store.num_damaged == 1
    store.put(key(2), row(2))
    store.flush()
    found = store.get(key(2))
    assert found is not None
    assert found.tobytes() == row(2).tobytes()


def test_a_file_that_is_no_store_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    store = FeatureStore(path, FINGERPRINT)
    assert store.num_damaged == 1
    store.put(key(1), row(1))
    assert store.get(key(1)) is not None


def test_a_full_disk_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path / "store.sqlite", FINGERPRINT)
    assert store._db is not None
    store._db.execute("PRAGMA max_page_count = 8")  # what SQLite says then is what it says of a full disk
    with pytest.raises(StoreError, match="full"):  # noqa: PT012
        for number in range(2000):
            store.put(key(number), np.zeros((100, 100), np.float32))
        store.flush()


def _fill(path: Path, numbers: list[int]) -> None:
    store = FeatureStore(path, FINGERPRINT)
    for number in numbers:
        if key(number) not in store:
            store.put(key(number), row(number))
            if number % 7 == 0:
                store.flush()
    store.close()


def test_several_processes_fill_one_store(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    spawn = multiprocessing.get_context("spawn")
    orders = [list(range(200)), list(range(199, -1, -1)), list(range(0, 200, 2))]
    processes = [spawn.Process(target=_fill, args=(path, order)) for order in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    store = FeatureStore(path, FINGERPRINT)
    for number in range(200):
        found = store.get(key(number))
        assert found is not None
        assert found.tobytes() == row(number).tobytes()


def test_stores_are_listed_and_the_least_recently_opened_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    for number, backbone in enumerate(["a", "b", "c"]):
        fingerprint = dataclasses.replace(FINGERPRINT, backbone=backbone)
        store = FeatureStore(store_path(fingerprint), fingerprint)
        store.put(key(1), np.zeros((1000, 100), np.float32))
        store.close()
        os.utime(store.path, (number, number))
        paths.append(store.path)
    listed = list_stores()
    assert [(each.about["backbone"], each.num_rows) for each in listed] == [("a", 1), ("b", 1), ("c", 1)]
    monkeypatch.setattr("headstart.frozen.cache.BUDGET_BYTES", sum(each.num_bytes for each in listed))
    make_room(listed[0].num_bytes)
    assert [path.exists() for path in paths] == [False, True, True]


def test_the_decision_to_keep_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.frozen.cache.BUDGET_BYTES", 10**6)
    assert should_keep("auto", 10**5, 10, 100)[1].endswith(
        "10 photos through the frozen part at most, instead of 100"
    )
    assert should_keep("auto", 10**5, 10, 10)[1].endswith("10 photos through the frozen part at most")
    keep, why = should_keep("auto", 10**7, 10, 100)
    assert not keep
    assert "10.0 MB exceed the 1 MB" in why
    assert should_keep("store", 10**7, 10, 100)[0]
    assert not should_keep("live", 10, 10, 100)[0]


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "features"
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "headstart" / "features"


def test_a_store_is_readable_by_any_sqlite(tmp_path: Path) -> None:
    filled(tmp_path / "store.sqlite", 2).close()
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        assert db.execute("SELECT count(*) FROM rows").fetchone() == (2,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


# What is there is never deleted under those who use it, and what cannot be deleted costs room or time.


def stored(backbone: str, num_bytes: int = 400_000) -> Path:
    """Make a store of about that size and close it."""
    fingerprint = dataclasses.replace(FINGERPRINT, backbone=backbone)
    store = FeatureStore(store_path(fingerprint), fingerprint)
    store.put(key(1), np.zeros(num_bytes // 4, np.float32))
    store.close()
    return store.path


def allow(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    monkeypatch.setattr("headstart.frozen.cache.BUDGET_BYTES", num_bytes)


def test_a_damaged_file_is_repaired_where_nothing_that_is_open_can_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    HeldFiles(monkeypatch, is_open_here)
    store = filled(path, 2)
    assert store.num_damaged == 1
    store.close()
    again = FeatureStore(path, FINGERPRINT)
    assert again.get(key(1)) is not None
    assert again.num_damaged == 0
    again.close()


def test_damage_that_shows_only_later_is_repaired_too(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = FeatureStore(path, FINGERPRINT)
    for number in range(40):
        store.put(key(number), np.full(8000, number, np.float32))
    store.close()
    whole = bytearray(path.read_bytes())
    whole[-5 * 65536 :] = b"\xff" * 5 * 65536  # opening reads the first pages only
    path.write_bytes(whole)
    store = FeatureStore(path, FINGERPRINT)
    assert store.num_damaged == 0
    missing = [number for number in range(40) if store.get(key(number)) is None]
    assert missing
    for number in missing:
        store.put(key(number), np.full(8000, number, np.float32))
    store.close()
    again = FeatureStore(path, FINGERPRINT)
    found = [again.get(key(number)) for number in missing]
    assert all(row is not None and row[0] == number for row, number in zip(found, missing, strict=True))
    again.close()


def test_a_damaged_file_that_another_process_holds_is_an_error_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    HeldFiles(monkeypatch, path.__eq__)
    monkeypatch.setattr("headstart.frozen.store.REPAIR_SECONDS", 0.1)
    with pytest.raises(StoreError, match="not a database"):
        FeatureStore(path, FINGERPRINT)
    assert path.exists()


@pytest.mark.parametrize("other", ["this process", "another process"])
def test_a_store_that_is_open_is_not_deleted(other: str, tmp_path: Path) -> None:
    path = stored("a")
    if other == "this process":
        store = FeatureStore(path, FINGERPRINT)
        assert not delete_store(path)
        assert store.get(key(1)) is not None
        store.close()
    else:
        code = (
            "import sys; from pathlib import Path; from tests.frozen.test_store import *\n"
            "store = FeatureStore(Path(sys.argv[1]), FINGERPRINT); print('open', flush=True); input()"
        )
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            assert not delete_store(path)
            process.kill()  # what holds it ends with the process, however that ends
    assert delete_store(path)
    assert [each.name for each in path.parent.iterdir()] == []


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be deleted there")
def test_deleting_a_store_leaves_the_lock_of_whoever_opens_it_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = stored("a")
    opened: list[FeatureStore] = []

    def delete_and_open(file: Path) -> bool:
        is_gone = delete(file)
        if file.suffix == ".lock" and not opened:  # as another process might at this moment
            opened.append(FeatureStore(path, FINGERPRINT))
        return is_gone

    monkeypatch.setattr("headstart.frozen.store.delete", delete_and_open)
    assert delete_store(path)
    assert not delete_store(path)
    opened[0].close()


def test_what_cannot_be_deleted_makes_no_room_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    old, newer = stored("a"), stored("b")
    os.utime(old, (1, 1))
    size = old.stat().st_size
    HeldFiles(monkeypatch, old.__eq__)
    allow(monkeypatch, 2 * size)
    assert make_room(size)
    assert (old.exists(), newer.exists()) == (True, False)
    assert not make_room(2 * size)


def test_nothing_is_deleted_where_that_would_not_be_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored("a")
    allow(monkeypatch, 10**6)
    assert not make_room(2 * 10**6)
    assert path.exists()


def test_a_run_makes_room_for_what_it_writes_and_never_at_the_cost_of_its_own_stores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = stored("old")
    size = old.stat().st_size
    said: list[str] = []
    room = Room(said.append)
    fingerprints = [dataclasses.replace(FINGERPRINT, backbone=name) for name in ("first", "second")]
    first, second = map(room.open, fingerprints)
    allow(monkeypatch, 2 * size + 100_000)
    assert old.exists()  # opening writes next to nothing
    first.put(key(1), np.zeros(100_000, np.float32))
    first.close()  # flushed, and open no longer, but the run's own
    assert not old.exists()
    second.put(key(1), np.zeros(100_000, np.float32))
    second.put(key(2), np.zeros(100_000, np.float32))
    second.flush()
    assert first.path.exists()
    assert second.get(key(1)) is None
    assert len(said) == 1
    assert "no room left" in said[0]
    second.put(key(3), np.zeros(10, np.float32))  # it takes nothing more, and fails at nothing
    second.close()
    again = room.open(fingerprints[0])
    assert again.get(key(1)) is not None
    again.close()


def test_where_the_user_wants_everything_stored_the_budget_is_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allow(monkeypatch, 1000)
    store = Room(print, is_limited=False).open(FINGERPRINT)
    store.put(key(1), np.zeros(100_000, np.float32))
    store.flush()
    assert store.get(key(1)) is not None
    store.close()


def test_stores_need_no_memory_that_processes_share(tmp_path: Path) -> None:
    store = filled(tmp_path / "store.sqlite", 2)
    store.flush()
    with sqlite3.connect(store.path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] != "wal"
    db.close()
    assert not list(tmp_path.glob("*-wal")) + list(tmp_path.glob("*-shm"))
    store.close()


def test_a_store_that_was_written_with_wal_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    filled(path, 3).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
    db.close()
    store = FeatureStore(path, FINGERPRINT)
    assert store.get(key(2)) is not None
    assert not list(tmp_path.glob("*-wal"))
    store.close()


def test_a_cache_with_files_of_other_kinds_is_listed(tmp_path: Path) -> None:
    path = stored("a")
    path.with_name("empty.sqlite").touch()
    path.with_name("text.sqlite").write_text("not a database" * 100)
    with sqlite3.connect(path.with_name("other.sqlite")) as db:
        db.execute("CREATE TABLE about (name TEXT, value TEXT)")
    db.close()
    assert sorted(each.num_rows for each in list_stores()) == [0, 0, 0, 1]
