"""A translated page has the headings, blocks, commands and links of its original."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.markdown import ROOT, read_page
from tests.docs.translations import TRANSLATIONS, carry_over, differences, original_of

ENGLISH = """\
# Title

Run `headstart train photos`, see [data](data.md#tables):

## Train

<!-- exit 1 -->
```bash
headstart train photos
```

```text
loss 0.1
```
"""
CHINESE = (
    ENGLISH.replace("Title", "标题").replace("Train", "训练").replace("data.md#tables", "data.zh-CN.md#表格")
)


def _found(folder: Path, english: str, chinese: str) -> list[str]:
    for name, text in (("page.md", english), ("page.zh-CN.md", chinese)):
        (folder / name).write_text(text, "utf-8")
    read_page.cache_clear()
    return list(differences(read_page(folder / "page.zh-CN.md"), read_page(folder / "page.md")))


@pytest.mark.parametrize("name", [path.relative_to(ROOT).as_posix() for path in TRANSLATIONS])
def test_a_translation_has_the_headings_blocks_commands_and_links_of_its_original(name: str) -> None:
    original = original_of(ROOT / name)
    assert original is not None
    assert original.exists(), f"{name} is a translation of a page that does not exist"
    found = list(differences(read_page(ROOT / name), read_page(original)))
    assert not found, "\n".join(found)


def test_a_faithful_translation_has_no_differences(tmp_path: Path) -> None:
    assert _found(tmp_path, ENGLISH, CHINESE) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("## 训练\n", "训练\n", "headings of levels [1], instead of [1, 2]"),
        ("## 训练", "### 训练", "headings of levels [1, 3]"),
        ("```bash\nheadstart train photos", "```bash\nheadstart train other", "another block"),
        ("<!-- exit 1 -->\n", "", "another block"),
        ("loss 0.1", "loss 0.2", "another block"),
        ("\n```text\nloss 0.1\n```\n", "", "no block"),
        ("`headstart train photos`", "`headstart train`", "other commands"),
        ("data.zh-CN.md", "tasks.md", "other links"),
    ],
)
def test_what_differs_is_found(tmp_path: Path, old: str, new: str, found: str) -> None:
    assert CHINESE.count(old) == 1
    (difference,) = _found(tmp_path, ENGLISH, CHINESE.replace(old, new))
    assert found in difference


def test_new_output_of_a_page_is_carried_over_to_its_translation(tmp_path: Path) -> None:
    assert _found(tmp_path, ENGLISH.replace("loss 0.1", "loss 0.2\nloss 0.3"), CHINESE)
    carry_over(tmp_path / "page.md")
    assert (tmp_path / "page.zh-CN.md").read_text("utf-8") == CHINESE.replace(
        "loss 0.1", "loss 0.2\nloss 0.3"
    )
