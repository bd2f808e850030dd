"""The training photos that are most similar to a photo with a wrong answer, below its picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from headstart.errors import HeadstartError
from headstart.neighbours.among import Among, KnownPhoto
from headstart.neighbours.last_stage import LastStage
from headstart.neighbours.training_photos import stored_features
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Html, element, named
from headstart.reporting.pictures import Pictures
from headstart.reporting.words import label_in_words
from headstart.tasks.prediction import SimilarPhoto

_NUMBER: Final = 3
_MOST_PHOTOS: Final = 10_000  # training photos, to limit the time
_SIDE_PX: Final = 72
_MOST_OF_A_LABEL: Final = 40  # characters


@dataclass(frozen=True, eq=False)
class SimilarPhotos:
    """Similar training photos of some photos, and their pictures.

    Attributes:
        of_path: The most similar ones by path of the photo, the best first.
        pictures: Their pictures.
    """

    of_path: Mapping[str, tuple[SimilarPhoto, ...]] = field(default_factory=dict)
    pictures: Pictures = field(default_factory=lambda: Pictures((), None))

    @classmethod
    def find(cls, paths: Iterable[str], contents: Contents, folder: Path) -> SimilarPhotos:
        """Find similar training photos, as far as features are stored; none are computed.

        Args:
            paths: Paths of photos as in ``answers.csv``.
            contents: Of the report.
            folder: The run folder.
        """
        train = [photo for photo in contents.photos if photo.split == "train"]
        wanted = set(paths)
        sha256 = {
            path: sha
            for answers in (contents.scored, contents.others)
            for path, sha in zip(answers.path, answers.sha256, strict=True)
            if path in wanted
        }
        if contents.root is None or not sha256 or not 0 < len(train) <= _MOST_PHOTOS:
            return cls()
        try:
            stage = LastStage(folder / "model.onnx", contents.info)
            stored = stored_features(stage, [*(photo.sha256 for photo in train), *sha256.values()])
        except (HeadstartError, OSError):  # another kind of network, or no folder for stores
            return cls()
        known = [KnownPhoto(each.path, each.label, each.sha256) for each in train if each.sha256 in stored]
        if not known:
            return cls()
        among = Among.of(known, np.stack([stored[photo.sha256] for photo in known]))
        of_path = {
            path: among.nearest(stored[sha], _NUMBER, but=sha)
            for path, sha in sha256.items()
            if sha in stored
        }
        shown = (each.path for several in of_path.values() for each in several)
        return cls(of_path, Pictures(shown, contents.root, side_px=_SIDE_PX))

    def show(self, path: str, contents: Contents) -> Html | None:
        """Return the similar photos of a photo with their labels; nothing if there are none."""
        if not (found := self.of_path.get(path)):
            return None
        cells = [
            element(
                "div",
                self.pictures.show(each.path, f"Similar training photo {contents.shown(each.path)}"),
                element("b", named(label_in_words(each.label, contents.info), _MOST_OF_A_LABEL)),
                f" {each.similarity:.2f}",
            )
            for each in found
        ]
        return element(
            "div", element("div", "Most similar in training (1.00: the same):"), cells, class_="similar"
        )
