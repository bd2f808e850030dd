"""The list of the blocks: how many of each language are run or parsed, and which are not, and why."""

from __future__ import annotations

from collections import Counter

from tests.docs.exceptions import NOT_RUN
from tests.docs.markdown import read_page
from tests.docs.run_page import exception_of
from tests.docs.translations import ORIGINALS


def listed() -> str:
    """Return the list as text."""
    pages = [read_page(path) for path in ORIGINALS]
    blocks = [(page, block) for page in pages for block in page.blocks]
    run = Counter(block.language for page, block in blocks if not exception_of(page, block))
    outputs = sum(block.output is not None for _, block in blocks)
    by_language = ", ".join(f"{count} {language}" for language, count in run.most_common())
    lines = [
        f"{run.total()} blocks are run or parsed ({by_language}); {outputs} outputs are compared.",
        f"{len(NOT_RUN)} blocks are not run:",
        *(f"  {each.page}: {each.begins} … ({each.reason}: {each.needs})" for each in NOT_RUN),
    ]
    return "\n".join(lines)
