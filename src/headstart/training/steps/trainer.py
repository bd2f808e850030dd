"""The steps of a phase: losses, gradients, optimiser, averages, and their state for a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.config import PhaseConfig
from headstart.errors import TrainingError
from headstart.model.freeze import is_held
from headstart.model.memory import is_out_of_memory, release_memory
from headstart.model.norms import has_statistics, taking_one_photo
from headstart.training.steps.average import WeightAverage
from headstart.training.steps.batches import Batch
from headstart.training.steps.criterion import Criterion
from headstart.training.steps.device import anyone, prepared, seed_generators, steps_between_checks
from headstart.training.steps.epoch import count, refuse_some_not_finite
from headstart.training.steps.memory import MicroBatch, OutOfMemory
from headstart.training.steps.mirror import Layout, mirror
from headstart.training.steps.mix import mix
from headstart.training.steps.objective import Objective
from headstart.training.steps.optim import build_optimizer, load_optimizer_tensors, optimizer_tensors, set_lr
from headstart.training.steps.sampler import key
from headstart.training.steps.schedule import lr_factor
from headstart.training.steps.tensors import below


class Trainer:
    """Runs the training steps of one phase.

    Args:
        phase: Settings of the phase.
        network: The network, for the names of parameters.
        suffix: The trained stages of that network.
        criterion: Loss and scores.
        class_counts: (K,), number of training photos of each class.
        steps_per_epoch: Number of optimiser steps per epoch.
        accelerator: Accelerator with device, precision and processes.
        seed: Seed of the run.
        schedule: Function that returns the factor on the largest learning rates, like ``lr_factor``.

    Attributes:
        suffix: As prepared for the device and for several processes.
        micro_batch: Photos per pass of one process: fewer than a batch if memory has run out.
        learns_statistics: Whether norms update statistics in each pass, so that the size of passes affects
            the result.
        failed_at: After a TrainingError, the number of the failed step's first batch within its epoch.
    """

    def __init__(
        self,
        phase: PhaseConfig,
        network: nn.Module,
        suffix: nn.Module,
        criterion: Criterion,
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
        self._criterion = criterion
        self._objective = Objective(criterion, phase, class_counts, accelerator.device)
        self._layout = Layout.of(suffix)
        self._average = None if phase.ema is None else WeightAverage(suffix, phase.ema)
        optimizer = build_optimizer(network, suffix, phase)
        self._largest_lr = max(group["max_lr"] for group in optimizer.param_groups)
        # Norms take a batch's statistics in before its loss is known.
        modules = [module for module in suffix.modules() if not is_held(module)]
        self._buffers = [buffer for module in modules for buffer in module.buffers(recurse=False)]
        self._buffers_before = [buffer.clone() for buffer in self._buffers]
        self.learns_statistics = any(has_statistics(module) for module in modules)
        self._checks_every = steps_between_checks(accelerator.device)
        self._num_bad = torch.zeros((), dtype=torch.int64, device=accelerator.device)  # steps, since a check
        self._unchecked: list[_Step] = []
        self.micro_batch = MicroBatch()
        self.failed_at: int | None = None
        self.suffix, self._optimizer = prepared(suffix, optimizer, accelerator)

    def step(self, batches: Sequence[Batch], epoch: int, totals: Tensor) -> Batch:
        """Take one step of the optimiser.

        Args:
            batches: This process's parts of the batches of the step.
            epoch: From 1.
            totals: (3,) sums of losses, of the headline and of photos of this process so far; added to in
                place. These are the scores seen while training: with dropout, and with weights that change.

        Returns:
            The last batch.

        Raises:
            TrainingError: The loss or the gradients are not finite; the weights are still those before the
                step. On a CPU it is raised in that step; elsewhere, where looking waits for the device, at
                most ``steps_between_checks`` later, and no step after it has changed anything.
            OutOfMemory: A step did not fit into memory, in any process. Nothing of it is left; the totals are
                those before it, too.
        """
        phase, accelerator, optimizer = self._phase, self._accelerator, self._optimizer
        self.suffix.train()  # the one place; what is frozen or held stays in evaluation mode
        _copy(self._buffers, self._buffers_before)
        step = _Step(epoch, batches[0].number, totals, totals.clone(), torch.zeros_like(self._num_bad))
        try:
            for batch in batches:
                step.last, step.paths, step.losses = batch.number, batch.paths, []
                # No hidden generator state: what is dropped depends on where we are, not on what ran before.
                place = (self._seed, phase.name, epoch, batch.number, accelerator.process_index)
                seed_generators(key(*place), accelerator.device)
                self._learn(batch, place, step, totals)
            is_too_large = False
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            is_too_large = True
        if anyone(is_too_large, accelerator):  # what one process has no memory for, none takes
            optimizer.zero_grad()
            _copy(self._buffers_before, self._buffers)
            totals.copy_(step.totals)
            raise OutOfMemory
        self._average_over_processes()
        norm = self._clipped_norm()
        if accelerator.scaler is None:  # which leaves such steps out by itself
            self._look_at("norm of the gradients", norm, step)
        self._refuse_not_finite(step)
        set_lr(optimizer, self._lr_factor(epoch, batch.number // phase.accumulate))
        self._take(step, totals)
        optimizer.zero_grad()
        if self._checks_every > 1:
            self._unchecked.append(step)
            if len(self._unchecked) == self._checks_every:
                self.verify()
        return batch

    def shrink(self, num_photos: int) -> None:
        """Use fewer photos per pass, after ``OutOfMemory``.

        Args:
            num_photos: Number of photos in the largest part of a batch in one process.

        Raises:
            TrainingError: A pass already has only one photo.
        """
        release_memory()
        self.micro_batch.shrink(num_photos)

    def verify(self) -> None:
        """Check that all steps so far were finite, if they are not checked one by one.

        Raises:
            TrainingError: A step was not finite; nothing has changed since then.
        """
        steps, self._unchecked = self._unchecked, []
        num_bad = int(self._num_bad.item()) if steps else 0  # the same in all processes
        if num_bad == 0:
            return
        self._num_bad.zero_()
        if self._average is not None:
            self._average.forget_updates(num_bad)
        raise self._not_finite("loss or the norm of the gradients", "not finite", steps[len(steps) - num_bad])

    def _learn(self, batch: Batch, place: tuple[object, ...], step: _Step, totals: Tensor) -> None:
        """Add the gradients of a batch to those of the step, in as many passes as memory requires.

        Args:
            batch: This process's part of the batch.
            place: What all random numbers depend on.
            step: The step that the batch belongs to.
            totals: As for ``step``.
        """
        accelerator = self._accelerator
        inputs = batch.inputs
        if self._phase.mirror:
            inputs = mirror(inputs, self._layout, key("mirror", *place))
        mixed = mix(inputs, self._phase, key("mix", *place))
        for part in self.micro_batch.parts(len(batch.inputs)):
            alone = part.stop - part.start == 1 and self.learns_statistics
            # Gradients of several processes are averaged when all of them have done the step.
            with accelerator.no_sync(self.suffix), taking_one_photo(self.suffix) if alone else nullcontext():
                with accelerator.autocast():
                    outputs = self.suffix(mixed.inputs[part])
                losses = self._objective(outputs, batch.targets, mixed, part) * batch.weights[part]
                # The step's mean over all its photos: averaging over processes divides by their number.
                loss = losses.sum() * (accelerator.num_processes / batch.step_size)
                step.losses.append(losses.detach())
                self._look_at("loss", loss, step)
                if self._checks_every == 1 and accelerator.num_processes == 1:
                    self._refuse_not_finite(step)
                accelerator.backward(loss)
            totals += count(losses, outputs, batch, self._criterion, part)

    def _average_over_processes(self) -> None:
        """Average the gradients over processes; norm statistics are taken from the main process."""
        accelerator = self._accelerator
        if accelerator.num_processes == 1:
            return
        gradients = [parameter.grad for parameter in self._parameters() if parameter.grad is not None]
        flat = accelerator.reduce(torch.cat([each.reshape(-1) for each in gradients]), "mean")
        for gradient, averaged in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(averaged.view_as(gradient))
        for buffer in self._buffers:
            torch.distributed.broadcast(buffer, 0)

    def _take(self, step: _Step, totals: Tensor) -> None:
        """Take the optimiser step and update the average; if it is not known to be finite, only if it is."""
        optimizer = self._optimizer
        if self._checks_every == 1:
            optimizer.step()
            if self._average is not None:
                self._average.update()
            return
        # Without waiting for the device: what a step changes is kept, and put back there if it is bad.
        is_bad = (step.num_bad + self._num_bad) > 0
        if self._accelerator.num_processes > 1:
            is_bad = self._accelerator.reduce(is_bad.float(), "sum") > 0
        before = {name: tensor.detach().clone() for name, tensor in self._changed_by_a_step().items()}
        optimizer.step()
        if self._average is not None:
            self._average.update()
        for name, tensor in self._changed_by_a_step().items():
            if tensor.device == is_bad.device:
                tensor.copy_(torch.where(is_bad, before[name], tensor))
        for buffer, old in zip(self._buffers, self._buffers_before, strict=True):
            buffer.copy_(torch.where(is_bad, old, buffer))
        totals.copy_(torch.where(is_bad, step.totals, totals))
        self._num_bad += is_bad

    def _changed_by_a_step(self) -> dict[str, Tensor]:
        return {f"weight/{i}": each.data for i, each in enumerate(self._parameters())} | self._state()

    def _state(self) -> dict[str, Tensor]:
        """Return the optimiser's state and the average of the weights, if the phase has any."""
        tensors = {f"optimizer/{k}": tensor for k, tensor in optimizer_tensors(self._optimizer).items()}
        if self._average is not None:
            tensors |= {f"average/{k}": tensor for k, tensor in self._average.tensors().items()}
        return tensors

    def largest_lr(self, epoch: int) -> float:
        """Return the largest learning rate of any parameter in an epoch, counted from 1."""
        factors = (self._lr_factor(epoch, step) for step in range(self._steps_per_epoch))
        return float(self._largest_lr * max(factors))

    def is_finite(self) -> bool:
        """Return whether all trained weights are still finite; a step itself may overflow."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.suffix.parameters())

    def averaged(self) -> AbstractContextManager[None]:
        """Replace the weights of the suffix by their averages inside the block, if the phase has any."""
        return nullcontext() if self._average is None else self._average.applied()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state that a checkpoint needs besides the weights.

        Raises:
            TrainingError: As in ``verify``, so that the saved state is finite.
        """
        self.verify()
        tensors = self._state()
        if self._accelerator.scaler is not None:
            scaler = self._accelerator.scaler.state_dict()
            tensors |= {f"scaler/{k}": torch.tensor(v, dtype=torch.float64) for k, v in scaler.items()}
        return tensors

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore optimiser and averages from the result of ``tensors``, bit for bit."""
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
        """Return the norm of all gradients, and clip them if the phase requires it."""
        parameters = self._parameters()
        if self._phase.clip_norm is not None:
            return torch.as_tensor(self._accelerator.clip_grad_norm_(parameters, self._phase.clip_norm))
        return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    def _look_at(self, what: str, value: Tensor, step: _Step) -> None:
        """Record a value that is not finite: now, or on the device if reading it would wait."""
        if self._checks_every > 1:
            step.num_bad += ~torch.isfinite(value.detach())
        elif step.fault is None and not math.isfinite(number := value.item()):
            step.fault = what, str(number)

    def _refuse_not_finite(self, step: _Step) -> None:
        """Raise if any process has a value that is not finite, because the step would damage the weights."""
        if self._checks_every > 1 or not anyone(step.fault is not None, self._accelerator):
            return
        _copy(self._buffers_before, self._buffers)
        step.running_totals.copy_(step.totals)
        raise self._not_finite(*(step.fault or ("loss or gradient", "not finite in another process")), step)

    def _not_finite(self, what: str, kind: str, step: _Step) -> TrainingError:
        self.failed_at = step.first
        losses = torch.cat(step.losses)
        where = f"phase {self._phase.name}, epoch {step.epoch}"
        refuse_some_not_finite(losses, step.paths[: len(losses)], where)
        return TrainingError(
            f"The {what} is {kind} (phase {self._phase.name}, epoch {step.epoch}, batch {step.last + 1}). A "
            f"smaller learning rate usually helps: train again with it, into another folder. The last "
            f"finite weights, and the best, are in the run's checkpoints. The batch's photos: "
            f"{_listed(step.paths)}"
        )


@dataclass
class _Step:
    """A step of the optimiser that is in progress, or not yet checked.

    Attributes:
        epoch: Number of the epoch, from 1.
        first: Number of its first batch.
        running_totals: (3,), totals of the epoch, to which the step adds.
        totals: (3,), the totals before the step.
        num_bad: Number of values that were not finite, on the device.
        last: Number of its last batch so far.
        paths: Paths of the photos of that batch in this process.
        losses: Losses of these photos, as far as computed.
        fault: Which value is not finite, and what it is instead, if values are checked immediately.
    """

    epoch: int
    first: int
    running_totals: Tensor
    totals: Tensor
    num_bad: Tensor
    last: int = 0
    paths: tuple[str, ...] = ()
    losses: list[Tensor] = field(default_factory=list)
    fault: tuple[str, str] | None = None


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        torch._foreach_copy_(target, source)


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(paths))
