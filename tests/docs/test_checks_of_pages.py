"""The checks of the pages find what they are there to find; generated pages are up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scripts.make_pages import PAGES
from tests.docs.markdown import ROOT, read_page
from tests.docs.prose import problems
from tests.docs.shown import mask, matches, tidy, updated
from tests.docs.stand_in_pip import problem

import headstart

pytestmark = pytest.mark.docs


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == PAGES[name](), "run: python -m scripts.make_pages"


def test_errors_are_found_by_words_that_their_output_has() -> None:
    page = read_page(ROOT / "docs" / "reference" / "errors.md")
    titles = [(number, line[4:]) for number, line in page.prose if line.startswith("### ")]
    assert len(titles) >= 25
    for number, title in titles:
        output = next(block.output for block in page.blocks if block.line > number and block.output)
        pattern = re.escape(title).replace("…", ".*")
        assert output
        assert re.search(pattern, output.code), title


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == headstart.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        (["loss 0.12 in 3 s"], ["loss 0.5 in 2 min 1 s"], True),
        (["Run: runs/photos"], ["Run: runs/other"], False),
        (["at /tmp/a/b.csv"], ["at /home/x/b.csv"], True),
        (["sha a42dcb32ff"], ["sha 0123456789"], True),
        (["one", "...", "four"], ["one", "two", "three", "four"], True),
        (["one", "...", "two"], ["one", "two"], True),
        (["one", "three"], ["one", "two", "three"], False),
        (["it is … here"], ["it is not here"], True),
        (["one"], ["one", "two"], False),
        (["4,444 photos"], ["12 photos"], True),
        (["12 photos"], ["no photos"], False),
        (["a.jpg,fur,1,,0,0.1"], ["a.jpg,fur,0.99,,1,-2e-05"], True),
        (["a.jpg,fur,1,,0"], ["a.jpg,fur,1,0"], False),
        (["numpy 2.4.6, 1 of 1,234.5"], ["numpy 3.0, 22 of 7"], True),
    ],
)
def test_shown_output_may_differ_only_in_numbers_times_hashes_and_paths(
    shown: list[str], real: list[str], same: bool
) -> None:
    assert (matches(shown, real) is not None) == same


def test_an_update_keeps_what_is_left_out_and_replaces_numbers() -> None:
    assert updated(["a 1", "...", "z 2"], ["a 5", "b", "z 7"]) == ["a 5", "...", "z 7"]
    assert updated(["a 1"], ["b 2"]) == ["b 2"]
    assert updated(["a 1.5 … (2 s), …"], ["a  0.25 b 3 (45 s), c 6"]) == ["a  0.25 … (45 s), …"]


def test_progress_is_left_out_and_folders_are_renamed() -> None:
    output = "\nPhotos: 109/1,160, 11 images/s, 5 s left\n\x1b[1mRun\x1b[0m: /tmp/x/work/runs\n\n"
    assert tidy(output, {"/tmp/x": "~"}) == ["Run: ~/work/runs"]


def test_progress_is_not_shown_because_it_depends_on_the_speed_of_the_machine() -> None:
    progress = (
        "Photos: 109/160, 11 images/s, 5 s left\nfinetune: 1,352/5,120, 33 images/s, 5 s left, loss 0.06"
    )
    assert tidy(f"Phase finetune: 9 parameters\n{progress}\nBest: probe\n", {}) == [
        "Phase finetune: 9 parameters",
        "Best: probe",
    ]


def test_widths_of_tables_do_not_matter() -> None:
    assert mask("───── a    b") == mask("─── a b")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("headstart train photos", "a command outside a block"),
        ("- $ ls", "a command outside a block"),
        ("1. pip install x", "a command outside a block"),
        ("> python -m headstart check photos", "a command outside a block"),
        ("    headstart demo", "a command outside a block"),
        ("`headstart trian photos`", "there is no command 'trian'"),
        ("`headstart train photos --epoch 3`", "no option --epoch"),
        ("`headstart train a --out b --seed 1 --val 0.2 --test 0.1`", "11 words"),
        ("`pip install 'headstart[nothing]'`", "no extra nothing"),
        ("[here](nowhere.md)", "there is no nowhere.md"),
        ("[here](#nothing)", "no heading for #nothing"),
    ],
)
def test_what_is_wrong_in_the_text_is_found(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "page.md").write_text(f"# Title\n\n{text}\n")
    (message,) = problems(read_page(tmp_path / "page.md"))
    assert message.startswith("page.md:3: ")
    assert found in message


def test_what_is_right_in_the_text_is_left_alone(tmp_path: Path) -> None:
    text = "headstart trains; `headstart train photos --seed 1` is short. [T](#a-title-of-two), [x](other.md)"
    block = "```bash\nheadstart train photos\n```\n"
    (tmp_path / "page.md").write_text(f"# A title, `of` two\n\n{text}\n\n{block}")
    (tmp_path / "other.md").write_text("# Other\n")
    assert problems(read_page(tmp_path / "page.md")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("```bash\nls\n", "not closed"), ("<!-- exit 2 -->\ntext\n", "directly above a fence")],
)
def test_a_page_that_cannot_be_read_is_refused(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(ValueError, match=found):
        read_page(tmp_path / "page.md")


def test_packages_that_are_not_there_are_found() -> None:
    assert problem("headstart[train,serve]==0.1.*") is None
    assert problem(".[demo]") is None
    assert problem("numpy>=2") is None
    assert "not installed" in (problem("no-such-package-of-ours") or "")


GOOD = """\
```bash
export WORD=kept
mkdir inner
cd inner
```

```console
$ echo "$WORD 12"
kept 345
$ pwd
~/work/inner
```

<!-- exit 3 -->
```bash
echo before
exit 3
```

```text
before
```

<!-- file words.json -->
```json
{"words": 5}
```

```python
import json, os

words = json.load(open("words.json"))["words"]
```

```python
f"{os.environ['WORD']} {words}"
```

```text
'kept 5'
```

<!-- background listening -->
```bash
echo listening
sleep 1000
```

```tree
words.json
```
"""
BAD = {
    "```bash\nfalse\necho\n```": "exit code 1 instead of 0",
    "```bash\necho a\n```\n\n```text\nb\n```": "the output is not the one that line",
    "```console\n$ echo a\nb\n```": "the output is not the one that line",
    "```python\n1 / 0\n```": "ZeroDivisionError",
    "```json\n{\n```": "this is not json",
    "```rust\nx\n```": "the language 'rust' is not run",
    "```text\nx\n```": "the output of no command",
    "```tree\nnot-there/\n```": "not-there is not there",
    "<!-- file x.txt -->\n```ini\n[a]\n```": "no other block uses it",
    "```bash\npip install headstart[wrong]\n```": "no extra wrong",
}


def test_what_is_wrong_in_a_block_is_found(tmp_path: Path) -> None:
    pages = [tmp_path / f"{number}.md" for number in range(len(BAD) + 1)]
    for path, text in zip(pages, [GOOD, *BAD], strict=True):
        path.write_text(text + "\n")
    command = [sys.executable, "-m", "tests.docs", *map(str, pages)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    good, *bad = ("\n" + done.stdout).split("\n# ")[1:]
    assert done.returncode == 1
    assert len(good.splitlines()) == 9, good  # its name and the time of each block
    assert len(bad) == len(BAD)
    for output, found in zip(bad, BAD.values(), strict=True):
        assert found in output
