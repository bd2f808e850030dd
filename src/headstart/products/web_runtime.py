"""The files of onnxruntime-web that a page needs, from npm's registry, verified by their hash."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final

from headstart.environment import make_in_cache, own_cache
from headstart.errors import FileWriteError, UsageError
from headstart.files import write_whole

_PACKAGE: Final = "onnxruntime-web"
_REGISTRY: Final = "https://registry.npmjs.org"
_NEEDED: Final = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_SECONDS: Final = 600  # for npm
_SILENT_SECONDS: Final = 60


def web_runtime() -> dict[str, bytes]:
    """Return the three files of onnxruntime-web by name: 11 MB, MIT.

    Raises:
        UsageError: The package (20 MB) cannot be fetched; the message says how to put it into place.
    """
    return npm_files(_PACKAGE, *pinned(), [f"dist/{name}" for name in _NEEDED])


def npm_files(package: str, version: str, digest: str, names: Sequence[str]) -> dict[str, bytes]:
    """Return files of a package of npm's registry, by their name without its folder.

    The package is fetched once and kept in Headstart's cache. npm is asked if it is installed, as it knows
    the user's registry; otherwise npm's own registry.

    Args:
        package: Its name.
        version: Its version.
        digest: The SHA-512 that it must have, in base64.
        names: Paths in the package.

    Raises:
        UsageError: The package cannot be fetched; the message says how to put it into place.
    """
    archive = f"{package}-{version}.tgz"
    cache = own_cache()
    kept = None if cache is None else cache / "npm" / archive
    if kept is not None and kept.is_file() and _digest(content := kept.read_bytes()) == digest:
        return _unpacked(content, names)
    reasons = []
    for fetch in (_by_npm, _by_http):
        try:
            content = fetch(package, version)
        except _NotFetchedError as error:
            reasons.append(str(error))
            continue
        if _digest(content) != digest:
            reasons.append("what arrived does not have the SHA-512 that is demanded")
            continue
        if kept is not None:
            with contextlib.suppress(OSError, FileWriteError):  # then the next call fetches it again
                make_in_cache(kept.parent)
                write_whole(kept, content)
        return _unpacked(content, names)
    where = "" if kept is None else f", and copy {archive} to {kept}"
    raise UsageError(
        f"A page needs {package} {version}, which cannot be fetched: {'; '.join(reasons)}. On a computer "
        f"with a connection, run npm pack {package}@{version}{where}."
    )


def pinned() -> tuple[str, str]:
    """Return version and SHA-512, in base64, of the package that ``web/package-lock.json`` pins."""
    lock = json.loads((files("headstart") / "web" / "package-lock.json").read_text("utf-8"))
    package = lock["packages"][f"node_modules/{_PACKAGE}"]
    return package["version"], package["integrity"].removeprefix("sha512-")


class _NotFetchedError(Exception):
    """The package did not arrive; the message says why."""


def _by_npm(package: str, version: str) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise _NotFetchedError("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{package}@{version}", "--silent", "--ignore-scripts"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
            return next(Path(folder).glob("*.tgz")).read_bytes()
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            raise _NotFetchedError("npm pack failed") from error


def _by_http(package: str, version: str) -> bytes:
    import http.client
    import urllib.request

    address = f"{_REGISTRY}/{package}/-/{package}-{version}.tgz"
    try:
        with urllib.request.urlopen(address, timeout=_SILENT_SECONDS) as response:
            content: bytes = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise _NotFetchedError(f"{address} cannot be read: {getattr(error, 'reason', error)}") from error
    return content


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


def _unpacked(content: bytes, names: Sequence[str]) -> dict[str, bytes]:
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        found = {name: archive.extractfile(f"package/{name}") for name in names}
        return {PurePosixPath(name).name: file.read() for name, file in found.items() if file is not None}
