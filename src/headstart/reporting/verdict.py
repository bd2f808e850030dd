"""The verdict on a model in one sentence, and what limits it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np

from headstart import tasks
from headstart.answers.by_folds import sentence_on_folds
from headstart.answers.estimates import Estimate, estimates_of
from headstart.answers.intervals import Interval
from headstart.answers.seen import chosen_by
from headstart.columns import counted, listed, named_score
from headstart.findings.finding import Finding
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Html, html_of, isolated, listing, paragraph, percent
from headstart.tasks.text import boxes_of, class_sets_of, numbers_of

_WIDE: Final = 0.1  # width of an interval of a fraction from which on more photos would help
_FEW: Final = 10  # photos of a class, below which its scores say little
_MOST_NAMED: Final = 5
_CONTRADICTIONS: Final = {("copy", "error"), ("leak", "error"), ("near-duplicate", "warning")}


def verdict(contents: Contents) -> Html:
    """Return the verdict, and a list of what limits it."""
    score = estimates_of(contents.scored, contents.info).overall[contents.main_score]
    limits = list(_limits(contents, score))
    return html_of(
        [
            paragraph(_sentence(contents, score), class_="verdict"),
            _on_folds(contents),
            [paragraph("What limits this score:"), listing(limits)] if limits else None,
        ]
    )


def sentence_of(contents: Contents) -> str:
    """Return the score with its interval in one sentence."""
    return _sentence(contents, estimates_of(contents.scored, contents.info).overall[contents.main_score])


def _sentence(contents: Contents, score: Estimate) -> str:
    """Return the score with its interval in one sentence."""
    task, answers, scores = tasks.of(contents.info.task), contents.scored, contents.scores
    mean, interval = score.value, score.interval
    photos = counted(len(answers), f"{contents.kind} photo")
    if task.has_numbers:
        of = f" of {isolated(contents.info.targets[0])}" if len(contents.info.targets) == 1 else ""
        within = f" ({_between(interval, '.3g')})" if interval else ""
        truth = numbers_of(answers.label, len(contents.info.targets))
        constant = float(np.abs(truth - np.median(truth, 0)).mean())
        return (
            f"On {photos}, predictions{of} are off by {mean:.3g} on average{within}. The best "
            f"number that is the same for all photos would be off by {constant:.3g}."
        )
    if task.has_box:
        within = f"; {_between(interval, '.2f')}" if interval else ""
        return (
            f"On {photos}, the predicted box and the true box overlap by {mean:.2f} on average (IoU"
            f"{within}), in {percent(scores['iou50'], 0)} of the photos by at least 0.5."
        )
    within = ""
    if interval:
        low, high = (end * 100 for end in interval)
        within = f" (95\N{NO-BREAK SPACE}% interval {low:.1f} to {high:.1f}\N{NO-BREAK SPACE}%)"
    if task.has_labels:
        num_right = int(answers.is_right.sum())
        return (
            f"On {photos}, {percent(mean)} of the decisions about single classes are right{within}, and all "
            f"classes of the photo on {num_right:,}."
        )
    num_right = int(answers.is_right.sum())
    who = "The model is" if contents.kind != "held-out" else "Models trained without the photo are"
    return f"{who} right on {num_right:,} of {photos}: accuracy {percent(mean)}{within}."


def _on_folds(contents: Contents) -> Html | None:
    """Return whose scores those of folds are; where the verdict is about test photos, with the main score."""
    folds, name = contents.metrics.get("folds"), contents.main_score
    if folds is None:
        return None
    score = ""
    if contents.kind != "held-out":
        interval = folds.get(f"{name}_interval")
        within = f" ({_between(tuple(interval), '.3g')})" if interval else ""
        photos = counted(contents.metrics["answers"]["folds"], "other photo")
        score = f"By folds, on {photos}: {named_score(name, folds[name])}{within}. "
    images = contents.metrics["images"]
    return paragraph(score + sentence_on_folds(folds["num_folds"], images["train"], images["val"]))


def _between(interval: Interval, digits: str) -> str:
    low, high = (format(end, digits) for end in interval)
    return f"95\N{NO-BREAK SPACE}% interval {low} to {high}"


def _limits(contents: Contents, score: Estimate) -> Iterator[str]:
    yield from _limit_of_number(contents, score)
    if contents.kind == "validation" and (chosen := chosen_by(contents.metrics)):
        yield (
            f"The {chosen} were chosen on these validation photos, so the score is slightly optimistic. "
            f"Photos in a folder named test would give an honest one."
        )
    if contents.kind == "held-out" and tasks.of(contents.info.task).has_labels:
        yield "The thresholds were chosen on these photos, so F1 is slightly optimistic."
    if contents.kind == "training":
        yield "There are no validation photos: models that were trained without each photo answered it."
    yield from _limit_of_leaks(contents)
    yield from _limit_of_classes(contents)
    yield from _limits_by_findings(contents)
    if num := contents.metrics["images"]["quarantined"]:
        yield f"{counted(num, 'photo')} could not be used: see quarantine.csv in the run folder."


def _limit_of_number(contents: Contents, score: Estimate) -> Iterator[str]:
    answers, interval = contents.scored, score.interval
    num, num_units = len(answers), len(np.unique(answers.units))
    num_groups = len(set(filter(None, answers.group)))
    spread = 0.0 if interval is None else interval[1] - interval[0]
    is_wide = spread > (0.5 * score.value if contents.main_score == "mae" else _WIDE)
    if num < 2 or is_wide:
        few = f"{counted(num, 'photo')} are few for a score: four times as many would halve the interval."
        yield f"{few} --folds 5 scores the training photos, too." if answers.source[0] == "val" else few
    if num_groups:
        yield (
            f"The photos belong to {counted(num_groups, 'group')}. Photos of one group are not independent, "
            f"which the interval takes into account."
        )
    elif num_units < num:
        repeat = "repeats another" if num - num_units == 1 else "repeat others"
        yield (
            f"{num - num_units:,} of these {num:,} photos {repeat} exactly or nearly, which the interval "
            f"takes into account."
        )


def _limit_of_leaks(contents: Contents) -> Iterator[str]:
    clean = contents.metrics.get("without_leaks", {}).get(contents.scored.source[0])
    if clean is None:
        return
    num = len(contents.scored)
    num_leaks = num - clean["num_photos"]
    yield (
        f"{num_leaks:,} of these {num:,} photos repeat training photos. "
        + (
            f"On the other {clean['num_photos']:,} photos: "
            f"{named_score(contents.main_score, clean[contents.main_score])}."
            if contents.main_score in clean
            else "No other photos are left."
        )
    )


def _limit_of_classes(contents: Contents) -> Iterator[str]:
    """Yield a sentence about classes with few scored photos."""
    names = contents.info.class_names
    if len(names) < 2:
        return
    if tasks.of(contents.info.task).has_labels:
        counts = class_sets_of(contents.scored.label, names).sum(0).tolist()
    else:
        labels = (
            boxes_of(contents.scored.label)[0] if contents.info.num_box_classes else contents.scored.label
        )
        found = Counter(labels)
        counts = [found[name] for name in names]
    few = [f"{isolated(name)} ({count})" for name, count in zip(names, counts, strict=True) if count < _FEW]
    if few:
        yield (
            f"The scores of {counted(len(few), 'class', 'classes')} rest on fewer than {_FEW} photos: "
            f"{listed(few, _MOST_NAMED)}."
        )


def _limits_by_findings(contents: Contents) -> Iterator[str]:
    """Yield sentences about findings that put the labels or the photos in doubt."""
    found = Counter(each.kind for each in contents.findings or () if each.severity != "note")
    if num := sum(map(_is_contradiction, contents.findings or ())):
        which = "the two labels is" if num == 1 else "the labels of each pair is"
        yield (
            f"{counted(num, 'photo repeats', 'photos repeat')} another one, exactly or nearly, under another "
            f"label, so one of {which} wrong: see Findings below."
        )
    if num := found["wrong-label"]:
        yield f"{counted(num, 'label is', 'labels are')} probably wrong: see Findings below."
    if num := found["shortcut"]:
        found_in = counted(num, "property", "properties")
        yield f"The class can be told from {found_in} of the files: see Findings below."
    if found["imbalance"]:
        yield "The classes differ much in size: see Findings below."


def _is_contradiction(finding: Finding) -> bool:
    """Return whether a finding is about two photos that are the same but have different labels."""
    return (finding.kind, finding.severity) in _CONTRADICTIONS
