from __future__ import annotations

import os

import pytest

from headstart.columns import align, listed, printable, score_text, width_of


@pytest.mark.parametrize(
    ("cells", "widths", "line"),
    [
        (["a", "b"], [3, 3], "  a    b"),
        (["a", "b"], [-3, 3], "a      b"),
        (["a", "b", "c"], [-3, -3, 0], "a    b    c"),
        (["a", "b"], [-3, -3], "a    b"),  # nothing trails
        (["longer", "b"], [3, -3], "longer  b"),
        (["猫", "b"], [-3, 1], "猫   b"),
        (["\n", "b"], [-3, 1], "\\n   b"),
    ],
)
def test_cells_stand_in_columns(cells: list[str], widths: list[int], line: str) -> None:
    assert align(cells, widths) == line


@pytest.mark.parametrize(("most", "text"), [(2, "a, b and 1 more"), (3, "a, b, c"), (4, "a, b, c")])
def test_long_lists_of_names_are_cut_short(most: int, text: str) -> None:
    assert listed(["a", "b", "c"], most) == text


@pytest.mark.parametrize(
    ("text", "shown", "width"),
    [
        ("naïve 猫", "naïve 猫", 8),
        ("🐶", "🐶", 2),
        ("line\nbreak\t", "line\\nbreak\\t", 13),
        ("\x1b[31m", "\\x1b[31m", 8),
        (os.fsdecode(b"caf\xe9"), "caf\\udce9", 9),
    ],
)
def test_what_a_terminal_would_not_show_becomes_an_escape(text: str, shown: str, width: int) -> None:
    assert printable(text) == shown
    assert width_of(text) == width


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.00004, "0.000"),
        ("loss", 1234.5678, "1234.568"),
        ("mae", 3.09353, "3.094"),
        ("mae", 0.0000206731, "2.07e-05"),
        ("rmse", 23578334574872.4, "2.36e+13"),
        ("mae", 0.0, "0"),
    ],
)
def test_an_error_keeps_its_digits_in_any_unit(name: str, value: float, text: str) -> None:
    assert score_text(name, value) == text
