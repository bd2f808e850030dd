"""A finding about photos or labels, and ``findings.csv``, in which the owner of the photos decides on it."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args, overload

from headstart.columns import counted, html_table, printable, table
from headstart.data.decisions import COLUMNS, NONE, Decisions
from headstart.reasons import by_reason

Kind: TypeAlias = Literal[
    "leak",
    "copy",
    "near-duplicate",
    "wrong-label",
    "faulty-photo",
    "small-class",
    "similar-classes",
    "imbalance",
    "shortcut",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""All kinds, in the order in which they are shown."""

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""All severities, the worst first."""

_MOST_SHOWN: Final = 5  # of a kind


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is or may be wrong with a photo, a pair of photos, a class or the whole data set.

    Attributes:
        path: The photo, as in ``answers.csv``; or the name of a class, or of what the finding is about.
        kind: See ``Kind``.
        severity: ``"error"``: the scores or the model are wrong; ``"warning"``: they may be;
            ``"note"``: it should be known.
        message: What was found, in one sentence or more.
        other_path: The other photo of a pair; empty if there is none.
        suggestion: A decision that the owner may take over: ``drop`` or ``label NAME``; empty if none fits.
    """

    path: str
    kind: Kind
    severity: Severity
    message: str
    other_path: str = ""
    suggestion: str = ""


class Findings(Sequence[Finding]):
    """The findings about a data set, by kind and severity; of wrong labels, the most suspicious first.

    Attributes:
        leaking: Paths of validation and test photos that leak, also of those whose finding was accepted.
        num_photos: Number of photos that were checked.
        num_kept: Number of findings that the owner has accepted, which are not contained.
        unchecked: What was not checked, each with the reason in a sentence.
    """

    def __init__(
        self,
        findings: Collection[Finding],
        num_photos: int,
        *,
        decisions: Decisions = NONE,
        unchecked: Sequence[str] = (),
    ) -> None:
        """
        Args:
            findings: In the order in which those of one kind and severity are shown.
            num_photos: Number of photos that were checked, with those that cannot be used.
            decisions: Those of the owner; findings that they keep are counted only.
            unchecked: What was not checked, and why.
        """
        kept = {_matter(*each) for each in decisions.kept}
        rest = [each for each in findings if _matter(each.kind, each.path, each.other_path) not in kept]
        self._findings = sorted(rest, key=lambda f: (KINDS.index(f.kind), SEVERITIES.index(f.severity)))
        self._decisions = decisions
        self.leaking = frozenset(each.path for each in findings if each.kind == "leak")
        self.num_photos = num_photos
        self.num_kept = len(findings) - len(rest)
        self.unchecked = tuple(unchecked)

    @overload
    def __getitem__(self, key: int) -> Finding: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, key: int | slice) -> Finding | tuple[Finding, ...]:
        return tuple(self._findings[key]) if isinstance(key, slice) else self._findings[key]

    def __len__(self) -> int:
        return len(self._findings)

    def of_kind(self, kind: Kind) -> tuple[Finding, ...]:
        """Return the findings of one kind."""
        return tuple(each for each in self._findings if each.kind == kind)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of findings by kind and severity, without zeros."""
        found = Counter((each.kind, each.severity) for each in self._findings)
        return {
            kind: {severity: found[kind, severity] for severity in SEVERITIES if found[kind, severity]}
            for kind in KINDS
            if any(found[kind, severity] for severity in SEVERITIES)
        }

    def csv(self, decided: Sequence[Mapping[str, str]] = ()) -> str:
        """Return the content of ``findings.csv``: rows with a decision, then these findings.

        Args:
            decided: Further rows with a decision, by column, which the file has already.
        """
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(
            [*self._decisions.rows, *(row for row in decided if row not in self._decisions.rows)]
        )
        writer.writerows(dataclasses.asdict(each) for each in self._findings)
        return text.getvalue()

    def headline(self) -> str:
        """Return the numbers of findings in a sentence without a full stop."""
        severities = Counter(each.severity for each in self._findings)
        found = ", ".join(counted(severities[each], each) for each in SEVERITIES if severities[each])
        kept = f"; {counted(self.num_kept, 'finding')} kept" if self.num_kept else ""
        return f"{counted(self.num_photos, 'photo')} checked: {found or 'nothing found'}{kept}"

    def __repr__(self) -> str:
        lines = [self.headline()]
        if self._findings:
            lines += ["", *table(*self._table())]
        for kind in self.counts():
            lines += ["", *self._examples(kind)]
        lines += ["", *(f"Not checked: {each}" for each in self.unchecked)] if self.unchecked else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        examples = "\n\n".join("\n".join(self._examples(kind)) for kind in self.counts())
        shown = f"{html_table(*self._table())}<pre>{html.escape(examples)}</pre>" if self._findings else ""
        unchecked = "".join(f"<p>Not checked: {html.escape(each)}</p>" for each in self.unchecked)
        return f"<p>{html.escape(self.headline())}</p>{shown}{unchecked}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [kind, *(str(by_severity.get(each, "–")) for each in SEVERITIES)]
            for kind, by_severity in self.counts().items()
        ]
        return ["kind", *(f"{each}s" for each in SEVERITIES)], rows

    def _examples(self, kind: str) -> Iterator[str]:
        """Yield the first findings of a kind, and the number of the others."""
        found = [each for each in self._findings if each.kind == kind]
        yield f"{kind}:"
        if kind == "faulty-photo":  # thousands may have the same fault
            reasons = ((printable(each.path), printable(each.message)) for each in found)
            yield from (f"  {line}" for line in by_reason(reasons, _MOST_SHOWN))
            return
        for each in found[:_MOST_SHOWN]:
            other = f" and {each.other_path}" if each.other_path else ""
            yield f"  {printable(each.path)}{printable(other)}: {printable(each.message)}"
        if len(found) > _MOST_SHOWN:
            yield f"  and {len(found) - _MOST_SHOWN:,} more"


def _matter(kind: str, path: str, other_path: str) -> tuple[str, frozenset[str]]:
    """Return what a finding is about. Of a pair, either photo may come first, in the same split or in two."""
    return ("near-duplicate" if kind == "leak" else kind), frozenset((path, other_path))
