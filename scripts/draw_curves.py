"""Make the pictures of tutorials with the commands of their pages: ``python -m scripts.draw_curves``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from tests.docs.markdown import ROOT, read_page
from tests.docs.session import Session

TUTORIALS = ROOT / "docs" / "tutorials"
# For each page, the pictures in the folder pictures, and the files that its commands write.
PICTURES = {
    "fine-tuning.md": {
        "curves-fine-tuned.png": "runs/fine-tuned/curves.png",
        "curves-too-high.png": "runs/too-high/curves.png",
        "lr-find.png": "lr-find.png",
    }
}
_COLOURS, _WIDTH_PX = 128, 960  # about 30 kB each


def draw_curves() -> None:
    """Run the commands of each page in a temporary home until its pictures are there; write them small."""
    for page, files in PICTURES.items():
        with tempfile.TemporaryDirectory() as temporary, Session(Path(temporary) / "home") as session:
            written = {target: session.folder / source for target, source in files.items()}
            for block in read_page(TUTORIALS / page).blocks:
                if block.language == "bash" and not all(path.exists() for path in written.values()):
                    status, output = session.bash(block.code)
                    if status:
                        sys.exit(f"{page}:{block.line}: exit code {status}\n{output}")
            for target, path in written.items():
                _write_small(path, TUTORIALS / "pictures" / target)


def _write_small(source: Path, target: Path) -> None:
    """Write a picture in few colours, and no wider than a page."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((_WIDTH_PX, _WIDTH_PX), Image.Resampling.LANCZOS)
    target.parent.mkdir(exist_ok=True)
    few = picture.quantize(
        _COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )  # keeps rare colours
    few.save(target, optimize=True)


if __name__ == "__main__":
    draw_curves()
