"""``headstart demo``: the whole way on real photos, offline, in a few seconds."""

from __future__ import annotations

import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from headstart.environment import has_pytorch
from headstart.errors import RunFolderError, requires_extra, shell_command
from headstart.inference.predictor import load
from headstart.training.run.run_folder import RunFolder
from headstart.training.train import train

# Photographs that scikit-image's wheel carries, what their patches show, and the part of each that shows it:
# left, top, right, bottom as fractions.
_WHOLE = (0.0, 0.0, 1.0, 1.0)
_PHOTOS = {
    "coins": ("coins", _WHOLE),
    "fur": ("chelsea", (0.05, 0.0, 0.78, 0.9)),
    "galaxies": ("hubble_deep_field", _WHOLE),
    "grass": ("grass", _WHOLE),
    "gravel": ("gravel", _WHOLE),
    "retina": ("retina", (0.15, 0.15, 0.85, 0.85)),
    "text": ("text", _WHOLE),
    "tissue": ("immunohistochemistry", _WHOLE),
}
_PATCH_PX = 64
_CELL_PX, _NUM_EXAMPLES = 32, 20  # of the example photos; with larger ones, a probe makes no mistakes
# Each photo is cut into three upright strips, so that no two splits share a pixel.
_STRIPS = {"train": (0.0, 0.54, 40), "val": (0.54, 0.77, 12), "test": (0.77, 1.0, 6)}


def make_demo_photos(folder: Path) -> None:
    """Write square patches of real photographs as ``train``, ``val`` and ``test`` folders of eight classes.

    Args:
        folder: Made if it is not there.
    """
    photographs = list(_photographs())  # what is missing is reported before anything is begun
    _say(f"Cutting patches from {len(photographs)} photographs into {folder} ...")
    generator = np.random.Generator(np.random.Philox(0))
    for class_name, photo in photographs:
        for split, (begin, end, count) in _STRIPS.items():
            target = folder / split / class_name
            target.mkdir(parents=True, exist_ok=True)
            first, last = round(begin * photo.width), round(end * photo.width) - _PATCH_PX
            for number in range(count):
                x = int(generator.integers(first, last, endpoint=True))
                y = int(generator.integers(0, photo.height - _PATCH_PX, endpoint=True))
                patch = photo.crop((x, y, x + _PATCH_PX, y + _PATCH_PX))
                patch.save(target / f"{class_name}-{number:02}.jpg", quality=92)


def make_example_photos(folder: Path) -> None:
    """Write ``photos``, with a folder for each of eight classes, and ``new``, with one photo of each.

    No two photos share a pixel. They are the ones with which the examples of the documentation are run.

    Args:
        folder: Made if it is not there.

    Raises:
        RunFolderError: ``photos`` or ``new`` is there already, or the folder cannot be made.
    """
    photos, new = folder / "photos", folder / "new"
    for each in (photos, new):
        if each.exists():
            raise RunFolderError(f"{each} already exists. Delete it, or name another folder: --out FOLDER")
    RunFolder.refuse(folder)
    generator = np.random.Generator(np.random.Philox(0))
    for number, (class_name, photo) in enumerate(_photographs()):
        cells = generator.permutation((photo.width // _CELL_PX) * (photo.height // _CELL_PX))
        for count, cell in enumerate(cells[: _NUM_EXAMPLES + 1]):
            row, column = divmod(int(cell), photo.width // _CELL_PX)
            x, y = column * _CELL_PX, row * _CELL_PX
            path = photos / class_name / f"{class_name}-{count:02}.jpg"
            if count == _NUM_EXAMPLES:
                path = new / f"IMG_{(5 * number) % len(_PHOTOS) + 1:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.crop((x, y, x + _CELL_PX, y + _CELL_PX)).save(path, quality=92)


def _photographs() -> Iterator[tuple[str, Image.Image]]:
    """Yield each class with the photograph, or part of it, that shows it."""
    with requires_extra("demo", "The command demo"):
        from skimage import data

    for class_name, (photo_name, (left, top, right, bottom)) in _PHOTOS.items():
        whole = Image.fromarray(getattr(data, photo_name)())
        w, h = whole.size
        yield class_name, whole.crop((round(left * w), round(top * h), round(right * w), round(bottom * h)))


def run_demo(out: Path | None = None) -> None:
    """Make photos, train on them, predict three that training has not seen, and say where everything is.

    Args:
        out: Folder for ``photos`` and ``run``; by default ``headstart-demo``.

    Raises:
        RunFolderError: The folder is there and not empty, or cannot be made.
    """
    out = Path("headstart-demo") if out is None else out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError(f"{out} already exists. Delete it, or name another folder: --out FOLDER")
    RunFolder.refuse(out)
    photos, run = out / "photos", out / "run"
    make_demo_photos(photos)
    result = train(photos, run, recipe="probe")
    num_test, accuracy = result.metrics["images"]["test"], result.metrics["test"]["accuracy"]
    print(f"\nOn {num_test} test patches, which were not used until now: accuracy {accuracy:.3f}")
    print("Three of them:")
    unseen = [sorted((photos / "test" / name).iterdir())[0] for name in ("fur", "gravel", "grass")]
    for prediction in load(run).predict(unseen):
        print(f"  {prediction.path}: {prediction.label} ({prediction.probability:.3f})")
    print(f"\nThe photos are in {photos}, the model and its scores in {run}, one row per photo in")
    print(
        f"{run / 'answers.csv'}. Open {run / 'report.html'} in a browser: what the model is worth, and what"
    )
    print("it gets wrong, as pictures.")
    print(f"Next: {shell_command('predict', run)} YOUR-PHOTO.jpg, or headstart train YOUR-PHOTOS")
    if has_pytorch():
        return
    print(
        "\nThis was a probe: a new head on a frozen network. Fine-tuning also trains the network itself. It"
    )
    print("takes minutes instead of seconds and gained up to 5 points of accuracy on our data sets:")
    print(f"{pip_of_this_environment()} install 'headstart[train]'")


def pip_of_this_environment() -> str:
    """Return the command that runs pip in Headstart's environment, which need not be activated.

    There, pip takes the Headstart that is installed, from a clone too, and adds the packages of an extra.
    """
    pip = shutil.which("pip")
    if pip is not None and Path(pip).parent == Path(sysconfig.get_path("scripts")):
        return "pip"
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(str(python))} -m pip"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
