"""A folder that an export cannot finish is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart.errors import UsageError
from headstart.products.new_folder import new_folder


@pytest.mark.parametrize("exists", [False, True])
def test_what_was_written_before_an_error_is_deleted(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    if exists:
        folder.mkdir()

    def write() -> None:
        with new_folder(folder):
            (folder / "index.html").write_text("page")
            (folder / "below").mkdir()
            (folder / "below" / "model.onnx").write_bytes(b"model")
            raise ConnectionError("interrupted")

    with pytest.raises(ConnectionError, match="interrupted"):
        write()
    assert folder.exists() == exists
    assert not exists or not list(folder.iterdir())


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    with pytest.raises(UsageError, match="already exists"), new_folder(tmp_path):
        pass
    with pytest.raises(UsageError, match=r"does not exist\. Create it"), new_folder(tmp_path / "a" / "b"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
