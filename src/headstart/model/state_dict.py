"""Parses state dicts from files, loads them into networks, and describes differences.

Only tensors are unpickled.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from headstart.columns import listed
from headstart.errors import WeightsFileError
from headstart.model.head import logit_layers
from headstart.model.unpickle import StandIn, load_tensors

# Under which names trainers keep a state dict, the preferred one first. Averages of the weights are what a
# trainer reports its scores of, and what timm loads.
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "model_averaged")
_WRAPPERS = (
    *_AVERAGES,
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params"),
    *("teacher", "student", "module", "backbone", "encoder", "shadow"),
)
_SAVE_ALONE = "Save the state dict alone, with torch.save(network.state_dict(), path) or as .safetensors."
_MOST_WRAPPERS = 4  # one in the other
_MOST_PREFIXES = 4  # that are tried

# What wrappers put before the names of a network's tensors: DistributedDataParallel, torch.compile, and
# classes that hold the network.
_PREFIXES = (
    *("module.", "_orig_mod.", "model.", "net.", "network."),
    *("backbone.", "encoder.", "trunk.", "base."),
)


def parse_state_dict(data: bytes, path: str) -> tuple[OrderedDict[str, Tensor], str]:
    """Read tensors, and nothing else, from the bytes of a file.

    Args:
        data: Content of the file: safetensors, or written by ``torch.save``.
        path: Path of the file, whose ending determines the format. It is not opened.

    Returns:
        The state dict, and a description of which one it is if the file has several, such as ``"'model_ema',
        not 'model'"``; empty if there is only one.

    Raises:
        WeightsFileError: The file is damaged, or contains something other than a state dict.
    """
    try:
        if path.endswith(".safetensors"):
            content: Any = safetensors.torch.load(data)
        else:
            content = load_tensors(data)
    except Exception as error:  # damage shows in any way; torch's message tells how to run the file's code
        raise WeightsFileError(
            f"{path} does not contain only tensors, so it is refused; no code in it ran. It is damaged, or "
            f"it holds a pickled network. {_SAVE_ALONE}"
        ) from error
    content, where = _unwrapped(content)
    if isinstance(content, StandIn) and not content:
        raise WeightsFileError(
            f"{path} holds a pickled object, not a state dict; no code in it ran. {_SAVE_ALONE}"
        )
    if not isinstance(content, dict) or not content:
        raise WeightsFileError(
            f"{path} holds no state dict (names and tensors), but {type(content).__name__}. {_SAVE_ALONE}"
        )
    wrong = [repr(k) for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if wrong:
        raise WeightsFileError(
            f"{path} holds more than named tensors: {_some(wrong)}. The state dict must be the whole content "
            f"of the file, or be in it under one of these names: {', '.join(_WRAPPERS)}. A pickled network "
            f"under such a name is not read. {_SAVE_ALONE}"
        )
    if isinstance(content, StandIn):
        content = dict(content)
    # Old networks load by the versions that their state dict carries in `_metadata`; keep it.
    state_dict = content if isinstance(content, OrderedDict) else OrderedDict(content)
    return state_dict, where


def _unwrapped(content: Any) -> tuple[Any, str]:
    """Return the preferred state dict in a checkpoint, and which one it is of several."""
    chosen = []
    for _ in range(_MOST_WRAPPERS):
        if not isinstance(content, dict) or all(isinstance(each, Tensor) for each in content.values()):
            break
        found = [key for key in _WRAPPERS if _holds_tensors(content.get(key))]
        if not found:
            break
        content = content[found[0]]
        if found[1:]:
            chosen.append(f"{found[0]!r}, not {', '.join(map(repr, found[1:]))}")
    return content, "; ".join(chosen)


def _holds_tensors(content: Any, depth: int = _MOST_WRAPPERS) -> bool:
    if not isinstance(content, dict) or not depth:
        return False
    return any(isinstance(each, Tensor) for each in content.values()) or any(
        _holds_tensors(content.get(key), depth - 1) for key in _WRAPPERS
    )


def load_state_dict(
    network: nn.Module, state_dict: Mapping[str, Tensor], *, path: str, full_name: str, any_head: bool = False
) -> str:
    """Load a state dict strictly, accepting older or foreign names that the network's library can convert.

    Args:
        network: Changed in place.
        state_dict: A result of ``parse_state_dict``.
        path: Name of the file in errors.
        full_name: Name of the backbone in errors.
        any_head: Whether to ignore a missing head, or one with another number of classes.

    Returns:
        A note about what was left out; usually empty.

    Raises:
        WeightsFileError: The state dict belongs to another network (the message describes the differences),
            or some numbers are not finite (the message names the tensors).
    """
    own = network.state_dict()
    convert = _conversion(network)
    candidates = []
    for prefix, inner in _without_prefixes(state_dict, own):
        candidates.append((prefix, inner))
        if convert:
            # A conversion is written for one format and may fail in any way on another.
            with contextlib.suppress(Exception):
                candidates.append((prefix, convert(inner)))
    for prefix, candidate in candidates:
        given = _completed(candidate, own, state_dict)
        left_out = _other_head(network, own, given) if any_head else []
        for name in left_out:
            given.pop(name, None)
        try:
            result = network.load_state_dict(given, strict=False)
        except (RuntimeError, ValueError):  # shapes differ
            continue
        if not result.unexpected_keys and set(result.missing_keys) <= set(left_out):
            _refuse_wrong_numbers({name: given[name] for name in given if name in own}, own, path)
            num_others = sum(not name.startswith(prefix) for name in state_dict)
            others = f"without {num_others} tensors that are not under {prefix!r}" if num_others else ""
            return ", ".join(part for part in ("without its head" if left_out else "", others) if part)
    raise WeightsFileError(
        f"{path} does not fit {full_name}:\n{_differences(own, state_dict)}\n"
        "Name the backbone that these weights were saved from, with the same library (timm/ or not)."
    )


def _without_prefixes(
    state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Yield a state dict, and then parts of it below prefixes that may contain the network.

    The class of a training script contains the network as ``backbone``, ``model.encoder`` or ``0``, beside a
    head and a loss. The prefix with most of the network's names comes first.
    """
    yield "", state_dict
    names = {name for name in own if not name.endswith("num_batches_tracked")}
    votes: Counter[str] = Counter()
    for key in state_dict:
        parts = key.split(".")
        votes.update(
            ".".join(parts[:depth]) + "."
            for depth in range(1, len(parts))
            if ".".join(parts[depth:]) in names
        )
    found = [prefix for prefix, count in votes.most_common(_MOST_PREFIXES) if 2 * count >= len(names)]
    common = ""  # of all names, where they are those of an older or another library and have to be converted
    while prefix := next(
        (each for each in _PREFIXES if all(key.startswith(common + each) for key in state_dict)), ""
    ):
        common += prefix
        found.append(common)
    for prefix in dict.fromkeys(found):
        inner = OrderedDict(
            (key.removeprefix(prefix), tensor) for key, tensor in state_dict.items() if key.startswith(prefix)
        )
        if metadata := getattr(state_dict, "_metadata", None):
            versions = {key.removeprefix(prefix): each for key, each in metadata.items()}
            inner._metadata = OrderedDict(versions)  # type: ignore[attr-defined]
        yield prefix, inner


def _refuse_wrong_numbers(given: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str) -> None:
    """Raise ``WeightsFileError`` for tensors that are not finite, or that are integers instead of floats."""
    kinds = [
        name for name, tensor in given.items() if own[name].is_floating_point() != tensor.is_floating_point()
    ]
    if kinds:
        raise WeightsFileError(
            f"{path} holds {given[kinds[0]].dtype} in {_some(kinds)}, where the network has "
            f"{own[kinds[0]].dtype}. Are they quantised? Save the weights before quantisation."
        )
    wrong = [name for name, tensor in given.items() if not bool(torch.isfinite(tensor.float()).all())]
    if wrong:
        raise WeightsFileError(
            f"{path} holds numbers that are not finite (NaN or infinity), in {len(wrong)} of {len(given)} "
            f"tensors: {_some(wrong)}. The training that wrote it had failed; use an earlier checkpoint."
        )


def renamed_by_order(
    state_dict: Mapping[str, Tensor], network: nn.Module, path: str
) -> OrderedDict[str, Tensor]:
    """Rename tensors to the network's names by position; batch counters are ignored if they are missing.

    Raises:
        WeightsFileError: The number or the shapes of tensors differ.
    """
    own: Mapping[str, Tensor] = network.state_dict()
    if not any(name.endswith("num_batches_tracked") for name in state_dict):
        own = {name: tensor for name, tensor in own.items() if not name.endswith("num_batches_tracked")}
    pairs = list(zip(own.items(), state_dict.items(), strict=False))
    wrong = [
        f"{ours} {tuple(tensor.shape)} is {theirs} {tuple(given.shape)}"
        for (ours, tensor), (theirs, given) in pairs
        if tensor.shape != given.shape
    ]
    if wrong or len(own) != len(state_dict):
        raise WeightsFileError(
            f"{path} does not fit {type(network).__name__} by order: {len(state_dict)} tensors, "
            f"the network has {len(own)}. {_some(wrong)}"
        )
    return OrderedDict((ours, given) for (ours, _), (_, given) in pairs)


def _conversion(network: nn.Module) -> Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None:
    """Return the function by which the network's library converts older or foreign names, if it has one."""
    if type(network).__module__ == "torchvision.models.densenet":
        old = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
        return lambda state_dict: {old.sub(r"\1\2", name): tensor for name, tensor in state_dict.items()}
    timms = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if timms is None:
        return None
    takes_network = len(inspect.signature(timms).parameters) > 1
    return lambda state_dict: timms(dict(state_dict), *([network] if takes_network else []))


def _completed(
    candidate: Mapping[str, Tensor], own: Mapping[str, Tensor], original: Mapping[str, Tensor]
) -> OrderedDict[str, Tensor]:
    """Return a copy of a state dict with what files may lack: batch counters, and the versions of layers."""
    given = OrderedDict(candidate)
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            given.setdefault(name, tensor)
    # PyTorch keeps the versions in an attribute of its own.
    if versions := getattr(original, "_metadata", None) or getattr(own, "_metadata", None):
        given._metadata = versions  # type: ignore[attr-defined]
    return given


def _other_head(network: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Return names of the head's tensors that have another size, are missing, or are not in the network."""
    layers = logit_layers(network)
    names = [name for name in {**own, **given} if name.rpartition(".")[0] in layers]
    shapes = [
        (own[name].shape if name in own else None, given[name].shape if name in given else None)
        for name in names
    ]
    return names if any(ours != theirs for ours, theirs in shapes) else []


def _differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Describe the differences between two state dicts in a few lines."""
    shapes = [
        f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    kinds = {
        "not in the file": [name for name in own if name not in given],
        "not in the network": [name for name in given if name not in own],
        "of another shape": shapes,
    }
    return "\n".join(f"  {len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _some(names: Iterable[str]) -> str:
    return listed(list(names), 5)
