"""The script beside a ``.pth``: it loads the network and predicts photos without Headstart."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

from headstart import tasks
from headstart.columns import printable
from headstart.inference.model_file import ModelInfo
from headstart.model.backbones import native_network, resolve
from headstart.products import plain_photo

SCRIPTS: Final = re.compile(rb'"""Predicts photos with .* without Headstart\..*', re.DOTALL)
"""First bytes of the scripts, which a later export may replace."""

_BEGIN: Final = '''\
"""Predicts photos with {weights}, without Headstart. It needs {library}, PyTorch, NumPy and Pillow.

    python {script} PHOTO...

In Python, after `net = load_network()`, `predict(net, "photo.jpg")` returns
{returns}.

The pixels are those of `headstart predict`, and so are the answers, except for
rounding (about 0.00001). Exceptions: grey TIFF files of 12 bits, or with white
as zero.{notes}
"""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path

import numpy as np
import {library}
import torch
from PIL import Image, ImageCms

'''

_NETWORK: Final = '''

def load_network():
    """Return the trained network, from (B, 3, SIZE, SIZE) as of ``prepare`` to (B, {outputs})."""
    net = {network}
    net.load_state_dict(torch.load(Path(__file__).with_name({weights!r}), weights_only=True))
    return net.eval()


def prepare(path):
    """Return a photo as the network's input, (1, 3, SIZE, SIZE) float32."""
    return normalised(square_of(path, SIZE, RESIZE, CROP_FRACTION, INTERPOLATION)[0])


def normalised(square):
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    return (pixels - mean) / std


@torch.inference_mode()
def predict(net, path):
    """Return {returns}."""
'''

_OF_CLASSES: Final = """\
    probabilities = net(prepare(path))[0].softmax(0).tolist()
    return dict(sorted(zip(CLASSES, probabilities), key=lambda each: -each[1]))
"""

_OF_LABELS: Final = """\
    probabilities = net(prepare(path))[0].sigmoid().tolist()
    return dict(sorted(zip(CLASSES, probabilities), key=lambda each: -each[1]))
"""

_OF_NUMBERS: Final = """\
    outputs = net(prepare(path))[0] * torch.tensor(SCALE[1]) + torch.tensor(SCALE[0])
    return dict(zip(TARGETS, outputs.tolist()))
"""

_OF_BOX: Final = """\
    square, size, part, filled = square_of(path, SIZE, RESIZE, CROP_FRACTION, INTERPOLATION)
    outputs = net(normalised(square))[0]
    low, high = torch.minimum(outputs[:2], outputs[2:4]), torch.maximum(outputs[:2], outputs[2:4])
    box = []
    for side, share in enumerate(torch.cat([low, high]).clamp(0, 1).tolist()):
        begin, end = part[side % 2 :: 2]
        left, right = filled[side % 2 :: 2]
        pixel = begin + (share * SIZE - left) * (end - begin) / (right - left)
        box.append(min(max(pixel, 0), size[side % 2]))
    probabilities = outputs[4:].softmax(0).tolist()
    return box, dict(sorted(zip(CLASSES, probabilities), key=lambda each: -each[1]))
"""

_END: Final = '''

def show(net, path):
    """Print the prediction of a photo as a line."""
{shown}


if __name__ == "__main__":
    if not sys.argv[1:] or sys.argv[1] in ("-h", "--help"):
        sys.exit(f"Usage: python {{sys.argv[0]}} PHOTO...")
    net, num_failed = load_network(), 0
    for path in sys.argv[1:]:
        try:
            show(net, path)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # as Pillow raises
            print(f"{{path}}: {{error}}", file=sys.stderr)
            num_failed += 1
    sys.exit(1 if num_failed else 0)
'''

_SHOW_CLASSES: Final = """\
    label, probability = next(iter(predict(net, path).items()))
    print(f"{path}\\t{label}\\t{probability:.4f}")"""
_SHOW_LABELS: Final = """\
    thresholds = dict(zip(CLASSES, THRESHOLDS))
    found = {name: each for name, each in predict(net, path).items() if each >= thresholds[name]}
    print(path, *(f"{name} {each:.4f}" for name, each in found.items()), sep="\\t")"""
_SHOW_NUMBERS: Final = """\
    print(path, *(f"{name} {number:.6g}" for name, number in predict(net, path).items()), sep="\\t")"""
_SHOW_BOX: Final = """\
    box, probabilities = predict(net, path)
    label = [f"{name} {each:.4f}" for name, each in list(probabilities.items())[:1]]
    print(path, *(f"{side:.1f}" for side in box), *label, sep="\\t")"""


def script(info: ModelInfo, weights: str, name: str) -> str:
    """Return a Python script that predicts photos as ``headstart predict`` does.

    Args:
        info: Description of the model, with a head in the native place.
        weights: Name of the ``.pth`` file, in the folder of the script.
        name: Name of the script.
    """
    backbone = resolve(info.backbone)
    body, returns, shown = _of_task(info)
    begin = _BEGIN.format(
        weights=_in_docstring(weights),
        script=_in_docstring(name),
        library=backbone.library,
        returns=returns,
        notes=_notes(info),
    )
    network = _NETWORK.format(
        network=native_network(backbone, info.num_outputs),
        outputs=info.num_outputs,
        weights=weights,
        returns=returns,
    )
    photo = inspect.getsource(plain_photo).partition("import Image, ImageCms\n\n")[2]
    return f"{begin}{photo}\n{_settings(info)}{network}{body}{_END.format(shown=shown)}"


def _settings(info: ModelInfo) -> str:
    """Return the constants of the model."""
    settings = info.preprocessing
    constants: dict[str, Any] = {
        "SIZE": settings.size_px,
        "RESIZE": settings.resize,
        "CROP_FRACTION": settings.crop_fraction,
        "INTERPOLATION": settings.interpolation,
        "MEAN": settings.mean,
        "STD": settings.std,
        "CLASSES": list(info.class_names if info.num_box_classes or not tasks.of(info.task).has_box else ()),
    }
    if info.targets:
        constants |= {"TARGETS": list(info.targets), "SCALE": info.scale}
    if tasks.of(info.task).has_labels:
        constants |= {"THRESHOLDS": list(info.thresholds)}
    return "".join(f"{name} = {value!r}\n" for name, value in constants.items())


def _of_task(info: ModelInfo) -> tuple[str, str, str]:
    """Return the end of ``predict``, what it returns in words, and the lines that print it."""
    task = tasks.of(info.task)
    if task.has_numbers:
        return _OF_NUMBERS, "the numbers by target", _SHOW_NUMBERS
    if task.has_box:
        returns = "the box in pixels (xmin, ymin, xmax, ymax), and the probability of each class"
        return _OF_BOX, returns, _SHOW_BOX
    if task.has_labels:
        return _OF_LABELS, "the probability of each class, the highest first", _SHOW_LABELS
    return _OF_CLASSES, "the probability of each class, the highest first", _SHOW_CLASSES


def _notes(info: ModelInfo) -> str:
    """Return what else a user of the script should know."""
    notes = ""
    if tasks.of(info.task).activation:
        notes += " Probabilities are calibrated: if a temperature was needed, the weights\ncontain it."
    if info.unknown_threshold is not None:
        notes += " The score of photos of none of the classes is only in model.onnx."
    return notes


def _in_docstring(name: str) -> str:
    return printable(name).replace("\\", "\\\\").replace('"', '\\"')
