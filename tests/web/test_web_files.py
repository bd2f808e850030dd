"""What the browser module repeats of Python's is the same. These tests need no browser."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest

import headstart as hs
from colours import INFO, colours_model
from headstart.errors import FileWriteError
from headstart.files import write_whole
from headstart.images.adjust import GREY
from headstart.images.formats import FORMATS
from headstart.images.settings import Interpolation
from headstart.inference.model_file import FORMAT, seal_onnx
from headstart.products import web_folder
from headstart.products.web_folder import write_web_folder

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
    page = (Path(__file__).parents[2] / "docs" / "reference" / "browser.md").read_text("utf-8")
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


def test_a_page_that_cannot_be_written_whole_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_until_full(path: Path, content: bytes) -> None:
        if path.name == "model.onnx":
            raise FileWriteError(str(path), "No space left on device", len(content))
        write_whole(path, content)

    monkeypatch.setattr(web_folder, "web_runtime", lambda: {"ort.wasm": b"runtime"})
    (tmp_path / "model.onnx").write_bytes(seal_onnx(colours_model(), INFO))
    predictor = hs.load(tmp_path / "model.onnx")
    with monkeypatch.context() as patch:
        patch.setattr(web_folder, "write_whole", write_until_full)
        with pytest.raises(FileWriteError):
            write_web_folder(predictor, tmp_path / "site")
    assert not (tmp_path / "site").exists()
    write_web_folder(predictor, tmp_path / "site")
    assert (tmp_path / "site" / "onnxruntime-web" / "ort.wasm").read_bytes() == b"runtime"


@pytest.mark.proxy  # which has Node.js
def test_every_model_of_boxes_has_the_columns_of_predict(tmp_path: Path) -> None:
    # Node takes modules from .mjs, whatever its version.
    for name in ("answers", "texts"):
        text = (PAGE / f"{name}.js").read_text("utf-8").replace("./texts.js", "./texts.mjs")
        (tmp_path / f"{name}.mjs").write_text(text, "utf-8")
    program = """
        import { answerOf, csvOf } from './answers.mjs';
        const box = [1.2, 2, 3, 4.8];
        const found = { label: null, probability: null, probabilities: [], labels: [], numbers: {}, box };
        const model = { task: 'box', classNames: ['raccoon'], targets: [] };
        console.log(answerOf(found, model));
        console.log(csvOf([{ name: 'a.jpg', prediction: found }], model));
        const named = { ...found, label: 'cat', probability: 0.5 };
        console.log(csvOf([{ name: 'b.jpg', prediction: named }], { ...model, classNames: ['cat', 'dog'] }));
    """
    (tmp_path / "program.mjs").write_text(program, "utf-8")
    done = subprocess.run(["node", tmp_path / "program.mjs"], capture_output=True, check=True)
    assert done.stdout.decode().split() == [
        *("x", "1–3,", "y", "2–5"),
        *("path,xmin,ymin,xmax,ymax,error", "a.jpg,1.2,2,3,4.8,"),
        *("path,xmin,ymin,xmax,ymax,label,probability,error", "b.jpg,1.2,2,3,4.8,cat,0.5,"),
    ]
