"""A network as an ordered list of named stages, and the cut between two of them.

The composition of a network's stages equals its own forward pass. Stages are views: they hold the very
modules and parameters of the native network, which stays as it is. A new stage begins where the resolution
halves (in a plain transformer: at each block); what trails the last of them (a convolution, a norm) belongs
to it; then comes ``pool``, then fully connected layers that are not the head (VGG: ``fc6``, ``fc7``), then
``head`` with the dropout that stands directly before it.

Stages are found by the module's class, so everything here works on networks that Headstart did not make.
A class that is not in the table has two stages, ``backbone`` and ``head``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from headstart.errors import UnknownBackboneError, did_you_mean

HEAD_MARK = "_headstart_head"
"""The attribute of a network that holds its head's dotted name; a string survives pickle and deepcopy."""

HEAD_IS_LAST = (
    "The last linear layer or convolution that a network registers is taken for its head, so register yours "
    "last."
)
ALTERNATIVES = (
    "Choose one that the command `headstart backbones` lists, or build your own on "
    "hs.feature_extractor(...): there, everything behind the base is the head, whatever it does."
)

Description = dict[str, list[nn.Module]]  # stage name → its modules, in the order they run


class Stage(nn.Sequential):
    """One named stage: native modules in the order in which the native forward pass runs them."""

    def __init__(self, name: str, modules: Iterable[nn.Module]) -> None:
        super().__init__(*modules)
        self.name = name


class StageSequence(nn.Sequential):
    """Consecutive stages as one module; with no stages it is the identity.

    A suffix that begins with the normalised pixels, or a prefix, is such a sequence.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        super().__init__(*stages)

    @property
    def names(self) -> list[str]:
        return [str(stage.name) for stage in self]


def stages(network: nn.Module) -> list[Stage]:
    """Return the network's stages in order; their composition equals ``network(images)``.

    Args:
        network: A torchvision, timm or any other classification network; images of (B, 3, H, W) float32,
            normalised, in, logits of (B, K) out.
    """
    return [Stage(name, modules) for name, modules in _family(network)(network).items()]


def is_staged(network: nn.Module) -> bool:
    """Tell whether the network's inside is known, so that it has more stages than backbone and head."""
    return _family(network) is not _two_stages


def _family(network: nn.Module) -> Callable[[Any], Description]:
    """The function that knows this class; a subclass counts only if it runs the same forward pass."""
    for cls in type(network).__mro__:
        describe = _FAMILIES.get(_full_name(cls))
        if describe is not None and all(
            getattr(type(network), method, None) is getattr(cls, method, None) for method in _FORWARD_METHODS
        ):
            return describe
    return _two_stages if _base_of(network) is None else _on_base


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def is_view(module: nn.Module) -> bool:
    """Tell whether a module was made here to look at a native network, and is no part of it."""
    return isinstance(module, (Stage, StageSequence, _Glue, _BackboneByHook, _BehindBase))


def stage_names(network: nn.Module) -> list[str]:
    """Return the names that ``cut``, ``freeze`` and ``unfreeze`` accept for this network, in order."""
    return [stage.name for stage in stages(network)]


def cut(network: nn.Module, at: str | int) -> tuple[StageSequence, StageSequence]:
    """Cut a network in two: what comes before a stage, and the rest.

    Args:
        network: Any network that ``stages`` accepts.
        at: The first stage of the second part: a stage's name, ``"all"`` (the first part is empty), or a
            number of stages counted backwards from ``pool``: 0 is the head alone, 1 is ResNet's ``layer4``.

    Returns:
        Prefix and suffix, sharing the network's parameters; ``suffix(prefix(images))`` equals
        ``network(images)``.

    Raises:
        UnknownBackboneError: There is no such stage.
    """
    sequence = stages(network)
    index = _cut_index([stage.name for stage in sequence], at)
    return StageSequence(sequence[:index]), StageSequence(sequence[index:])


def state_names(network: nn.Module, part: nn.Module) -> list[str]:
    """Return the names, in the network's state dict, of the parameters and buffers that a part holds."""
    held = {id(tensor) for tensor in named_tensors(part).values()}
    return [name for name, tensor in named_tensors(network).items() if id(tensor) in held]


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by name: those that a state dict leaves out (non-persistent buffers)
    too, and one that has several names under each of them.
    """
    named: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return named | dict(module.named_buffers(remove_duplicate=False))


def _cut_index(names: list[str], at: str | int) -> int:
    if at == "all":
        return 0
    if isinstance(at, int):
        before_pool = names.index("pool") if "pool" in names else names.index("head")
        if not 0 <= at <= before_pool:
            raise UnknownBackboneError(
                f"Cannot unfreeze the last {at} stages: this network has {before_pool} before its pooling "
                f"({', '.join(names[:before_pool])}). Use 0 (the head alone) to {before_pool}, or 'all'."
            )
        return names.index("head") if at == 0 else before_pool - at
    if at not in names:
        raise UnknownBackboneError(
            f"Unknown stage {at!r}.{did_you_mean(at, names)} This network's stages are {', '.join(names)}; "
            f"'all' and numbers of last stages (0 is the head alone) are allowed too."
        )
    return names.index(at)


def head_module_name(network: nn.Module) -> str:
    """Return the dotted name of the module that gives the logits, such as ``fc`` or ``classifier.6``.

    ``replace_head`` leaves it on the network, for a user's own head may be any module. timm's networks know
    it themselves; elsewhere it is the last linear layer or convolution in the order of registration, which
    for torchvision's networks is always the right one (a test goes through all).

    Raises:
        UnknownBackboneError: The network has no such layer, or several that are used together.
    """
    if _base_of(network) is not None:
        raise UnknownBackboneError(
            f"{type(network).__name__} is a network on a base: its head is all that is not the base. Build "
            f"another network on the base instead of replacing it."
        )
    if marked := getattr(network, HEAD_MARK, None):
        return str(marked)
    if callable(get_classifier := getattr(network, "get_classifier", None)):
        classifier = get_classifier()  # an nn.Identity where a timm network was trained without classes
        layers = [name for name, module in network.named_modules() if module is classifier]
        if isinstance(classifier, nn.ModuleList):
            layers = []
    else:
        layers = [name for name, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    if not layers:
        raise UnknownBackboneError(
            f"{type(network).__name__} cannot be cut: it has no single head, but none, or several whose "
            f"logits are combined. {ALTERNATIVES}"
        )
    return str(layers[-1])


def auxiliary_heads(network: nn.Module) -> dict[str, str]:
    """Find the auxiliary classifiers (GoogLeNet, Inception) in a network or a part of one.

    They help to train from scratch and never run here. They stay because the plain network's state dict has
    them.

    Returns:
        The dotted name of each auxiliary classifier, with that of its layer that gives logits.
    """
    kinds = {name: _full_name(type(module)) for name, module in network.named_modules()}
    return {name: f"{name}.{_AUXILIARY[kind]}" for name, kind in kinds.items() if kind in _AUXILIARY}


class _Glue(nn.Module):
    """A piece of a native forward pass that is no module there: reshaping, tokens, functional calls.

    Args:
        network: The native network; held without being registered, for not all of it belongs here.
        function: (network, x) → x.
        owns: Dotted names of the modules and parameters of the network that belong to this piece, so that
            they are frozen, counted and optimised with their stage.
    """

    def __init__(
        self, network: nn.Module, function: Callable[[Any, Tensor], Tensor], owns: Iterable[str] = ()
    ) -> None:
        super().__init__()
        self._network = (network,)
        self._function = function
        for name in owns:
            parent, _, attribute = name.rpartition(".")
            part = getattr(network.get_submodule(parent), attribute)
            if isinstance(part, nn.Parameter):
                self.register_parameter(name.replace(".", "_"), part)
            elif isinstance(part, nn.Module):
                self.add_module(name.replace(".", "_"), part)

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self._network[0], x)


# --- torchvision -------------------------------------------------------------------------------------


def _resnet(net: Any) -> Description:
    return {
        "stem": [net.conv1, net.bn1, net.relu, net.maxpool],
        "layer1": [net.layer1],
        "layer2": [net.layer2],
        "layer3": [net.layer3],
        "layer4": [net.layer4],
        "pool": [net.avgpool, nn.Flatten(1)],
        "head": [net.fc],
    }


def _vgg(net: Any) -> Description:
    ends = [i + 1 for i, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
    bounds = [0, *ends[:-1], len(net.features)]
    blocks = {f"block{n}": list(net.features[a:b]) for n, (a, b) in enumerate(pairwise(bounds), 1)}
    return blocks | {"pool": [net.avgpool, nn.Flatten(1)]} | _classifier(net, "classifier", first=6)


def _classifier(net: Any, name: str, first: int = 1) -> Description:
    """Linear layers before the head are stages of their own; the head may be any module."""
    head = net.get_submodule(head_module_name(net))
    layers = list(net.get_submodule(name))
    starts = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear) or head in layer.modules()]
    # Dropout directly before a linear layer belongs to it: it stays active when only the head is trained.
    starts = [i - 1 if i and isinstance(layers[i - 1], nn.Dropout) else i for i in starts]
    bounds = [*starts, len(layers)]
    names = [*(f"fc{first + i}" for i in range(len(starts) - 1)), "head"]
    return {name: layers[a:b] for name, (a, b) in zip(names, pairwise(bounds), strict=True)}


def _by_stride(layers: Iterable[nn.Module]) -> Description:
    """Group consecutive layers; a new stage begins with each layer that holds a strided convolution."""
    groups: list[list[nn.Module]] = []
    for layer in layers:
        strided = any(isinstance(m, nn.Conv2d) and max(m.stride) > 1 for m in layer.modules())
        if strided or not groups:
            groups.append([])
        groups[-1].append(layer)
    return {f"stage{i}" if i else "stem": group for i, group in enumerate(groups)}


def _mobilenet_v2(net: Any) -> Description:
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    return _by_stride(net.features) | {"pool": pool} | _classifier(net, "classifier")


def _mobilenet_v3_or_efficientnet(net: Any) -> Description:
    return _by_stride(net.features) | {"pool": [net.avgpool, nn.Flatten(1)]} | _classifier(net, "classifier")


def _convnext(net: Any) -> Description:
    *norm_and_flatten, linear = net.classifier
    f = list(net.features)
    return {
        "stem": [f[0]],
        "stage1": [f[1]],
        "stage2": f[2:4],
        "stage3": f[4:6],
        "stage4": f[6:8],
        "pool": [net.avgpool, *norm_and_flatten],
        "head": [linear],
    }


def _densenet(net: Any) -> Description:
    f = net.features
    return {
        "stem": [f.conv0, f.norm0, f.relu0, f.pool0],
        "block1": [f.denseblock1, f.transition1],
        "block2": [f.denseblock2, f.transition2],
        "block3": [f.denseblock3, f.transition3],
        "block4": [f.denseblock4, f.norm5, nn.ReLU()],
        "pool": [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)],
        "head": [net.classifier],
    }


def _regnet(net: Any) -> Description:
    blocks = {name: [block] for name, block in net.trunk_output.named_children()}
    return {"stem": [net.stem]} | blocks | {"pool": [net.avgpool, nn.Flatten(1)], "head": [net.fc]}


def _swin(net: Any) -> Description:
    f = list(net.features)  # (B, H, W, C) between the stages
    return {
        "stem": [f[0]],
        "stage1": [f[1]],
        "stage2": f[2:4],
        "stage3": f[4:6],
        "stage4": [*f[6:8], net.norm, net.permute],
        "pool": [net.avgpool, net.flatten],
        "head": [net.head],
    }


def _vit(net: Any) -> Description:
    owns = ("conv_proj", "class_token", "encoder.pos_embedding", "encoder.dropout")
    *layers, last = net.encoder.layers
    blocks: Description = {f"block{i}": [layer] for i, layer in enumerate(layers, 1)}
    blocks[f"block{len(layers) + 1}"] = [last, net.encoder.ln]
    embed: Description = {"embed": [_Glue(net, _vit_embed, owns)]}
    pool: Description = {"pool": [_Glue(net, _vit_class_token)]}
    return embed | blocks | pool | _classifier(net, "heads")


def _vit_embed(net: Any, images: Tensor) -> Tensor:
    patches = net._process_input(images)
    tokens = torch.cat([net.class_token.expand(len(patches), -1, -1), patches], dim=1)  # (B, 1 + N, D)
    embedded: Tensor = net.encoder.dropout(tokens + net.encoder.pos_embedding)
    return embedded


def _vit_class_token(_: Any, tokens: Tensor) -> Tensor:
    return tokens[:, 0]


def _squeezenet(net: Any) -> Description:
    # Its head is a convolution that is pooled afterwards, so it does not end the forward pass.
    return {"backbone": [net.features], "head": [net.classifier, nn.Flatten(1)]}


# --- timm --------------------------------------------------------------------------------------------


def _timm_head(net: Any, linear: nn.Module) -> list[nn.Module]:
    return [nn.Dropout(net.drop_rate), linear] if net.drop_rate else [linear]


def _timm_resnet(net: Any) -> Description:
    return {
        "stem": [net.conv1, net.bn1, net.act1, net.maxpool],
        "layer1": [net.layer1],
        "layer2": [net.layer2],
        "layer3": [net.layer3],
        "layer4": [net.layer4],
        "pool": [net.global_pool],
        "head": _timm_head(net, net.fc),
    }


def _timm_efficientnet(net: Any) -> Description:
    features = _by_stride([nn.Sequential(net.conv_stem, net.bn1), *net.blocks])
    list(features.values())[-1].extend([net.conv_head, net.bn2])
    return features | {"pool": [net.global_pool], "head": _timm_head(net, net.classifier)}


def _timm_convnext(net: Any) -> Description:
    # The order of NormMlpClassifierHead; ClassifierHead, which some variants use, has fewer parts.
    parts = [getattr(net.head, name, None) for name in ("global_pool", "norm", "flatten", "pre_logits")]
    pool = [part for part in parts if part is not None]
    stages_ = {f"stage{i}": [stage] for i, stage in enumerate(net.stages, 1)}
    list(stages_.values())[-1].append(net.norm_pre)
    return {"stem": [net.stem]} | stages_ | {"pool": pool, "head": [net.head.drop, net.head.fc]}


def _timm_vit(net: Any) -> Description:
    owns = ("patch_embed", "cls_token", "reg_token", "pos_embed", "pos_drop", "patch_drop", "norm_pre")
    *layers, last = net.blocks
    blocks: Description = {f"block{i}": [layer] for i, layer in enumerate(layers, 1)}
    blocks[f"block{len(layers) + 1}"] = [last, net.norm]
    embed: Description = {"embed": [_Glue(net, _timm_vit_embed, owns)]}
    pool: Description = {"pool": [_Glue(net, _timm_vit_pool, ("attn_pool", "fc_norm"))]}
    return embed | blocks | pool | {"head": [net.head_drop, net.head]}


def _timm_vit_embed(net: Any, images: Tensor) -> Tensor:
    tokens: Tensor = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
    return tokens


def _timm_vit_pool(net: Any, tokens: Tensor) -> Tensor:
    pooled: Tensor = net.fc_norm(net.pool(tokens))
    return pooled


# --- everything else ---------------------------------------------------------------------------------


def _on_base(net: nn.Module) -> Description:
    """Somebody's own network on a base of ``feature_extractor``: its stages, and all the rest as the head."""
    base = _base_of(net)
    assert base is not None
    description: Description = {stage.name: list(stage) for stage in base if isinstance(stage, Stage)}
    return description | {"head": [_BehindBase(net)]}


def _base_of(net: nn.Module) -> StageSequence | None:
    return next((child for child in net.children() if isinstance(child, StageSequence)), None)


class _BehindBase(nn.Module):
    """A network's own forward pass, in which its base gives back what it is given.

    So whatever the network does with the base's output is its head; what it does with the images beside that
    is noticed by ``check.check_stages``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = (network,)
        base = _base_of(network)
        for name, child in network.named_children():
            if child is not base:
                self.add_module(name, child)
        for name, parameter in network.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in network.named_buffers(recurse=False):
            self.register_buffer(name, buffer)

    def train(self, mode: bool = True) -> _BehindBase:
        (network,) = self._network
        network.training = mode  # its own forward pass may ask: F.dropout(x, training=self.training)
        super().train(mode)
        return self

    def forward(self, features: Tensor) -> Tensor:
        (network,) = self._network
        base = _base_of(network)
        assert base is not None
        base.forward = _given  # type: ignore[method-assign]
        try:
            outputs: Tensor = network(features)
        finally:
            del base.forward
        return outputs


def holds_own_forward(module: nn.Module) -> bool:
    """Tell whether a module is what a user's own network does behind its base."""
    return isinstance(module, _BehindBase)


def _given(features: Tensor) -> Tensor:
    return features


def _two_stages(net: nn.Module) -> Description:
    name = head_module_name(net)
    head = net.get_submodule(name)
    siblings = list(net.get_submodule(name.rpartition(".")[0]).children())
    behind = siblings[siblings.index(head) + 1 :]
    # timm puts a flattening behind a head that is a convolution.
    flatten = [module for module in behind if isinstance(module, nn.Flatten)]
    return {"backbone": [_BackboneByHook(net)], "head": [head, *flatten]}


class _BackboneByHook(nn.Module):
    """Everything before the head of a network whose inside is not known: the head's captured input.

    The network's own ``training`` flag, and that of what contains its head, follow this module's, for their
    forward passes may ask for it (``F.dropout(x, training=self.training)``). Where auxiliary classifiers hang
    on it, which never run here, it stays off.
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
    """The largest submodules that neither are the head nor contain it, with their dotted names."""
    for name, child in network.named_children():
        path = prefix + name
        if path == head_name:
            continue
        if head_name.startswith(path + "."):
            yield from _largest_modules_outside(child, head_name, path + ".")
        else:
            yield path, child


# A subclass that overrides one of these may run its parts in another order.
_FORWARD_METHODS = ("forward", "forward_features", "forward_head", "_forward_impl")

# Class of an auxiliary classifier → its layer that gives logits.
_AUXILIARY = {
    "torchvision.models.googlenet.InceptionAux": "fc2",
    "torchvision.models.inception.InceptionAux": "fc",
}

# By class, as text, so that neither library is imported to look at a network of the other.
_FAMILIES: dict[str, Callable[[Any], Description]] = {
    "torchvision.models.resnet.ResNet": _resnet,
    "torchvision.models.vgg.VGG": _vgg,
    "torchvision.models.mobilenetv2.MobileNetV2": _mobilenet_v2,
    "torchvision.models.mobilenetv3.MobileNetV3": _mobilenet_v3_or_efficientnet,
    "torchvision.models.efficientnet.EfficientNet": _mobilenet_v3_or_efficientnet,
    "torchvision.models.convnext.ConvNeXt": _convnext,
    "torchvision.models.densenet.DenseNet": _densenet,
    "torchvision.models.regnet.RegNet": _regnet,
    "torchvision.models.swin_transformer.SwinTransformer": _swin,
    "torchvision.models.vision_transformer.VisionTransformer": _vit,
    "torchvision.models.squeezenet.SqueezeNet": _squeezenet,
    "timm.models.resnet.ResNet": _timm_resnet,
    "timm.models.efficientnet.EfficientNet": _timm_efficientnet,
    "timm.models.convnext.ConvNeXt": _timm_convnext,
    "timm.models.vision_transformer.VisionTransformer": _timm_vit,
}
