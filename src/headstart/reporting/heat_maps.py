"""Heat maps beside the photos that the model gets wrong: where its wrong answer comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from headstart.errors import ImageError
from headstart.images.address import joined
from headstart.images.photo import Photo
from headstart.inference.drawings import heat_on_photo
from headstart.inference.model_file import open_onnx
from headstart.inference.predictor import Predictor
from headstart.inference.runtime import CPU
from headstart.reporting.markup import Html, element, isolated
from headstart.reporting.pictures import jpeg_of, picture
from headstart.reporting.words import Answered

_SIDE_PX: Final = 200  # longest side
_NEARLY_ALL: Final = 0.995


class HeatMaps:
    """Heat maps of photos, computed by the model file; none if it has no heat maps.

    Attributes:
        share: Median of the shares of the contributions that they show, 0..1; NaN without heat maps.
    """

    def __init__(self, paths: Iterable[str], folder: Path, root: Path | None) -> None:
        """
        Args:
            paths: Photos that the model file itself has answered, relative to ``root`` or absolute.
            folder: The run folder.
            root: The data folder; None to show no pictures.
        """
        self._found: Mapping[str, Html] = {}
        self.share = float("nan")
        unique, model = list(dict.fromkeys(paths)), folder / "model.onnx"
        if root is None or not unique or not model.is_file():
            return
        predictor = Predictor(*open_onnx(model), providers=CPU)
        if not predictor.explains:
            return
        photos = [Photo(joined(root, path)) for path in unique]
        explained = predictor.predict_iter(photos, top_k=1, explain=True)
        maps = [each.heat_map for each in explained]
        found = {}
        for path, photo, heat_map in zip(unique, photos, maps, strict=True):
            if heat_map is None:  # the photo cannot be read, which its picture says
                continue
            try:
                drawn = heat_on_photo(photo, heat_map, _SIDE_PX)
            except ImageError:
                continue
            words = f"Heat map of the class {isolated(heat_map.label)}"
            found[path] = element("span", picture(*jpeg_of(drawn), words), class_="photo")
        self._found = found
        self.share = float(np.median([each.share for each in maps if each] or [np.nan]))

    def beside(self, answered: Answered, photo: Html | None) -> Html | None:
        """Return the picture of a photo, with its heat map beside it if there is one."""
        heat = self._found.get(answered.path) if answered.source != "out-of-fold" else None
        return photo if heat is None else element("div", photo, heat, class_="two")

    @property
    def sentence(self) -> str:
        """What they show, in words; empty without heat maps."""
        if not self._found:
            return ""
        words = (
            " The heat maps show which places support the most probable class, the lightest ones most; "
            "the model does not see what is outside the coloured area."
        )
        if self.share < _NEARLY_ALL:
            words += (
                f" They show {self.share:.0%} of the contributions to the answer (median); the others depend "
                f"on how much earlier stages vary over the whole photo."
            )
        return words
