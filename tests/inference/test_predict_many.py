"""Prediction of many photos: patterns, lists, streams, threads, other processes."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from colours import INFO, colours_model
from headstart.cli import named_photos
from headstart.cli.named_photos import photos_of, refuse_without_photos
from headstart.errors import UsageError
from headstart.images.listed import find_named
from headstart.inference.model_file import seal_onnx
from headstart.inference.predictor import Predictor

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bytes(seal_onnx(colours_model(), INFO))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a red, a green and a blue surface, and other files."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("red.png", "sub/green.png", "sub/deep/blue[1].png", ".hidden.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        colour = next((each for each in COLOURS if each in name), "red")
        Image.new("RGB", (20, 30), colour).save(folder / name)
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.mark.parametrize(
    ("pattern", "names", "num_ignored"),
    [
        ("*.png", ["red.png"], 0),
        ("*/*.png", ["sub/green.png"], 0),
        ("**/*.png", ["red.png", "sub/deep/blue[1].png", "sub/green.png"], 0),
        ("**", ["red.png", "sub/deep/blue[1].png", "sub/green.png"], 1),
        ("*", ["red.png", "sub/green.png", "sub/deep/blue[1].png"], 1),
        ("s[tu]b", ["sub/green.png", "sub/deep/blue[1].png"], 0),
        ("sub/deep/blue[1].png", ["sub/deep/blue[1].png"], 0),  # the name of a file
        ("*.jpg", ["*.jpg"], 0),  # reading it raises the error
    ],
)
def test_a_pattern_names_the_photos_that_it_matches(
    pattern: str, names: list[str], num_ignored: int, folder: Path
) -> None:
    ignored: Counter[str] = Counter()
    found = find_named(folder / pattern, ignored)
    assert [Path(path).relative_to(folder).as_posix() for path in found] == names
    assert ignored.total() == num_ignored


def test_a_single_path_names_all_photos_in_a_folder_and_a_path_in_a_list_is_one_photo(
    predictor: Predictor, folder: Path
) -> None:
    labels = ["red", "green", "blue"]
    assert [each.label for each in predictor.predict(folder)] == labels
    assert [each.label for each in predictor.predict_iter(str(folder / "**" / "*.png"))] == [
        "red",
        "blue",
        "green",
    ]
    assert predictor.predict_proba(folder).argmax(1).tolist() == [0, 1, 2]
    assert [each.label for each in predictor.predict_iter(folder / "red.png")] == ["red"]
    (row,) = predictor.predict([folder])
    assert row.error == "a folder"


def test_a_list_names_photos_and_folders_but_no_patterns(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbfred.png\r\n\r\nsub\r\n*.png\nred.png")
    listed = list(photos_of(["red.png"], names, Counter()))
    below = [str(Path("sub", "green.png")), str(Path("sub", "deep", "blue[1].png"))]
    assert listed == ["red.png", "red.png", *below, "*.png", "red.png"]


@pytest.mark.parametrize(
    ("images", "content", "message"),
    [
        ([], None, "Name photos or folders"),
        (["*.jpg"], None, r"No photos match '\*\.jpg'"),
        (["*.txt"], None, r"No photos match '\*\.txt'"),
        ([], "a folder", r"files-from is '.*'; it must be a text file"),
        ([], "r\0e\0d\0".encode("utf-16"), "is UTF-16. Save it as UTF-8"),
    ],
)
def test_what_names_no_photos_is_refused(
    images: list[str],
    content: Any,
    message: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = None
    if content is not None:
        names = tmp_path / "names"
        names.mkdir() if isinstance(content, str) else names.write_bytes(content)
    monkeypatch.chdir(folder)

    def name() -> None:
        refuse_without_photos(images, names)
        list(photos_of(images, names, Counter()))

    with pytest.raises(UsageError, match=message):
        name()


def test_on_windows_a_list_must_be_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes("red.png\nwei\u00df.png\n".encode("latin-1"))
    windows = SimpleNamespace(fsdecode=lambda name: name.decode("utf-8", "surrogatepass"))
    monkeypatch.setattr(named_photos, "os", windows)
    with pytest.raises(UsageError, match=r"Line 2 of the list in .*names\.txt is not UTF-8"):
        list(photos_of([], names, Counter()))


@pytest.mark.parametrize("workers", [0, 1, 64])
def test_predictions_do_not_depend_on_the_number_of_threads(
    workers: int, predictor: Predictor, folder: Path
) -> None:
    photos = [*folder.rglob("*.png"), folder / "gone.png"] * 5
    assert predictor.predict(photos, workers=workers) == predictor.predict(photos)
    np.testing.assert_array_equal(
        predictor.predict_proba(folder, workers=workers), predictor.predict_proba(folder)
    )


def test_a_negative_number_of_threads_is_refused_before_anything_is_read(predictor: Predictor) -> None:
    with pytest.raises(UsageError, match="workers is -1; it must be at least 0"):
        predictor.predict_iter(iter(()), workers=-1)
    with pytest.raises(UsageError, match="workers is -1"):
        predictor.predict_proba([], workers=-1)


def threads() -> set[threading.Thread]:
    """Return the threads that load photos; other tests in this process may have left some."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("map_in_order")}


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_an_iterator_that_is_given_up_leaves_no_thread_behind(
    how: str, predictor: Predictor, folder: Path
) -> None:
    before = threads()
    rows = predictor.predict_iter(itertools.repeat(folder / "red.png"))
    assert next(rows).label == "red"
    assert threads() - before
    if how == "closed":
        rows.close()
    del rows
    gc.collect()
    assert not threads() - before


def test_an_exception_of_the_source_comes_after_the_predictions_before_it(
    predictor: Predictor, folder: Path
) -> None:
    def photos() -> Iterator[Path]:
        yield from [folder / "red.png", folder / "sub" / "green.png"]
        raise ConnectionError("no more frames")

    labels, before = [], threads()

    def consume() -> None:
        for each in predictor.predict_iter(photos()):
            labels.append(each.label)  # kept when the error comes

    with pytest.raises(ConnectionError, match="no more frames"):
        consume()
    assert labels == ["red", "green"]
    assert not threads() - before


def test_several_threads_use_one_predictor_at_once(predictor: Predictor, folder: Path) -> None:
    photos = [folder / "red.png", folder / "sub" / "green.png"] * 4
    expected = predictor.predict(photos)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == expected for found in pool.map(predictor.predict, [photos] * 8))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on Windows")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_predictor_that_has_been_used_answers_in_forked_processes(
    predictor: Predictor, folder: Path
) -> None:
    photos = [folder / "red.png", folder / "gone.png"]
    expected = predictor.predict(photos)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = [pool.apply_async(predictor.predict, (photos,)) for _ in range(3)]
        assert [each.get(60) for each in found] == [expected] * 3
