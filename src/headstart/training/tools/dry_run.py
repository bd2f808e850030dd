"""``headstart train --dry-run``: what a run would do, on either floor."""

from __future__ import annotations

import os
from typing import Unpack

from headstart.config import TrainConfig, TrainSettings
from headstart.errors import requires_extra
from headstart.training.choose import choose, is_secondary
from headstart.training.tools.probe_plan import plan_probe
from headstart.training.watch.named import watchers_of
from headstart.training.watch.watchers import Watchers


class Plan(str):
    """What a run would do, as text. It is shown as it is, in a notebook too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def plan(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    **settings: Unpack[TrainSettings],
) -> Plan:
    """Say what ``train`` with the same arguments would do; nothing is trained, and nothing is written.

    Args:
        data: As for ``train``.
        out: As for ``train``.
        settings: As for ``train``.

    Returns:
        Lines for people. Empty in all processes but the main one.

    Raises:
        HeadstartError: Whatever ``train`` would raise before it reads the first photo.
    """
    config = TrainConfig.from_settings(data, **settings)
    watchers_of(config.watch)  # which may not be installed
    config, probe = choose(config, Watchers.of_screen(quiet=is_secondary()).say)
    if probe is not None:
        return Plan(plan_probe(probe, out))
    with requires_extra("train"):
        from headstart.training.tools.plan import plan_in_steps
    return Plan(plan_in_steps(config, out))
