"""Run the blocks of a page in their order, and compare what they print with what the page shows."""

from __future__ import annotations

import configparser
import csv
import json
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import yaml
from filelock import FileLock
from tests.docs.exceptions import NOT_RUN, NotRun
from tests.docs.markdown import Block, Page
from tests.docs.session import Session
from tests.docs.shown import matches, tidy, updated
from tests.docs.start import DEPEND_ON_THE_CACHE


class PageError(Exception):
    """A block of a page does not do what the page says."""


def _json(text: str) -> None:
    """Parse one document, or one in each line."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            json.loads(line)


def _csv(text: str) -> None:
    widths = {len(row) for row in csv.reader(text.splitlines())}
    if len(widths) != 1:
        raise ValueError(f"rows have different numbers of cells: {sorted(widths)}")


def _html(text: str) -> None:
    parser = HTMLParser()
    parser.feed(text)
    parser.close()
    if parser.rawdata:
        raise ValueError(f"not read: {parser.rawdata!r}")


PARSED: dict[str, Callable[[str], object]] = {
    "json": _json,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "xml": ElementTree.fromstring,
    "ini": configparser.ConfigParser(strict=False).read_string,
    "csv": _csv,
    "html": _html,
}
_RUN = ("bash", "console", "python", "js")


def exception_of(page: Page, block: Block) -> NotRun | None:
    """Return the entry of the list that leaves a block out, or None."""
    first = next(iter(block.lines), "")
    found = (each for each in NOT_RUN if each.page == page.name and first.startswith(each.begins))
    return next(found, None)


def run_page(page: Page, *, update: bool = False, isolated: bool = False, start: Path | None = None) -> None:
    """Run a page in a temporary folder.

    Args:
        page: The page.
        update: Write the real output into the page instead of comparing.
        isolated: No other page can use the same ports.
        start: A folder of ``make_start``; it is not used for pages that depend on the cache.

    Raises:
        PageError: With file, line, block and its output.
    """
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        if not isolated and any("background" in block.directives for block in page.blocks):
            stack.enter_context(FileLock(Path(tempfile.gettempdir()) / "headstart-docs-ports.lock"))
        makes_photos = any("headstart demo --photos" in block.code for block in page.blocks)
        home = Path(temporary) / "home"
        start = None if page.name in DEPEND_ON_THE_CACHE else start
        session = stack.enter_context(Session(home, photos=not makes_photos, start=start))
        replaced: list[tuple[int, int, list[str]]] = []  # line of the first, number of lines, new lines
        for block in page.blocks:
            if exception_of(page, block):
                continue
            started = time.monotonic()
            try:
                replaced += _run_block(page, block, session, update)
            except PageError as error:
                where = f"{page.name}:{block.line}"
                raise PageError(f"{where}: {error}\n\n```{block.language}\n{block.code}```") from None
            print(
                f"{page.name}:{block.line}: {block.language}, {time.monotonic() - started:.1f} s", flush=True
            )
    if update:
        _rewrite(page, replaced)


def _run_block(page: Page, block: Block, session: Session, update: bool) -> list[tuple[int, int, list[str]]]:
    """Run a block, and return the lines of the page that its output replaces."""
    if name := block.directives.get("file"):
        folder = Path((session.state / "folder").read_text().strip())
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(block.code, "utf-8")
        if not any(name in other.code for other in page.blocks if other is not block):
            raise PageError(f"this block is the file {name}, but no other block uses it")
    if block.language in _RUN and not name:
        return _run_commands(page, block, session, update)
    if block.language == "tree":
        _check_tree(block, Path((session.state / "folder").read_text().strip()))
    elif parse := PARSED.get(block.language):
        try:
            parse(block.code)
        except Exception as error:  # whatever a parser raises
            raise PageError(f"this is not {block.language}: {error}") from None
    elif block.language == "text":
        raise PageError("this shows the output of no command: the block above is not one that is run")
    elif not name:
        known = ", ".join([*_RUN, "text", "tree", *PARSED])
        raise PageError(f"the language {block.language!r} is not run or parsed. Known: {known}")
    return []


def _run_commands(
    page: Page, block: Block, session: Session, update: bool
) -> list[tuple[int, int, list[str]]]:
    replaced = []
    wanted = int(block.directives.get("exit", 0))
    for code, line, shown, first in _commands(block):
        status, output = _execute(page, block, session, code, line)
        real = tidy(output, session.places)
        if status != wanted:
            text = "\n".join(real)
            raise PageError(f"exit code {status} instead of {wanted}. Its output:\n{text}")
        if shown is None:
            continue
        if update:
            replaced.append((first, len(shown), updated(shown, real)))
        elif matches(shown, real) is None:
            raise PageError(f"the output is not the one that line {first} shows. It is:\n" + "\n".join(real))
    return replaced


def _commands(block: Block) -> Iterator[tuple[str, int, list[str] | None, int]]:
    """Yield the commands of a block: code, line, shown output or None, and the line where that begins."""
    if block.language != "console":
        shown = block.output
        yield block.code, block.line, shown and shown.lines, shown.line + 1 if shown else 0
        return
    code, shown, begin = "", [], block.line
    for number, text in enumerate([*block.lines, "$ "], block.line + 1):
        if text.startswith("$ "):
            if code:
                yield code, begin, shown, begin + code.count("\n")
            code, shown, begin = text[2:] + "\n", [], number
        elif text.startswith("> ") and not shown:
            code += text[2:] + "\n"
        else:
            shown.append(text)


def _execute(page: Page, block: Block, session: Session, code: str, line: int) -> tuple[int, str]:
    if block.language == "python":
        return session.python(code, str(page.path), line)
    if block.language == "js":
        if not shutil.which("node"):
            return 0, ""
        (session.state / "block.mjs").write_text(code)
        return session.bash(f"node {session.state}/block.mjs")
    if until := block.directives.get("background"):
        return session.in_background(code, until)
    return session.bash(code)


def _check_tree(block: Block, folder: Path) -> None:
    """Check that all files and folders of a tree are there: a line is a folder, or a folder and its files."""
    above: list[tuple[int, Path]] = []
    for line in filter(str.strip, block.lines):
        indent = len(line) - len(line.lstrip())
        above = [(depth, path) for depth, path in above if depth < indent]
        parent = above[-1][1] if above else folder
        for name in line.split("#")[0].split():
            if name in ("...", "…"):
                continue
            if not (parent / name).exists():
                raise PageError(f"{(parent / name).relative_to(folder)} is not there")
            if name.endswith("/"):
                parent = parent / name
                above.append((indent, parent))


def _rewrite(page: Page, replaced: list[tuple[int, int, list[str]]]) -> None:
    lines = page.path.read_text("utf-8").splitlines()
    indents = {block.output.line + 1: block.output.indent for block in page.blocks if block.output}
    indents |= {block.line: block.indent for block in page.blocks}
    for first, count, new in sorted(replaced, reverse=True):
        indent = indents.get(first, "")
        lines[first - 1 : first - 1 + count] = [(indent + line).rstrip() for line in new]
    page.path.write_text("\n".join(lines) + "\n", "utf-8")
