"""The self-test in a model file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.colours import INFO, colours_model

from headstart.errors import DamagedFileError
from headstart.inference.model_file import ModelInfo, verify_onnx
from headstart.inference.predictor import Predictor
from headstart.inference.run_self_test import seal_with_self_test
from headstart.inference.self_test import SelfTest, differences, inputs_of
from headstart.weight_files import WeightsSource

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "other-languages.md"


def value(seed: int, n: int, y: int, x: int, c: int) -> int:
    """The rule as docs/reference/other-languages.md states it."""
    p = 8 * 2**n
    k = ((seed * 4 + n) * 512 + y // p) * 512 + x // p
    a = ((k * 4 + c) * 16807 + 12345) % 2**31
    b = ((a ^ (a // 2**15)) * 69069 + 1) % 2**31
    return b // 2**23


@pytest.mark.parametrize("seed", [0, 1, 1023])
def test_inputs_are_made_by_the_rule_in_the_docs(seed: int) -> None:
    found = inputs_of(seed, 70)
    for place in np.random.default_rng(0).integers(0, (4, 70, 70, 3), (300, 4)).tolist():
        n, y, x, c = place
        assert found[n, y, x, c] == value(seed, n, y, x, c)


def test_the_docs_name_the_first_pixels() -> None:
    (stated,) = re.findall(r"first row of the input 0 are ([^.]*)\.", PAGE.read_text("utf-8"))
    assert re.findall(r"\((\d+), (\d+), (\d+)\)", stated) == [
        tuple(map(str, inputs_of(1, 32)[0, 0, x])) for x in (0, 8, 16)
    ]


def test_inputs_of_one_model_differ_and_use_all_levels() -> None:
    found = inputs_of(1, 224)
    assert len({image.tobytes() for image in found}) == 4
    assert found.dtype == np.uint8
    assert found.min() < 5
    assert found.max() > 250


def test_a_finished_file_has_the_outputs_of_its_own_graph_and_the_same_bits_each_time() -> None:
    model = seal_with_self_test(colours_model(), INFO)
    assert model == seal_with_self_test(colours_model(), INFO)
    self_test = verify_onnx(model, name="model").self_test
    assert self_test is not None
    inputs = inputs_of(self_test.seed, 16)
    np.testing.assert_allclose(self_test.outputs["logits"], inputs.mean((1, 2)) / 51, atol=1e-5)
    assert Predictor.from_bytes(model).info.self_test == self_test
    assert ModelInfo.from_json(replace(INFO, self_test=self_test).to_json()).self_test == self_test


def test_a_file_of_an_older_version_has_none() -> None:
    assert ModelInfo.from_json(INFO.to_json().replace('"self_test":null,', "")).self_test is None


@pytest.mark.parametrize(
    "fields",
    [
        '{"seed":1}',
        '{"seed":"1","outputs":{}}',
        '{"seed":-1,"outputs":{}}',
        '{"seed":1,"outputs":{"logits":[[1.0]]}}',
        '{"seed":1,"outputs":{"logits":[[1],[1],[1],[NaN]]}}',
        '{"seed":1,"outputs":{"logits":7}}',
        "[]",
    ],
)
def test_other_self_tests_are_refused(fields: str) -> None:
    with pytest.raises(DamagedFileError, match="not as Headstart writes it"):
        ModelInfo.from_json(INFO.to_json().replace('"self_test":null', f'"self_test":{fields}'))


def test_differences_are_relative_and_missing_outputs_are_infinitely_far() -> None:
    stored = SelfTest(1, {"logits": ((100.0,), (0.0,), (0.0,), (0.0,)), "numbers": ((0.0,),) * 4, "gone": ()})
    found = {"logits": np.array([[101.0], [0], [0], [0]]), "numbers": np.full((4, 1), 0.5)}
    assert differences(stored, found, np.array([2.0])) == {"logits": 0.01, "numbers": 0.25, "gone": np.inf}
    found["logits"][0] = np.nan
    assert np.isnan(differences(stored, found, np.array([2.0]))["logits"])


def test_the_origin_of_weights_does_not_depend_on_which_copy_was_read() -> None:
    kinds = ("package", "cache", "download", "export")
    assert {WeightsSource(kind).origin for kind in kinds} == {"official"}
    assert WeightsSource("random").origin == "random"
