from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from headstart.demo import make_demo_photos, run_demo
from headstart.errors import RunFolderError


def test_the_photos_are_of_eight_kinds_and_no_two_are_alike(tmp_path: Path) -> None:
    make_demo_photos(tmp_path)
    files = list(tmp_path.rglob("*.jpg"))
    assert {path.parent.name for path in files} == {
        "coins",
        "fur",
        "galaxies",
        "grass",
        "gravel",
        "retina",
        "text",
        "tissue",
    }
    assert {path.parts[-3] for path in files} == {"train", "val", "test"}
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in files}) == len(files) == 8 * 58


def test_the_demo_touches_no_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="already exists"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_the_demo_learns_and_says_where_everything_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_demo(tmp_path / "demo")
    out = capsys.readouterr().out
    assert (tmp_path / "demo" / "run" / "model.onnx").exists()
    assert f"Open {tmp_path / 'demo' / 'run' / 'report.html'} in a browser" in out
    assert "of 48 test photos" in (tmp_path / "demo" / "run" / "report.html").read_text("utf-8")
    for kind in ("fur", "gravel", "grass"):
        assert f"{kind}-00.jpg: {kind}" in out
