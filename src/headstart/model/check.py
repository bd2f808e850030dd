"""Checks before any photo is read that a network can be cut and deployed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from headstart.errors import NetworkError, UnknownBackboneError
from headstart.inference.runtime import open_session
from headstart.model.families import Glue
from headstart.model.native_head import ALTERNATIVES, HEAD_IS_LAST
from headstart.model.stages import stage_names, stages
from headstart.model.tensors import named_tensors
from headstart.model.to_onnx import export_untrained
from headstart.model.trial import disturbed, evaluating, made_up_images, same_bits

# Of the largest output. Other kernels round otherwise, about a hundred times less.
_TOLERANCE = 1e-3

_REGISTERED = frozenset({"_parameters", "_buffers", "_modules"})


def check_stages(network: nn.Module, size_px: int) -> None:
    """Compare the composition of the stages with the network's own forward pass, on random images.

    A network of an unknown class may compute more after its head than Headstart can see. The comparison is
    therefore repeated with other weights, because a new layer after the head may have no effect at first (a
    scale of one, a bias of zero). Call this before ``replace_head``: with a new head of zeros, all outputs
    are equal.

    Args:
        network: Any network; its modes and weights are not changed.
        size_px: Height and width of the input.

    Raises:
        UnknownBackboneError: The network does not accept such images, or cannot be cut; the message gives the
            reason.
        NetworkError: The output for an image depends on others in the batch, or the network changes its own
            state.
    """
    images = made_up_images(network, 2, size_px)
    with evaluating(network):
        before = {name: tensor.clone() for name, tensor in named_tensors(network).items()}
        expected = _run(network, images, size_px)
        _refuse_changed(network, before)
        _compare(network, images, expected)
        _check_alone(network, images, expected)
        with disturbed(network.parameters()):
            _compare(network, images, _run(network, images, size_px))


def _compare(network: nn.Module, images: Tensor, expected: Tensor) -> None:
    name, composed = type(network).__name__, images
    try:
        for stage in stages(network):
            composed = stage(composed)
    except UnknownBackboneError:
        raise
    except Exception as error:
        raise UnknownBackboneError(
            f"{name} cannot be cut: its stages do not run one after the other. {ALTERNATIVES} "
            f"({type(error).__name__}: {error})"
        ) from error
    same_shape = composed.shape == expected.shape
    if not same_shape or not torch.allclose(composed, expected, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise UnknownBackboneError(
            f"{name} cannot be cut: its stages ({', '.join(stage_names(network))}) do not give its own "
            f"logits. It computes something beside or after its head that is not in its stages. "
            f"{HEAD_IS_LAST} {ALTERNATIVES}"
        )


def _refuse_changed(network: nn.Module, before: Mapping[str, Tensor]) -> None:
    changed = [name for name, now in named_tensors(network).items() if not same_bits(now, before[name])]
    if changed:
        raise NetworkError(
            f"{type(network).__name__} changes {', '.join(changed)} in evaluation mode, where nothing may "
            f"change, because a frozen part must stay the same. Change buffers only in training mode "
            f"(if self.training: ...)."
        )


def _check_alone(network: nn.Module, images: Tensor, together: Tensor) -> None:
    name = type(network).__name__
    try:
        alone = torch.cat([network(image) for image in images.unsqueeze(1)])
    except Exception as error:
        raise NetworkError(
            f"{name} accepts two images but fails on one: {type(error).__name__}: {error}. A model must also "
            f"accept a single photo. Use norms that keep statistics (track_running_stats=True)."
        ) from error
    if alone.shape != together.shape or not torch.allclose(
        alone, together, rtol=1e-3, atol=_TOLERANCE * float(together.abs().max()), equal_nan=True
    ):
        raise NetworkError(
            f"{name} gives an image another output beside other images than alone, so a photo's answer would "
            f"depend on the photos that are predicted with it. Use norms that keep statistics "
            f"(track_running_stats=True), compute nothing over the batch, and use no random numbers in "
            f"evaluation mode."
        )


def _run(network: nn.Module, images: Tensor, size_px: int) -> Tensor:
    name = type(network).__name__
    try:
        logits = network(images)
    except Exception as error:
        raise UnknownBackboneError(
            f"{name} does not take images of {size_px} × {size_px} pixels. Use the size that its weights "
            f"were trained with. ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UnknownBackboneError(
            f"{name} gives {what} for two images, where a classifier gives logits, (2, K). {ALTERNATIVES}"
        )
    return logits


def check_export(network: nn.Module, size_px: int) -> bytes:
    """Export a whole network and compare the exported model on other images than those used for the export.

    Args:
        network: Maps normalised (B, 3, H, W) float32 to one tensor, batch first.
        size_px: Height and width of the input.

    Returns:
        The ONNX model, from ``images`` to ``outputs``.

    Raises:
        NetworkError: The network cannot be exported, or the exported model computes something else.
    """
    with evaluating(network):
        example = made_up_images(network, 2, size_px)
        model = export_untrained(network, example, ["outputs"])
        # Another number of them, and others in kind: nearly grey, bright, full of contrast.
        kinds = torch.tensor([[0.1, 0.0], [2.0, 1.0], [5.0, -2.0]], device=example.device)
        kinds = kinds[..., None, None, None]  # (3, 2, 1, 1, 1)
        images = made_up_images(network, 3, size_px, seed=1) * kinds[:, 0] + kinds[:, 1]
        expected = network(images).float().cpu().numpy()
    try:
        found = open_session(model).run(None, {"images": images.cpu().numpy()})[0]
    except Exception as error:  # whatever a runtime does not support
        raise NetworkError(
            f"{type(network).__name__} can be exported, but ONNX Runtime cannot run it: "
            f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        ) from error
    same_shape = found.shape == expected.shape
    apart = np.abs(found - expected).max() / (np.abs(expected).max() + 1e-12) if same_shape else np.inf
    if not apart <= _TOLERANCE:
        raise NetworkError(
            f"{type(network).__name__} cannot be exported as it is: the exported network gives other outputs "
            f"for other images (relative error {apart:.2g}). Something in its forward pass becomes a "
            f"constant: a Python number or a decision that is computed from the images (.item(), float(), "
            f"if), or a random number. Write it with tensors, such as torch.where."
        )
    return model


def check_tensors(network: nn.Module) -> None:
    """Check that every parameter and buffer belongs to exactly one stage, so that it is trained or frozen,
    and saved.

    Raises:
        NetworkError: A tensor belongs to no stage or several, or is not registered with PyTorch; the message
            lists all.
    """
    homes: dict[int, list[str]] = {}
    for stage in stages(network):
        for identity in {id(tensor) for tensor in named_tensors(stage).values()}:
            homes.setdefault(identity, []).append(stage.name)
    problems = []
    for name, tensor in named_tensors(network).items():
        found = homes.get(id(tensor), [])
        if not found:
            problems.append(f"{name} belongs to no stage, so that it would be neither trained nor saved")
        elif len(found) > 1:
            problems.append(
                f"{name} is shared by the stages {' and '.join(found)}, of which one may be frozen"
            )
    problems += _overlapping(network)
    problems += [
        f"{name} is expanded, so that nothing can be loaded into it (register its .clone())"
        for name, tensor in named_tensors(network).items()
        if any(size > 1 and step == 0 for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    ]
    problems += [f"{name}, which PyTorch does not see" for name in _unregistered(network)]
    problems += [
        f"the extra state of {name or 'the network'}, which no file of weights can hold"
        for name, module in network.named_modules()
        if type(module).get_extra_state is not nn.Module.get_extra_state
    ]
    if problems:
        raise NetworkError(
            f"{type(network).__name__} cannot be trained as it is: {'; '.join(problems)}. Register "
            f"parameters and modules as attributes (in lists: nn.ParameterList, nn.ModuleList), and share "
            f"them only within one stage."
        )


def _overlapping(network: nn.Module) -> list[str]:
    """Return parameters that share memory with another tensor: training one would change the other."""
    spans: dict[int, list[tuple[int, int, str, Tensor]]] = {}  # by storage: first and last element
    for name, tensor in {id(each): (name, each) for name, each in named_tensors(network).items()}.values():
        first = int(tensor.storage_offset())
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        last = first + sum((int(size) - 1) * int(stride) for size, stride in steps)
        if tensor.numel():
            spans.setdefault(tensor.untyped_storage().data_ptr(), []).append((first, last, name, tensor))
    return [
        f"{name} and {other_name} are two tensors in the same memory, so that training one changes the other "
        f"(assign the parameter itself, or a clone, or compute one from the other in the forward pass)"
        for group in spans.values()
        for (first, last, name, one), (other_first, other_last, other_name, other) in combinations(group, 2)
        if first <= other_last
        and other_first <= last
        and (isinstance(one, nn.Parameter) or isinstance(other, nn.Parameter))
    ]


def _unregistered(network: nn.Module) -> list[str]:
    """Return parameters, and modules with parameters, in plain lists and dicts: nothing trains them."""
    known = {id(tensor) for tensor in named_tensors(network).values()}
    found = []
    for path, module in network.named_modules():
        if isinstance(module, Glue):  # it refers to its whole network, of which only some stages may be here
            continue
        for attribute, value in vars(module).items():
            if attribute in _REGISTERED or not isinstance(value, (list, tuple, dict, nn.Parameter)):
                continue
            values = (
                value.values() if isinstance(value, dict) else [value] if isinstance(value, Tensor) else value
            )
            for each in values:
                parameters = [each] if isinstance(each, nn.Parameter) else []
                parameters += each.parameters() if isinstance(each, nn.Module) else []
                if any(id(parameter) not in known for parameter in parameters):
                    found.append(f"{path}.{attribute}".strip("."))
                    break
    return found
