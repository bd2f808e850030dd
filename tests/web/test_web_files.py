"""What the browser module repeats of Python's is the same. These tests need no browser."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import get_args

import headstart as hs
from headstart.images.adjust import GREY
from headstart.images.formats import FORMATS
from headstart.images.settings import Interpolation
from headstart.inference.model_file import FORMAT

WEB = Path(hs.__file__).parent / "web"
PAGE = Path(hs.__file__).parent / "page"


def number(name: str, file: str) -> int:
    found = re.search(rf"const {name} = (\d+)", (WEB / file).read_text("utf-8"))
    assert found
    return int(found[1])


def test_constants_are_those_of_python() -> None:
    assert number("NEWEST_FORMAT", "model-file.js") == FORMAT
    assert (number("GREY", "preprocess.js"),) * 3 == GREY


def test_every_filter_and_format_is_known() -> None:
    resample, photo = ((WEB / name).read_text("utf-8") for name in ("resample.js", "photo.js"))
    assert all(f"{name}:" in resample or f"'{name}'" in resample for name in get_args(Interpolation))
    assert all(f"['{name}'," in photo.upper().replace("[' ", "['") for name in FORMATS)


def test_the_page_about_browsers_lists_the_interface_and_the_fields_of_a_prediction() -> None:
    page = (Path(__file__).parents[2] / "docs" / "browser.md").read_text("utf-8")
    module = (WEB / "headstart-web.js").read_text("utf-8")
    methods = re.findall(r"^  (?:async |get )?([a-z]\w*)\(.*\) {$", module, re.MULTILINE)
    table = page.partition("| name | what it does |")[2].partition("\n\n")[0]
    listed = set(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))
    names = set(re.findall(r"`(?:model\.)?(\w+)(?:\([^`]*\))?`", " ".join(listed)))
    assert names == {*methods, "info", "loadModel", "HeadstartError", "PhotoError"} - {"constructor"}
    answers = (WEB / "answers.js").read_text("utf-8").partition("@typedef {object} HeatMap")[0]
    fields = re.findall(r"@property {.*} (\w+) ", answers)
    in_python = {field.name for field in dataclasses.fields(hs.Prediction)} - {"path", "error", "similar"}
    assert {re.sub(r"([A-Z])", r"_\1", name).lower() for name in fields} == {*in_python, "outputs"}
    assert all(f"`{name}`" in page for name in fields)


def test_every_package_of_npm_is_pinned_by_its_hash() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    wanted = json.loads((WEB / "package.json").read_text("utf-8"))
    assert packages["node_modules/onnxruntime-web"]["version"] == wanted["dependencies"]["onnxruntime-web"]
    assert wanted["version"] == hs.__version__


def test_the_page_says_the_same_in_both_languages() -> None:
    texts = (PAGE / "texts.js").read_text("utf-8")
    english, chinese = (
        re.findall(
            r"^    (\w+):", texts.partition(f"\n  {language}: {{")[2].partition("\n  },")[0], re.MULTILINE
        )
        for language in ("en", "zh")
    )
    assert english == chinese
    assert len(english) > 40
    used = {
        name
        for file in [*PAGE.glob("*.js"), PAGE / "index.html"]
        for name in re.findall(r"""(?:say\(|data-text=|: |\? )['"](\w+)['"]""", file.read_text("utf-8"))
    }
    assert set(english) - used <= {"photo", "answer", "probability", "doubt", "aboutTask", "aboutClasses"} | {
        *("aboutNumbers", "aboutHash", "fewer", "all", "task")
    }


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    for file in PAGE.iterdir():
        text = re.sub(r"http://127\.0\.0\.1:8000|http://www\.w3\.org/2000/svg", "", file.read_text("utf-8"))
        assert not re.search(r"https?://", text), file.name
    assert "innerHTML" not in "".join(file.read_text("utf-8") for file in PAGE.glob("*.js"))
