"""Runs model files in several runtimes, and compares all outputs with those of the installed ONNX Runtime.

    python -m benchmarks.runtimes PHOTOS MODEL [MODEL ...] --in FOLDER [--photos 200] [--browser]

Each runtime is installed by pip into an environment of its own in FOLDER, which is kept. The differences of
``logits``, ``unknown`` and ``heat_map`` are fractions of the largest absolute value of the output, or of 1 if
that is less; those of the others are absolute. ``--browser`` adds onnxruntime-web in Chromium, and needs npm.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from headstart.images.listed import find_images
from headstart.images.preprocess import load_pixels
from headstart.inference.predictor import load
from headstart.inference.runtime import open_session

REQUIREMENTS = (
    "onnxruntime==1.20.1",
    "onnxruntime",
    "opencv-python-headless==4.10.0.84",
    "opencv-python-headless",
)
_CHILD = Path(__file__).with_name("one_runtime.py")
_MINUTES = 10
_WAYS = (("uint8", 1), ("uint8", 4), ("float32", 1))


def environment(folder: Path, requirement: str) -> Path:
    """Return the Python of an environment with a runtime, which is created if it is not there."""
    place = folder / requirement.replace("==", "-")
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (place / "installed").is_file():
        venv.create(place, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", requirement, "numpy"], check=True)
        (place / "installed").touch()
    return python


def reference(model: Path, photos: list[str], file: Path) -> dict[str, np.ndarray]:
    """Write the pixels of photos for other runtimes, and return the outputs of this one, photo by photo."""
    settings = load(model).info.preprocessing
    images = np.stack([load_pixels(Path(each).read_bytes(), settings, path=each) for each in photos])
    session = open_session(model.read_bytes())
    names = [each.name for each in session.get_outputs()]
    rows = [session.run(names, {"images": image[np.newaxis]}) for image in images]
    np.savez(file, images=images, names=np.array(names))
    return {name: np.concatenate([row[at] for row in rows]) for at, name in enumerate(names)}


def by_runtime(python: Path, model: Path, file: Path, batch_size: int, kind: str) -> tuple[str, Path | str]:
    """Run a model in another environment.

    Returns:
        Name and version of the runtime, and the file with the outputs, or why there is none.
    """
    out = file.with_name("outputs.npz")
    out.unlink(missing_ok=True)
    command = [python, _CHILD, model, file, out, str(batch_size), kind]
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False, timeout=60 * _MINUTES
    )
    version = done.stdout.strip() or python.parents[1].name
    if done.returncode == 0:
        return version, out
    lines = [line for line in done.stderr.splitlines() if "rror" in line]
    return version, (lines or [f"ended with {done.returncode}"])[-1].strip()[:200]


def in_browser(model: Path, file: Path, npm: Path) -> tuple[str, Path]:
    """Run a model in onnxruntime-web, one photo at a time; see ``by_runtime``."""
    from benchmarks.in_browser import WEB, Browser

    npm.mkdir(parents=True, exist_ok=True)
    with np.load(file) as content:
        images = content["images"]
    version = json.loads((WEB / "package.json").read_text("utf-8"))["dependencies"]["onnxruntime-web"]
    with Browser(npm) as browser:
        browser.load(model.read_bytes())
        rows = [browser.outputs(image) for image in images]
        name = f"onnxruntime-web {version}, Chromium {browser.version.partition('.')[0]}"
    out = file.with_name("outputs.npz")
    np.savez(out, **{key: np.array([row[key] for row in rows], np.float32) for key in rows[0]})
    return name, out


def cells(found: Path | str, wanted: Mapping[str, np.ndarray]) -> str:
    """Return the last two cells of a row: see ``by_runtime``."""
    if isinstance(found, str):
        return f"fails: {found} |"
    with np.load(found) as outputs:
        changed, *differences = compared(outputs, wanted)
    return f"{changed} | {', '.join(differences)}"


def compared(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield the number of changed answers, and the largest difference of each output."""
    answers = "probabilities" if "probabilities" in wanted else None
    if answers is None:
        yield "–"
    else:
        changed = found[answers].reshape(wanted[answers].shape).argmax(1) != wanted[answers].argmax(1)
        yield f"{int(changed.sum())} of {len(changed)}"
    for name, values in wanted.items():
        unit = max(1.0, float(np.abs(values).max())) if name in ("logits", "unknown", "heat_map") else 1.0
        difference = float(np.abs(found[name].reshape(values.shape) - values).max()) / unit
        yield f"{name} {difference:.1e}"


def main() -> None:
    """Print a row for each runtime, model, type of the input and batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="PHOTOS")
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model.onnx, or run folders")
    parser.add_argument("--in", type=Path, required=True, dest="place", help="folder for the environments")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--browser", action="store_true")
    arguments = parser.parse_args()
    place = arguments.place.absolute()
    place.mkdir(parents=True, exist_ok=True)
    pythons = [environment(place, requirement) for requirement in REQUIREMENTS]
    photos = list(itertools.islice(find_images(arguments.folder), arguments.photos))
    file = place / "pixels.npz"
    print("| runtime | model | input | photos per call | changed answers | largest difference |")
    print("|---|---|---|---|---|---|")
    for given in arguments.models:
        model = (given / "model.onnx" if given.is_dir() else given).absolute()
        name = load(model).info.backbone
        wanted = reference(model, photos, file)
        for python, (kind, batch_size) in itertools.product(pythons, _WAYS):
            if kind == "float32" and python.parents[1].name.startswith("onnxruntime"):
                continue  # which checks the type
            version, out = by_runtime(python, model, file, batch_size, kind)
            print(f"| {version} | {name} | {kind} | {batch_size} | {cells(out, wanted)} |", flush=True)
        if arguments.browser:
            version, out = in_browser(model, file, place / "npm")
            print(f"| {version} | {name} | uint8 | 1 | {cells(out, wanted)} |", flush=True)


if __name__ == "__main__":
    main()
