"""Checks before any photo is read that a network can be trained."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import torch
from torch import Tensor, nn

from headstart.errors import NetworkError
from headstart.model.freeze import make_trainable
from headstart.model.memory import is_out_of_memory
from headstart.model.stages import cut
from headstart.model.trial import disturbed, evaluating, made_up_images, restored


def check_training(network: nn.Module, at: str | int, size_px: int) -> None:
    """Run the forward and backward pass of one step, and check that everything that a phase trains can learn.

    All state is restored afterwards.

    Args:
        network: A network that ``check_stages`` accepts, in evaluation mode.
        at: The first stage that is trained, as in ``cut``.
        size_px: Height and width of the input.

    Raises:
        NetworkError: Training fails, leaves parameters untrained, or changes state that is not saved.
    """
    name = type(network).__name__
    prefix, suffix = cut(network, at)
    trained = {id(parameter) for parameter in suffix.parameters()}
    _refuse_complex(network, trained)
    with evaluating(network):
        images = made_up_images(network, 2, size_px)
        expected = network(images)
        inputs = prefix(images)
    with restored(network):
        make_trainable(suffix, norm="train")
        suffix.train()
        buffers = dict(network.named_buffers(remove_duplicate=False))
        try:
            outputs = _forward_and_backward(suffix, inputs)
        except Exception as error:  # whatever the user's own code raises
            if is_out_of_memory(error):
                return  # training takes smaller passes then, and says what to set where even these do not fit
            raise NetworkError(
                f"{name} cannot be trained from stage {at!r} on: in training mode it fails on two images of "
                f"{size_px} × {size_px} pixels. {type(error).__name__}: {error}"
            ) from error
        _refuse_other_outputs(name, outputs, expected)
        replaced = [
            each
            for each, buffer in network.named_buffers(remove_duplicate=False)
            if buffer is not buffers.get(each)
        ]
        untrained = {
            each: parameter
            for each, parameter in network.named_parameters()
            if id(parameter) in trained and parameter.grad is None and parameter.is_floating_point()
        }
    _refuse_replaced(name, replaced)
    with evaluating(network):
        _refuse_unsaved_state(network, images, expected)
        _refuse_cut_off(network, at, untrained, images, expected)


def _refuse_complex(network: nn.Module, trained: Container[int]) -> None:
    complex_names = [
        each
        for each, parameter in network.named_parameters()
        if id(parameter) in trained and parameter.is_complex()
    ]
    if complex_names:
        raise NetworkError(
            f"{type(network).__name__} has complex parameters, {', '.join(complex_names)}, which the "
            f"optimisers do not support. Register torch.view_as_real(...) of each, and use "
            f"torch.view_as_complex in the forward pass."
        )


def _forward_and_backward(suffix: nn.Module, inputs: Tensor) -> object:
    outputs = suffix(inputs)
    if isinstance(outputs, Tensor) and outputs.requires_grad:
        outputs.abs().float().sum().backward()  # type: ignore[no-untyped-call]
    return outputs


def _refuse_other_outputs(name: str, outputs: object, expected: Tensor) -> None:
    """Refuse a network with other outputs in training mode than in evaluation mode."""
    if not isinstance(outputs, Tensor) or outputs.shape != expected.shape:
        what = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise NetworkError(
            f"{name} gives {what} in training mode, where it gives {tuple(expected.shape)} in evaluation "
            f"mode. Return the same single tensor in both: auxiliary outputs are not trained."
        )


def _refuse_replaced(name: str, replaced: Sequence[str]) -> None:
    if replaced:
        raise NetworkError(
            f"{name} puts a new tensor in the place of {', '.join(replaced)} while it trains, which is then "
            f"neither averaged nor saved. Change the buffer in place, as self.{replaced[0]}.copy_(...) does."
        )


def _refuse_unsaved_state(network: nn.Module, images: Tensor, expected: Tensor) -> None:
    """Refuse a network that changes state in a step that is neither a parameter nor a buffer."""
    if not torch.equal(network(images), expected):
        raise NetworkError(
            f"{type(network).__name__} gives other outputs after a step, with the same parameters and "
            f"buffers: its training changes something that is neither, so it would not be saved. Register it "
            f"as a buffer (register_buffer), and change it in place."
        )


def _refuse_cut_off(
    network: nn.Module, at: str | int, untrained: Mapping[str, nn.Parameter], images: Tensor, expected: Tensor
) -> None:
    """Refuse a network with parameters that affect its outputs but receive no gradient."""
    cut_off = []
    for each, parameter in untrained.items():  # what has no gradient may also not be used at all
        with disturbed([parameter]):
            if not torch.equal(network(images), expected):
                cut_off.append(each)
    if cut_off:
        raise NetworkError(
            f"{type(network).__name__} cannot be trained from stage {at!r} on: {', '.join(cut_off)} would "
            f"not be trained, because no gradient reaches them. Remove torch.no_grad() or .detach() from "
            f"the forward pass, or unfreeze only what comes after it (unfreeze = 'head')."
        )
