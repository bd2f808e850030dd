"""Makes the pictures of the README: the report and the page of ``headstart demo``.

    python -m scripts.take_pictures FOLDER

``FOLDER`` is what ``headstart demo`` wrote, headstart-demo. Needs Chromium and the extras ``[demo]``,
``[serve]`` and ``[test]``. Writes ``report.png`` and ``page.png`` in docs/pictures.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

PICTURES = Path("docs/pictures")
SIZE: ViewportSize = {"width": 760, "height": 800}


def main() -> None:
    """Make both pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    photos = sorted((folder / "photos" / "test").rglob("*.jpg"))[::5]
    with sync_playwright() as playwright, served(folder / "run") as url:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=SIZE)
        page.goto((folder / "run" / "report.html").as_uri())
        write(page, "report.png")
        page.goto(url)
        page.set_input_files("#files", photos)
        page.get_by_text(f"{len(photos)} photos predicted").wait_for()
        write(page, "page.png")
        browser.close()


@contextmanager
def served(run: Path) -> Iterator[str]:
    """Serve a run inside the block, and return the address."""
    command = [sys.executable, "-m", "headstart", "serve", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        while '"ready"' not in process.stdout.readline():
            pass
        yield url
    finally:
        process.terminate()
        process.wait()


def write(page: Page, name: str) -> None:
    """Write what a page shows as a small PNG."""
    page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)


if __name__ == "__main__":
    main()
