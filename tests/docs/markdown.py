"""Read a page of the documentation: its blocks, the text between them, its headings and its links."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

COMMANDS = {"bash", "console", "python", "js"}  # languages that are run and may show their output

_FENCE = re.compile(r"^(?P<indent>[ >]*)(?P<fence>```+|~~~+) *(?P<language>[^\s`]*)")
_DIRECTIVE = re.compile(r"^\s*<!-- (?P<name>exit|background|file) (?P<value>.+?) -->\s*$")
_HIDDEN = re.compile(r"^\s*<!-- run\s*$")
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_INLINE_CODE = re.compile(r"(`+)(.+?)\1")
_LINK = re.compile(
    r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\s*\[[^\]]+\]:\s*(\S+)|(?:href|src)=\"([^\"]+)\""
)


@dataclass
class Block:
    """A fenced block, or a hidden one: ``<!-- run`` … ``-->``.

    Attributes:
        line: Of the opening fence, from 1.
        language: As the fence names it; "bash" for a hidden block.
        lines: The content, without the indentation of the fence.
        directives: What comments directly above the fence say: exit, background and file.
        output: The block of language text directly below that shows what this one prints.
    """

    line: int
    language: str
    indent: str = ""
    lines: list[str] = field(default_factory=list)
    directives: dict[str, str] = field(default_factory=dict)
    output: Block | None = None
    hidden: bool = False

    @property
    def code(self) -> str:
        """Return the content as one text."""
        return "\n".join(self.lines) + "\n"


@dataclass
class Page:
    """A page as the checks need it; line numbers count from 1."""

    path: Path
    blocks: list[Block]
    prose: list[tuple[int, str]]

    @property
    def name(self) -> str:
        """Return the path below the repository, with forward slashes."""
        inside = self.path.is_relative_to(ROOT)
        return self.path.relative_to(ROOT).as_posix() if inside else self.path.name

    @property
    def headings(self) -> list[tuple[int, str]]:
        """Return the level, from 1, and the text of each heading."""
        found = (_HEADING.match(line) for _, line in self.prose)
        return [(len(heading[1]), heading[2]) for heading in found if heading]

    @property
    def anchors(self) -> set[str]:
        """Return the anchors of the headings, as GitHub makes them, and those of HTML."""
        found: dict[str, int] = {}
        anchors = set()
        for _, heading in self.headings:
            name = slug(heading)
            found[name] = found.get(name, -1) + 1
            anchors.add(f"{name}-{found[name]}" if found[name] else name)
        for _, line in self.prose:
            anchors |= set(re.findall(r"(?:id|name)=\"([^\"]+)\"", line))
        return anchors

    @property
    def links(self) -> list[tuple[int, str]]:
        """Return all targets of links and pictures, with their lines."""
        return [
            (number, next(filter(None, groups)))
            for number, line in self.prose
            for groups in _LINK.findall(_INLINE_CODE.sub("`code`", line))
        ]

    @property
    def inline_code(self) -> list[tuple[int, str]]:
        """Return the texts between backticks, with their lines. One that spans lines is not seen."""
        return [(number, code) for number, line in self.prose for _, code in _INLINE_CODE.findall(line)]


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    kept = "".join(c for c in text.lower() if c in "-_ " or unicodedata.category(c)[0] in "LNM")
    return kept.strip().replace(" ", "-")


def _closes(line: str, fence: str) -> bool:
    text = line.strip("> ")
    return text.startswith(fence) and not text.strip(fence[0])


@cache
def read_page(path: Path) -> Page:
    """Read a page.

    Raises:
        ValueError: A fence or a hidden block is not closed, or a directive is not above a fence.
    """
    page = Page(path, [], [])
    open_: Block | None = None
    end = ""
    directives: dict[str, str] = {}
    previous: Block | None = None  # the block before, if only empty lines are between
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if open_ is not None:
            closed = line.strip() == end if end == "-->" else _closes(line, end)
            if closed:
                open_ = None
            else:
                open_.lines.append(line.removeprefix(open_.indent) if line.strip() else "")
        elif (fence := _FENCE.match(line)) or _HIDDEN.match(line):
            indent, end, language = fence.groups() if fence else ("", "-->", "bash")
            open_ = Block(number, language, indent, directives=directives, hidden=not fence)
            directives = {}
            if language == "text" and previous and previous.language in COMMANDS and not previous.output:
                previous.output = open_
            else:
                page.blocks.append(open_)
            previous = open_
        elif directive := _DIRECTIVE.match(line):
            directives[directive["name"]] = directive["value"]
            previous = None
        elif line.strip():
            if directives:
                raise ValueError(f"{page.name}:{number}: a directive must be directly above a fence")
            page.prose.append((number, line))
            previous = None
    if open_ is not None:
        raise ValueError(f"{page.name}:{open_.line}: this block is not closed with {end}")
    return page
