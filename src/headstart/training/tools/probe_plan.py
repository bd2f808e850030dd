"""``headstart train --dry-run`` of a run without steps: what it would do, and about how long it takes."""

from __future__ import annotations

import os

from headstart.columns import counted
from headstart.data.split import likely_counts
from headstart.frozen.prefix import OnnxPrefix
from headstart.training.ground import ProbeSetup
from headstart.training.run.run_folder import RunFolder, likely_folder
from headstart.training.tools.plan_text import NOTHING_DONE, line
from headstart.training.tools.rate import photos_per_second
from headstart.training.watch.terminal import in_words


def plan_probe(setup: ProbeSetup, out: str | os.PathLike[str] | None = None) -> str:
    """Say what a probe would do; photos are listed, not read.

    Args:
        setup: What the run would begin with.
        out: As for ``train``.

    Returns:
        Lines for people.

    Raises:
        RunFolderError: The run folder cannot be used.
    """
    RunFolder.refuse(out, setup.config.data)
    config, listing, backbone, phase = setup.config, setup.listing, setup.backbone, setup.phase
    num_train, num_val = likely_counts(listing.candidates, config.val_fraction)
    num_test = sum(photo.split == "test" for photo in listing.candidates)
    num_views = 1 if phase.augment == "none" else phase.views
    num_read = num_views * num_train + num_val + num_test
    size_px = backbone.preprocessing.size_px
    seconds = num_read / photos_per_second(OnnxPrefix(backbone.graph), size_px, config.workers)
    views = "photos as they are"
    if phase.augment != "none":
        views = f"{counted(num_views, 'augmented view')} of each training photo"
    lines = [
        ("photos", f"{len(listing.candidates):,} listed, not read: about {num_train:,} to train, "),
        ("", f"{num_val:,} to validate, {num_test:,} to test; {in_words(listing)}"),
        *(("", note) for note in listing.notes),
        *(("", f"quarantined: {photo.path!r}: {photo.reason}") for photo in listing.quarantined),
        ("backbone", f"{backbone.name} ({size_px} px, {backbone.preprocessing.resize})"),
        ("weights", str(backbone.source)),
        ("run folder", os.fspath(likely_folder(config.data) if out is None else out)),
        ("phase", f"{phase.name}: the head is solved exactly; everything else is frozen; {views}"),
        (
            "time",
            f"about {seconds:.0f} s for {num_read:,} photos through the backbone, less those that are stored",
        ),
        ("", "already, and a few seconds for the head"),
    ]
    return "\n".join([NOTHING_DONE, "", *(line(name, text) for name, text in lines)])
