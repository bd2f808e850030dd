"""Translated pages, ``NAME.zh-CN.md`` beside ``NAME.md``: the same headings, blocks, commands and links.

The blocks of a translation are those of the original, character by character, so only the original is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from tests.docs.markdown import PAGES, Block, Page, read_page

LANGUAGES = ("zh-CN",)


def original_of(path: Path) -> Path | None:
    """Return the page that a page is a translation of, or None."""
    for language in LANGUAGES:
        if path.name.endswith(f".{language}.md"):
            return path.with_name(path.name.removesuffix(f".{language}.md") + ".md")
    return None


ORIGINALS = [path for path in PAGES if original_of(path) is None]
TRANSLATIONS = [path for path in PAGES if original_of(path) is not None]


def differences(translation: Page, original: Page) -> Iterator[str]:
    """Yield what a translation has otherwise than its original."""
    levels, of_original = ([level for level, _ in page.headings] for page in (translation, original))
    if levels != of_original:
        yield f"{translation.name}: headings of levels {levels}, instead of {of_original}"
    for block, other in zip_longest(_contents(translation), _contents(original)):
        (line, has), (_, wanted) = block or (0, "no block"), other or (0, "no block")
        if has != wanted:
            yield f"{translation.name}:{line}: another block than the original:\n{has}\ninstead of\n{wanted}"
            break  # further differences may follow from this one
    for what, found, there in (
        ("commands", _commands(translation), _commands(original)),
        ("links", _targets(translation), _targets(original)),
    ):
        if found != there:
            yield f"{translation.name}: other {what} in the text: {sorted(found ^ there)}"


def carry_over(original: Path) -> None:
    """Write the blocks of a page into its translations, unless theirs have other languages."""
    for language in LANGUAGES:
        path = original.with_name(f"{original.stem}.{language}.md")
        if not path.exists():
            continue
        read_page.cache_clear()
        blocks, others = _blocks(read_page(path)), _blocks(read_page(original))
        if [block.language for block in blocks] != [other.language for other in others]:
            continue  # the test shows what differs
        lines = path.read_text("utf-8").splitlines()
        for block, other in reversed(list(zip(blocks, others, strict=True))):
            lines[block.line : block.line + len(block.lines)] = other.lines
        path.write_text("\n".join(lines) + "\n", "utf-8")


def _blocks(page: Page) -> list[Block]:
    """Return all blocks, outputs too, in their order."""
    return [each for block in page.blocks for each in (block, block.output) if each]


def _contents(page: Page) -> list[tuple[int, str]]:
    """Return the line of each block, and everything that must be the same."""
    return [
        (each.line, f"```{each.language} {'hidden' * each.hidden} {each.directives or ''}\n{each.code}```")
        for each in _blocks(page)
    ]


def _commands(page: Page) -> set[str]:
    return {code for _, code in page.inline_code if code.startswith(("headstart ", "pip "))}


def _targets(page: Page) -> set[str]:
    """Return where the links lead. A translation may link to translations, and its anchors are its own."""
    targets = {target for _, target in page.links if not target.startswith("#")}
    for language in LANGUAGES:
        targets = {target.replace(f".{language}.md", ".md").partition("#")[0] for target in targets}
    return targets
