"""A pass over photos in other processes: they compute rows, and the process that asks stores them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from headstart.cluster.nodes import refuse_unlike
from headstart.frozen.cache import Room
from headstart.frozen.fingerprint import Fingerprint, photo_key
from headstart.frozen.photos import PhotoFacts, PhotoStore
from headstart.frozen.prefix import OnnxPrefix
from headstart.images.decode import Header
from headstart.images.machine import DECODER, machine
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.views.augmentation import Augmentation

NOT_ELSEWHERE: Final = (
    "--ray needs a backbone that runs without PyTorch, such as efficientnet_lite0 or a FILE.onnx, and device "
    "'cpu'. Choose one, or leave out --ray."
)


@dataclass
class Item:
    """A photo, or a view of one, in a pass; ``sha256`` is known once its bytes have been read."""

    photo: Photo
    view: int = 0
    sha256: str = ""
    is_wanted: bool = True
    has_box: bool = False
    header: Header | None = None
    proves: bool = False  # its row is computed even if it is stored, and compared
    is_stored: bool = False  # known once loaded

    @property
    def key(self) -> bytes:
        return photo_key(self.sha256, self.view)


@dataclass(frozen=True)
class Found:
    """What another process has found out about a photo.

    Attributes:
        item: The item with what is known of its photo now.
        row: Its row and the second one, an error, or None if no row is wanted.
        facts: Facts about the photo; None if they are stored, or not wanted.
        said: Sentences for the user.
        node: Name of the machine, if it could not read the photo's bytes.
    """

    item: Item
    row: Any
    facts: PhotoFacts | None
    said: tuple[str, ...] = ()
    node: str = ""


@dataclass(frozen=True)
class Pass:
    """A pass that is computed in another process: see ``passes.Work``.

    Attributes:
        make: The class ``Activations``, which imports this module.
        prefix: The frozen stages.
        preprocessing: How photos are converted to pixels.
        fingerprint: Of the rows.
        augmentation: Provides the views; None without.
        keep: Whether stored rows and facts are used.
        shared: Folder or address of the store; None for that of the machine of the process.
        workers: Number of threads; None for one per core, plus one.
    """

    make: Callable[..., Any]
    prefix: OnnxPrefix
    preprocessing: Preprocessing
    fingerprint: Fingerprint
    augmentation: Augmentation | None
    keep: bool
    shared: str | None
    workers: int | None

    def open(self, num_cores: int) -> Callable[[list[Item]], list[Found]]:
        """Return the function that computes.

        Raises:
            UsageError: The rows would differ from those of the process that asks.
        """
        own = {"decoder": DECODER, "machine": machine(), "runtime": OnnxPrefix.runtime}
        refuse_unlike({name: getattr(self.fingerprint, name) for name in own}, own)
        said: list[str] = []
        activations = self.make(
            self.prefix,
            self.preprocessing,
            lambda runtime: dataclasses.replace(self.fingerprint, runtime=runtime),
            augmentation=self.augmentation,
            keep=self.keep,
            memory_bytes=0,
            workers=num_cores + 1 if self.workers is None else self.workers,
            say=said.append,
            room=Room(said.append, shared=self.shared),
        )

        def compute(items: list[Item]) -> list[Found]:
            found: list[Found] = list(activations.found(items))
            if said:
                found[0] = dataclasses.replace(found[0], said=tuple(said))
                said.clear()
            return found

        return compute


class FactsRead:
    """In place of ``PhotoStore`` in a process that stores nothing: keeps facts until they are taken."""

    def __init__(self, stored: PhotoStore) -> None:
        self._stored = stored
        self._facts: dict[str, PhotoFacts] = {}
        self.is_open = True

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._facts or sha256 in self._stored

    def put(self, facts: PhotoFacts) -> None:
        """Keep facts."""
        self._facts[facts.sha256] = facts

    def take(self, sha256: str) -> PhotoFacts | None:
        """Return the facts of a photo that were kept, if any, and forget them."""
        return self._facts.pop(sha256, None)

    def close(self) -> None:
        """Close the store."""
        self._stored.close()
