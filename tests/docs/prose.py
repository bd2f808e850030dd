"""What a page says outside its blocks: commands there exist and are short, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache

import typer
from tests.docs.markdown import ROOT, Page, read_page
from tests.docs.stand_in_pip import problem

from headstart.cli import app

MOST_WORDS = 8  # a longer command is easier to read, and to copy, in a block
MEASUREMENTS = "docs/measurements.md"  # its commands take hours, and need other data
_LINE_START = re.compile(r"^[\s>]*(?:(?:[-*+]|\d+[.)])\s+)?")
_COMMAND = re.compile(
    r"(?:\$ |pip3? install |python3? -m (?:headstart|pip|venv) |headstart (?P<word>[a-z-]+)\b)"
)


@cache
def options() -> dict[str, set[str]]:
    """Return the options of every command."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        name: {opt for each in command.params for opt in [*each.opts, *each.secondary_opts]}
        | {"--help", "-h"}
        for name, command in commands.items()
    }


def problems(page: Page) -> list[str]:
    """Return what is wrong outside the blocks, each with its line."""
    found = [*_bare_commands(page), *_inline_commands(page), *_links(page)]
    return [f"{page.name}:{number}: {text}" for number, text in sorted(found)]


def _bare_commands(page: Page) -> Iterator[tuple[int, str]]:
    """Find lines that are commands, as if they were in a block. Text in backticks is no such line."""
    for number, line in page.prose:
        text = _LINE_START.sub("", line)
        if (command := _COMMAND.match(text)) and (not command["word"] or command["word"] in options()):
            yield number, f"a command outside a block: {text}. Put it into a block, which is then run"


def _inline_commands(page: Page) -> Iterator[tuple[int, str]]:
    """Check commands in backticks: at most eight words, and commands, options and extras that exist."""
    for number, code in page.inline_code:
        try:
            words = shlex.split(code)
        except ValueError:
            continue
        if len(words) < 2 or words[0] not in ("headstart", "pip", "pip3"):
            continue
        if len(words) > MOST_WORDS and page.name != MEASUREMENTS:
            yield number, f"{len(words)} words of a command in a line of text: `{code}`. Put it into a block"
        if words[0] != "headstart":
            if words[1] == "install":
                wrong = [problem(word) for word in words[2:] if "headstart" in word or word.startswith(".")]
                yield from ((number, text) for text in wrong if text)
            continue
        command = words[1]
        if re.fullmatch(r"[a-z-]+", command) and not command.startswith("-"):
            if command not in options():
                yield number, f"`{code}`: there is no command {command!r}"
                continue
            unknown = {word.partition("=")[0] for word in words[2:] if word.startswith("--")} - options()[
                command
            ]
            if unknown:
                yield number, f"`{code}`: {command} has no option {', '.join(sorted(unknown))}"


def _links(page: Page) -> Iterator[tuple[int, str]]:
    """Check that the files and anchors exist that relative links name."""
    for number, target in page.links:
        if re.match(r"[a-z]+:|//", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.path.parent / name).resolve() if name else page.path
        if not path.exists():
            yield number, f"{target}: there is no {name}"
        elif page.path.is_relative_to(ROOT / "docs") and not path.is_relative_to(ROOT / "docs"):
            yield number, f"{target}: the site has only docs; name other files in backticks, without a link"
        elif anchor and path.suffix == ".md" and anchor not in read_page(path).anchors:
            yield number, f"{target}: {path.name} has no heading for #{anchor}"
