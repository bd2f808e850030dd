"""``headstart inspect``: a network stage by stage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart.columns import html_table, table
from headstart.config import TrainConfig
from headstart.errors import UsageError
from headstart.model.backbones import create_native, resolve
from headstart.model.freeze import freeze
from headstart.model.stages_head import StagesNetwork
from headstart.model.summary import StageSummary, summarise
from headstart.products.safetensors import load_network

_HEADER = ["stage", "modules", "output", "parameters", "MB", "multiply-adds", "frozen"]


@dataclass(frozen=True, repr=False)
class Inspection:
    """What a network is made of. It is shown as a table.

    Attributes:
        title: The backbone and the number of its classes.
        size_px: Side of the input.
        stages: One row per stage.
    """

    title: str
    size_px: int
    stages: tuple[StageSummary, ...]

    def __repr__(self) -> str:
        return "\n".join([self._first_line(), *table(_HEADER, list(self._rows())), self._last_line()])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        shown = html_table(_HEADER, list(self._rows()))
        return f"<p>{self._first_line()}</p>{shown}<p>{self._last_line()}</p>"

    def _first_line(self) -> str:
        return f"{self.title}; input 3 × {self.size_px} × {self.size_px}"

    def _last_line(self) -> str:
        params, megabytes = (
            sum(row.num_params for row in self.stages),
            sum(row.megabytes for row in self.stages),
        )
        multiply_adds = sum(row.multiply_adds for row in self.stages)
        return f"total: {params:,} parameters, {megabytes:.1f} MB, {multiply_adds / 1e6:,.1f} M multiply-adds"

    def _rows(self) -> Iterator[list[str]]:
        for row in self.stages:
            yield [
                row.name,
                row.modules,
                " × ".join(map(str, row.output_shape)),
                f"{row.num_params:,}",
                f"{row.megabytes:.1f}",
                f"{row.multiply_adds / 1e6:,.1f} M",
                "yes" if row.frozen else "no",
            ]


def inspect(what: str | os.PathLike[str]) -> Inspection:
    """Look into a network: its stages with shapes, parameters, multiply-adds, and what is frozen.

    Args:
        what: A backbone's name, whose head alone is not frozen; or the folder of a finished run, frozen as
            it was at the end of training.

    Raises:
        UsageError: It is a file, or a folder without a finished run.
        UnknownBackboneError: There is no backbone of that name.
    """
    name, weights = os.fspath(what), Path(what) / "model.safetensors"
    if weights.is_file():
        network, info = load_network(weights)
        phases = TrainConfig.from_toml(Path(what) / "config.toml").phases
        title, size_px = f"{info.backbone}, {len(info.class_names)} classes", info.preprocessing.size_px
        if isinstance(network, StagesNetwork):
            network = network.native
            names = " and ".join(stage.removeprefix("stage.") for stage in info.stages)
            title += f"; its head also reads {names}"
        freeze(network, before=phases[-1].unfreeze)
    elif Path(what).is_file() or os.sep in name.removeprefix("timm/"):
        is_own = name.endswith(".onnx") and not Path(what).with_name("model.safetensors").is_file()
        onnx = " An ONNX file has no stages to show; train can use it as it is: --backbone FILE.onnx"
        raise UsageError(
            f"{name} is not a folder with a model.safetensors in it. Name the folder of a finished run, or a "
            f"backbone.{onnx if is_own else ''}"
        )
    else:
        backbone = resolve(name)
        network, size_px = create_native(backbone), backbone.preprocessing.size_px
        freeze(network, before="head")
        title = f"{backbone.full_name}, {backbone.num_classes} classes"
    return Inspection(title, size_px, tuple(summarise(network, size_px)))
