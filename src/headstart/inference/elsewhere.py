"""Predicts photos on a Ray cluster: see ``Predictor.predict_iter``, which does it in this process, too."""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import onnxruntime

from headstart.cluster.nodes import refuse_unlike, refuse_unshared
from headstart.cluster.passes import RayCluster
from headstart.images.given import PhotoLike
from headstart.images.listed import all_photos
from headstart.images.machine import DECODER, machine
from headstart.images.photo import Photo
from headstart.inference.predictions_file import Reading
from headstart.tasks.prediction import Prediction

Predict = Callable[..., list[Prediction]]
"""A function like ``Predictor.predict`` that can be pickled."""


def _this_machine() -> dict[str, str]:
    return {"decoder": DECODER, "machine": machine(), "runtime": f"onnxruntime {onnxruntime.__version__}"}


@dataclass(frozen=True)
class Predicting:
    """What a process of the cluster does, see ``passes.Work``.

    It gives predictions, the SHA-256 if wanted, and the name of the machine if it could not read the bytes.
    """

    predict: Predict
    workers: int | None
    asked_by: Mapping[str, str] = field(default_factory=_this_machine)

    def open(self, num_cores: int) -> Callable[[list[Photo]], list[tuple[Prediction, str, str]]]:
        """Return the function that predicts.

        Raises:
            UsageError: The predictions could differ from those of the process that asks.
        """
        refuse_unlike(self.asked_by, _this_machine())
        workers = num_cores + 1 if self.workers is None else self.workers

        def predict(photos: list[Photo]) -> list[tuple[Prediction, str, str]]:
            return [
                (
                    prediction,
                    photo.read.sha256 if isinstance(photo.read, Reading) else "",
                    "" if prediction.error is None or photo.sha256() else platform.node(),
                )
                for photo, prediction in zip(photos, self.predict(photos, workers=workers), strict=True)
            ]

        return predict


def predict_on_cluster(
    predict: Predict, cluster: RayCluster, photos: PhotoLike | Iterable[PhotoLike], workers: int | None
) -> Generator[Prediction, None, None]:
    """Yield the predictions of photos in their order. Photos are taken a few blocks ahead of these.

    Args:
        predict: What predicts.
        cluster: Where it predicts.
        photos: As for ``Predictor.predict_iter``.
        workers: Number of threads of each process.

    Raises:
        ConfigError: There is no such cluster.
        UsageError: The cluster cannot do it, for example because a node has other libraries.
        MissingPackageError: Ray is not installed.
    """
    asked: deque[Photo] = deque()

    def noted() -> Iterator[Photo]:
        for photo in all_photos(photos):
            asked.append(photo)
            yield photo

    for prediction, sha256, node in cluster.map(Predicting(predict, workers), noted()):
        photo = asked.popleft()
        if node:
            refuse_unshared(photo.key, photo.content, node, str(prediction.error))
        if isinstance(photo.read, Reading):
            photo.read.sha256 = sha256
        yield prediction
