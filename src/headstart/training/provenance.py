"""What decides the bits of a run: code, packages, machine, settings and photos."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator

import headstart
from headstart.config import TrainConfig
from headstart.data.records import Dataset
from headstart.data.split import Splits
from headstart.data.text import label_text, path_below
from headstart.features.fingerprint import machine

_PACKAGES: Final = (
    *("accelerate", "headstart", "numpy", "onnxruntime", "pillow", "scipy", "timm", "torch", "torchvision"),
)

# Where photos, or the computer, may have moved to without changing what is computed.
_MAY_CHANGE: Final = ("data", "features", "workers", "checkpoint_seconds")

_MOST_NAMED: Final = 5


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide what a run computes."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    # torch's own word for itself holds the build too: 2.9.1+cu130.
    return {"python": platform.python_version(), **packages, "torch": str(torch.__version__)}


def provenance(config: TrainConfig, accelerator: Accelerator, weights: str) -> dict[str, Any]:
    """Return what must be the same for a resumed run to give the same bits.

    Args:
        config: With its phases.
        accelerator: Knows device and processes.
        weights: SHA-256 of the pretrained weights, or what they are instead.
    """
    origin = {
        "versions": versions(),
        "code": _code_digest(),
        "machine": {
            "processor": f"{machine()} {torch.backends.cpu.get_cpu_capability()}",
            "device": _device_name(accelerator.device),
            "processes": accelerator.num_processes,
        },
        "weights": weights,
        "config": config.absolute().to_dict(),
    }
    values: dict[str, Any] = json.loads(json.dumps(origin))  # as a checkpoint gives it back
    return values


def differences(then: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> list[str]:
    """Name what has changed, one line each."""
    lines = []
    for key in dict.fromkeys([*then, *now]):
        name, old, new = f"{where}{key}", then.get(key), now.get(key)
        if where == "config." and key in _MAY_CHANGE:
            continue
        if name == "config.val" and isinstance(old, str) and isinstance(new, str):
            continue  # photos that have moved; they themselves are compared
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{name}.")
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and key == "phases":
            for number, (one, other) in enumerate(zip(old, new, strict=True), 1):
                lines += differences(one, other, f"{name}.{number}.")
        elif old != new and name == "code":
            lines.append("Headstart's own code has been changed")
        elif old != new:
            lines.append(f"{name} was {old!r} and is {new!r}")
    return lines


def photos_csv(dataset: Dataset, splits: Splits) -> str:
    """Return the content of ``photos.csv``: path under the data folder, class, split and SHA-256."""
    text, labelling = io.StringIO(newline=""), (dataset.task, dataset.class_names)
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["path", "class", "split", "sha256"])
    for split, records in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        writer.writerows(
            [path_below(record.path, dataset.root), label_text(record, *labelling), split, record.sha256]
            for record in records
        )
    return text.getvalue()


def photo_differences(
    then: str, now: str, val_then: str | None = None, val_now: str | None = None
) -> list[str]:
    """Name, in a few lines, which photos of two ``photos.csv`` are not the same.

    Args:
        then: The content of the earlier file.
        now: Of the later one.
        val_then: Where validation photos from elsewhere were; their paths are compared from there on.
        val_now: Where they are.
    """
    before, after = _rows(then, val_then), _rows(now, val_now)
    kinds = {
        "are no longer there": [path for path in before if path not in after],
        "are new": [path for path in after if path not in before],
        "have another content, class or split": [
            path for path in before if path in after and before[path] != after[path]
        ],
    }
    return [
        f"{len(paths)} photos {kind}: {', '.join(paths[:_MOST_NAMED])}"
        + (f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else "")
        for kind, paths in kinds.items()
        if paths
    ]


def _rows(text: str, val: str | None) -> dict[str, Sequence[str]]:
    rows: Iterator[list[str]] = csv.reader(io.StringIO(text, newline=""))
    next(rows, None)
    if val is None:
        return {path: rest for path, *rest in rows}
    folder = Path(val) if Path(val).suffix == "" else Path(val).parent  # of a table or a file of annotations
    return {_below_val(path, folder): rest for path, *rest in rows}


def _below_val(path: str, folder: Path) -> str:
    try:
        return f"val: {Path(path).relative_to(folder).as_posix()}"
    except ValueError:  # below the data
        return path


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _code_digest() -> str:
    folder = Path(headstart.__file__).parent
    sha256 = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        sha256.update(f"{path.relative_to(folder)}\n".encode())
        sha256.update(path.read_bytes())
    return sha256.hexdigest()
