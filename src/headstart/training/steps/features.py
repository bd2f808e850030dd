"""The inputs of a phase: outputs of its frozen part, stored or computed again, as the settings decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Final

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from headstart.config import PhaseConfig, TrainConfig
from headstart.data.check import CheckedPhoto
from headstart.data.targets import Targets
from headstart.frozen.activations import MEMORY_LIMIT_BYTES, Activations
from headstart.frozen.cache import Room, budget_bytes, should_keep, store_path, used_bytes
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.row_store import StoreError
from headstart.images.settings import Preprocessing
from headstart.model.freeze import digest, freeze
from headstart.model.prefix import NetworkPrefix, cut_for_training
from headstart.model.to_onnx import export_untrained
from headstart.records import Candidate, Record
from headstart.training.steps.device import gathered
from headstart.views.augmentation import Augmentation

ONE_PASS_MIN_PHOTOS: Final = 200
"""With fewer photos, two passes are faster than checking that one pass has the same bits."""

_ROWS_AT_ONCE: Final = 1024  # of each process in one exchange, so that copies are small


@dataclass(frozen=True)
class Storage:
    """How the output of the frozen part is stored in one phase.

    Attributes:
        keep: Whether it is stored, or computed in every epoch.
        why: The reason, in a few words.
        num_bytes: Size on disk if it is stored; else 0.
        num_photos: Number of photos and views that pass through the frozen part; an upper limit if it is
            stored.
    """

    keep: bool
    why: str
    num_bytes: int
    num_photos: int


@dataclass(frozen=True)
class FeatureSource:
    """Opens the features of one phase after the other.

    Attributes:
        config: Settings of the run.
        network: The network, on the device.
        preprocessing: How photos are converted to pixels.
        backbone: Full name of the backbone.
        num_train, num_val: Numbers of photos, for estimates of disk space and time.
        targets: Targets of the dataset.
        accelerator: Accelerator with device, precision and processes.
        say: Called with a sentence about each decision.
        room: Opens the stores of all phases, so that none is deleted for another.
    """

    config: TrainConfig
    network: nn.Module
    preprocessing: Preprocessing
    backbone: str
    num_train: int
    num_val: int
    targets: Targets
    accelerator: Accelerator
    say: Callable[[str], object]
    room: Room

    def open(self, phase: PhaseConfig) -> PhaseFeatures:
        """Cut the network at the first trained stage of a phase, freeze the prefix, and open its features."""
        later = self._halfway(phase)
        prefix, suffix = self.cut(phase, len(later.stages) if later else 0)
        freeze(prefix.stages)  # the only place that freezes for training
        parameters = digest(prefix.stages)
        storage = self.storage(phase, prefix)
        if prefix.stages:
            how = "kept" if storage.keep else "computed in every epoch"
            self.say(f"Features of phase {phase.name} are {how}: {storage.why}")
        if storage.keep and used_bytes() + storage.num_bytes > budget_bytes():
            self._spare_later_stores(phase)
        with ExitStack() as if_it_fails:
            halfway = None
            if later:  # which is opened anew when its phase begins: until then its rows are on the disk alone
                halfway = self._activations(later, prefix.halfway_function, keep=True, memory_bytes=0)
                if_it_fails.callback(halfway.close)
            function = prefix.function if prefix.stages else ""
            if phase is self.config.phases[0]:  # the rest of what will be exported after training
                row = torch.from_numpy(prefix.row(self.preprocessing.size_px)).to(self.accelerator.device)
                export_untrained(suffix, torch.stack([row, row]), ["outputs"])
            plain = training = self._activations(prefix, function, keep=storage.keep, second=halfway)
            if_it_fails.callback(plain.close)
            augmentation = None
            if phase.augment != "none":
                augmentation = self._augmentation(phase)
                training = self._activations(prefix, function, keep=storage.keep, augmentation=augmentation)
            if_it_fails.pop_all()
        return PhaseFeatures(
            phase=phase,
            prefix=prefix,
            suffix=suffix,
            frozen_digest=parameters,
            plain=plain,
            training=training,
            views=_views(phase),
            augmentation=augmentation,
            targets=self.targets,
            accelerator=self.accelerator,
        )

    def _activations(
        self,
        prefix: NetworkPrefix,
        function: str,
        *,
        keep: bool,
        augmentation: Augmentation | None = None,
        second: Activations | None = None,
        memory_bytes: int = MEMORY_LIMIT_BYTES,
    ) -> Activations:
        return Activations(
            prefix,
            self.preprocessing,
            lambda runtime: self._fingerprint(prefix, function, augmentation, runtime),
            augmentation=augmentation,
            second=second,
            keep=keep,
            memory_bytes=memory_bytes,
            workers=self.config.workers,
            say=self.say,
            room=self.room,
        )

    def _fingerprint(
        self, prefix: NetworkPrefix, function: str, augmentation: Augmentation | None, runtime: str
    ) -> Fingerprint:
        return Fingerprint(
            preprocessing=self.preprocessing,
            backbone=self.backbone,
            cut=prefix.stages.names[-1],
            function=function,
            runtime=runtime,
            device=prefix.device_name,
            precision=prefix.precision,
            augmentation=augmentation.fingerprint() if augmentation else None,
        )

    def _spare_later_stores(self, phase: PhaseConfig) -> None:
        """Protect the stores of later phases, as far as they are known, from being deleted."""
        for later in self.config.phases[_index(phase, self.config.phases) + 1 :]:
            prefix, _ = self.cut(later)
            if not prefix.stages or not self._storage(later, prefix).keep:
                continue
            augmentations = [None] if later.augment == "none" else [None, self._augmentation(later)]
            with suppress(StoreError):  # there is no folder for stores
                self.room.stores.update(
                    store_path(self._fingerprint(prefix, prefix.function, each, prefix.runtime))
                    for each in augmentations
                )

    def _augmentation(self, phase: PhaseConfig) -> Augmentation:
        return Augmentation(phase.augment, self.config.seed)

    def cut(self, phase: PhaseConfig, halfway: int = 0) -> tuple[NetworkPrefix, nn.Module]:
        """Return the prefix and the suffix of a phase, without freezing anything."""
        precision = self.accelerator.mixed_precision.replace("no", "fp32")
        device = self.accelerator.device
        return cut_for_training(
            self.network, phase.unfreeze, self.preprocessing, device, precision, halfway=halfway
        )

    def storage(self, phase: PhaseConfig, prefix: NetworkPrefix) -> Storage:
        """Decide how the output of a prefix is stored, without writing or deleting anything."""
        storage = self._storage(phase, prefix)
        for earlier in self.config.phases[: _index(phase, self.config.phases)]:
            later = self._halfway(earlier)
            if later and later.stages.names == prefix.stages.names and phase.augment == "none":
                why = f"computed in the same pass as phase {earlier.name}"
                return dataclasses.replace(storage, why=why, num_photos=0)
        return storage

    def _storage(self, phase: PhaseConfig, prefix: NetworkPrefix) -> Storage:
        num_kept = len(_views(phase)) * self.num_train + self.num_val
        num_live = phase.epochs * (self.num_train + self.num_val)
        if not prefix.stages:
            return Storage(False, "nothing is frozen", 0, num_live)
        num_bytes = prefix.row(self.preprocessing.size_px).nbytes * num_kept
        keep, why = should_keep(self.config.features, num_bytes, num_kept, num_live, self.config.store)
        return Storage(keep, why, num_bytes, num_kept) if keep else Storage(keep, why, 0, num_live)

    def _halfway(self, phase: PhaseConfig) -> NetworkPrefix | None:
        """Return the later prefix that is a part of this phase's and has the same pixels, if any."""
        if self.num_train + self.num_val < ONE_PASS_MIN_PHOTOS or phase.augment != "none":
            return None
        prefix, _ = self.cut(phase)
        if not self._storage(phase, prefix).keep:
            return None
        untrained = len(prefix.stages)  # stages that no phase has trained by then
        for later in self.config.phases[_index(phase, self.config.phases) + 1 :]:
            half, _ = self.cut(later)
            is_on_the_way = 0 < len(half.stages) < len(prefix.stages) and len(half.stages) <= untrained
            if is_on_the_way and later.augment == "none" and self._storage(later, half).keep:
                return half
            untrained = min(untrained, len(half.stages))
        return None


@dataclass(frozen=True)
class PhaseFeatures:
    """The inputs of one phase.

    Attributes:
        phase: The phase.
        prefix: The frozen stages.
        suffix: The trained stages, as one module that takes the output of the prefix.
        frozen_digest: Hash of the frozen stages' parameters and buffers before the phase.
        plain: Features without augmentation: for validation, and for training without augmentation.
        training: Features for training; the same object as ``plain`` without augmentation.
        views: Numbers of the views for training; 0 is the photo without augmentation.
        augmentation: Source of the views; None without augmentation.
        targets: Targets of the dataset.
    """

    phase: PhaseConfig
    prefix: NetworkPrefix
    suffix: nn.Module
    frozen_digest: str
    plain: Activations
    training: Activations
    views: range
    augmentation: Augmentation | None
    targets: Targets
    accelerator: Accelerator

    def check(
        self, candidates: Sequence[Candidate], advance: Callable[[int], object] = lambda _: None
    ) -> Iterator[CheckedPhoto]:
        """Read and check all photos, and run the frozen part on them in the same pass.

        With several processes, each reads its share, and they exchange the results.

        Args:
            candidates: The photos.
            advance: Called with the number of photos finished by all processes together.

        Yields:
            The result for each photo, in order.
        """
        num_processes = self.accelerator.num_processes

        def wanted(photo: Candidate) -> bool:
            # Of what is trained on in other views, only validation photos are needed as they are.
            return self.training is self.plain or photo.split == "val"

        own: list[CheckedPhoto] = []
        for photo in self.plain.check(candidates[self._share], wanted):
            advance(num_processes)
            if num_processes == 1:
                yield photo
            else:
                own.append(photo)
        if num_processes > 1:
            shares = gathered(own, self.accelerator)
            for place in range(len(candidates)):
                yield shares[place % num_processes][place // num_processes]

    def fill(self, train: Sequence[Record], val: Sequence[Record], advance: Callable[[int], object]) -> None:
        """Compute and store the missing features of the phase; each process computes its share.

        Args:
            train: Training photos.
            val: Photos that are used without augmentation.
            advance: Called with the number of photos finished by all processes together.
        """
        wanted = [
            (self.training, ((record, view) for view in self.views for record in train)),
            (self.plain, ((record, 0) for record in val)),
        ]
        for activations, photos in wanted:
            own = islice(photos, self._share.start, None, self._share.step)
            for _ in activations.fill((record, self._seen(record, view)) for record, view in own):
                advance(self.accelerator.num_processes)
        self.accelerator.wait_for_everyone()  # what the others have stored can be read from here on

    def rows(self, photos: Iterable[tuple[Record, int]]) -> Iterator[np.ndarray]:
        """Yield the features for training in every process; each reads its share, and they exchange them.

        Args:
            photos: Photos, each with the number of its view.
        """
        yield from self._shared(self.training, photos)

    def vectors(self, photos: Sequence[Record]) -> np.ndarray | None:
        """Return a vector of each photo as it is, by which photos can be compared, in every process.

        Returns:
            (N, D) float32: the outputs of the frozen part, and of maps their means over positions; None if
            nothing is frozen, or if the outputs are neither vectors nor maps.
        """
        if not self.prefix.stages:
            return None
        shape = self.prefix.row(self.targets.preprocessing.size_px).shape
        if not 1 <= len(shape) <= 3:
            return None
        is_channels_first = len(shape) == 3 and shape[1] == shape[2]
        positions = ((), (0,), (1, 2) if is_channels_first else (0, 1))[len(shape) - 1]
        for _ in self.plain.fill([(photo, 0) for photo in photos[self._share]]):
            pass  # so that an error names all photos that cannot be used
        self.accelerator.wait_for_everyone()
        rows = self._shared(self.plain, ((photo, 0) for photo in photos))
        return np.stack([row.mean(positions, dtype=np.float32) if positions else row for row in rows])

    def _shared(self, activations: Activations, photos: Iterable[tuple[Record, int]]) -> Iterator[np.ndarray]:
        """Yield rows in every process; each process reads its share, and they exchange them."""
        num_processes = self.accelerator.num_processes
        if num_processes == 1:
            yield from activations.rows(photos)
            return
        photos = list(photos)
        own = activations.rows(photos[self._share])
        for _ in range(0, len(photos), num_processes * _ROWS_AT_ONCE):
            shares = gathered(list(islice(own, _ROWS_AT_ONCE)), self.accelerator)
            for turn in zip_longest(*shares):
                yield from (row for row in turn if row is not None)

    def view(self, epoch: int) -> int:
        """Return the number of the view for an epoch, counted from 1."""
        return self.views[(epoch - 1) % len(self.views)]

    def close(self) -> None:
        """Close the stores and release the memory."""
        self.plain.close()
        if self.training is not self.plain:
            self.training.close()

    def _seen(self, record: Record, view: int) -> int:
        return self.targets.view(record, view, self.augmentation)[0]

    @property
    def _share(self) -> slice:
        return slice(self.accelerator.process_index, None, self.accelerator.num_processes)


def _index(phase: PhaseConfig, phases: Sequence[PhaseConfig]) -> int:
    """Return the index of a phase in a run; the number of phases if it is not in it."""
    return phases.index(phase) if phase in phases else len(phases)


def _views(phase: PhaseConfig) -> range:
    """Return the numbers of the views that a phase uses; 0 is the photo without augmentation."""
    if phase.augment == "none":
        return range(1)
    seen = phase.views if phase.optimizer == "exact" else min(phase.views, phase.epochs)
    return range(1, seen + 1)
