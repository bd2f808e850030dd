"""The page of the service: static files, which contain nothing of the models or of the service's users."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from fastapi import Request, Response

from headstart.package_files import package_files

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_OF_WEB_FOLDERS: Final = ("local.js", "worker.js", "service-worker.js")


class Page:
    """The files of the page, in memory.

    Attributes:
        paths: Their paths, such as ``"/"`` and ``"/page.js"``.
    """

    def __init__(self) -> None:
        found = package_files("page")
        policy = re.search(rb'Content-Security-Policy" content="([^"]+)"', found["index.html"])
        assert policy
        self._headers = {
            # Other sites must not show the page in a frame, which only a header can say.
            "Content-Security-Policy": f"{policy[1].decode()}; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        found["back-end.js"] = found.pop("http.js")
        found = {name: content for name, content in found.items() if name not in _OF_WEB_FOLDERS}
        self._files = {
            f"/{name}": (content, _TYPES[name.rpartition(".")[2]]) for name, content in found.items()
        }
        self._files["/"] = self._files.pop("/index.html")
        self.paths = frozenset(self._files)

    async def answer(self, request: Request) -> Response:
        """Answer with a file; with 304 if the browser has it."""
        content, kind = self._files[request.scope["path"]]
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = self._headers | {"ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)
