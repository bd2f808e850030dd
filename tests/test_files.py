from __future__ import annotations

import contextlib
import errno
import os
import pickle
import re
import resource
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.windows import HeldFiles

from headstart.errors import FileWriteError, UsageError
from headstart.files import (
    EXPORTS,
    FEATURES,
    TEXT,
    delete,
    delete_parts,
    refuse_to_write,
    sha256_of_file,
    write_to_look_at,
    write_whole,
)


@pytest.mark.parametrize("content", [b"\x00\xff", "text \U0001f355", lambda file: file.write(b"by function")])
def test_content_of_every_kind_is_written(tmp_path: Path, content: object) -> None:
    path = tmp_path / ("a\nname\udcff" + "x" * 200)
    write_whole(path, content)  # type: ignore[arg-type]
    expected = {bytes: content, str: str(content).encode()}.get(type(content), b"by function")
    assert path.read_bytes() == expected
    assert os.listdir(tmp_path) == [path.name]


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write_half(file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    with pytest.raises(FileWriteError, match=r"Cannot write .*file: No space left on device"):
        write_whole(path, write_half)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def torch_save(file: Any) -> None:
    import torch

    torch.save({"a": torch.zeros(100_000)}, file)


def draw(file: Any) -> None:
    from matplotlib.figure import Figure

    Figure(figsize=(40, 30)).savefig(file, format="png")


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b"x" * 400_000, "It takes 400,000 bytes"),
        (torch_save, ""),
        (draw, ""),
        (lambda file: np.savez(file, a=np.zeros(100_000)), ""),
    ],
    ids=["bytes", "torch", "matplotlib", "numpy"],
)
def test_a_full_disk_is_told_as_one_whoever_writes(tmp_path: Path, content: Any, size: str) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(FileWriteError, match=r"Cannot write .*file: File too large") as caught:
            write_whole(path, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert size in str(caught.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_of_the_writer_itself_stays_what_it_is(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "file", fail)
    assert os.listdir(tmp_path) == []


def test_a_write_error_survives_pickling() -> None:
    error = FileWriteError("a.csv", "No space left on device", 5)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/a.csv", "the folder .*nowhere does not exist"),
        ("file/a.csv", "the folder .*file does not exist"),
        (".", "is not a regular file"),
        ("pipe", "is not a regular file"),
    ],
)
def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=message):
        refuse_to_write(tmp_path / name)
    refuse_to_write(tmp_path / "file")
    refuse_to_write(tmp_path / "new")


def test_a_folder_that_may_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # a superuser may write everywhere
    with pytest.raises(UsageError, match=r"no permission to write into the folder '.*'\."):
        refuse_to_write(tmp_path / "new")


@pytest.mark.parametrize("name", ["answers.csv", "history.csv", "photos.csv", "quarantine.csv"])
def test_a_table_of_a_run_is_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("path\n")
    refuse_to_write(tmp_path / name, TEXT)  # in no run folder
    (tmp_path / "config.toml").touch()
    with pytest.raises(UsageError, match=r"belongs to the run in .* Name another output file"):
        refuse_to_write(tmp_path / name, TEXT)
    refuse_to_write(tmp_path / "mine.csv", TEXT)


PHOTO = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


@pytest.mark.parametrize(
    ("kind", "content", "refused"),
    [
        (TEXT, b"path,label\na.jpg,cat\n", False),
        (TEXT, "größer\n".encode(), False),
        (TEXT, b"", False),
        (TEXT, PHOTO, True),
        (FEATURES, b"PAR1\n\n", False),
        (FEATURES, b"PK\x03\x04", False),
        (FEATURES, PHOTO, True),
        (FEATURES, b"notes\n", True),
        (EXPORTS, b"\x08\x0a\n", False),
        (EXPORTS, PHOTO, True),
        (EXPORTS, b"", False),
    ],
)
def test_a_named_file_is_replaced_only_by_one_of_its_kind(
    kind: re.Pattern[bytes], content: bytes, refused: bool, tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(content)
    with pytest.raises(UsageError, match="not replaced") if refused else contextlib.nullcontext():
        refuse_to_write(tmp_path / "out", kind)
    refuse_to_write(tmp_path / "new", kind)


def test_the_file_has_the_rights_that_any_new_file_has(tmp_path: Path) -> None:
    write_whole(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_digest_is_sha256_in_hexadecimal(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")


# Windows: a file that any program has open is neither replaced nor deleted.


def test_a_file_that_is_open_for_a_moment_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")
    HeldFiles(monkeypatch, path.__eq__, attempts=3)
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_work_is_left_beside_a_file_that_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")
    (tmp_path / "model-2.onnx").write_text("somebody's")
    HeldFiles(monkeypatch, path.__eq__)
    with pytest.raises(FileWriteError, match=r"model-3\.onnx") as caught:
        write_whole(path, "new", patience=0.1)
    assert caught.value.kept is not None
    assert Path(caught.value.kept).read_text() == "new"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "model.onnx": "old",
        "model-2.onnx": "somebody's",
        "model-3.onnx": "new",
    }


def test_work_is_left_under_the_temporary_name_where_no_other_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "being used by another process")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr("headstart.files.PATIENCE_SECONDS", 0.1)
    with pytest.raises(FileWriteError) as caught:
        write_whole(path, "new", patience=0.1)
    assert caught.value.kept is not None
    assert Path(caught.value.kept).read_text() == "new"
    assert path.read_text() == "old"


def test_what_people_look_at_is_worth_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.csv"
    path.write_text("old")
    other = HeldFiles(monkeypatch, path.__eq__)
    error = write_to_look_at(path, "new")
    assert error is not None
    assert "being used by another process" in error.reason
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["history.csv"]
    other.let_go()
    assert write_to_look_at(path, "new") is None
    assert path.read_text() == "new"


def test_deleting_tells_whether_the_file_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.touch()
    other = HeldFiles(monkeypatch, path.__eq__)
    assert not delete(path)
    other.left = 2
    assert delete(path, patience=1)
    assert not path.exists()
    assert delete(path)


def test_only_our_own_half_written_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f".{'0a' * 8}.part", f".{'1b' * 8}.part", ".sixteen-letters.part", "a.part", ".0123.part"]
    for name in names:
        (tmp_path / name).touch()
    HeldFiles(monkeypatch, (tmp_path / names[1]).__eq__)
    delete_parts(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])


def test_a_folder_that_cannot_be_synced_does_not_fail_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def not_of_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")  # as some network file systems have it
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", not_of_folders)
    write_whole(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"
