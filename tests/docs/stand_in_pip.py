"""What ``pip install`` is in the test of the pages: check that the extra exists and the package is installed.

Nothing is downloaded or installed. What a page installs must be in the environment of the tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+?)(?:\[(?P<extras>[\w,-]+)\])?(?:[=<>~!].*)?")


def problem(requirement: str) -> str | None:
    """Return why a requirement cannot be followed by a reader, or None."""
    found = _REQUIREMENT.fullmatch(requirement)
    if not found:
        return f"{requirement!r} is not a requirement that this check understands"
    if found["name"] in ("headstart", "."):
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
        unknown = set((found["extras"] or "").split(",")) - {""} - project["optional-dependencies"].keys()
        return f"{requirement!r}: no extra {', '.join(sorted(unknown))}" if unknown else None
    try:
        version(found["name"])
    except PackageNotFoundError:
        return f"{found['name']!r} is not installed in the environment of the tests; see CONTRIBUTING.md"
    return None


def main(arguments: list[str]) -> int:
    """Check ``install``; run the real pip for everything else."""
    if arguments[:1] != ["install"]:
        return subprocess.run([sys.executable, "-m", "pip", *arguments], check=False).returncode
    requirements = [argument for argument in arguments[1:] if not argument.startswith("-")]
    problems = [text for text in map(problem, requirements) if text]
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return int(bool(problems) or not requirements)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
