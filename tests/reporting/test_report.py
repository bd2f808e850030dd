"""The report of a run: complete, readable without a network, and hostile names are nothing but text in it."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from PIL import Image

import headstart as hs
from headstart.answers.intervals import wilson
from headstart.answers.scores import summary_of
from headstart.answers.table import Answers
from headstart.columns import printable
from headstart.data.decisions import COLUMNS
from headstart.errors import DamagedFileError, RunFolderError, UsageError
from headstart.inference.model_file import ModelInfo
from headstart.reporting.contents import Contents
from headstart.reporting.report import write_report
from labelled import INFO, INFOS, photos

# What HTML, SVG, CSS or a terminal would take for something else than a name.
HOSTILE = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "<!--",
    "-->",
    "]]>",
    "<![CDATA[",
    "&lt;b&gt;",
    "&#60;script&#62;",
    "&amp;",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "http://example.com/a.jpg",
    "//example.com/a.jpg",
    "{{7*7}}",
    "${7*7}",
    "{0.__class__}",
    "%s%n%d",
    "expression(alert(1))",
    "url(http://example.com)",
    "'; drop table photos; --",
    "a\nb",
    "a\r\nb",
    "a\tb",
    "a\0b",
    "\x1b[31mred",
    "\u202egpj.exe",
    "\u2066\u2067",
    "\u200b",
    "\ufeff",
    "\udcff\udcfe",
    "שלום",
    "مرحبا <b>",
    "猫 & 犬",
    "👩‍👩‍👧‍👦",
    "🏴‍☠️<i>",
    "e" + "\u0301" * 20,
    "x" * 200,
    "<" * 200,
    " " * 20,
    "a  b",
    "`rm -rf`",
    "\\\\server\\share",
    "../../etc/passwd",
    "<base href=//example.com>",
    "<meta http-equiv=refresh content=0>",
    "<iframe srcdoc='<script>'>",
]


class Page(HTMLParser):
    """Keeps what a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "link", "img"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.remove(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def metrics_for(answers: Answers, info: ModelInfo) -> dict[str, Any]:
    scores = {f"val_{name}": value for name, value in summary_of(answers, info).items()}
    main = next(name for name in scores if name != "val_loss").removeprefix("val_")
    epochs = [
        {"epoch": n, "train_loss": 1 / n, "val_loss": 2 / n, f"train_{main}": 0.5, f"val_{main}": 0.1 * n}
        for n in range(1, 15)
    ]
    return {
        "task": info.task,
        "answers": {"val": len(answers), "test": 0},
        "best": {"phase": "steps", "epoch": 1, **scores},
        "phases": [{"name": "steps", "unfrozen": "head", "epochs": epochs}],
        "images": {"train": 3, "val": len(answers), "test": 0, "quarantined": 1, "ignored": 2},
        "head": {"kind": "linear"},
        "seed": 7,
        "weights_from": {"kind": "file", "path": "/home/somebody/weights.pth"},
        "versions": {"python": "3.11"},
    }


def write_run(
    folder: Path,
    data: Path,
    info: ModelInfo = INFO,
    names: Sequence[str] | None = None,
    *,
    augment: str = "none",
    pixels: np.ndarray | None = None,
) -> tuple[Path, ModelInfo, dict[str, Any], list[Answers]]:
    """Write what the report of a run is made from, and return the arguments of ``write_report``."""
    folder.mkdir()
    data.mkdir(exist_ok=True)
    names = [f"{n}.jpg" for n in range(60)] if names is None else names
    records, outputs = photos(info, len(names))
    answers = Answers.from_outputs(records, outputs, info, "val", root="/data/photos")
    answers = dataclasses.replace(answers, path=list(names))
    for number, name in enumerate(names):
        picture = Image.fromarray(np.full((30, 40, 3), number, np.uint8) if pixels is None else pixels)
        try:
            picture.save(data / name, "JPEG")
        except (OSError, ValueError):  # no name of a file
            continue
    phase = hs.PhaseConfig("steps", epochs=14, head_lr=0.01, augment=augment)
    config = hs.TrainConfig(data=str(data), recipe="finetune", phases=[phase], seed=7)  # type: ignore[arg-type]
    (folder / "config.toml").write_text(tomli_w.dumps(config.to_dict()), "utf-8")
    with open(folder / "photos.csv", "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "class", "split", "sha256"])
        rows.writerows([name, "", "train", f"{n:064x}"] for n, name in enumerate(names))
    with open(folder / "findings.csv", "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows(
            [name, kind, "warning", other, f"label {name}", "", f"{name} is not {other}"]
            for kind in ("leak", "wrong-label", "shortcut")
            for name, other in zip(names, [*names[1:], ""], strict=True)
        )
        rows.writerow([names[0], "copy", "error", names[1], "drop", "keep", "decided already"])
    return folder, info, metrics_for(answers, info), [answers]


def page_of(tmp_path: Path, run: tuple[Path, ModelInfo, dict[str, Any], list[Answers]], **more: bool) -> str:
    write_report(tmp_path / "report.html", *run, **more)
    return (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("task", ["classification", "multilabel", "box with classes", "two numbers"])
def test_hostile_names_are_text_and_change_nothing_else(tmp_path: Path, task: str) -> None:
    assert len(set(HOSTILE)) == 50
    pages = []
    for kind, names in (("hostile", HOSTILE), ("harmless", [f"{n}.jpg" for n in range(50)])):
        info = INFOS[task]
        if info.targets:
            info = dataclasses.replace(info, targets=tuple(names[:2]))
        else:
            info = dataclasses.replace(info, class_names=tuple(names))
        if info.thresholds:
            info = dataclasses.replace(info, thresholds=(0.4,) * len(names))
        run = write_run(tmp_path / kind, tmp_path / f"no {kind}", info, names)
        pages.append(Page(page_of(tmp_path, run, photos=False)))
    hostile, harmless = pages
    assert hostile.tags == harmless.tags
    expected = HOSTILE[:2] if task == "two numbers" else HOSTILE
    assert not [name for name in expected if printable(name)[:40] not in hostile.text]
    assert not {name for _, name, _ in hostile.attributes if name.startswith("on")}


def test_nothing_in_the_page_leads_out_of_it(tmp_path: Path) -> None:
    text = page_of(tmp_path, write_run(tmp_path / "run", tmp_path / "data"))
    page = Page(text)
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "srcset"):
            assert value.startswith("data:"), (tag, name)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "embed", "base", "form"})
    assert "url(" not in text
    assert "default-src 'none'; img-src data:" in {value[:33] for _, _, value in page.attributes}
    for secret in (str(tmp_path), "/data/photos", "somebody"):
        assert secret not in text


def test_photos_outside_the_data_folder_are_named_without_the_folders_above_them(tmp_path: Path) -> None:
    names = [str(tmp_path / "secret" / side / f"{n}.jpg") for side in ("a", "b") for n in range(20)]
    for side in ("a", "b"):
        (tmp_path / "secret" / side).mkdir(parents=True)
    run = write_run(tmp_path / "run", tmp_path / "data", names=names, augment="light")
    with open(run[0] / "findings.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerow([names[0], "leak", "warning", names[30], "drop", "", "nearly the same photo"])
    text = page_of(tmp_path, run)
    assert "secret" not in text
    assert "<bdi>a/0.jpg</bdi>" in text
    assert "<bdi>b/10.jpg</bdi>" in text
    assert "data:image/jpeg" in text


@pytest.mark.parametrize("task", INFOS)
def test_every_task_has_a_verdict_and_what_is_meaningful_for_it(tmp_path: Path, task: str) -> None:
    page = Page(page_of(tmp_path, write_run(tmp_path / "run", tmp_path / "data", INFOS[task])))
    text = page.text
    assert "60 validation photos" in text
    assert "95\N{NO-BREAK SPACE}% interval" in text
    has_classes = task in ("classification", "multilabel", "box with classes")
    assert ("Calibration" in text) == ("Precision:" in text) == has_classes
    assert ("Which classes are confused" in text) == (task in ("classification", "box with classes"))
    assert ("Predicted numbers" in text) == (task in ("one number", "two numbers"))
    assert ("Overlap of boxes" in text) == task.startswith("box")
    assert (("rect", "class", "answer") in page.attributes) == task.startswith("box")
    for heading in ("Findings", "Training", "Model card", "To train it again"):
        assert heading in page.texts


def test_the_page_can_be_read_aloud(tmp_path: Path) -> None:
    page = Page(page_of(tmp_path, write_run(tmp_path / "run", tmp_path / "data", augment="light")))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) > 40
    assert all("alt" in attributes for attributes in images)
    assert "" not in {value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")}
    tags = [tag for tag, _ in page.tags]
    for position, tag in enumerate(tags):
        if tag == "table":
            assert tags[position + 1] == "caption"
        if tag == "svg" and "viewbox" in page.tags[position][1] and "role" in page.tags[position][1]:
            assert tags[position + 1] == "title"
    assert ("html", "lang", "en") in page.attributes


def test_the_score_has_its_interval_and_what_limits_it(tmp_path: Path) -> None:
    folder, info, metrics, (answers,) = write_run(tmp_path / "run", tmp_path / "data")
    answers = dataclasses.replace(answers, group=[""] * len(answers))
    clean = {"num_photos": 50, **summary_of(answers[:50], info)}
    metrics["without_leaks"] = {"val": clean}
    with open(folder / "findings.csv", "a", encoding="utf-8", newline="") as file:
        same = [["leak", "error"], ["copy", "error"], ["near-duplicate", "warning"], ["copy", "note"]]
        csv.writer(file).writerows(["1.jpg", *each, "2.jpg", "", "", "the same photo"] for each in same)
    text = Page(page_of(tmp_path, (folder, info, metrics, [answers]))).text
    num_right = int(answers.is_right.sum())
    low, high = (f"{end * 100:.1f}" for end in wilson(num_right, 60))
    assert f"right on {num_right} of 60 validation photos" in text
    assert f"interval {low} to {high}\N{NO-BREAK SPACE}%" in text
    for limit in (
        "weights were chosen on these validation photos",
        "10 of these 60 photos repeat training photos",
        f"On the other 50 photos: accuracy {clean['accuracy']:.3f}",
        "rest on fewer than 10 photos",
        "3 photos repeat another one, exactly or nearly, under another label",
        "60 labels are probably wrong",
        "1 photo could not be used",
    ):
        assert limit in text


def test_few_photos_are_a_limit(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path / "data", names=[f"{n}.jpg" for n in range(12)])
    page = page_of(tmp_path, run)
    assert "12 photos are few for a score" in page
    assert "--folds 5 scores the training photos, too" in page


def test_the_worst_mistakes_come_first_and_those_of_training_photos_after_them(tmp_path: Path) -> None:
    folder, info, metrics, (answers,) = write_run(tmp_path / "run", tmp_path / "data")
    training = dataclasses.replace(
        answers, source=["out-of-fold"] * 60, path=[f"t{n}.jpg" for n in range(60)]
    )
    text = page_of(tmp_path, (folder, info, metrics, [training[:30], training[30:], answers]))
    shown = re.findall(r'class="path"><bdi>(t?\d+)\.jpg</bdi></div>', text)
    wrong = answers[np.flatnonzero(answers.is_right == 0)]
    order = [wrong.path[row].removesuffix(".jpg") for row in np.argsort(-wrong.loss, kind="stable")]
    num_scored = sum(not each.startswith("t") for each in shown)
    assert 16 <= num_scored < len(order)
    assert shown == [*order[:num_scored], *(f"t{each}" for each in order[: len(shown) - num_scored])]
    assert f"{len(order)} of 60 validation photos are answered wrongly" in Page(text).text


def test_without_photos_there_is_no_picture(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path / "data", augment="light")
    assert "data:image" in page_of(tmp_path, run)
    text = page_of(tmp_path, run, photos=False)
    assert "<img" not in text
    assert "data:image" not in text
    assert "0.jpg" in text


def test_photos_that_have_moved_are_said_to_be_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path / "data", augment="light")
    (tmp_path / "data" / "3.jpg").unlink()
    assert "The photo cannot be read." in page_of(tmp_path, run)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    text = page_of(tmp_path, run)
    assert "The photos are no longer where the run read them" in text
    assert "<img" not in text


def test_findings_are_limited_counted_and_without_those_that_are_decided(tmp_path: Path) -> None:
    text = page_of(tmp_path, write_run(tmp_path / "run", tmp_path / "data"))
    assert text.count('class="pair"') == 18
    page = Page(text)
    assert "162 more findings are in findings.csv" in page.text
    assert "headstart check data --out findings.csv" in page.text
    assert "decided already" not in text


def test_equal_runs_have_equal_reports_and_the_data_have_a_fingerprint(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path / "data")
    first = page_of(tmp_path, run)
    assert page_of(tmp_path, run) == first
    contents = Contents.read(*run)
    assert re.fullmatch("[0-9a-f]{64}", contents.fingerprint)
    assert contents.fingerprint in first
    (tmp_path / "run" / "photos.csv").write_text(
        "path,class,split,sha256\nb.jpg,,val,02\na.jpg,,train,01\n", "utf-8"
    )
    expected = (
        "8d737940e56423b9e11a7d33dc42ae9fab26296dba2a81aba6b5495f6c68e4e8"  # printf '01\n02\n' | sha256sum
    )
    assert Contents.read(*run).fingerprint == expected


def test_a_report_of_incompressible_photos_stays_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (220, 220, 3), np.uint8)
    run = write_run(tmp_path / "run", tmp_path / "data", augment="light", pixels=noise)
    write_report(tmp_path / "report.html", *run)
    assert (tmp_path / "report.html").stat().st_size < 5e6


def test_a_class_with_many_neighbours_has_a_list_of_confusions_instead_of_a_matrix(tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, class_names=tuple(f"class {n}" for n in range(60)))
    text = Page(page_of(tmp_path, write_run(tmp_path / "run", tmp_path / "data", info))).text
    assert "The most frequent confusions" in text
    assert "The 50 of 60 classes with the lowest F1" in text


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not the folder of a run"):
        hs.report(tmp_path)
    write_run(tmp_path / "run", tmp_path / "data")
    with pytest.raises(RunFolderError, match=r"not finished.*headstart resume"):
        hs.report(tmp_path / "run")
    with pytest.raises(UsageError, match=r"must end in \.html"):
        hs.report(tmp_path / "run", tmp_path / "report.pdf")


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    folder, info, metrics, answers = write_run(tmp_path / "run", tmp_path / "data")
    with pytest.raises(DamagedFileError, match="no rows"):
        write_report(tmp_path / "report.html", folder, info, metrics, [answers[0][:0]])
    (folder / "findings.csv").write_text(",".join(COLUMNS) + "\na.jpg,nonsense,error,,,,\n")
    with pytest.raises(DamagedFileError, match=r"findings\.csv"):
        write_report(tmp_path / "report.html", folder, info, metrics, answers)
