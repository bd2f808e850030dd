"""Does an exported model give the answers of its run, from the bytes of the validation photos?"""

from __future__ import annotations

import tomllib
from pathlib import Path

from headstart.answers.agreement import Agreement
from headstart.answers.verify import compare_with_run
from headstart.columns import counted
from headstart.errors import DamagedFileError, DataError, ParityError, UsageError
from headstart.inference.predictor import Predictor


def parity_with_run(predictor: Predictor, run: Path) -> Agreement | None:
    """Compare an exported model with the answers of its run for the validation photos.

    Args:
        predictor: The exported model.
        run: The run folder, whose ``config.toml`` names the data.

    Returns:
        The comparison; None if the photos or the answers are not on this machine.

    Raises:
        ParityError: The answers differ by more than ``verification.photo_tolerance``.
    """
    try:
        config = (run / "config.toml").read_text("utf-8", errors="surrogateescape")
        data = Path(tomllib.loads(config)["data"])
        found, problems, _ = compare_with_run(predictor, run, data, ["val"])
    except (OSError, ValueError, KeyError, TypeError, DamagedFileError, DataError, UsageError):
        return None  # an export may be the repair of a run
    if problems:
        raise ParityError("\n".join([*problems, parity_text(found), "Nothing has been written."]))
    return found


def parity_text(found: Agreement) -> str:
    """Return the largest difference and every changed answer, in words."""
    share = len(found.changed) / max(found.num_photos, 1)
    lines = [
        f"Compared with the run on {counted(found.num_photos, 'validation photo')}: largest difference "
        f"{found.max_difference:.2g}; {counted(len(found.changed), 'answer')} changed ({share:.1%})"
    ]
    return "\n".join([*lines, *(f"  {each}" for each in found.changed)])
