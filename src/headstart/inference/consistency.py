"""Is a model file what it says? Its description, its graph and its outputs must fit together.

A checksum shows that a file is as somebody wrote it, not that it is harmless: anybody can compute one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

import onnxruntime

from headstart import tasks
from headstart.config.checking import is_number
from headstart.errors import DamagedFileError
from headstart.images.steps import contradicts
from headstart.inference.model_file import ModelInfo

# The entry of a tensor that names another file for its values: field 1, 8 bytes, "location". It may also be
# written in other ways, and then ONNX Runtime refuses it: see ``open_session``.
_LOCATION: Final = b"\x0a\x08location"

_TEXTS: Final = ("backbone", "weights", "weights_from", "licence", "head", "stored_as")
_KINDS: Final = {**dict.fromkeys(_TEXTS, (str, "a text")), "versions": (dict, "texts by name")}


def refuse_other_files(model: bytes, name: str) -> None:
    """Raise ``DamagedFileError`` if a model names other files for its weights. Model files contain theirs."""
    if _LOCATION in model:
        raise DamagedFileError(
            f"{name} is refused: it names another file for its weights, and Headstart's model files contain "
            "theirs. Use the model.onnx of a run folder."
        )


def refuse_contradictions(session: onnxruntime.InferenceSession, info: ModelInfo, name: str) -> None:
    """Raise ``DamagedFileError`` if a description contradicts itself or the graph.

    Args:
        session: The model.
        info: Its description.
        name: Name of the file in the error.
    """
    problems = chain(
        _of_description(info), _of_inputs(session, info), _of_outputs(session, info), _of_steps(session, info)
    )
    problem = next(problems, None)
    if problem:
        raise DamagedFileError(
            f"{name} is refused, because it is not what it says: {problem}. Use the model.onnx of a run "
            "folder."
        )


def _of_description(info: ModelInfo) -> Iterator[str]:
    """Yield what contradicts itself in a description, or is of another type than Headstart writes."""
    for name, (kind, in_words) in _KINDS.items():
        if not isinstance(getattr(info, name), kind):
            yield f"{name} must be {in_words}"
    for what, names in (("class_names", info.class_names), ("targets", info.targets)):
        if not all(isinstance(each, str) for each in names):
            yield f"{what} must be texts"
        elif len(set(names)) < len(names):
            yield f"{what} has the same name twice"
    task = tasks.of(info.task)
    if task.has_numbers != bool(info.targets) or (task.activation and not info.class_names):
        yield (
            f"the task {info.task} does not fit {len(info.class_names)} classes and {len(info.targets)} "
            "targets"
        )
    means, deviations = info.scale
    unknown = () if info.unknown_threshold is None else (info.unknown_threshold,)
    numbers = (*means, *deviations, *info.thresholds, *info.temperatures, *unknown)
    if not all(map(is_number, numbers)):
        yield "scale, thresholds, temperatures and unknown_threshold must be finite numbers"
    elif min(deviations, default=1) <= 0:
        yield f"scale has the deviation {min(deviations):g}, and not a positive one"
    if info.temperatures and not (
        len(info.temperatures) in (1, task.num_logits(len(info.class_names))) and min(info.temperatures) > 0
    ):
        yield f"temperatures is {list(info.temperatures)} for {len(info.class_names)} classes"
    if task.has_numbers and not len(means) == len(deviations) == len(info.targets):
        yield f"scale has {len(means)} means and {len(deviations)} deviations for {len(info.targets)} targets"
    if task.has_labels and len(info.thresholds) != len(info.class_names):
        yield f"there are {len(info.thresholds)} thresholds for {len(info.class_names)} classes"


def _of_steps(session: onnxruntime.InferenceSession, info: ModelInfo) -> Iterator[str]:
    """Yield what contradicts the description in the numbered steps of preprocessing."""
    steps = session.get_modelmeta().custom_metadata_map.get("preprocessing")
    # Files of older versions have none.
    if steps is not None and contradicts(steps, info.preprocessing):
        yield "its numbered steps of preprocessing are not those of its settings"


def _of_inputs(session: onnxruntime.InferenceSession, info: ModelInfo) -> Iterator[str]:
    """Yield what contradicts the description in the inputs of a graph."""
    inputs = {each.name: each for each in session.get_inputs()}
    if set(inputs) != {"images"}:
        yield f"its inputs are {', '.join(inputs) or 'none'}, and not images alone"
        return
    size_px = info.preprocessing.size_px
    shape = inputs["images"].shape
    expected = (None, size_px, size_px, 3)
    if inputs["images"].type != "tensor(uint8)" or len(shape) != len(expected) or _differ(shape, expected):
        yield (
            f"the input images is {inputs['images'].type} of shape {shape}, and not uint8 of shape "
            f"[N, {size_px}, {size_px}, 3]"
        )


def _of_outputs(session: onnxruntime.InferenceSession, info: ModelInfo) -> Iterator[str]:
    """Yield what contradicts the description in the outputs of a graph."""
    outputs = {each.name: each for each in session.get_outputs()}
    num_logits = tasks.of(info.task).num_logits(len(info.class_names))
    widths = {"boxes": 4, "numbers": len(info.targets), "logits": num_logits, "probabilities": num_logits}
    expected = {name: widths[name] for name in tasks.of(info.task).file_outputs(info.num_box_classes)}
    if info.unknown_threshold is not None:
        expected["unknown"] = 1
    elif "unknown" in outputs:
        yield "it has the output unknown, and no unknown_threshold"
    for name, width in expected.items():
        if name not in outputs:
            yield f"it has no output {name}"
            continue
        if info.self_test is not None and name not in info.self_test.outputs:
            yield f"its self-test lacks the output {name}"
        shape = outputs[name].shape
        if outputs[name].type != "tensor(float)" or (shape and _differ(shape[1:], (width,))):
            yield (
                f"the output {name} is {outputs[name].type} of shape {shape}, and not float32 of shape "
                f"[N, {width}]"
            )


def _differ(shape: list[int | str | None], expected: tuple[int | None, ...]) -> bool:
    """Return whether a shape, in which names stand for any size, contradicts the expected one."""
    return any(
        isinstance(one, int) and other is not None and one != other
        for one, other in zip(shape, expected, strict=False)
    )
