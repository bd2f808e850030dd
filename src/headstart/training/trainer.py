"""The steps of a phase: losses, gradients, optimiser, averages; and their state for a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.config import PhaseConfig
from headstart.errors import TrainingError
from headstart.training.average import WeightAverage
from headstart.training.batches import Batch
from headstart.training.device import anyone, seed_generators
from headstart.training.epoch import count, refuse_some_not_finite
from headstart.training.mix import mix
from headstart.training.objective import Objective
from headstart.training.optim import build_optimizer, load_optimizer_tensors, optimizer_tensors, set_lr
from headstart.training.sampler import key
from headstart.training.schedule import lr_factor
from headstart.training.task import Task
from headstart.training.tensors import below


class Trainer:
    """Takes the steps of one phase.

    Args:
        phase: Everything about them.
        network: Names the parameters.
        suffix: The unfrozen stages of that network.
        task: What outputs are judged by.
        class_counts: (K,), training photos of each class.
        steps_per_epoch: Steps of the optimiser.
        accelerator: Device, precision and processes.
        seed: Of the run.
        schedule: What the largest learning rates are multiplied by, as ``lr_factor`` gives it.

    Attributes:
        suffix: As prepared for the device and for several processes.
    """

    def __init__(
        self,
        phase: PhaseConfig,
        network: nn.Module,
        suffix: nn.Module,
        task: Task,
        class_counts: Tensor,
        steps_per_epoch: int,
        accelerator: Accelerator,
        seed: int,
        schedule: Callable[[PhaseConfig, int, int], float] = lr_factor,
    ) -> None:
        self._phase = phase
        self._steps_per_epoch = steps_per_epoch
        self._accelerator = accelerator
        self._seed = seed
        self._schedule = schedule
        self._task = task
        self._objective = Objective(task, phase, class_counts, accelerator.device)
        self._average = None if phase.ema is None else WeightAverage(suffix, phase.ema)
        optimizer = build_optimizer(network, suffix, phase)
        self._largest_lr = max(group["max_lr"] for group in optimizer.param_groups)
        # Batch norms take a batch's statistics in before its loss is known.
        self._buffers = [buffer for buffer in suffix.buffers() if phase.norm == "train"]
        self._buffers_before = [buffer.clone() for buffer in self._buffers]
        self.suffix, self._optimizer = accelerator.prepare(suffix, optimizer)

    def steps(self, batches: Iterable[Batch], epoch: int, totals: Tensor) -> Iterator[Batch]:
        """Train on every batch once.

        Args:
            batches: This process's parts.
            epoch: From 1.
            totals: (3,) sums of losses, of the headline and of photos of this process so far; added to in
                place.
                These are the scores seen while training: with dropout, and with weights that change.

        Yields:
            The last batch of each step, after the step.

        Raises:
            TrainingError: The loss or the gradients are not finite; the weights are still those before the
                step.
        """
        phase, accelerator, optimizer = self._phase, self._accelerator, self._optimizer
        self.suffix.train()  # the one place; what is frozen or held stays in evaluation mode
        optimizer.zero_grad()
        is_first = True
        for batch in batches:
            if is_first:
                _copy(self._buffers, self._buffers_before)
            is_first = batch.ends_step
            # No hidden generator state: what is dropped depends on where we are, not on what ran before.
            place = (self._seed, phase.name, epoch, batch.number, accelerator.process_index)
            seed_generators(key(*place), accelerator.device)
            mixed = mix(batch.inputs, phase, key("mix", *place))
            # Gradients of several processes are averaged once, in the last batch of a step.
            with nullcontext() if batch.ends_step else accelerator.no_sync(self.suffix):
                with accelerator.autocast():
                    outputs = self.suffix(mixed.inputs)
                losses = self._objective(outputs, batch.targets, mixed) * batch.weights
                # The step's mean over all its photos: averaging over processes divides by their number.
                loss = losses.sum() * (accelerator.num_processes / batch.step_size)
                self._refuse_not_finite("loss", loss, batch, epoch, losses)
                accelerator.backward(loss)
            totals += count(losses, outputs, batch, self._task)
            if batch.ends_step:
                norm = self._clipped_norm()
                if accelerator.scaler is None:  # which leaves such steps out by itself
                    self._refuse_not_finite("norm of the gradients", norm, batch, epoch)
                set_lr(optimizer, self._lr_factor(epoch, batch.number // phase.accumulate))
                optimizer.step()
                optimizer.zero_grad()
                if self._average is not None:
                    self._average.update()
                yield batch

    def largest_lr(self, epoch: int) -> float:
        """Return the largest learning rate of any parameter in an epoch, counted from 1."""
        factors = (self._lr_factor(epoch, step) for step in range(self._steps_per_epoch))
        return float(self._largest_lr * max(factors))

    def is_finite(self) -> bool:
        """Tell whether all that is trained is still finite: a step itself may overflow."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.suffix.parameters())

    def averaged(self) -> AbstractContextManager[None]:
        """Let the suffix have the averages of its weights inside the block, if the phase keeps any."""
        return nullcontext() if self._average is None else self._average.applied()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state that a checkpoint needs besides the weights."""
        tensors = {f"optimizer/{k}": tensor for k, tensor in optimizer_tensors(self._optimizer).items()}
        if self._average is not None:
            tensors |= {f"average/{k}": tensor for k, tensor in self._average.tensors().items()}
        if self._accelerator.scaler is not None:
            scaler = self._accelerator.scaler.state_dict()
            tensors |= {f"scaler/{k}": torch.tensor(v, dtype=torch.float64) for k, v in scaler.items()}
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Bring optimiser and averages to what ``tensors`` returned, bit for bit."""
        load_optimizer_tensors(self._optimizer, below("optimizer/", tensors))
        if self._average is not None:
            self._average.load(below("average/", tensors))
        if self._accelerator.scaler is not None:
            scaler = {k: t.item() for k, t in below("scaler/", tensors).items()}
            self._accelerator.scaler.load_state_dict(
                scaler | {k: int(scaler[k]) for k in ("growth_interval", "_growth_tracker")}
            )

    def _lr_factor(self, epoch: int, step: int) -> float:
        return self._schedule(self._phase, (epoch - 1) * self._steps_per_epoch + step, self._steps_per_epoch)

    def _clipped_norm(self) -> Tensor:
        """The norm over all gradients, which are clipped if the phase says so."""
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        if self._phase.clip_norm is not None:
            return torch.as_tensor(self._accelerator.clip_grad_norm_(parameters, self._phase.clip_norm))
        return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _refuse_not_finite(
        self, what: str, value: Tensor, batch: Batch, epoch: int, losses: Tensor | None = None
    ) -> None:
        # Reading a value waits for the device; a step with one that is not finite would cost the weights.
        number = value.item()
        if not anyone(not math.isfinite(number), self._accelerator):
            return
        _copy(self._buffers_before, self._buffers)
        if losses is not None:
            refuse_some_not_finite(losses, batch.paths, f"phase {self._phase.name}, epoch {epoch}")
        kind = "not finite in another process" if math.isfinite(number) else str(number)
        raise TrainingError(
            f"The {what} is {kind} (phase {self._phase.name}, epoch {epoch}, batch {batch.number + 1}). A "
            f"smaller learning rate is the usual cure: train again with it, into another folder. The last "
            f"finite weights, and the best, are in the run's checkpoints. The batch's photos: "
            f"{_listed(batch.paths)}"
        )


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        torch._foreach_copy_(target, source)


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(paths))
