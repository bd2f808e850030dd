"""Two hundred small runs: what each of them would only repeat is done once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headstart.training.watch import curves


@pytest.fixture(scope="package", autouse=True)
def _curves_are_drawn_once() -> Iterator[None]:
    """Give every run the first one's picture; test_curves.py draws its own."""
    draw, drawn = curves.curves_png, []

    def curves_png(*arguments: Any, **named: Any) -> bytes:
        if not drawn:
            drawn.append(draw(*arguments, **named))
        return drawn[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "curves_png", curves_png)
        yield
