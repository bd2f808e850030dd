"""No value in a message is longer than a line, and no message is longer than a screen."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.images.test_tars import tar_of

import headstart as hs
from headstart.data.sources.source import read_source
from headstart.errors import FileWriteError, HeadstartError, ImageError
from headstart.messages import LINE_CHARACTERS, MOST_LINES, VALUE_CHARACTERS, fitted, screenful, shortened

LONG = "x" * 10_000
WORDS = "many words " * 1_000


def refuse_if_long(message: str) -> None:
    lines = message.split("\n")
    assert len(lines) <= MOST_LINES + 1
    assert max(map(len, lines)) <= LINE_CHARACTERS
    assert "x" * (VALUE_CHARACTERS + 1) not in message
    assert "many words " * 20 not in message


def test_a_value_keeps_its_ends_and_its_length() -> None:
    assert shortened("a" * 50 + LONG + "z" * 50) == "a" * 50 + "x" * 42 + "… (10,100 characters) …" + "z" * 45
    assert shortened("short") == "short"
    assert fitted(f"name is {LONG!r}; it must be short.").startswith("name is 'xxx")
    assert fitted(f"name is {LONG!r}; it must be short.").endswith("xxx'; it must be short.")


def test_what_people_write_stays_as_it_is() -> None:
    sentence = "The photos' owner doesn't know it's VOC's; see 'docs/reference/data.md', and [a, b]. " * 12
    assert fitted(sentence) == sentence
    assert fitted("\n".join(["line"] * MOST_LINES)) == "\n".join(["line"] * MOST_LINES)
    assert fitted("\n".join(["line"] * 1000)).split("\n")[-1] == f"... and {1000 - MOST_LINES} more lines"
    assert screenful(map(str, range(9)), 2, "see here") == ["0", "1", "... and 7 more: see here"]


@pytest.mark.parametrize("long", [LONG, WORDS, "\\'" * 5_000, ("y" * 9 + "'") * 1_000])
@pytest.mark.parametrize(
    "name",
    [
        *(
            "data",
            "val",
            "task",
            "target",
            "image_column",
            "label_column",
            "split_column",
            "group_by",
            "boxes",
        ),
        *("decisions", "backbone", "weights", "resize", "size_px", "mean", "head", "recipe", "epochs", "lr"),
        *("seed", "batch_size", "select", "unknown", "features", "device", "precision", "workers", "watch"),
        *("allow_quarantined", "phases", "phase_settings", "a" * 9_999),
    ],
)
def test_errors_about_settings_are_short(name: str, long: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\na.jpg,cat\n")
    settings: dict[str, Any] = {"data": str(tmp_path / "labels.csv"), name: long}
    with pytest.raises(HeadstartError) as caught:
        listed(settings)
    refuse_if_long(str(caught.value))


def listed(settings: dict[str, Any]) -> None:
    config = hs.TrainConfig.from_settings(**settings)
    read_source(config.data, config.val_folder, **config.source_options)
    hs.plan(config=config)


def rows(tmp_path: Path, text: str) -> Path:
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path / "labels.csv"


def tables(tmp_path: Path) -> dict[str, Any]:
    names = ",".join(f"{LONG}{number}" for number in range(40))
    many = "\n".join(f"{LONG}{number}.jpg,{WORDS}" for number in range(60))
    return {
        "columns": f"{names}\n",
        "photos": f"image,label\n{many}\n",
        "split": f"image,label,split\na.jpg,cat,{LONG}\n",
        "cells": "image,label\n" + "a,b,c\n" * 500,
        "number": f"image,xmin,ymin,xmax,ymax\na.jpg,{LONG},1,2,3\n",
        "class": f"image,label\na.jpg,{LONG}\nb.jpg,{LONG}y\n",
    }


@pytest.mark.parametrize("kind", tables(Path()))
def test_errors_about_tables_are_short(tmp_path: Path, kind: str) -> None:
    with pytest.raises(HeadstartError) as caught:
        read_source(rows(tmp_path, tables(tmp_path)[kind]))
    refuse_if_long(str(caught.value))


def test_errors_about_folders_and_files_are_short(tmp_path: Path) -> None:
    for number in range(100):
        folder = tmp_path / "train" / f"{'c' * 200}{number}"
        folder.mkdir(parents=True)
        (tmp_path / "val" / f"{'v' * 200}{number}").mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "val" / f"{'v' * 200}{number}" / "a.png")
    with pytest.raises(HeadstartError) as caught:
        read_source(tmp_path)
    refuse_if_long(str(caught.value))
    broken = {f"{number}.json": b"[" for number in range(100)} | {f"{n}.png": b"" for n in range(100)}
    with pytest.raises(HeadstartError) as caught:
        read_source(tar_of(tmp_path / "a.tar", dict(sorted(broken.items()))))
    refuse_if_long(str(caught.value))
    (tmp_path / "coco.json").write_text(json.dumps({"images": LONG, "annotations": [], "categories": []}))
    with pytest.raises(HeadstartError) as caught:
        read_source(tmp_path / "coco.json")
    refuse_if_long(str(caught.value))


@pytest.mark.parametrize(
    "error", [ImageError(WORDS, LONG), FileWriteError(WORDS, LONG, 3, LONG), hs.DataError(LONG)]
)
def test_errors_are_short_and_keep_what_they_know(error: HeadstartError) -> None:
    refuse_if_long(str(error))
    assert pickle.loads(pickle.dumps(error)).args == error.args
