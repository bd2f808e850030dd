"""Walking through a folder: every file once, photos told from the rest, runs and hidden files apart."""

import os
import pathlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from headstart.images.find import Entry, walk

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def make(root: Path) -> Callable[[Iterable[str]], None]:
    """Make files by path, PNGs by their content; a path that ends in / is a folder."""

    def make(paths: Iterable[str]) -> None:
        for name in paths:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                (root / name).mkdir()
            else:
                (root / name).write_bytes(PNG)

    return make


def told(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    return [(entry.kind, "/".join(entry.names)) for entry in entries]


def test_files_come_folder_by_folder_in_the_order_of_their_names(root, make):
    make(["b/2", "b/10", "b/c/1", "z", "a", "B/1", "é/1", "empty/"])
    (root / "read me.txt").write_text("photos of cats")
    assert told(walk(str(root))) == [
        ("folder", ""),
        ("image", "a"),
        ("other", "read me.txt"),
        ("image", "z"),
        ("folder", "B"),
        ("image", "B/1"),
        ("folder", "b"),
        ("image", "b/10"),
        ("image", "b/2"),
        ("folder", "b/c"),
        ("image", "b/c/1"),
        ("folder", "empty"),
        ("folder", "é"),
        ("image", "é/1"),
    ]


def test_hidden_files_are_no_images_and_come_last(root, make):
    make([".a.png", ".b/c/1.png", "__MACOSX/2.png", "d/3.png", "d/Thumbs.db"])
    without = [
        ("folder", ""),
        ("other", ".a.png"),
        ("folder", "d"),
        ("image", "d/3.png"),
        ("other", "d/Thumbs.db"),
    ]
    assert told(walk(str(root), into_hidden=False)) == without
    hidden = [("other", ".b/c/1.png"), ("other", "__MACOSX/2.png")]
    assert told(walk(str(root))) == without + hidden


RUN = ["config.toml", "curves.png", "checkpoints/best.safetensors"]


@pytest.mark.parametrize("proof", ["metrics.json", "model.onnx", "checkpoints/best.safetensors"])
@pytest.mark.parametrize("where", ["run", "a/b/run"])
def test_a_folder_that_training_has_written_holds_no_images(root, make, where, proof):
    files = ["config.toml", "curves.png", "more/1.png", proof]
    make(["1.png", *(f"{where}/{name}" for name in files)])
    entries = told(walk(str(root)))
    assert ("run", where) in entries
    assert [name for kind, name in entries if kind == "image"] == ["1.png"]
    assert [name for kind, name in entries if kind == "other"] == sorted(
        (f"{where}/{name}" for name in files), key=lambda name: (name.count("/"), name)
    )
    assert not any(kind == "folder" and name.startswith(where) for kind, name in entries)


@pytest.mark.parametrize("name", ["config.toml", "metrics.json", "model.onnx", "checkpoints/1.txt"])
def test_one_file_alone_makes_no_run(root, make, name):
    make([f"cat/{name}", "cat/1.png"])
    assert ("image", "cat/1.png") in told(walk(str(root)))


def test_a_folder_is_searched_when_it_is_named_whatever_it_holds(root, make):
    make([f"run/{name}" for name in RUN])
    assert ("image", "curves.png") in told(walk(str(root / "run")))
    make([".hidden/1.png"])
    assert ("image", "1.png") in told(walk(str(root / ".hidden")))


def test_no_folder_is_entered_twice_and_real_ones_go_before_links(root, make):
    make(["z/1.png", "z/y/2.png"])
    (root / "a").symlink_to(root / "z")
    (root / "z" / "y" / "up").symlink_to(root)
    entered: set[tuple[int, int]] = set()
    images = [("image", "z/1.png"), ("image", "z/y/2.png")]
    assert [each for each in told(walk(str(root), entered)) if each[0] == "image"] == images
    assert len(entered) == 3
    assert told(walk(str(root), entered)) == []


def test_a_link_into_a_hidden_folder_is_followed(root, make):
    make([".store/cat/1.png"])
    (root / "cat").symlink_to(root / ".store" / "cat")
    assert [each for each in told(walk(str(root))) if each[0] == "image"] == [("image", "cat/1.png")]


def test_what_may_be_listed_and_not_entered_is_still_told(root, make, monkeypatch):
    make(["locked/1.png", "locked/notes", "locked/deeper/2.png", "open/3.png"])
    real = pathlib.Path.stat

    def refuse(path, **keywords):
        if "locked" in path.parts[:-1]:
            raise PermissionError(13, "Permission denied")
        return real(path, **keywords)

    monkeypatch.setattr(pathlib.Path, "stat", refuse)
    entries = list(walk(str(root)))
    assert [name for kind, name in told(entries) if kind == "image"] == ["locked/1.png", "open/3.png"]
    assert [entry.path for entry in entries if entry.error] == [str(root / "locked" / "deeper")]


def test_a_folder_that_may_not_be_listed_is_told(root, make, monkeypatch):
    make(["locked/1.png", "open/2.png"])
    real = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (locked,) = [entry for entry in walk(str(root)) if entry.error]
    assert (locked.path, locked.kind) == (str(root / "locked"), "folder")
