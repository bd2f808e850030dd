"""What the browser module repeats of Python's is the same. These tests need no browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import headstart
from headstart.images.adjust import GREY
from headstart.images.formats import FORMATS
from headstart.images.settings import Interpolation
from headstart.inference.model_file import FORMAT

WEB = Path(headstart.__file__).parent / "web"


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


def test_every_package_of_npm_is_pinned_by_its_hash() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    wanted = json.loads((WEB / "package.json").read_text("utf-8"))
    assert packages["node_modules/onnxruntime-web"]["version"] == wanted["dependencies"]["onnxruntime-web"]
    assert wanted["version"] == headstart.__version__
