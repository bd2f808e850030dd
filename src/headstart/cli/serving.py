"""``headstart serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import headstart

_Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL ...",
        help="Run folders or model.onnx files, each as PATH or NAME=PATH. The first is the default.",
    ),
]
_Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all.")]
_Port = Annotated[int, typer.Option(metavar="NUMBER", help="Port to listen on; 0 for a free one.")]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File with the token that clients must send. Needed on addresses that other machines reach. "
        "[default: the variable HEADSTART_TOKEN]",
        show_default=False,
    ),
]
_NoToken = Annotated[
    bool, typer.Option("--no-token", help="Let everybody who reaches the address use the models.")
]
_Queue = Annotated[
    int, typer.Option(metavar="NUMBER", help="Most waiting photos. Beyond it, the answer is 503.")
]
_MaxPhotos = Annotated[int, typer.Option(metavar="NUMBER", help="Most photos of a request.")]
_MaxMb = Annotated[int, typer.Option(metavar="MB", help="Largest body of a request.")]
_MaxMegapixels = Annotated[
    int, typer.Option(metavar="NUMBER", help="Largest JPEG; photos in other formats may have half as many.")
]
_MaxSeconds = Annotated[
    int, typer.Option(metavar="SECONDS", help="Most time for the body of a request to arrive.")
]
_AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Name of this service in the header Host, besides addresses and localhost. Repeatable; * allows "
        "any.",
    ),
]
_AllowOrigin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ORIGIN",
        help="Origin of pages on other hosts that may use the service, such as https://example.com. "
        "Repeatable.",
    ),
]
_RootPath = Annotated[
    str,
    typer.Option(
        metavar="PATH",
        help="Path of the service behind a proxy, such as /photos. [default: none]",
        show_default=False,
    ),
]
_Similar = Annotated[
    bool,
    typer.Option(
        "--similar",
        help="Let clients see the training photos that are most similar to a photo: names, classes and small "
        "pictures, which may be private. The run folder and its photos must be on this machine.",
    ),
]


def serve(
    models: _Models,
    host: _Host = "127.0.0.1",
    port: _Port = 8000,
    token_file: _TokenFile = None,
    no_token: _NoToken = False,
    queue: _Queue = 64,
    max_photos: _MaxPhotos = 32,
    max_mb: _MaxMb = 64,
    max_megapixels: _MaxMegapixels = 50,
    max_seconds: _MaxSeconds = 60,
    allow_host: _AllowHost = None,
    allow_origin: _AllowOrigin = None,
    root_path: _RootPath = "",
    similar: _Similar = False,
) -> None:
    """Serve models over HTTP. Stop with Ctrl+C or SIGTERM; requests that have begun are answered.

    POST /v1/predict takes a photo as the body, or a form with one or several fields photo, and answers with
    JSON. Other paths: /v1/models, /healthz, /readyz, /metrics and /openapi.json. A model file that is
    replaced is verified and taken over. The log goes to standard output, as JSON lines.

    Needs headstart[serve].
    """
    headstart.serve(
        models,
        host=host,
        port=port,
        token_file=token_file,
        no_token=no_token,
        queue=queue,
        max_photos=max_photos,
        max_mb=max_mb,
        max_megapixels=max_megapixels,
        max_seconds=max_seconds,
        allow_hosts=tuple(allow_host or ()),
        allow_origins=tuple(allow_origin or ()),
        root_path=root_path,
        similar=similar,
    )
