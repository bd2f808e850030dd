"""Stages of networks whose forward pass is not known: before their head, or after a known base."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from headstart.errors import UnknownBackboneError
from headstart.model.native_head import ALTERNATIVES, HEAD_IS_LAST, auxiliary_heads, base_of, head_module_name
from headstart.model.stage import Description, Stage


def on_base(net: nn.Module) -> Description:
    """Describe a user's own network on a ``feature_extractor``: the stages of its base, then the head."""
    base = base_of(net)
    assert base is not None
    description: Description = {stage.name: list(stage) for stage in base if isinstance(stage, Stage)}
    return description | {"head": [BehindBase(net)]}


class BehindBase(nn.Module):
    """The forward pass of a user's network, in which its base returns its input unchanged.

    Everything that the network does with the output of the base is its head. If it also uses the images in
    another way, ``check.check_stages`` detects it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = (network,)
        base = base_of(network)
        for name, child in network.named_children():
            if child is not base:
                self.add_module(name, child)
        for name, parameter in network.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in network.named_buffers(recurse=False):
            self.register_buffer(name, buffer)

    def train(self, mode: bool = True) -> BehindBase:
        """Set the mode of these modules and of the network itself."""
        (network,) = self._network
        network.training = mode  # its own forward pass may ask: F.dropout(x, training=self.training)
        super().train(mode)
        return self

    def forward(self, features: Tensor) -> Tensor:
        (network,) = self._network
        base = base_of(network)
        assert base is not None
        base.forward = _given  # type: ignore[method-assign]
        try:
            outputs: Tensor = network(features)
        finally:
            del base.forward
        return outputs


def holds_own_forward(module: nn.Module) -> bool:
    """Return whether a module is the part of a user's own network after its base."""
    return isinstance(module, BehindBase)


def _given(features: Tensor) -> Tensor:
    return features


def two_stages(net: nn.Module) -> Description:
    """Describe a network of which only the head is known: ``backbone`` and ``head``."""
    name = head_module_name(net)
    head = net.get_submodule(name)
    siblings = list(net.get_submodule(name.rpartition(".")[0]).children())
    behind = siblings[siblings.index(head) + 1 :]
    # timm puts a flattening behind a head that is a convolution.
    flatten = [module for module in behind if isinstance(module, nn.Flatten)]
    return {"backbone": [BackboneByHook(net)], "head": [head, *flatten]}


class BackboneByHook(nn.Module):
    """Everything before the head of a network with unknown stages: the captured input of the head.

    The ``training`` flag of the network, and of modules that contain the head, follows that of this module,
    because their forward passes may use it (``F.dropout(x, training=self.training)``). It stays off if
    auxiliary classifiers, which never run here, depend on it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.training = network.training
        self._network = (network,)
        head_name = head_module_name(network)
        self._head = (network.get_submodule(head_name),)
        for name, module in _largest_modules_outside(network, head_name):
            self.add_module(name.replace(".", "_"), module)
        # What the network itself and the modules around its head hold beside their submodules.
        parts = head_name.split(".")
        self._has_auxiliary_heads = bool(auxiliary_heads(network))
        self._around: list[nn.Module] = []
        for around in (".".join(parts[:depth]) for depth in range(len(parts))):
            container = network.get_submodule(around)
            self._around.append(container)
            for name, parameter in container.named_parameters(around, recurse=False):
                self.register_parameter(name.replace(".", "_"), parameter)
            for name, buffer in container.named_buffers(around, recurse=False):
                self.register_buffer(name.replace(".", "_"), buffer)

    def forward(self, images: Tensor) -> Tensor:
        (network,), (head,) = self._network, self._head
        captured: list[Tensor] = []
        handle = head.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
        modes = [(module, module.training) for module in self._around]
        for module in self._around:
            module.training = self.training and not self._has_auxiliary_heads
        # The head runs too, and an exporter takes no weights with gradients that are not the module's own.
        exporting = torch.onnx.is_in_onnx_export()
        weights = [each for each in head.parameters() if each.requires_grad and exporting]
        for weight in weights:
            weight.requires_grad_(False)
        try:
            network(images)
        finally:
            for weight in weights:
                weight.requires_grad_(True)
            for module, mode in modes:
                module.training = mode
            handle.remove()
        if len(captured) != 1:
            raise UnknownBackboneError(
                f"{type(network).__name__} cannot be cut: it runs its head, {head_module_name(network)}, "
                f"{len(captured)} times in one forward pass. {HEAD_IS_LAST} {ALTERNATIVES}"
            )
        return captured[0]


def _largest_modules_outside(
    network: nn.Module, head_name: str, prefix: str = ""
) -> Iterable[tuple[str, nn.Module]]:
    """Return the largest submodules that do not contain the head, with their dotted names."""
    for name, child in network.named_children():
        path = prefix + name
        if path == head_name:
            continue
        if head_name.startswith(path + "."):
            yield from _largest_modules_outside(child, head_name, path + ".")
        else:
            yield path, child
