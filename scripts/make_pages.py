"""Write the generated pages and the navigation of the site: ``python -m scripts.make_pages``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import typer
from scripts.api_page import api_page
from scripts.settings_page import settings_page

from headstart.cli import app

ROOT = Path(__file__).parents[1]
SECTIONS = {
    "Tutorials": "tutorials",
    "How-to": "how-to",
    "Explanation": "explanation",
    "Reference": "reference",
    "Coming from": "coming-from",
}
# Pages that come first in their section, in this order; the others follow by title.
FIRST = [
    *("index", "first-model", "from-study-notes", "fine-tuning", "wrong-photos", "deploy", "own-network"),
    *("cheat-sheet", "commands", "python-in-short", "python", "settings", "recipes", "recipe-files"),
]
_NAVIGATION = "# Written by python -m scripts.make_pages:\n"
# What the examples of the commands use.
_FOR_EXAMPLES = """\
<!-- run
headstart train photos --recipe probe --head linear
headstart train photos --recipe probe
cp -r photos more-photos
printf '[[phases]]\\nname = "head"\\naugment = "light"\\n' > my-recipe.toml
-->""".splitlines()


def commands_page() -> str:
    """Return the page of all commands, from their help."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = ["# Commands", "", "The same as `headstart COMMAND --help` shows.", "", *_FOR_EXAMPLES]
    for name, command in commands.items():
        context = typer.Context(command, info_name=f"headstart {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        text = (command.help or "").split("\n\n")
        lines += ["", f"## headstart {name}", "", *[_plain(" ".join(each.split())) + "\n" for each in text]]
        lines += [f"Usage: `headstart {name} {usage}`"]
        if command.epilog:
            lines += ["", *(['<!-- background "ready" -->'] if name == "serve" else []), "```bash"]
            lines += [command.epilog.removeprefix("Example: "), "```"]
        panels: dict[str, list[str]] = {}
        for parameter in command.get_params(context):
            if (record := parameter.get_help_record(context)) is not None:
                own = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panel = getattr(parameter, "rich_help_panel", None) or own
                option = record[0].removesuffix(" <str>")
                panels.setdefault(panel, []).append(f"- `{option}`: {_plain(' '.join(record[1].split()))}")
        for panel, options in panels.items():
            lines += ["", f"**{panel}**", "", *options]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return re.sub(r"([*<])", r"\\\1", text)


def _title(page: Path) -> str:
    heading = re.search(r"^# (.+)$", page.read_text("utf-8"), re.M)
    if heading is None:
        raise SystemExit(f"{page} has no title: a line that begins with '# '")
    return heading[1].replace("`", "")


def _order(page: Path) -> tuple[int, str]:
    return (FIRST.index(page.stem) if page.stem in FIRST else len(FIRST)), _title(page).lower()


def site_file() -> str:
    """Return mkdocs.yml with the navigation that the folders of ``docs`` have."""
    docs = ROOT / "docs"
    lines = ["nav:", "  - Home: index.md"]
    inside = sorted(page for page in docs.glob("*.md") if page.stem != "index")
    sections = {name: sorted((docs / folder).glob("*.md"), key=_order) for name, folder in SECTIONS.items()}
    for name, pages in {**sections, "Inside Headstart": inside}.items():
        if pages:
            lines.append(f"  - {name}:")
        for page in pages:
            lines.append(f'      - "{_title(page)}": {page.relative_to(docs).as_posix()}')
    before, marker, _ = (ROOT / "mkdocs.yml").read_text("utf-8").partition(_NAVIGATION)
    return before + marker + "\n".join(lines) + "\n"


# In this order: the navigation has the titles of all pages.
PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/commands.md": commands_page,
    "docs/reference/python.md": api_page,
    "docs/reference/settings.md": settings_page,
    "mkdocs.yml": site_file,
}


def main() -> None:
    """Write all of them."""
    for name, make in PAGES.items():
        (ROOT / name).write_text(make(), "utf-8")


if __name__ == "__main__":
    main()
