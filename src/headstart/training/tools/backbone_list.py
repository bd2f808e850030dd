"""``headstart backbones``: what can be named as a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from headstart.columns import html_table, table
from headstart.environment import has_pytorch
from headstart.errors import requires_extra
from headstart.frozen.backbones import ListedBackbone, listed
from headstart.weight_files import install_command

_WITH_PYTORCH = (
    "Most other networks of timm work too, as timm/NAME. One that cannot be cut before its head is "
    "reported as an error before any photo is read."
)
_WITHOUT_PYTORCH = (
    "These work without PyTorch, and so does any feature extractor as FILE.onnx. For the networks of "
    "torchvision and timm: pip install 'headstart[train]'"
)


class BackboneList(Sequence[ListedBackbone]):
    """Backbones that can be named, and what else can be. It is shown as a table.

    Args:
        rows: One per backbone.
        note: Lines of text on the others.
    """

    def __init__(self, rows: Sequence[ListedBackbone], note: str) -> None:
        self._rows = tuple(rows)
        self._note = note

    @overload
    def __getitem__(self, key: int) -> ListedBackbone: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[ListedBackbone, ...]: ...
    def __getitem__(self, key: int | slice) -> ListedBackbone | tuple[ListedBackbone, ...]:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        header, *rows = self._table()
        return "\n".join([*table(header, rows), self._note])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        header, *rows = self._table()
        note = self._note.replace("\n", "<br>")
        return f"{html_table(header, rows)}<p>{note}</p>"

    def _table(self) -> Iterator[list[str]]:
        has_sizes = any(row.num_params is not None for row in self)
        yield ["backbone", "weights", *(["parameters", "MB"] if has_sizes else []), "input", "from", "here"]
        for row in self:
            sizes = [f"{(row.num_params or 0) / 1e6:.1f} M", f"{row.megabytes or 0:.0f}"]
            yield [
                row.name,
                row.full_name.rpartition(".")[2],
                *(sizes if has_sizes else []),
                f"{row.size_px} px",
                row.source or "–",
                "yes" if row.installed else "no",
            ]


def backbones(*, installed: bool = False) -> BackboneList:
    """List the backbones that can be named here: those that need no PyTorch, and with it the usual ones.

    Args:
        installed: Only those whose weights are on this machine.
    """
    if has_pytorch():
        with requires_extra("train", "The list of backbones"):
            from headstart.model.weights import listing
        rows, note = listing(), _WITH_PYTORCH
    else:
        rows, note = listed(), _WITHOUT_PYTORCH
    in_extra = [row for row in rows if not row.installed and install_command(row.full_name)]
    if in_extra:
        names, command = " and ".join(row.name for row in in_extra), install_command(in_extra[0].full_name)
        note += f"\nFor the weights of {names}: {command}"
    return BackboneList([row for row in rows if row.installed or not installed], note)
