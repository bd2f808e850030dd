"""Does a network that was written in native form compute what ``model.onnx`` of its run computes?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from headstart.errors import DamagedFileError, ParityError, UsageError
from headstart.inference.model_file import ModelInfo, open_onnx
from headstart.inference.self_test import TOLERANCE, differences, inputs_of
from headstart.model.normalise import Normalise
from headstart.products.onnx import answers, output_names


@torch.inference_mode()
def refuse_other_outputs(network: nn.Module, info: ModelInfo, model: Path) -> None:
    """Compare a native network with the self-test of its run's model file.

    Args:
        network: Takes normalised (B, 3, H, W) float32; gives (B, D).
        info: How the network's outputs become answers.
        model: The ``model.onnx``. Without a readable one with a self-test, nothing is compared.

    Raises:
        ParityError: An output differs by more than ``self_test.TOLERANCE``: the weights are not those of the
            model file, or the library builds the network differently.
    """
    try:
        of_file = open_onnx(model)[1]
    except (UsageError, DamagedFileError):  # an export does not need it
        return
    if of_file.self_test is None:
        return
    pixels = torch.from_numpy(inputs_of(of_file.self_test.seed, info.preprocessing.size_px))
    rows = answers(network.eval()(Normalise(info.preprocessing)(pixels)), info)
    found = {name: each.numpy() for name, each in zip(output_names(info), rows, strict=True)}
    by_output = differences(of_file.self_test, found, np.array(of_file.scale[1]))
    wrong = {name: by_output[name] for name in found if not by_output.get(name, 0.0) <= TOLERANCE}
    if wrong:
        shown = ", ".join(f"{name} by {each:.2g}" for name, each in wrong.items())
        raise ParityError(
            f"The network in {model.parent} does not compute what {model.name} beside it computes. Outputs "
            f"for the inputs of its self-test differ: {shown}; {TOLERANCE:g} is allowed. Nothing was written."
            f" Either the two files belong to different runs; or timm or torchvision builds the network in "
            f"another way than when it was trained, so install the versions that metrics.json names; or only "
            f"{model.name} is calibrated (is_in_weights in metrics.json)."
        )
