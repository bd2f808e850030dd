"""Compares the answers of headstart-web in Chromium with those of Python, and measures the time of each.

    python -m benchmarks.in_browser MODEL PHOTOS [--npm FOLDER]

Python decodes in full here, as browsers do. What decoding large JPEGs at reduced scale changes in Python is
printed separately. Needs Chromium, npm and playwright (``headstart[test]``).
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import tempfile
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from filelock import FileLock
from playwright.sync_api import BrowserContext, Page, sync_playwright

from headstart.images.decode import decode
from headstart.images.listed import find_images
from headstart.inference.predictor import load

WEB = Path(__file__).parents[1] / "src" / "headstart" / "web"
_RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


def chromium() -> str:
    """Return the path of the browser."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("There is no Chromium here. Install it: apt-get install chromium")
    return found


def onnxruntime_web(folder: Path) -> Path:
    """Install onnxruntime-web into a folder, unless it is there, and return its files.

    npm compares what it downloads with the hashes in ``package-lock.json``. Several processes may do this at
    the same time: one installs, the others wait.
    """
    lock = (WEB / "package-lock.json").read_bytes()
    dist = folder / "node_modules" / "onnxruntime-web" / "dist"
    installed = folder / "installed"
    with FileLock(folder / "lock"):
        if not dist.is_dir() or not installed.is_file() or installed.read_bytes() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(WEB / name, folder / name)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=folder, check=True)
            installed.write_bytes(lock)
    return dist


class _Handler(BaseHTTPRequestHandler):
    """Answers with contents by their path."""

    def __init__(self, served: dict[str, bytes], *arguments: Any) -> None:
        self._served = served
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        content = self._served.get(path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", _TYPES.get(Path(path).suffix, "text/html"))
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


class Browser:
    """A page that has loaded headstart-web. Use it in a ``with`` statement.

    Attributes:
        page: Of playwright. ``window.web`` is the module, ``window.ort`` onnxruntime-web.
        site: Address of the page, on this machine.
        served: Contents by path, such as ``"model.onnx"``, which the page can fetch.
        requests: Addresses that the page has asked for.
    """

    def __init__(self, npm: Path) -> None:
        """
        Args:
            npm: Folder for onnxruntime-web.
        """
        self.served: dict[str, bytes] = {
            "": b"<!doctype html><title>headstart-web</title>",
            "favicon.ico": b"",
        }
        self.requests: list[str] = []
        dist = onnxruntime_web(npm)
        self.served |= {file.name: file.read_bytes() for file in WEB.glob("*.js")}
        self.served |= {f"ort/{name}": (dist / name).read_bytes() for name in _RUNTIME}

    def __enter__(self) -> Browser:
        handler = partial(_Handler, self.served)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=self._server.serve_forever, daemon=True).start()
        self.site = f"http://127.0.0.1:{self._server.server_port}/"
        self._playwright = sync_playwright().start()
        flags = ["--headless", "--no-sandbox", "--disable-gpu"]
        self._browser = self._playwright.chromium.launch(executable_path=chromium(), args=flags)
        self.page: Page = self._browser.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(self.site)
        self.page.evaluate(
            """async () => {
                window.ort = await import('./ort/ort.wasm.min.mjs');
                window.web = await import('./headstart-web.js');
                window.models = {};
            }"""
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._browser.close()
        self._playwright.stop()
        self._server.shutdown()
        self._server.server_close()

    def new_context(self, **options: Any) -> BrowserContext:
        """Return a new context of the browser, with cookies and caches of its own; the caller closes it."""
        return self._browser.new_context(**options)

    @property
    def version(self) -> str:
        """Version of the browser."""
        return self._browser.version

    def load(self, model: bytes, name: str = "model.onnx") -> dict[str, Any]:
        """Load a model and return its description. ``predict`` uses it by its name."""
        self.served[name] = model
        info: dict[str, Any] = self.page.evaluate(
            "async (name) => (window.models[name] = await web.loadModel(name, { ort })).info", name
        )
        return info

    def predict(self, photo: bytes, name: str = "model.onnx") -> dict[str, Any]:
        """Return the prediction of a photo, its ``outputs`` as lists, and in ``ms`` how long it took."""
        self.served["photo"] = photo
        text: str = self.page.evaluate(
            """async (name) => {
                const photo = await (await fetch('photo')).blob();
                const start = performance.now();
                const found = await models[name].predict(photo);
                const ms = performance.now() - start;
                const outputs = {};
                for (const [key, { data }] of Object.entries(found.outputs)) outputs[key] = Array.from(data);
                return JSON.stringify({ ...found, outputs, ms });
            }""",
            name,
        )
        return dict(json.loads(text))

    def outputs(self, pixels: np.ndarray, name: str = "model.onnx") -> dict[str, list[float]]:
        """Return the outputs for pixels, (size_px, size_px, 3) uint8, as flat lists."""
        self.served["pixels"] = pixels.tobytes()
        text: str = self.page.evaluate(
            """async (name) => {
                const pixels = new Uint8Array(await (await fetch('pixels')).arrayBuffer());
                const found = Object.entries(await models[name].run(pixels));
                const lists = found.map(([key, { data }]) => [key, Array.from(data)]);
                return JSON.stringify(Object.fromEntries(lists));
            }""",
            name,
        )
        return dict(json.loads(text))

    def pixels(self, photo: bytes, name: str = "model.onnx") -> np.ndarray:
        """Return the pixels that the network gets, (size_px, size_px, 3) uint8."""
        self.served["photo"] = photo
        text: str = self.page.evaluate(
            """async (name) => {
                const pixels = await models[name].pixels(await (await fetch('photo')).blob());
                let text = '';
                for (let i = 0; i < pixels.length; i += 8192)
                    text += String.fromCharCode(...pixels.subarray(i, i + 8192));
                return btoa(text);
            }""",
            name,
        )
        values = np.frombuffer(base64.b64decode(text), np.uint8)
        size_px = round((len(values) / 3) ** 0.5)
        return values.reshape(size_px, size_px, 3)


def main() -> None:
    """Print how many answers differ, by how much, what reduced decoding changes, and the time per photo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a run folder, or its model.onnx")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--npm", type=Path, help="folder that keeps onnxruntime-web")
    arguments = parser.parse_args()
    predictor = load(arguments.model)
    assert predictor.path is not None
    npm = arguments.npm or Path(tempfile.gettempdir()) / "headstart-web"
    npm.mkdir(parents=True, exist_ok=True)
    changed, largest, ours, theirs = [], 0.0, [], []
    reduced, largest_reduced = [], 0.0
    with Browser(npm) as browser:
        browser.load(Path(predictor.path).read_bytes())
        for path in find_images(arguments.photos):
            content = Path(path).read_bytes()
            start = time.perf_counter()
            (mine,) = predictor.predict([np.asarray(decode(content, path=path))])
            ours.append(1000 * (time.perf_counter() - start))
            found = browser.predict(content)
            theirs.append(found["ms"])
            if found["label"] != mine.label:
                changed.append(path)
            (as_usual,) = predictor.predict([path])
            if as_usual.label != mine.label:
                reduced.append(path)
            gaps = (abs(each - mine.probabilities[label]) for label, each in as_usual.probabilities.items())
            largest_reduced = max(largest_reduced, *gaps)
            for each in found["probabilities"]:
                largest = max(largest, abs(each["probability"] - mine.probabilities[each["label"]]))
        version = browser.version
    print(f"Chromium {version}: {len(changed)} of {len(ours)} answers differ from Python's", *changed)
    print(f"largest difference of a probability: {largest:.6f}")
    print(f"reduced decoding, Python alone: {len(reduced)} of {len(ours)} answers change", *reduced)
    print(f"largest difference of a probability by reduced decoding: {largest_reduced:.6f}")
    print(f"ms per photo, median: Python {np.median(ours):.0f}, browser {np.median(theirs):.0f}")


if __name__ == "__main__":
    main()
