"""What is shown of findings, and the file in which their owner decides."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from headstart.data.decisions import COLUMNS, Decisions, read_decisions
from headstart.findings.finding import Finding, Findings


def leaks(number: int) -> list[Finding]:
    return [
        Finding(f"val/{each}.jpg", "leak", "warning", "val photo leaks", f"train/{each}.jpg", "drop")
        for each in range(number)
    ]


def test_findings_are_shown_by_kind_the_worst_first() -> None:
    copy = Finding("b.jpg", "copy", "error", "the same photo", "a.jpg")
    shape = Finding("c.jpg", "faulty-photo", "note", "odd shape")
    text = repr(Findings([shape, copy, *leaks(7)], 1200, unchecked=["boxes: they are not looked at"]))
    assert text.splitlines()[0] == "1,200 photos checked: 1 error, 7 warnings, 1 note"
    assert text.index("leak:") < text.index("copy:") < text.index("faulty-photo:")
    assert "and 2 more" in text
    assert text.endswith("Not checked: boxes: they are not looked at")
    assert repr(Findings([], 3)) == "3 photos checked: nothing found"


def test_hostile_names_are_escaped_everywhere() -> None:
    found = Findings([Finding("<b>\x1b[31m.jpg", "copy", "note", "the same")], 2)
    assert "\x1b" not in repr(found)
    assert "<b>" not in found._repr_html_()


def test_the_file_has_a_row_per_finding_and_keeps_the_decisions_that_were_used(tmp_path: Path) -> None:
    path = tmp_path / "findings.csv"
    path.write_text(Findings(leaks(3), 10).csv())
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert list(rows[0]) == list(COLUMNS)
    assert rows[0]["suggestion"] == "drop"
    rows[0]["decision"], rows[1]["decision"] = "keep", "drop"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    decisions = read_decisions(path)
    again = Findings([leaks(3)[0], leaks(3)[2]], 9, decisions=decisions)
    assert again.num_kept == 1
    assert [each.path for each in again] == ["val/2.jpg"]
    path.write_text(again.csv())
    later = read_decisions(path)
    assert (later.kept, later.dropped.keys()) == (decisions.kept, decisions.dropped.keys())


def test_kept_findings_are_those_of_the_same_kind_and_pair() -> None:
    kept = Decisions("f.csv", kept=frozenset({("leak", "val/0.jpg", "train/9.jpg")}))
    assert len(Findings(leaks(1), 2, decisions=kept)) == 1
