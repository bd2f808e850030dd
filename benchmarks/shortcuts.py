"""What the shape, file type, file size and border of photos alone predict about their class. ::

python -m benchmarks.shortcuts ../shared/data/weather ../shared/data/caltech
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart.config import TrainConfig
from headstart.data.sources.source import read_source
from headstart.findings.shortcuts import PROPERTIES, find_shortcuts, predict_by
from headstart.frozen.cache import Room
from headstart.frozen.photos import PhotoFacts, photo_facts
from headstart.probe.folds import deal_folds


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table, and the findings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", help="folders or tables of photos with one class each")
    told = parser.parse_args(arguments)
    names = ["most frequent class", *(each.name for each in PROPERTIES)]
    print(f"| data | photos | {' | '.join(names)} | s of one core |\n|" + "---|" * (len(names) + 3))
    sentences = []
    for data in told.data:
        config = TrainConfig.from_settings(data, recipe="probe")
        listing = read_source(config.data, **config.source_options)
        photos = [each.photo for each in listing.candidates]
        found = list(photo_facts([(photo, photo.sha256()) for photo in photos], Room(print)))
        pairs = list(zip(listing.candidates, found, strict=True))
        facts = [each for _, each in pairs if isinstance(each, PhotoFacts)]
        classes = [candidate.class_name for candidate, each in pairs if isinstance(each, PhotoFacts)]
        class_names, labels = np.unique(classes, return_inverse=True)
        units = np.unique([each.sha256 for each in facts], return_inverse=True)[1]
        begun = time.process_time()
        shortcuts = find_shortcuts(facts, labels, class_names.tolist(), units)
        seconds = time.process_time() - begun
        folds = deal_folds(labels, units)
        accuracies = [
            f"{(predict_by(each, facts, labels, folds) == labels).mean():.3f}" for each in (None, *PROPERTIES)
        ]
        title = Path(data).name if Path(data).is_dir() else Path(data).parent.name
        print(f"| {title} | {len(facts)} | {' | '.join(accuracies)} | {seconds:.2f} |")
        sentences += [f"{title}, {each.severity}: {each.sentence}" for each in shortcuts]
    print("\n".join(["", *sentences]))


if __name__ == "__main__":
    main()
