"""The score of foreign photos in a model file, for an export of the same network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.errors import HeadstartError
from headstart.inference.model_file import ModelInfo, open_onnx
from headstart.inference.run_self_test import outputs_of
from headstart.inference.runtime import open_session
from headstart.inference.self_test import TOLERANCE, SelfTest, differences
from headstart.probe.unknown import UnknownScore
from headstart.probe.unknown_graph import score_in


@dataclass(frozen=True, eq=False)
class KeptUnknown:
    """A score, and the self-test of the file that it is from.

    Attributes:
        score: The score.
        self_test: Outputs of the file for inputs that are made from a seed, among them the score.
    """

    score: UnknownScore
    self_test: SelfTest

    @classmethod
    def find(cls, file: Path, info: ModelInfo) -> KeptUnknown | None:
        """Return the score in a model file.

        Args:
            file: A ``model.onnx``.
            info: Of the network to export.

        Returns:
            The score; None if there is no such file, or it is damaged, or has no such score.
        """
        try:
            model, of_file = open_onnx(file)
        except HeadstartError:
            return None
        threshold = of_file.unknown_threshold
        if threshold is None or threshold != info.unknown_threshold or of_file.self_test is None:
            return None
        score = score_in(model, threshold)
        return None if score is None else cls(score, of_file.self_test)

    def agrees(self, model: bytes, size_px: int) -> bool:
        """Return whether an exported model computes what the file of the score computes."""
        found = outputs_of(open_session(model), self.self_test.seed, size_px)
        return all(each <= TOLERANCE for each in differences(self.self_test, found, np.ones(0)).values())
