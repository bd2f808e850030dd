"""Predicts photos on a Ray cluster, as ``Predictor.predict_iter`` does in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from headstart.cluster.passes import RayCluster
from headstart.images.given import PhotoLike
from headstart.images.listed import all_photos
from headstart.images.photo import Photo
from headstart.inference.predictions_file import Reading
from headstart.inference.predictor import Predictor
from headstart.tasks.prediction import Prediction


@dataclass(frozen=True)
class Predicting:
    """What an actor does, see ``passes.Work``: results are predictions, and SHA-256 if wanted."""

    predictor: Predictor
    top_k: int | None
    explain: bool
    workers: int | None

    def open(self, num_cores: int) -> Callable[[list[Photo]], list[tuple[Prediction, str]]]:
        """Return the function that predicts."""
        workers = num_cores + 1 if self.workers is None else self.workers

        def predict(photos: list[Photo]) -> list[tuple[Prediction, str]]:
            found = self.predictor.predict(photos, top_k=self.top_k, explain=self.explain, workers=workers)
            return [
                (prediction, photo.read.sha256 if isinstance(photo.read, Reading) else "")
                for photo, prediction in zip(photos, found, strict=True)
            ]

        return predict


def predict_on_cluster(
    predictor: Predictor,
    cluster: RayCluster,
    photos: PhotoLike | Iterable[PhotoLike],
    *,
    top_k: int | None = None,
    explain: bool = False,
    workers: int | None = None,
) -> Iterator[Prediction]:
    """Yield the predictions of photos in their order. All photos are listed before one is predicted.

    Args:
        predictor: The model.
        cluster: Where it predicts.
        photos: As for ``predict_iter``.
        top_k: Likewise.
        explain: Likewise.
        workers: Number of threads of each actor.

    Raises:
        UsageError: As for ``predict_iter``; or there is no such cluster.
        MissingPackageError: Ray is not installed.
    """
    predictor.predict_iter((), top_k=top_k, explain=explain, workers=workers)  # refuses wrong settings
    listed = list(all_photos(photos))
    work = Predicting(predictor, top_k, explain, workers)
    for photo, (prediction, sha256) in zip(listed, cluster.map(work, listed), strict=True):
        if isinstance(photo.read, Reading):
            photo.read.sha256 = sha256
        yield prediction


def predicting(predictor: Predictor, ray: str | None) -> Callable[..., Iterator[Prediction]]:
    """Return the function that predicts photos: on the Ray cluster at an address, or in this process."""
    return predictor.predict_iter if ray is None else partial(predict_on_cluster, predictor, RayCluster(ray))
