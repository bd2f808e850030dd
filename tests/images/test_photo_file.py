"""Bytes of photos' files."""

from __future__ import annotations

import os

import pytest

from headstart.errors import ImageError
from headstart.images import photo_file
from headstart.images.photo_file import read_bytes


def test_read_bytes_returns_the_whole_file(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"content")
    assert read_bytes(str(tmp_path / "a.jpg")) == b"content"


def test_read_bytes_says_why_a_file_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "large.jpg").write_bytes(b"12345")
    (tmp_path / "locked.jpg").write_bytes(b"12345")
    monkeypatch.setattr(photo_file, "MAX_FILE_BYTES", 4)
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
            read_bytes(str(tmp_path / name))
        assert reason in caught.value.reason
        assert str(tmp_path) not in caught.value.reason


def test_read_bytes_names_a_missing_permission(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"content")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match="no permission to read it"):
        read_bytes(str(tmp_path / "a.jpg"))
