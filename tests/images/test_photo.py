"""Photos, and the bytes of their files."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys

import pytest

from headstart.errors import ImageError
from headstart.images.file import read_file
from headstart.images.photo import Photo


def test_a_photo_is_a_file_unless_something_else_reads_it(tmp_path):
    path = str(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"content")
    assert read_file(path) == Photo(path).content() == b"content"
    with Photo(path).open() as file:
        assert file.read() == b"content"
    assert Photo(path).sha256() == hashlib.sha256(b"content").hexdigest()
    assert Photo(path, str.encode).content() == path.encode()
    with Photo(path, str.encode).open() as file:
        assert file.read() == path.encode()


def test_a_photo_is_small_and_can_be_pickled():
    one = Photo("a/1.jpg")
    assert sys.getsizeof(one) <= 48  # beside its name
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.read is Photo("a/2.jpg").read


def test_an_error_of_the_system_says_why_a_photo_cannot_be_read():
    def read(key):
        raise TimeoutError(110, "Connection timed out")

    with pytest.raises(ImageError) as caught:
        Photo("s3://photos/a.jpg", read).content()
    assert str(caught.value) == "s3://photos/a.jpg: cannot be read: Connection timed out"
    assert Photo("s3://photos/a.jpg", read).sha256() == ""


def test_any_other_error_is_named_with_its_class_and_chained():
    with pytest.raises(ImageError, match="ZeroDivisionError: ") as caught:
        Photo("a.jpg", lambda key: 1 // 0).content()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_file_that_cannot_be_read_says_why(tmp_path, monkeypatch):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "large.jpg").write_bytes(b"12345")
    monkeypatch.setattr("headstart.images.file.MAX_FILE_BYTES", 4)
    cases = {
        "gone.jpg": "no such file",
        "link.jpg": "a link whose target does not exist",
        "folder.jpg": "a folder",
        "pipe.jpg": "not a regular file",
        "large.jpg": "GiB",
        "zero\0byte.jpg": "cannot be read",
        "n" * 300: "cannot be read",
    }
    for name, reason in cases.items():
        with pytest.raises(ImageError) as caught:
            read_file(str(tmp_path / name))
        assert reason in caught.value.reason
        assert str(tmp_path) not in caught.value.reason


def test_a_missing_permission_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"content")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match="no permission to read it"):
        read_file(str(tmp_path / "a.jpg"))
