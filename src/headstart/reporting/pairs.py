"""Findings about photos and labels, as pairs of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from headstart.columns import counted, printable
from headstart.errors import shell_command
from headstart.findings.finding import KINDS, SEVERITIES, Finding
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Html, element, named, paragraph, section, table
from headstart.reporting.pictures import Pictures

_MOST: Final = 18
_MOST_OF_A_KIND: Final = 6
_OF_PHOTOS: Final = frozenset({"leak", "copy", "near-duplicate", "wrong-label", "faulty-photo"})


def findings_to_show(contents: Contents) -> tuple[Finding, ...]:
    """Return the most severe findings, with a limited number of each kind."""
    shown: list[Finding] = []
    for each in contents.findings or ():
        if sum(other.kind == each.kind for other in shown) < _MOST_OF_A_KIND:
            shown.append(each)
    return tuple(shown[:_MOST])


def paths_of(findings: Sequence[Finding]) -> list[str]:
    """Return the photos that findings are about."""
    return [
        path for each in findings if each.kind in _OF_PHOTOS for path in (each.path, each.other_path) if path
    ]


def section_of_findings(shown: Sequence[Finding], contents: Contents, pictures: Pictures) -> Html:
    """Return the section about findings."""
    findings = contents.findings
    if findings is None:
        return section("Findings", paragraph("The run has no findings.csv, so its photos were not checked."))
    if not findings:
        return section("Findings", paragraph("Nothing was found in the photos and labels."))
    counts = Counter((each.kind, each.severity) for each in findings)
    rows = [
        (kind, [f"{counts[kind, severity]:,}" if counts[kind, severity] else "–" for severity in SEVERITIES])
        for kind in KINDS
        if any(counts[kind, severity] for severity in SEVERITIES)
    ]
    rest = len(findings) - len(shown)
    command = element("code", shell_command("check", contents.name, "--out", "findings.csv"))
    return section(
        "Findings",
        paragraph(
            "Photos and labels that are, or may be, wrong. Errors and warnings affect the score or the "
            "model; notes are for your information."
        ),
        table("Findings by kind", ["kind", *(f"{each}s" for each in SEVERITIES)], rows),
        element("div", [_pair(each, contents, pictures) for each in shown], class_="pairs"),
        paragraph(
            f"{counted(rest, 'more finding is', 'more findings are')} in findings.csv in the run folder. "
            if rest
            else "findings.csv in the run folder has the same findings. ",
            "To look for them again: ",
            command,
            ". To act on a finding, write drop, keep or label NAME into the column decision, and train with "
            "--decisions findings.csv.",
        ),
    )


def _pair(finding: Finding, contents: Contents, pictures: Pictures) -> Html:
    """Return one finding, with its photos."""
    severity = element("b", finding.severity, class_="error" if finding.severity == "error" else None)
    suggestion = f" Suggested decision: {printable(finding.suggestion)}." if finding.suggestion else ""
    message = printable(finding.message).rstrip(".")
    if finding.kind not in _OF_PHOTOS:
        about = [
            element("p", severity, f" · {finding.kind} · ", named(finding.path)),
            element("p", message, "."),
        ]
        return element("article", about, class_="pair")
    sides = [
        element(
            "figure",
            pictures.show(path, f"Photo {contents.shown(path)}"),
            element("figcaption", element("span", named(contents.shown(path)), class_="path")),
        )
        for path in (finding.path, finding.other_path)
        if path
    ]
    words = element("p", severity, f" · {finding.kind}: {message}.{suggestion}")
    return element("article", words, element("div", sides), class_="pair")
