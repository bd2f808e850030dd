"""Refuses photos that would keep a thread busy for long, by what their headers say."""

from __future__ import annotations

from typing import Final

from headstart.errors import ImageError
from headstart.images.bounds import num_scans
from headstart.images.decode import stored_pixels
from headstart.serving.problems import Problem

_SHARE_OF_OTHERS: Final = 0.5  # a JPEG is decoded at reduced scale, other formats are decoded whole
_MOST_SCANS_OF_LARGEST: Final = 20  # encoders write ten, or eighteen for four colours

_SCAN: Final = b"\xff\xda"  # begins a scan


def refuse_slow_photo(content: bytes, max_pixels: int) -> None:
    """Refuse a photo that is too large for its format. What cannot be read is not refused here.

    Args:
        content: The file.
        max_pixels: Most pixels of a JPEG with few scans; half as many are allowed in other formats. A JPEG of
            many scans must be smaller in proportion.

    Raises:
        Problem: The photo is too large.
    """
    try:
        format_name, pixels = stored_pixels(content)
    except ImageError:
        return  # predicting it gives the reason
    most = max_pixels if format_name == "JPEG" else int(max_pixels * _SHARE_OF_OTHERS)
    allowed = f"up to {most / 1e6:,g} are allowed"
    if format_name != "JPEG":
        allowed += f" as {format_name}, and {max_pixels / 1e6:,g} as JPEG"
    if pixels > most:
        raise Problem(
            "too_many_pixels",
            f"The photo has {pixels / 1e6:,.1f} megapixels; {allowed}. Send it smaller.",
        )
    most_scans = max(1, _MOST_SCANS_OF_LARGEST * max_pixels // max(1, pixels))
    if format_name != "JPEG" or content.count(_SCAN) <= most_scans:  # of which some may be in a preview
        return
    if (scans := num_scans(content)) > most_scans:
        raise Problem(
            "too_many_pixels",
            f"The photo is a JPEG of {scans} scans with up to {pixels / 1e6:,.1f} megapixels each; "
            f"{most_scans} are allowed at this size. Save it again, or send it smaller.",
        )
