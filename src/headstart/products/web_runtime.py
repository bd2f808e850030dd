"""The files of onnxruntime-web that a page needs, from npm's registry, verified by their hash."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Final

from headstart.environment import own_cache
from headstart.errors import UsageError
from headstart.files import write_whole

_PACKAGE: Final = "onnxruntime-web"
_REGISTRY: Final = "https://registry.npmjs.org"
_NEEDED: Final = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_SECONDS: Final = 600  # for npm
_SILENT_SECONDS: Final = 60


def web_runtime() -> dict[str, bytes]:
    """Return the three files of onnxruntime-web by name: 11 MB, MIT.

    The package (20 MB) is fetched once and kept in Headstart's cache. npm is asked if it is installed, which knows the
    user's registry; otherwise npm's own registry. Its SHA-512 must be that of ``web/package-lock.json``.

    Raises:
        UsageError: The package cannot be fetched; the message says how to put it into place.
    """
    version, digest = pinned()
    name = f"{_PACKAGE}-{version}.tgz"
    cache = own_cache()
    kept = None if cache is None else cache / "npm" / name
    if kept is not None and kept.is_file() and _digest(content := kept.read_bytes()) == digest:
        return _unpacked(content)
    reasons = []
    for fetch in (_by_npm, _by_http):
        try:
            content = fetch(version)
        except _NotFetchedError as error:
            reasons.append(str(error))
            continue
        if _digest(content) != digest:
            reasons.append("what arrived has another SHA-512 than package-lock.json demands")
            continue
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, content)
        return _unpacked(content)
    where = "" if kept is None else f", and copy {name} to {kept}"
    raise UsageError(
        f"A page needs {_PACKAGE} {version}, which cannot be fetched: {'; '.join(reasons)}. On a computer with "
        f"a connection, run npm pack {_PACKAGE}@{version}{where}."
    )


def pinned() -> tuple[str, str]:
    """Return version and SHA-512, in base64, of the package that ``web/package-lock.json`` pins."""
    lock = json.loads((files("headstart") / "web" / "package-lock.json").read_text("utf-8"))
    package = lock["packages"][f"node_modules/{_PACKAGE}"]
    return package["version"], package["integrity"].removeprefix("sha512-")


class _NotFetchedError(Exception):
    """The package did not arrive; the message says why."""


def _by_npm(version: str) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise _NotFetchedError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{_PACKAGE}@{version}", "--silent", "--ignore-scripts"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
            return next(Path(folder).glob("*.tgz")).read_bytes()
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            raise _NotFetchedError("npm pack does not find it") from error


def _by_http(version: str) -> bytes:
    import urllib.error
    import urllib.request

    address = f"{_REGISTRY}/{_PACKAGE}/-/{_PACKAGE}-{version}.tgz"
    try:
        with urllib.request.urlopen(address, timeout=_SILENT_SECONDS) as response:
            content: bytes = response.read()
    except (OSError, urllib.error.URLError) as error:
        raise _NotFetchedError(f"{address} cannot be read: {getattr(error, 'reason', error)}") from error
    return content


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


def _unpacked(package: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=BytesIO(package)) as archive:
        found = {name: archive.extractfile(f"package/dist/{name}") for name in _NEEDED}
        return {name: file.read() for name, file in found.items() if file is not None}
