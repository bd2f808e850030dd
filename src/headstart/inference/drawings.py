"""Draws predictions on their photos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from headstart import tasks
from headstart.errors import UsageError
from headstart.files import write_whole
from headstart.images.decode import decode
from headstart.images.draw import annotate
from headstart.images.photo import Photo
from headstart.inference.model_file import ModelInfo
from headstart.tasks.prediction import Prediction


def draw_each(
    predictions: Iterable[Prediction], info: ModelInfo, folder: Path, *, is_continued: bool = False
) -> Iterator[Prediction]:
    """Draw predictions while passing them on.

    Args:
        predictions: Predictions of files; those without a path or with an error are only passed on.
        info: Description of the model.
        folder: Output folder, created if necessary; it must be empty. A picture has the name of its photo,
            with a number before the suffix if two photos have the same name.
        is_continued: Whether an interrupted call with the same settings has left pictures, which are drawn
            again.

    Yields:
        The predictions.

    Raises:
        UsageError: The folder contains other files.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not is_continued)):
        raise UsageError(f"{folder} already exists and is not an empty folder. Name a new one with --draw.")
    folder.mkdir(parents=True, exist_ok=True)
    return _drawn(predictions, info, folder)


def _drawn(predictions: Iterable[Prediction], info: ModelInfo, folder: Path) -> Iterator[Prediction]:
    taken: dict[str, int] = {}
    for prediction in predictions:
        if prediction.path is not None and prediction.error is None:
            photo = decode(Photo(prediction.path).content(), path=prediction.path)
            boxes = [] if prediction.box is None else [prediction.box]
            picture = annotate(photo, tasks.of(info.task).words(prediction), boxes)
            stem = Path(prediction.path).stem
            name = stem
            while name in taken:  # a photo may also be called like the second of another name
                taken[stem] += 1
                name = f"{stem}-{taken[stem]}"
            taken[name] = 1
            path = folder / f"{name}.jpg"
            write_whole(path, lambda file, picture=picture: picture.save(file, "JPEG", quality=90))  # type: ignore[misc]
        yield prediction
