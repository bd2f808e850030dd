"""Makes the products of a finished model. A product that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headstart.products.answers_csv import answers_csv
from headstart.products.finished import Finished, Product
from headstart.products.report_html import report_html
from headstart.reporting.report import REPORT

PRODUCTS: Final[Mapping[str, Product]] = {"answers.csv": answers_csv, REPORT: report_html}
"""Products by the name of their file, in the order in which they are made."""


def make_products(finished: Finished, products: Mapping[str, Product]) -> dict[str, Exception]:
    """Make products of a finished model.

    Args:
        finished: The model.
        products: Products by the name of their file.

    Returns:
        The errors, by the name of the product; empty if all products have been made.
    """
    failed: dict[str, Exception] = {}
    for name, make in products.items():
        try:
            make(finished)
        except Exception as error:  # whatever its libraries raise: the other products do not depend on it
            failed[name] = error
    return failed
