"""Draws predictions and heat maps on their photos."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from PIL import Image

from headstart import tasks
from headstart.errors import UsageError
from headstart.files import write_whole
from headstart.images.decode import decode, decode_photo
from headstart.images.draw import annotate
from headstart.images.heat import draw_heat
from headstart.images.photo import Photo
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictor import Predictor
from headstart.tasks.heat_map import HeatMap
from headstart.tasks.prediction import Prediction

_LONGEST_SIDE_PX: Final = 1000
_NEARLY_ALL: Final = 0.995  # of the contributions; below, the picture says how much is shown


def draw_each(
    predictions: Iterable[Prediction], info: ModelInfo, folder: Path, *, is_continued: bool = False
) -> Iterator[Prediction]:
    """Draw predictions while passing them on.

    Args:
        predictions: Predictions of files; those without a path or with an error are only passed on.
        info: Description of the model.
        folder: Output folder, created if necessary; it must be empty. A picture has the name of its photo,
            with a number before the suffix if two photos have the same name, apart from the case of letters.
        is_continued: Whether an interrupted call with the same settings has left pictures, which are drawn
            again.

    Yields:
        The predictions.

    Raises:
        UsageError: The folder contains other files.
    """
    _begin(folder, "--draw", is_continued)
    return _drawn(predictions, partial(_annotated, info), folder)


def explain_each(
    predictions: Iterable[Prediction], predictor: Predictor, folder: Path, *, is_continued: bool = False
) -> Iterator[Prediction]:
    """Draw heat maps on photos while passing predictions on.

    Args:
        predictions: As for ``draw_each``. Heat maps that they do not have are computed.
        predictor: The model; it has heat maps.
        folder: As for ``draw_each``.
        is_continued: As for ``draw_each``.

    Yields:
        The predictions.

    Raises:
        UsageError: The folder contains other files.
    """
    _begin(folder, "--explain", is_continued)
    return _drawn(predictions, partial(_explained, predictor), folder)


def heat_on_photo(photo: Photo, heat_map: HeatMap, longest_side_px: int = _LONGEST_SIDE_PX) -> Image.Image:
    """Return a photo with its heat map, scaled down to a longest side.

    Raises:
        ImageError: The photo cannot be read.
    """
    decoded = decode_photo(photo.content(), path=photo.key, reduce_to_px=longest_side_px)
    image, (width, height) = decoded.image, decoded.header.size
    image.thumbnail((longest_side_px, longest_side_px), Image.Resampling.LANCZOS)
    scales = (image.width / width, image.height / height) * 2
    left, top, right, bottom = (scale * side for scale, side in zip(scales, heat_map.area, strict=True))
    return draw_heat(image, heat_map.values, (left, top, right, bottom))


def _begin(folder: Path, option: str, is_continued: bool) -> None:
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not is_continued)):
        raise UsageError(f"{folder} already exists and is not an empty folder. Name a new one with {option}.")
    folder.mkdir(parents=True, exist_ok=True)


def _drawn(
    predictions: Iterable[Prediction], draw: Callable[[Photo, Prediction], Image.Image], folder: Path
) -> Iterator[Prediction]:
    taken: dict[str, int] = {}
    for prediction in predictions:
        if prediction.path is not None and prediction.error is None:
            picture = draw(Photo(prediction.path), prediction)
            stem = Path(prediction.path).stem
            name = stem
            while _key(name) in taken:  # a photo may also be called like the second of another name
                taken[_key(stem)] += 1
                name = f"{stem}-{taken[_key(stem)]}"
            taken[_key(name)] = 1
            path = folder / f"{name}.jpg"
            write_whole(path, lambda file, picture=picture: picture.save(file, "JPEG", quality=90))  # type: ignore[misc]
        yield prediction


def _key(name: str) -> str:
    """Return what names have in common that are one file on some systems: Windows and macOS ignore case."""
    return unicodedata.normalize("NFC", name).casefold()


def _annotated(info: ModelInfo, photo: Photo, prediction: Prediction) -> Image.Image:
    image = decode(photo.content(), path=photo.key)
    boxes = [] if prediction.box is None else [prediction.box]
    return annotate(image, tasks.of(info.task).words(prediction), boxes)


def _explained(predictor: Predictor, photo: Photo, prediction: Prediction) -> Image.Image:
    heat_map = prediction.heat_map
    if heat_map is None:  # of a prediction from an interrupted call
        (again,) = predictor.predict_iter([photo.key], explain=True)
        heat_map = again.heat_map
        assert heat_map is not None
    words = f"{heat_map.label} {prediction.probabilities[heat_map.label]:.0%}"
    if heat_map.values.max() <= 0:
        words += ", no region supports it"
    elif heat_map.share < _NEARLY_ALL:
        words += f", the map shows {heat_map.share:.0%} of the contributions"
    return annotate(heat_on_photo(photo, heat_map), words)
