"""A ``.pth`` state dict in native names, and a script of plain torchvision or timm that predicts with it."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from headstart.columns import printable
from headstart.files import refuse_to_write, write_whole
from headstart.inference.model_file import refuse_native
from headstart.model.backbones import native_lines, resolve
from headstart.products.native_parity import refuse_other_outputs
from headstart.products.native_script import SCRIPTS, script
from headstart.products.safetensors import load_network


def write_pth(model: Path, out: Path) -> tuple[str, Path]:
    """Write a trained model's state dict, and beside it a script that loads it and predicts photos.

    Args:
        model: A ``model.safetensors``. If there is a ``model.onnx`` beside it, the network is compared with
            its self-test before anything is written.
        out: The file to write. The script is called ``NAME_predict.py``, for a file ``NAME.pth``.

    Returns:
        Python lines that load the file without Headstart, and the path of the script.

    Raises:
        UsageError: The head has no place in the native network, or is a user's own; or there is another
            file under the name of the script.
        ParityError: The network does not compute what ``model.onnx`` computes.
    """
    path = out.with_name(f"{out.stem}_predict.py")
    refuse_to_write(path, SCRIPTS)
    network, info = load_network(model)
    refuse_native(model, info)
    refuse_other_outputs(network, info, model.with_name("model.onnx"))
    memory = io.BytesIO()  # torch turns a full disk into an error of its own
    torch.save(network.state_dict(), memory)
    write_whole(out, memory.getvalue())
    write_whole(path, script(info, out.name, path.name))
    lines = native_lines(resolve(info.backbone), info.num_outputs, path=str(out))
    hint = f"# The script beside it also prepares photos: python {printable(path.name)} PHOTO..."
    return f"{lines}\n{hint}\n", path
