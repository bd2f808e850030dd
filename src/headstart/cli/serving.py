"""``headstart serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import headstart


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL ...",
            help="Run folders or model.onnx files, each as PATH or NAME=PATH. The first is the default.",
        ),
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="NUMBER", help="Port to listen on; 0 for a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that clients must send. Needed on addresses that other machines reach. "
            "[default: the variable HEADSTART_TOKEN]",
        ),
    ] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let everybody who reaches the address use the models.")
    ] = False,
    queue: Annotated[
        int, typer.Option(metavar="NUMBER", help="Most waiting photos. Beyond it, the answer is 503.")
    ] = 64,
    max_photos: Annotated[int, typer.Option(metavar="NUMBER", help="Most photos of a request.")] = 32,
    max_mb: Annotated[int, typer.Option(metavar="MB", help="Largest body of a request.")] = 64,
    max_megapixels: Annotated[int, typer.Option(metavar="NUMBER", help="Largest photo.")] = 100,
    max_seconds: Annotated[
        int, typer.Option(metavar="SECONDS", help="Most time for the body of a request to arrive.")
    ] = 60,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name of this service in the header Host, besides addresses and localhost. Repeatable; * "
            "allows any.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Origin of pages on other hosts that may use the service, such as https://example.com. "
            "Repeatable.",
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="Path of the service behind a proxy, such as /photos.")
    ] = "",
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
    )
