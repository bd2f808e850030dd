"""Exports modules to ONNX; this is the only call of PyTorch's exporter."""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from headstart.errors import NetworkError
from headstart.frozen.onnx_file.read import LIMIT_BYTES
from headstart.model.tensors import named_tensors
from headstart.model.trial import evaluating

_log = logging.getLogger(__name__)


def to_onnx(module: nn.Module, example: Tensor, *, output_names: Sequence[str] = ("output",)) -> bytes:
    """Export a module to a serialised ONNX model with a dynamic batch dimension.

    PyTorch's older exporter is tried first: it takes half a second instead of ten, and the results are
    equally fast. It is deprecated, so the newer one is used for what it cannot export.

    Args:
        module: The module, which is exported in evaluation mode.
        example: An example input, batch first.
        output_names: Names of the ONNX outputs, in order; the input is ``images``.
    """
    # The fast path of multi-head attention is one fused operator that ONNX does not have.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(module):
            return _export(module, example, list(output_names))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def export_untrained(module: nn.Module, example: Tensor, output_names: Sequence[str]) -> bytes:
    """Export a module before it is trained, to detect in time that it cannot be deployed.

    Args:
        module: Frozen or not, on any device.
        example: An example input, on the same device.
        output_names: Names of the outputs; the input is ``images``.

    Raises:
        NetworkError: The module cannot be exported, or is too large for one file.
    """
    num_bytes = sum(each.numel() * each.element_size() for each in named_tensors(module).values())
    if num_bytes > LIMIT_BYTES:
        raise NetworkError(
            f"The network's weights take {num_bytes / 1e9:.1f} GB, and a model.onnx holds at most "
            f"{LIMIT_BYTES / 1e9:.1f} GB. Choose a smaller backbone: headstart backbones lists them."
        )
    try:
        try:
            return to_onnx(module, example, output_names=output_names)
        except Exception:
            if example.device.type == "cpu":
                raise
            return to_onnx(copy.deepcopy(module).cpu(), example.cpu(), output_names=output_names)
    except Exception as error:  # whatever an exporter does not support
        raise NetworkError(
            f"The network cannot be exported to ONNX, so there would be no model.onnx after training; "
            f"nothing has been trained. PyTorch's exporter says: {_first_line(error)} Replace the operation "
            f"that it names by one that ONNX has, or choose another backbone."
        ) from error


@contextmanager
def _without_graphs() -> Iterator[None]:
    """Prevent the older exporter from printing the whole graph if it fails; its own switch has no effect."""
    log = getattr(torch._C, "_jit_onnx_log", None)
    if log is None:
        yield
        return
    torch._C._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        torch._C._jit_onnx_log = log


def _export(module: nn.Module, example: Tensor, output_names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), _without_graphs():
        # Its deprecation, and tracer warnings of shape checks, which a fixed image size makes harmless.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                (example,),
                buffer,  # type: ignore[arg-type]  # the annotation forgets that file objects are taken
                dynamo=False,
                # Batch norms stay as they are, and every runtime fuses them when it loads the model. The
                # exporter would fuse them with PyTorch's square root, which is not correctly rounded and
                # differs between processors, so that equal networks would be different graphs.
                training=torch.onnx.TrainingMode.PRESERVE,
                input_names=["images"],
                output_names=output_names,
                dynamic_axes={name: {0: "batch"} for name in ["images", *output_names]},
            )
            return buffer.getvalue()
        except Exception as error:
            _log.info("The older ONNX exporter failed (%s); using the newer one.", error)
            older = _first_line(error)
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=output_names,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        except Exception as error:
            raise RuntimeError(f"{older} (The newer exporter: {_first_line(error)})") from error
    assert program is not None
    return program.model_proto.SerializeToString()  # type: ignore[no-any-return]


def _first_line(error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()  # without colours
    return f"{type(error).__name__}: {text.splitlines()[0][:400]}" if text else type(error).__name__
