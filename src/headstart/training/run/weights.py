"""What a run trains of its network: as it was before, as it is now, and at its best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from headstart.model.tensors import named_tensors
from headstart.training.run.checkpoint import Checkpoints
from headstart.training.run.progress import Best


class TrainedWeights:
    """The entries of a network's state dict that a run has trained so far.

    Args:
        network: It has the weights of now.
        checkpoints: Keep the best ones.
    """

    def __init__(self, network: nn.Module, checkpoints: Checkpoints) -> None:
        self._network = network
        self._checkpoints = checkpoints
        self._pretrained: dict[str, Tensor] = {}

    def remember(self, names: Iterable[str]) -> None:
        """Copy what is going to be trained for the first time, as it is before.

        Args:
            names: Entries of the state dict; those that are remembered already stay as they were then.
        """
        state = named_tensors(self._network)
        for name in names:
            if name not in self._pretrained:
                self._pretrained[name] = state[name].detach().to("cpu", copy=True)

    def now(self) -> dict[str, Tensor]:
        """Return what is remembered as it is now, by name; the tensors are the network's own."""
        state = named_tensors(self._network)
        return {name: state[name] for name in sorted(self._pretrained)}

    def keep(self, best: Best) -> Best:
        """Write the weights of now as the best ones.

        Args:
            best: With the name that their file should have.

        Returns:
            It with the name that the file has: another one where a file of that name is open in another
            program, left by a run that was stopped.
        """
        state = {"record": asdict(best.record), "share": best.share}
        return replace(best, file=self._checkpoints.save_best(best.file, self.now(), state))

    def at(self, file: str | None) -> Mapping[str, Tensor]:
        """Return the weights of a file of best weights, and the first ones of what was trained only later.

        Args:
            file: Name of the file; None for the pretrained network.

        Raises:
            DamagedFileError: The file is not as it was written.
        """
        return self._pretrained | (self._checkpoints.load_best(file) if file else {})

    def take(self, best: Best) -> None:
        """Give the network its best weights back, and what was trained only later its first ones.

        Raises:
            DamagedFileError: The file is not as it was written.
        """
        state = named_tensors(self._network)
        with torch.no_grad():
            for name, tensor in self.at(best.file).items():
                state[name].copy_(tensor)
