"""A folder that any web server can offer: a page that predicts photos on the visitor's device."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Final

from headstart.files import write_whole
from headstart.inference.predictor import Predictor
from headstart.package_files import package_files
from headstart.products.new_folder import new_folder, refuse_unless_empty
from headstart.products.web_runtime import web_runtime

_POLICY: Final = {
    # Of the page: WebAssembly may be compiled, and workers started.
    "script-src 'self'": "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'",
}


def write_web_folder(predictor: Predictor, folder: Path) -> None:
    """Write a page with a model, for any web server and any path on it.

    Args:
        predictor: A model that was loaded from a file.
        folder: Created if it does not exist; it must be empty.

    Raises:
        UsageError: The folder is not empty, or is a file; or onnxruntime-web cannot be fetched.
        FileWriteError: The files cannot be written.
    """
    assert predictor.path is not None
    refuse_unless_empty(folder)
    found = package_files("page")
    del found["http.js"]
    found["back-end.js"] = found.pop("local.js")
    page = found["index.html"].decode()
    for strict, local in _POLICY.items():
        assert strict in page
        page = page.replace(strict, local)
    found["index.html"] = page.encode()
    found |= {f"headstart-web/{name}": content for name, content in package_files("web").items()}
    found |= {f"onnxruntime-web/{name}": content for name, content in web_runtime().items()}
    found["model.onnx"] = Path(predictor.path).read_bytes()
    found["files.js"] = _listed(found)
    with new_folder(folder):
        for name, content in found.items():
            (folder / name).parent.mkdir(exist_ok=True)
            write_whole(folder / name, content)


def _listed(found: dict[str, bytes]) -> bytes:
    """Return the script with the files to keep, their hashes, and a version that changes with any of them."""
    version = hashlib.sha256()
    for name, content in sorted(found.items()):
        version.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    names = {
        name: _integrity(content) for name, content in sorted(found.items()) if name != "service-worker.js"
    }
    names |= {"./": "", "index.html": ""}  # some hosts add to HTML
    listed = {"version": version.hexdigest()[:16], "names": names}
    return f"self.FILES = {json.dumps(listed)};\n".encode()


def _integrity(content: bytes) -> str:
    """Return a hash as browsers check it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode()
