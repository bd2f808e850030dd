from __future__ import annotations

import hashlib
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.commands import here

from headstart.demo import make_demo_photos, pip_of_this_environment, run_demo
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


def test_photos_to_try_things_on_are_class_folders_and_new_photos(
    tmp_path: Path,
) -> None:
    assert here("demo", "--photos", cwd=tmp_path)[0] == 0
    assert here("demo", "--photos", "--out", tmp_path / "again")[0] == 0
    photos = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("photos/*/*.jpg"))
    new = sorted(path.name for path in tmp_path.glob("new/*"))
    assert len(photos) == 8 * 20
    assert new == [f"IMG_000{number}.jpg" for number in range(1, 9)]
    written = [*tmp_path.glob("photos/*/*.jpg"), *tmp_path.glob("new/*")]
    assert len({path.read_bytes() for path in written}) == 8 * 21
    same = [tmp_path / "again" / path.relative_to(tmp_path) for path in written]
    assert [path.read_bytes() for path in same] == [path.read_bytes() for path in written]


def test_photos_that_are_there_are_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    code, _, err = here("demo", "--photos", "--out", tmp_path)
    assert code == 2
    assert "new already exists. Delete it, or name another folder: --out FOLDER" in err
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_the_command_that_adds_pytorch_is_one_for_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name in ("pip", "python"):
        (scripts / name).touch(0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(scripts))
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.setenv("PATH", str(scripts))
    assert pip_of_this_environment() == "pip"
    monkeypatch.setenv("PATH", str(tmp_path))  # it has not been activated
    assert pip_of_this_environment() == f"{scripts / 'python'} -m pip"
    monkeypatch.chdir(tmp_path)
    assert pip_of_this_environment() == f"{Path('.venv', 'bin', 'python')} -m pip"


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
