from __future__ import annotations

import os
from pathlib import Path

import pytest

from headstart.errors import FileWriteError
from headstart.files import sha256_of_file, write_whole


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


def test_the_file_has_the_rights_that_any_new_file_has(tmp_path: Path) -> None:
    write_whole(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_digest_is_sha256_in_hexadecimal(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")
