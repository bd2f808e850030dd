"""Predicts with a ``model.onnx``, without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Final

import numpy as np
import onnxruntime

from headstart import tasks
from headstart.cluster.passes import RayCluster
from headstart.errors import HeadstartError, ImageError, UsageError
from headstart.files import given_path
from headstart.images.given import Given, PhotoLike, rgb_given, size_of
from headstart.images.listed import all_photos
from headstart.images.photo import Photo
from headstart.images.preprocess import load_pixels, preprocess
from headstart.images.view import View
from headstart.inference.consistency import refuse_contradictions, refuse_other_files
from headstart.inference.elsewhere import predict_on_cluster
from headstart.inference.heat_map import (
    HEAT_MAP,
    HEAT_MAP_SHARE,
    refuse_to_explain,
    size_of_heat_map,
    with_heat_map,
)
from headstart.inference.model_file import ModelInfo, open_onnx, verify_onnx
from headstart.inference.model_path import model_in
from headstart.inference.run_self_test import outputs_of
from headstart.inference.runtime import (
    Failure,
    Provider,
    Row,
    fastest_providers,
    map_images,
    open_session,
    refuse_workers,
)
from headstart.inference.self_test import SEED
from headstart.tasks.prediction import Prediction

# One photo a call: nothing is computed on padding, and 4 a call would be only 2 % faster with ResNet-18 or
# MobileNetV2, 7 % with MobileNetV3-Small.
_BATCH_SIZE_ON_CPU: Final = 1
_BATCH_SIZE_ON_GPU: Final = 32

NOT_RAW: Final = ("probabilities", "unknown", HEAT_MAP, HEAT_MAP_SHARE)
"""Outputs of a model file that follow from the others: see ``Predictor.outputs``."""

_MIDDLE: Final = View(part=(0.8, 1.0, 0.5, 0.5))  # 80 % of the photo's area, or its largest square
_CROPS: Final = {1: (View(),), 2: (View(),), 4: (View(), _MIDDLE)}  # by number of views; mirrored from 2 on

_MOST_NAMED: Final = 10  # classes, in a message


def load(path: str | os.PathLike[str], *, views: int = 1) -> Predictor:
    """Open a trained model.

    Args:
        path: A run folder, or its ``model.onnx``.
        views: Number of views of each photo whose predictions are averaged: 1, the photo as it is; 2, also
            its mirror image; 4, also a second crop of both, with 80 % of the area.
            Predicting takes as many times as long.

    Raises:
        ConfigError: ``path`` is not a path.
        RunFolderError: The folder does not contain a finished run.
        UsageError: The file is not a Headstart model, or was written by a newer version of Headstart; or
            ``views`` is not allowed.
        DamagedFileError: The checksum of the file is wrong.
    """
    file = model_in(given_path(path, "path", "a run folder, or of its model.onnx"))
    return Predictor(*open_onnx(file), path=os.fspath(file), views=views)


class Predictor:
    """A trained model for predictions. Several threads may use it at once; it can be pickled and copied.

    Attributes:
        info: Description of the model.
        path: The model file; None if its content was given.
        views: Number of views of each photo whose predictions are averaged.
    """

    def __init__(
        self,
        model: bytes,
        info: ModelInfo,
        *,
        providers: Sequence[Provider] | None = None,
        path: str | None = None,
        views: int = 1,
    ) -> None:
        """
        Args:
            model: The content of a ``model.onnx``, verified.
            info: What it says of itself.
            providers: What computes, as in ``open_session``; by default a GPU where ONNX Runtime has one.
            path: The file that it was read from.
            views: Number of views of each photo, as in ``load``.

        Raises:
            UsageError: ``views`` is not allowed.
            DamagedFileError: The graph and the description do not fit together, or name other files.
        """
        self._crops = _crops_of(views, info)
        self.views = views
        self.info = info
        self.path = path
        self._providers = providers
        name = "The model" if path is None else path
        refuse_other_files(model, name)
        self._model = model  # to make copies of: ONNX Runtime's session cannot be copied
        try:
            self._session = open_session(model, fastest_providers() if providers is None else providers)
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise HeadstartError(
                f"{name} is undamaged, but ONNX Runtime {onnxruntime.__version__} cannot run it: {error}\n"
                f"It was made with {info.versions.get('onnxruntime', 'another version')}. "
                "Try: pip install --upgrade onnxruntime"
            ) from error
        refuse_contradictions(self._session, info, name)
        on_cpu = self._session.get_providers() == ["CPUExecutionProvider"]
        self._all_outputs = [output.name for output in self._session.get_outputs()]
        self._outputs = [n for n in self._all_outputs if n not in ("logits", HEAT_MAP, HEAT_MAP_SHARE)]
        self._heat_map_size = size_of_heat_map(self._session)
        self._batch_size = _BATCH_SIZE_ON_CPU if on_cpu else _BATCH_SIZE_ON_GPU

    @classmethod
    def from_bytes(cls, model: bytes, *, providers: Sequence[Provider] | None = None) -> Predictor:
        """Create a predictor from the content of a ``model.onnx``.

        Args:
            model: Content of the file.
            providers: Execution providers, as for the class.

        Raises:
            UsageError: It is not a Headstart model, or was written by a newer version of Headstart.
            DamagedFileError: The checksum of the file is wrong.
        """
        return cls(model, verify_onnx(model, name="The model"), providers=providers)

    def __reduce__(self) -> tuple[Callable[[bytes, ModelInfo], Predictor], tuple[bytes, ModelInfo]]:
        """Pickle and copy the model file; a copy opens it in its own process with the same providers."""
        make = partial(type(self), providers=self._providers, path=self.path, views=self.views)
        return make, (self._model, self.info)

    def __repr__(self) -> str:
        names = self.info.targets or self.info.class_names
        more = ", ..." if len(names) > _MOST_NAMED else ""
        of = f" of {', '.join(names[:_MOST_NAMED])}{more}" if names else ""
        return f"<Predictor: {self.info.task}{of}; {self.info.backbone}>"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the model's outputs."""
        return self.info.class_names

    @property
    def explains(self) -> bool:
        """Whether ``predict`` can explain: see ``products/heat_map.py`` for models without heat maps."""
        return self._heat_map_size is not None

    def predict(
        self,
        photos: PhotoLike | Iterable[PhotoLike],
        *,
        top_k: int | None = None,
        explain: bool = False,
        workers: int | None = None,
        ray: str | None = None,
    ) -> list[Prediction]:
        """Predict one photo or several.

        Args:
            photos: One photo or a collection of photos: paths, file contents (bytes), files opened in binary
                mode (read from their current position), Pillow images, or uint8 pixels: RGB (H, W, 3), RGBA
                (H, W, 4) or grey (H, W); as PyTorch tensors also (3, H, W). A single path may also name a
                folder, a tar or Parquet file, or a pattern such as ``photos/*.jpg``: all photos in it.
            top_k: Number of most probable classes to return; by default all.
            explain: Whether predictions have a ``heat_map``, which shows where in the photo the most probable
                class comes from.
            workers: Number of threads that read photos and compute; 0 works in the calling thread; by default
                one per CPU core, plus one. Predictions do not depend on it.
            ray: Ray cluster that reads and predicts the photos: its address, ``"auto"`` for the one of this
                machine, or ``"local"`` to start one; by default this process does it. Its nodes must reach
                the photos at the same paths or addresses.

        Returns:
            One prediction for each photo, in their order. If a photo cannot be read, its prediction has
            ``error`` set; the other photos are predicted nevertheless.

        Raises:
            UsageError: ``top_k`` is not positive, or ``workers`` is negative; or ``explain`` is set, and the
                model file has no heat maps or predictions are averaged over views; or a node of the cluster
                has another processor or other libraries, so that its predictions could differ.
            ConfigError: There is no cluster at the address.
            MissingPackageError: Ray is not installed.
            InputError: An item is not a photo, by its Python type or by the dtype or shape of its array. The
                error is also a ``TypeError`` and a ``ValueError``.
        """
        return list(self.predict_iter(photos, top_k=top_k, explain=explain, workers=workers, ray=ray))

    def predict_iter(
        self,
        photos: PhotoLike | Iterable[PhotoLike],
        *,
        top_k: int | None = None,
        explain: bool = False,
        workers: int | None = None,
        ray: str | None = None,
    ) -> Generator[Prediction, None, None]:
        """Predict photos one by one, as ``predict`` does.

        Only a few photos are in memory at any time, so the number of photos is not limited. They are taken
        from ``photos`` in the calling thread, a few ahead of their predictions; with ``workers=0``, each is
        predicted before the next is taken. If ``photos`` raises an exception, the predictions of the photos
        before it come first. The threads end with the last prediction, or when the iterator is closed or
        deleted.

        Args:
            photos: As for ``predict``; may be endless.
            top_k: As for ``predict``.
            explain: As for ``predict``.
            workers: As for ``predict``.
            ray: As for ``predict``.

        Raises:
            UsageError: As for ``predict``, before anything is read; of a node, with the first prediction.
            ConfigError: As for ``predict``, with the first prediction.
            MissingPackageError: Likewise.
            InputError: As for ``predict``, when the item is reached.
        """
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k is {top_k}; it must be at least 1.")
        refuse_workers(workers)
        if explain:
            refuse_to_explain(self._heat_map_size, self.views)
        if ray is not None:
            predict = partial(self.predict, top_k=top_k, explain=explain)
            return predict_on_cluster(predict, RayCluster(ray), photos, workers)
        if explain:
            rows = self._run([*self._outputs, HEAT_MAP, HEAT_MAP_SHARE], photos, workers)
            return self._each(self._explained, rows, top_k)
        return self._each(self._prediction, self._run(self._outputs, photos, workers), top_k)

    def predict_proba(
        self, photos: PhotoLike | Iterable[PhotoLike], *, workers: int | None = None
    ) -> np.ndarray:
        """Return the probability of each class for one photo or several.

        Args:
            photos: As in ``predict``.
            workers: As in ``predict``.

        Returns:
            (N, K) float32, in the order of ``class_names``. The rows add up to 1, except for several labels,
            where each class has an independent probability.

        Raises:
            UsageError: The model predicts numbers, or boxes without classes; or ``workers`` is negative.
            ImageError: A photo cannot be read; ``predict`` reports errors per photo instead.
            InputError: As in ``predict``.
        """
        if "probabilities" not in self._outputs:
            answers = "numbers" if self.info.targets else "boxes without classes"
            raise UsageError(
                f"The model predicts {answers}, so there are no probabilities. Use predict(photos), whose "
                f"predictions have them as {'numbers' if self.info.targets else 'box'}."
            )

        probabilities = []
        with closing(self._run(["probabilities"], photos, workers)) as rows:
            for _, row in rows:
                if isinstance(row, Exception):
                    raise row
                probabilities.append(row)
        return np.array(probabilities, np.float32).reshape(-1, len(self.class_names))

    def outputs(self, photos: Iterable[PhotoLike]) -> Iterator[np.ndarray | Failure]:
        """Yield the raw outputs of the model file for each photo.

        Args:
            photos: As in ``predict``.

        Yields:
            (D,) float32: logits; or numbers in their own units; or a box, xmin, ymin, xmax, ymax as fractions
            of the network's input, followed by the logits of its class if there are several classes. If a
            photo cannot be read, the reason as text.
        """
        names = [name for name in self._all_outputs if name not in NOT_RAW]
        with closing(self._run(names, photos)) as rows:
            for _, row in rows:
                assert row is not None  # every photo is computed on
                yield row

    def self_test_outputs(self) -> dict[str, np.ndarray]:
        """Return the outputs for the inputs of the self-test, (4, D) float32 by name: see ``SelfTest``."""
        seed = self.info.self_test.seed if self.info.self_test else SEED
        return outputs_of(self._session, seed, self.info.preprocessing.size_px)

    def _run(
        self,
        outputs: Sequence[str],
        photos: PhotoLike | Iterable[PhotoLike],
        workers: int | None = None,
    ) -> Generator[tuple[Photo, Row], None, None]:
        """Yield each photo with its outputs of these names, one after the other."""

        def compute(pixels: np.ndarray) -> np.ndarray:
            """Return the outputs, (B, D), for pixels (B, V, H, W, 3)."""
            found = self._session.run(outputs, {"images": pixels.reshape(-1, *pixels.shape[2:])})
            if self.views > 1:
                by_view = [each.reshape(len(pixels), self.views, -1) for each in found]
                found = [mean_of[name](each) for name, each in zip(outputs, by_view, strict=True)]
            return np.concatenate([each.reshape(len(pixels), -1) for each in found], axis=1)

        mean = partial(np.mean, axis=1)
        mean_of = dict.fromkeys(self._all_outputs, mean) | {"logits": tasks.of(self.info.task).mean_of_logits}

        batch_size = self._batch_size
        return map_images(all_photos(photos), self._pixels, compute, batch_size=batch_size, workers=workers)

    def _each(
        self,
        answer: Callable[[Photo, Row, int | None], Prediction],
        rows: Generator[tuple[Photo, Row], None, None],
        top_k: int | None,
    ) -> Generator[Prediction, None, None]:
        with closing(rows):  # its threads, when the consumer stops early
            for photo, row in rows:
                yield answer(photo, row, top_k)

    def _pixels(self, photo: Photo) -> np.ndarray:
        """Return the views of a photo as pixels, (V, H, W, 3)."""
        settings = self.info.preprocessing
        if (image := rgb_given(photo)) is not None:
            crops = [preprocess(image, settings, view) for view in self._crops]
        else:
            content = photo.content()
            crops = [load_pixels(content, settings, path=photo.key, view=view) for view in self._crops]
        return crops[0][None] if self.views == 1 else np.stack([*crops, *(crop[:, ::-1] for crop in crops)])

    def _prediction(self, photo: Photo, row: Row, top_k: int | None) -> Prediction:
        path = None if isinstance(photo.read, Given) else photo.key
        if isinstance(row, Exception):
            return Prediction(path, error=row.reason if isinstance(row, ImageError) else str(row))
        assert row is not None  # every photo is computed on
        score, row = (float(row[-1]), row[:-1]) if "unknown" in self._outputs else (None, row)
        try:
            found = tasks.of(self.info.task).prediction(path, row, self.info, partial(size_of, photo), top_k)
            return found.with_score(score, self.info.unknown_threshold)
        except ImageError as error:  # it has been read a moment ago
            return Prediction(path, error=error.reason)

    def _explained(self, photo: Photo, row: Row, top_k: int | None) -> Prediction:
        """Return a prediction with its heat map, whose values are at the end of the row."""
        size = self._heat_map_size
        if size is None or row is None or isinstance(row, Exception):
            return self._prediction(photo, row, top_k)
        answer, values = np.split(row, [len(row) - size[0] * size[1] - 1])
        found = self._prediction(photo, answer, top_k)
        if found.error is not None:
            return found
        try:
            return with_heat_map(found, values, size, size_of(photo), self.info.preprocessing)
        except ImageError as error:  # it has been read a moment ago
            return Prediction(found.path, error=error.reason)


def _crops_of(number: int, info: ModelInfo) -> tuple[View, ...]:
    """Return the crops of ``number`` views; if there are two or more views, each is also mirrored."""
    if number not in _CROPS:
        raise UsageError(f"views is {number!r}; it must be 1, 2 or 4.")
    if number > 1 and tasks.of(info.task).has_box:
        raise UsageError(
            f"views is {number}, but the model predicts boxes, which differ between views: use 1."
        )
    return _CROPS[number]
