"""What is predicted in folders and tar files, and what is ignored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.images.test_tars import tar_of

from headstart.images.listed import find_images


def test_files_that_are_not_photos_are_counted_by_kind(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.txt", "c.TXT", "d", ".e", "f.tar"):
        (tmp_path / name).write_text("text")
    ignored: Counter[str] = Counter()
    assert list(find_images(tmp_path, ignored)) == [str(tmp_path / "a.jpg")]
    assert ignored == {".txt": 2, "without suffix": 1, "hidden": 1, ".tar": 1}


def test_photos_in_tar_files_are_found_by_their_addresses(tmp_path: Path) -> None:
    tar = tar_of(
        tmp_path / "0.tar", {"1.jpg": b"x", "1.cls": b"cat", "c/2.png": b"y", "c/3": b"\xff\xd8\xff"}
    )
    for data in (tmp_path, tar, str(tmp_path / "{0..0}.tar")):
        ignored: Counter[str] = Counter()
        assert list(find_images(data, ignored)) == [f"{tar}/{name}" for name in ("1.jpg", "c/2.png", "c/3")]
        assert ignored == {".cls": 1}
    (tmp_path / "0.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:1600])
    assert list(find_images(tar)) == [f"{tar}/1.jpg", tar]  # reading the last one raises the error
