"""headstart-web runs the self-test of a model file, and refuses a file that fails it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from benchmarks.in_browser import Browser
from playwright.sync_api import Error

from colours import INFO, colours_model
from headstart.inference.model_file import ModelInfo, seal_onnx, verify_onnx
from headstart.inference.predictor import Predictor
from headstart.inference.run_self_test import seal_with_self_test
from headstart.inference.self_test import SelfTest, differences, inputs_of

pytestmark = pytest.mark.browser

GOOD = seal_with_self_test(colours_model(), INFO)
TESTED = verify_onnx(GOOD, name="good")


def with_logits(change: Callable[[float], float], columns: int = 3) -> bytes:
    """A model file whose self-test has other logits."""
    assert TESTED.self_test is not None
    logits = TESTED.self_test.outputs["logits"]
    rows = tuple(tuple(change(value) for value in row[:columns]) for row in logits)
    outputs = {**TESTED.self_test.outputs, "logits": rows}
    return seal_onnx(colours_model(), replace(TESTED, self_test=SelfTest(TESTED.self_test.seed, outputs)))


BAD = {"by one": with_logits(lambda value: value + 1), "shape": with_logits(lambda value: value, columns=2)}


def test_a_file_that_passes_is_opened(browser: Browser) -> None:
    assert browser.load(GOOD)["self_test"]["seed"] == 1
    assert browser.load(with_logits(lambda value: value + 1e-4))["task"] == "classification"


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_fails_is_refused_with_pythons_difference(browser: Browser, kind: str) -> None:
    stored = verify_onnx(BAD[kind], name="bad").self_test
    assert stored is not None
    found = Predictor.from_bytes(GOOD).self_test_outputs()
    difference = differences(stored, found, np.zeros(0))["logits"]
    words = f"logits by {difference:.2g}" if np.isfinite(difference) else "logits by Infinity"
    with pytest.raises(Error, match=r"HeadstartError: bad\.onnx is refused") as raised:
        browser.load(BAD[kind], "bad.onnx")
    assert f"differ from those in the file: {words};" in str(raised.value)
    assert "bad.onnx" not in browser.page.evaluate("Object.keys(models)")


@pytest.mark.parametrize("size_px", [16, 97, 224])
def test_the_inputs_are_pythons(browser: Browser, size_px: int) -> None:
    found = browser.page.evaluate(
        """async (sizePx) => {
            const { inputOf } = await import('./self-test.js');
            return [0, 1, 2, 3].map((number) => Array.from(inputOf(1023, number, sizePx)));
        }""",
        size_px,
    )
    assert [bytes(each) for each in found] == [each.tobytes() for each in inputs_of(1023, size_px)]


def test_a_number_that_is_not_one_is_noticed_wherever_it_is(browser: Browser) -> None:
    found = browser.page.evaluate(
        """async () => {
            const { failureOf } = await import('./self-test.js');
            const info = {
                self_test: { seed: 1, outputs: { numbers: Array(4).fill([1, 2]) } },
                preprocessing: { size_px: 8 },
                scale: [[0, 0], [1, 1]],
            };
            const run = async () => ({ numbers: { data: Float32Array.of(NaN, 2) } });
            return failureOf({ info, run });
        }"""
    )
    assert found == "numbers is not a number"


@pytest.mark.parametrize("text", ["{", "null", "{}", '{"format": 6}'])
def test_a_description_that_is_none_is_refused(browser: Browser, text: str) -> None:
    described = SimpleNamespace(to_json=lambda: text, preprocessing=INFO.preprocessing)
    model = seal_onnx(colours_model(), cast("ModelInfo", described))
    with pytest.raises(Error, match="HeadstartError: other is refused: its description is not as Headstart"):
        browser.load(model, "other")
