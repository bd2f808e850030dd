"""An exponential moving average of the weights, which is scored and kept instead of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from headstart.model.tensors import named_tensors
from headstart.training.steps.tensors import copy_strictly

_NUM_UPDATES = "num_updates"


class WeightAverage:
    """Averages the state dict of a module: parameters, and buffers such as norm statistics.

    After ``t`` updates, the decay is min(decay, (1 + t) / (10 + t)), so that a short phase is not dominated
    by its initial weights. Integer buffers are copied.

    Args:
        module: The module on its device; not wrapped for several processes, which all have the same average.
        decay: In (0, 1).

    Source:
        arXiv 1703.01780; the rising decay is that of TensorFlow's
        ``ExponentialMovingAverage(num_updates=...)``.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._num_updates = 0
        state: dict[int, tuple[str, Tensor]] = {}  # a tensor that is shared has several names
        for name, tensor in named_tensors(module).items():
            state.setdefault(id(tensor), (name, tensor))
        self._weights = dict(state.values())
        self._averages = {name: weight.detach().clone() for name, weight in self._weights.items()}
        floats = [name for name, weight in self._weights.items() if weight.is_floating_point()]
        self._floats = [self._averages[name] for name in floats], [self._weights[name] for name in floats]
        others = [name for name in self._weights if name not in floats]
        self._others = [self._averages[name] for name in others], [self._weights[name] for name in others]

    @torch.no_grad()
    def update(self) -> None:
        """Update the average; call it after each optimiser step."""
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        averages, weights = self._floats
        torch._foreach_lerp_(averages, weights, 1 - decay)
        if self._others[0]:
            torch._foreach_copy_(*self._others)
        self._num_updates += 1

    def forget_updates(self, number: int) -> None:
        """Reduce the count of updates, after the averages themselves have been restored."""
        self._num_updates -= number

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the module's weights by the averages inside the block, and restore their bits after it."""
        kept = [weight.detach().clone() for weight in self._weights.values()]
        self._set_weights(list(self._averages.values()))
        try:
            yield
        finally:
            self._set_weights(kept)

    @torch.no_grad()
    def _set_weights(self, values: list[Tensor]) -> None:
        torch._foreach_copy_(list(self._weights.values()), values)

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages by the module's names, and the number of updates, for a checkpoint.

        These are not copies; the next update changes them.
        """
        return {**self._averages, _NUM_UPDATES: torch.tensor(self._num_updates)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of ``tensors``, bit for bit.

        Raises:
            RunFolderError: The tensors belong to another module; nothing has been changed.
        """
        target = self.tensors()
        copy_strictly(tensors, target, "average of the weights")
        self._num_updates = int(target[_NUM_UPDATES])
