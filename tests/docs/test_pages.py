"""Everything that the pages show works: blocks, output, commands in the text, links. See CONTRIBUTING.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.exceptions import AT_MOST, NOT_RUN, REASONS
from tests.docs.isolation import program
from tests.docs.listed import listed
from tests.docs.markdown import PAGES, ROOT, read_page
from tests.docs.prose import problems
from tests.docs.run_page import exception_of
from tests.docs.start import make_start
from tests.docs.translations import ORIGINALS

pytestmark = pytest.mark.docs
NAMES, RUN = ([path.relative_to(ROOT).as_posix() for path in paths] for paths in (PAGES, ORIGINALS))


def _num_blocks(name: str) -> int:
    return len(read_page(ROOT / name).blocks)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every page starts with, shared with the other processes of this run."""
    own = tmp_path_factory.getbasetemp()
    return make_start((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "start-of-pages")


@pytest.mark.parametrize(
    "name", sorted(filter(_num_blocks, RUN), key=_num_blocks, reverse=True)
)  # long ones first
def test_the_blocks_of_a_page_do_what_it_says(name: str, start: Path) -> None:
    command = [*program(), "--start", str(start), name]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_the_text_exist_and_links_lead_somewhere(name: str) -> None:
    found = problems(read_page(ROOT / name))
    assert not found, "\n".join(found)


def test_the_blocks_that_are_not_run_are_few_and_each_has_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with capsys.disabled():
        print("\n" + listed(), file=sys.__stderr__)
    assert len(NOT_RUN) <= AT_MOST
    assert {each.reason for each in NOT_RUN} <= REASONS
    used = [exception_of(page, block) for page in map(read_page, ORIGINALS) for block in page.blocks]
    assert [each for each in NOT_RUN if used.count(each) != 1] == []
