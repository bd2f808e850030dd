"""What the service answers if a request, or one of its photos, is wrong. Every error has the same form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

PROBLEMS: Final[dict[str, tuple[int, str]]] = {
    "invalid_request": (400, "The request is not valid HTTP, or its body is not what its headers say."),
    "token_required": (401, "The header `Authorization: Bearer TOKEN` is missing or wrong."),
    "forbidden_host": (403, "The header `Host` names a host that is not allowed (`--allow-host`)."),
    "forbidden_origin": (403, "A page of another origin sent the request (`--allow-origin`)."),
    "not_found": (404, "There is nothing at this path."),
    "unknown_model": (404, "No model has this name."),
    "method_not_allowed": (405, "The path does not support this method; `Allow` lists those it supports."),
    "too_slow": (408, "The headers or the body arrive too slowly. The connection is closed."),
    "too_many_bytes": (413, "The body is larger than allowed (`--max-mb`)."),
    "too_many_photos": (413, "The request has more photos than allowed (`--max-photos`)."),
    "too_many_pixels": (413, "The photo has more pixels than its format may have (`--max-megapixels`)."),
    "unsupported_media_type": (415, "The body is neither an image nor multipart/form-data."),
    "invalid_parameter": (422, "A parameter of the address is unknown or has a value that is not allowed."),
    "invalid_field": (422, "A part of the form is not a file in a field `photo`."),
    "no_photo": (422, "The body is empty, or the form has no field `photo`."),
    "no_heat_map": (422, "The model has no heat maps."),
    "no_similar": (422, "The service does not show similar training photos of this model."),
    "unreadable_photo": (422, "The photo cannot be decoded; the message gives the reason."),
    "headers_too_large": (431, "The headers are larger than 64 kB."),
    "internal_error": (500, "A fault of the service; the log has the details under the `request_id`."),
    "queue_full": (503, "Too many photos are waiting, or too much is being received. Try again later."),
    "loading": (503, "The models are being loaded. Try again later."),
    "too_many_connections": (503, "Too many connections are open. Try again later."),
}
"""Status and meaning of each error, by its code."""


class Problem(Exception):  # noqa: N818  # not an error of this program
    """A request, or one of its photos, is wrong.

    Args:
        code: One of ``PROBLEMS``.
        message: What is wrong, what is allowed, and what to do.
        headers: Headers of the response.
    """

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = PROBLEMS[code][0]
        self.message = message
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, str]:
        """Return code and message for JSON."""
        return {"code": self.code, "message": self.message}

    def body(self, request_id: str | None) -> bytes:
        """Return the body of a response, as JSON."""
        return json.dumps({"error": self.to_dict(), "request_id": request_id}).encode()
