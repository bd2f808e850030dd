"""The stages of known networks of torchvision and timm, with one function per class of networks.

Classes are compared by name, so that looking at a network of one library does not import the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from headstart.model.native_head import full_name, head_module_name
from headstart.model.stage import Description


def family_of(network: nn.Module) -> Callable[[Any], Description] | None:
    """Return the function for a network's class; a subclass counts only if it has the same forward pass."""
    for cls in type(network).__mro__:
        describe = FAMILIES.get(full_name(cls))
        if describe is not None and all(
            getattr(type(network), method, None) is getattr(cls, method, None) for method in _FORWARD_METHODS
        ):
            return describe
    return None


class Glue(nn.Module):
    """A part of a native forward pass that is not a module: reshaping, tokens, functional calls.

    Args:
        network: The native network. It is not registered as a child, because only parts of it belong here.
        function: Function of (network, x) that returns x.
        owns: Dotted names of the network's modules and parameters that belong to this part, so that they are
            frozen, counted and optimised with its stage.
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
    """Return linear layers before the head as separate stages, and the head, which may be any module."""
    head = net.get_submodule(head_module_name(net))
    layers = list(net.get_submodule(name))
    starts = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear) or head in layer.modules()]
    # Dropout directly before a linear layer belongs to it: it stays active when only the head is trained.
    starts = [i - 1 if i and isinstance(layers[i - 1], nn.Dropout) else i for i in starts]
    bounds = [*starts, len(layers)]
    names = [*(f"fc{first + i}" for i in range(len(starts) - 1)), "head"]
    return {name: layers[a:b] for name, (a, b) in zip(names, pairwise(bounds), strict=True)}


def _by_stride(layers: Iterable[nn.Module]) -> Description:
    """Group consecutive layers; each layer with a strided convolution begins a new stage."""
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
    embed: Description = {"embed": [Glue(net, _vit_embed, owns)]}
    pool: Description = {"pool": [Glue(net, _vit_class_token)]}
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
    embed: Description = {"embed": [Glue(net, _timm_vit_embed, owns)]}
    pool: Description = {"pool": [Glue(net, _timm_vit_pool, ("attn_pool", "fc_norm"))]}
    return embed | blocks | pool | {"head": [net.head_drop, net.head]}


def _timm_vit_embed(net: Any, images: Tensor) -> Tensor:
    tokens: Tensor = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(images))))
    return tokens


def _timm_vit_pool(net: Any, tokens: Tensor) -> Tensor:
    pooled: Tensor = net.fc_norm(net.pool(tokens))
    return pooled


# A subclass that overrides one of these may run its parts in another order.
_FORWARD_METHODS = ("forward", "forward_features", "forward_head", "_forward_impl")

FAMILIES: dict[str, Callable[[Any], Description]] = {
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
