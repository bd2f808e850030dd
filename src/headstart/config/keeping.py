"""Settings about where outputs of frozen stages are computed and kept."""

from __future__ import annotations

from typing import Any

from headstart.config.sections import computing, machine


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
        "Ray cluster that reads the photos and computes their features: its address, auto for the one of "
        "this machine, or local to start one",
        shown="this process",
        metavar="ADDRESS",
        commands=("features", "check"),
    )
