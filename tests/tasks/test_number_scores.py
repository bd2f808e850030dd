from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from headstart.tasks.box_scores import score_boxes
from headstart.tasks.number_scores import score_regression

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(10, 3, (40, 2))
PREDICTED = TRUTH + RNG.normal(0, 1, (40, 2))


def test_scores_are_scikit_learns() -> None:
    scores = score_regression(TRUTH, PREDICTED, ["kg", "m"])
    assert scores.mae == pytest.approx(mean_absolute_error(TRUTH, PREDICTED, multioutput="raw_values"))
    squares = mean_squared_error(TRUTH, PREDICTED, multioutput="raw_values")
    assert scores.rmse == pytest.approx(np.sqrt(squares))
    assert scores.r2 == pytest.approx(r2_score(TRUTH, PREDICTED, multioutput="raw_values"))
    assert scores.summary["mae"] == pytest.approx(np.mean(scores.mae))


def test_numbers_that_do_not_vary_have_no_r2() -> None:
    scores = score_regression(np.ones((3, 1)), np.zeros((3, 1)), ["kg"]).to_dict()
    assert scores["r2"] is None
    assert scores["targets"] == [{"name": "kg", "mae": 1.0, "rmse": 1.0, "r2": None}]


def test_boxes_by_hand() -> None:
    truth = np.array([[0, 0, 10, 10], [0, 0, 10, 10.0]])
    predicted = np.array([[0, 0, 10, 10], [0, 0, 10, 4.0]])
    assert score_boxes(truth, predicted).to_dict() == pytest.approx(
        {"iou": 0.7, "iou50": 0.5, "error_px": 0.75}
    )
