"""How far exported networks agree with Headstart where it is not installed: the script of a pth, and timm.

    python -m benchmarks.native RUN PHOTOS

RUN is a run that predicts classes, with head = linear. The script beside model.pth prepares photos as
Headstart does. A folder for timm is loaded with timm.create_model, and photos are prepared by timm's own
transform: opened as they are, or turned upright by ImageOps.exif_transpose first. Each is compared with
`headstart predict`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import runpy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

import headstart as hs
from headstart.errors import UsageError

Answers = dict[str, float]


def of_timm(folder: Path, upright: bool) -> Callable[[Path], Answers]:
    """Return a function that predicts a photo with timm alone."""
    import timm

    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))
    names = net.pretrained_cfg["label_names"]

    @torch.inference_mode()
    def predict(path: Path) -> Answers:
        photo = Image.open(path)
        photo = ImageOps.exif_transpose(photo) if upright else photo
        return dict(
            zip(names, net(transform(photo.convert("RGB"))[None])[0].softmax(0).tolist(), strict=True)
        )

    return predict


def of_script(path: Path) -> Callable[[Path], Answers]:
    """Return a function that predicts a photo with the script beside a pth."""
    script = runpy.run_path(str(path))
    net = script["load_network"]()
    return lambda photo: script["predict"](net, str(photo))


def main() -> None:
    """Export, predict, and print how far apart the answers are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    told = parser.parse_args()
    photos = sorted(path for path in told.photos.rglob("*") if path.is_file())
    expected = [each for each in hs.load(told.run).predict(photos) if each.label]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = hs.export(told.run, "pth", folder / "model.pth").script
        assert script is not None
        ways = {"script": of_script(script)}
        try:
            hs.export(told.run, "timm", folder / "timm")
            ways |= {"timm": of_timm(folder / "timm", False), "timm, upright": of_timm(folder / "timm", True)}
        except UsageError as error:
            print(error)
        print(
            f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {len(expected)} photos"
        )
        for way, predict in ways.items():
            differences, margins = [], []
            for each in expected:
                found = predict(Path(str(each.path)))
                differences.append(max(abs(found[name] - each.probabilities[name]) for name in found))
                best = max(found, key=lambda name: found[name])
                if best != each.label:
                    margins.append(each.probabilities[str(each.label)] - each.probabilities[best])
            shown = f"{np.mean(differences):.1e} on average, {max(differences):.1e} at most"
            print(f"{way}: {shown}; {len(margins)} changed, margins {[f'{each:.2g}' for each in margins]}")


if __name__ == "__main__":
    main()
