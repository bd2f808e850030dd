"""Reasons of the same kind share a line."""

from __future__ import annotations

from headstart.messages import LINE_CHARACTERS
from headstart.reasons import Reasons, by_reason


def test_each_kind_has_a_line_with_its_number_and_the_first_names_the_most_frequent_first() -> None:
    empty = [(f"{number}.jpg", "empty file") for number in range(4)]
    cut = [(f"cut{number}.jpg", f"truncated ({number} bytes not processed)") for number in range(1000)]
    assert by_reason([*empty, *cut, ("page.jpg", "an HTML page")], 9) == [
        "1,000 photos (cut0.jpg, cut1.jpg, cut2.jpg, ...), for example: truncated (0 bytes not processed)",
        "4 photos (0.jpg, 1.jpg, 2.jpg, ...): empty file",
        "page.jpg: an HTML page",
    ]


def test_a_few_reasons_that_differ_in_their_numbers_or_quoted_values_are_all_told() -> None:
    two = [("a.jpg", "line 2: t is 'x'"), ("b.jpg", "line 3: t is 'y'")]
    assert by_reason(two, 9) == ["a.jpg: line 2: t is 'x'", "b.jpg: line 3: t is 'y'"]
    assert by_reason([("a.jpg", "empty"), ("b.jpg", "empty")], 9, noun="rows") == [
        "2 rows (a.jpg, b.jpg): empty"
    ]


def test_a_reason_that_repeats_the_name_of_its_photo_is_of_the_same_kind() -> None:
    lost = [(f"x{'yz'[number % 2]}", f"no such photo: x{'yz'[number % 2]}") for number in range(8)]
    assert len(by_reason(lost, 9)) == 1


def test_lines_are_limited_in_number_and_length_and_the_ends_of_long_names_are_kept() -> None:
    kinds = [("/long" * 99 + f"/photo{letter}.jpg", letter * 3) for letter in "abcdefgh" for _ in range(5)]
    lines = by_reason(kinds, 3, "see file.csv")
    assert lines[-1] == "... and 5 more: see file.csv"
    assert len(lines) == 4
    assert max(map(len, lines)) < LINE_CHARACTERS
    assert "/photoa.jpg, …" in lines[0]


def test_any_number_of_reasons_takes_little_memory() -> None:
    reasons = Reasons()
    for number in range(10_000):
        reasons.add(f"{number}.jpg", f"cut at byte {number}")
    assert reasons.total == 10_000
    assert sum(map(len, reasons._first.values())) == 3
