"""``python -m tests.docs [--update] [PAGE...]``: run pages, or write the real output into them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.docs.isolation import isolate, start_loopback
from tests.docs.listed import listed
from tests.docs.markdown import read_page
from tests.docs.prose import problems
from tests.docs.run_page import PageError, run_page
from tests.docs.translations import ORIGINALS, carry_over, original_of


def main() -> int:
    """Run the pages that are named, or all. Return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the real output into the pages")
    parser.add_argument(
        "--list", action="store_true", help="count the blocks, and list those that are not run"
    )
    parser.add_argument("--isolated", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="such as README.md [all]")
    arguments = parser.parse_args()
    if arguments.list:
        print(listed())
        return 0
    if arguments.isolated:
        start_loopback()
    else:
        isolate()
    failed = 0
    for path in [path.resolve() for path in arguments.pages] or ORIGINALS:
        page = read_page(path)
        print(f"# {page.name}", flush=True)
        wrong = problems(page)
        try:
            if original_of(path) is None:  # the blocks of a translation are those of the original
                run_page(page, update=arguments.update, isolated=arguments.isolated, start=arguments.start)
            if arguments.update:
                carry_over(path)
        except PageError as error:
            wrong.append(str(error))
        print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr, flush=True)
        failed += bool(wrong)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
