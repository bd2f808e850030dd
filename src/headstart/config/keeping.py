"""Settings about where outputs of frozen stages are computed and kept."""

from __future__ import annotations

from typing import Any, Final

from headstart.config.sections import computing, machine

RAY_ADDRESS: Final = "its address, auto for the one of this machine, or local to start one"
"""What the setting ``ray`` may be."""


def features_setting() -> Any:
    """Return the field of ``TrainConfig`` that decides whether outputs of frozen stages are kept."""
    return computing(
        "auto",
        "whether outputs of frozen stages are kept on disk (store) or computed again (live)",
        choices=("auto", "store", "live"),
    )


def store_setting() -> Any:
    """Return the field of ``TrainConfig`` that names a store that machines share."""
    return computing(
        None,
        "folder or address, such as s3://bucket/features, in which outputs of frozen stages are shared with "
        "other machines",
        shown="the cache of this machine",
        metavar="ADDRESS",
    )


def ray_setting() -> Any:
    """Return the field of ``TrainConfig`` that names a Ray cluster."""
    return machine(
        None,
        f"Ray cluster for the features of a probe, or for --num-workers: {RAY_ADDRESS}",
        shown="this process",
        metavar="ADDRESS",
        commands=("features", "check", "recommend"),
    )
