"""What CONTRIBUTING.md shows and names is there: the picture of the imports, and the files to change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts.draw_house import PICTURE, draw, imports_of_rooms

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "headstart"
PAGES = [ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/architecture.md")]


def test_the_picture_shows_the_imports_as_they_are() -> None:
    assert PICTURE.read_text("utf-8") == draw(), "run: python -m scripts.draw_house"


def test_lines_of_the_picture_lead_to_everything_that_is_imported() -> None:
    lines = re.findall(r"<title>(\w+) imports (\w+)</title>", PICTURE.read_text("utf-8"))
    imported = imports_of_rooms()
    assert all(other in imported[room] for room, other in lines)
    drawn = {room for line in lines for room in line}
    reached: dict[str, set[str]] = {}
    for room in imported:  # from the bottom up
        others = {other for one, other in lines if one == room}
        reached[room] = others.union(*(reached[other] for other in others))
    assert all(others & drawn <= reached[room] for room, others in imported.items() if room in drawn)


def rows_of_tables() -> list[str]:
    """Return the rows of the tables of files to change."""
    found = []
    for page in PAGES:
        section = page.read_text("utf-8").partition("## Which files to change\n")[2].partition("\n## ")[0]
        found += [line for line in section.splitlines() if line.startswith("| ") and "| change |" not in line]
    return found


ROWS = rows_of_tables()


def path_of(name: str) -> Path | None:
    """Return the file or folder that a name in backticks means, below the project or its sources."""
    return next((base / name for base in (ROOT, SOURCE) if (base / name).exists()), None)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_files_to_change_and_names_in_them_exist(row: str) -> None:
    codes = re.findall(r"`([^`]+)`", row)
    paths = [path for code in codes if re.fullmatch(r"[\w./-]+", code) and (path := path_of(code))]
    missing = [code for code in codes if re.fullmatch(r"[\w.-]*/[\w./-]*|[\w-]+\.(py|toml|md)", code)]
    folders = [path if path.is_dir() else path.parent for path in paths]
    missing = [
        code
        for code in missing
        if not path_of(code) and not any((folder / code).exists() for folder in folders)
    ]
    assert not missing
    texts = "".join(file.read_text("utf-8") for path in paths for file in files_of(path))
    names = [code for code in codes if re.fullmatch(r"_?[A-Z][A-Za-z_]*|_[A-Z_]+", code)]
    assert not [name for name in names if not re.search(rf"\b{name}\b", texts)]


def files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def test_there_are_rows() -> None:
    assert len(ROWS) > 25
    assert len(set(ROWS)) == len(ROWS)
