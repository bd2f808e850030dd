"""The product ``report.html``: what the run is worth, on one page."""

from __future__ import annotations

from headstart.products.finished import Finished
from headstart.reporting.report import REPORT, write_report


def report_html(finished: Finished) -> None:
    """Write ``report.html``, from the other files of the run that are there.

    Raises:
        FileWriteError: The file cannot be written.
    """
    write_report(
        finished.folder / REPORT,
        finished.folder,
        finished.predictor.info,
        finished.metrics,
        finished.answers(),
    )
