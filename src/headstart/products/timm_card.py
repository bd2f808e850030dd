"""The model card of a folder for timm: what the model is, how to load it, and what limits it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from headstart import tasks
from headstart.answers.file import read_parts
from headstart.columns import counted, printable
from headstart.errors import HeadstartError
from headstart.inference.model_file import ModelInfo
from headstart.reporting.card import limits_of_model
from headstart.reporting.contents import Contents
from headstart.reporting.verdict import sentence_of

_MOST_NAMED: Final = 100

_LINES: Final = """\
import timm
import torch
from PIL import Image, ImageOps

net = timm.create_model({source!r}, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
with torch.inference_mode():
    outputs = net(transform(photo)[None])[0]
names = net.pretrained_cfg["label_names"]
{end}
"""

_RESIZING: Final = {
    "crop": [
        "timm resizes to whole pixels and then crops whole pixels; Headstart does both in one step, so the "
        "part that is seen may be shifted by less than a pixel."
    ],
    "pad": ["timm fills the borders with the mean colour of the pretraining; Headstart with grey, 128."],
    "squash": [],
}

_NUMBERS: Final = "print(dict(zip(names, outputs.tolist())))"
_LABELS: Final = "print(dict(zip(names, outputs.sigmoid().tolist())))"
_CLASSES: Final = """\
probabilities = outputs.softmax(0)
print(names[probabilities.argmax()], probabilities.max().item())"""


def lines_of(info: ModelInfo, folder: str) -> str:
    """Return Python lines of plain timm that load a folder and predict a photo."""
    task = tasks.of(info.task)
    end = _NUMBERS if task.has_numbers else _LABELS if task.has_labels else _CLASSES
    return _LINES.format(source=f"local-dir:{folder}", end=end)


def card(info: ModelInfo, run: Path) -> str:
    """Return the model card as Markdown.

    Args:
        info: Description of the model.
        run: Its run folder; what is missing in it is said to be unknown. The card names no folder of this
            machine.
    """
    contents = _contents(run, info)
    task = tasks.of(info.task)
    kind = "" if task.has_numbers else "pipeline_tag: image-classification\n"
    predicts = _names(info.targets) if task.has_numbers else _names(info.class_names)
    score = sentence_of(contents) if contents else "The score is not known: files of the run were missing."
    sections = {
        f"# {_code(info.backbone)}, trained on {_code(contents.name) if contents else 'photos'}": [
            f"Predicts {'numbers' if task.has_numbers else 'classes'}: {predicts}.",
            "Trained and written with Headstart.",
        ],
        "## How to load it": [
            f"```python\n{lines_of(info, 'FOLDER')}```",
            "Replace `FOLDER` by the path of this folder, or `local-dir:FOLDER` by `hf-hub:USER/NAME`.",
            *_outputs(info),
        ],
        "## Score": [score, "It was measured with Headstart's own preprocessing: see below."],
        "## Data": list(_data(contents)),
        "## Licence": [_licence(info), "The licence of this model is for its owner to choose."],
        "## Limits": [_listing([*limits_of_model(info), *_limits(info)])],
        "## Preprocessing": [_preprocessing(info)],
    }
    head = f"---\nlibrary_name: timm\n{kind}tags:\n- timm\n- transfer-learning\n---\n"
    body = [f"\n{title}\n\n" + "\n\n".join(parts) + "\n" for title, parts in sections.items()]
    return head + "".join(body)


def _contents(run: Path, info: ModelInfo) -> Contents | None:
    """Return what is known of the run; None if files are missing or damaged."""
    try:
        metrics = json.loads((run / "metrics.json").read_text("utf-8"))
        return Contents.read(run, info, metrics, read_parts(run / "answers.csv"))
    except (HeadstartError, OSError, ValueError, KeyError, TypeError):
        return None


def _outputs(info: ModelInfo) -> Iterator[str]:
    """Yield what the outputs mean, and what of the run's model.onnx they lack."""
    task = tasks.of(info.task)
    if task.has_numbers:
        yield "The outputs are the numbers in their own units: their scale is part of the weights."
        return
    way = "sigmoid" if task.has_labels else "softmax"
    yield (
        f"The outputs are logits. Their {way} is as well calibrated as in Headstart: if a temperature was "
        "needed, the weights of the last layer are divided by it."
    )
    if task.has_labels:
        rows = [
            f"{_code(name)} {each:.4f}" for name, each in zip(info.class_names, info.thresholds, strict=True)
        ]
        yield "A photo has a class if its probability is at least the threshold: " + ", ".join(rows) + "."


def _data(contents: Contents | None) -> Iterator[str]:
    if contents is None:
        yield "Not known."
        return
    images = contents.metrics["images"]
    yield (
        f"{counted(images['train'], 'photo')} to train, {images['val']:,} to validate and {images['test']:,} "
        "to test. The photos are not part of this folder."
    )
    if contents.photos:
        yield f"SHA-256 of the sorted SHA-256 of all photos, one per line: `{contents.fingerprint}`"


def _licence(info: ModelInfo) -> str:
    if info.weights_from == "random":
        return "Training began with random weights, so there is no licence of pretrained weights."
    if info.licence:
        return f"Licence of the pretrained weights, as their publisher states it: {_code(info.licence)}."
    return (
        "The source of the pretrained weights states no licence. Ask where they come from before you pass "
        "the model on."
    )


def _limits(info: ModelInfo) -> Iterator[str]:
    if info.unknown_threshold is not None:
        yield (
            "The score of photos of none of the classes, `unknown`, is lost here: it is only in `model.onnx` "
            "of the run."
        )


def _preprocessing(info: ModelInfo) -> str:
    """Return how timm's transform differs from Headstart's preprocessing: see docs/measurements.md."""
    differences = [
        "timm's transform does not turn photos upright. `ImageOps.exif_transpose` above does.",
        '`convert("RGB")` drops transparency, where Headstart puts photos on white, and ignores ICC '
        "profiles, where Headstart converts to sRGB. Grey photos of 16 bits are clipped.",
        "Headstart decodes large JPEG files at a reduced scale.",
        *_RESIZING[info.preprocessing.resize],
    ]
    return (
        "timm's transform gives other pixels than Headstart, so answers differ from those of `model.onnx` in "
        "the run folder. Of another model and 223 photos, probabilities differed by 0.008 on average and by "
        f"0.12 at most. The reasons:\n\n{_listing(differences)}"
    )


def _listing(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(_code, names[:_MOST_NAMED])) + more


def _code(text: str) -> str:
    """Return a name as a code span, whatever characters it contains."""
    shown = printable(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith(("`", " ")) or shown.endswith(("`", " ")) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
