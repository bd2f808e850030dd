"""One stage of a network, and consecutive stages as one module."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

Description = dict[str, list[nn.Module]]  # stage name → its modules, in the order they run


class Stage(nn.Sequential):
    """One named stage: native modules in the order in which the native forward pass runs them."""

    def __init__(self, name: str, modules: Iterable[nn.Module]) -> None:
        super().__init__(*modules)
        self.name = name


class StageSequence(nn.Sequential):
    """Consecutive stages as one module; with no stages it is the identity.

    Prefixes and suffixes are such sequences.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        super().__init__(*stages)

    @property
    def names(self) -> list[str]:
        return [str(stage.name) for stage in self]
