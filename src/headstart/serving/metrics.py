"""Counts what the service does, in the format of Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from headstart.serving.models import Served
from headstart.tasks.prediction import Prediction

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OF_MODEL: Final = ["model", "sha256"]
_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_CONFIDENCE: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_KEPT_FILES: Final = 2  # of a model: the one that is served, and the one before it
_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST")


class Metrics:
    """The metrics of one service.

    Args:
        waiting: Returns the number of photos that wait.
        log_dropped: Returns the number of lines that the log could not write.
    """

    def __init__(self, waiting: Callable[[], float], log_dropped: Callable[[], float]) -> None:
        registry = self._registry = CollectorRegistry()
        self._files: dict[str, dict[str, tuple[str, ...]]] = {}  # by model: classes by hash, the oldest first
        self._requests = Counter(
            "headstart_requests", "Requests answered.", ["path", "method", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "headstart_request_seconds",
            "From the headers of a request to the end of its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._photos = Counter("headstart_photos", "Photos answered.", _OF_MODEL, registry=registry)
        self._photo_seconds = Histogram(
            "headstart_photo_seconds",
            "Decoding and predicting a photo, without waiting.",
            _OF_MODEL,
            buckets=_SECONDS,
            registry=registry,
        )
        self._errors = Counter("headstart_errors", "Errors by code.", ["code"], registry=registry)
        self._answers = Counter(
            "headstart_answers",
            "Photos by predicted class; of several labels, by each.",
            [*_OF_MODEL, "label"],
            registry=registry,
        )
        self._unknown = Counter(
            "headstart_unknown",
            "Photos that are probably of none of the classes.",
            _OF_MODEL,
            registry=registry,
        )
        self._confidence = Histogram(
            "headstart_confidence",
            "Probability of the predicted class.",
            _OF_MODEL,
            buckets=_CONFIDENCE,
            registry=registry,
        )
        self._models = Gauge(
            "headstart_model", "1 for each model that is served.", _OF_MODEL, registry=registry
        )
        self._reloads = Counter(
            "headstart_model_files",
            "Replaced model files: taken over, or refused because they fail.",
            ["model", "outcome"],
            registry=registry,
        )
        Gauge("headstart_queue", "Photos that wait.", registry=registry).set_function(waiting)
        Gauge(
            "headstart_log_lines_dropped", "Lines that the log could not write.", registry=registry
        ).set_function(log_dropped)

    def text(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)

    def request(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            path: A path of the service, or ``other``, so that clients cannot make up series.
            method: Its method.
            status: Of the answer; 499 if the client has gone before.
            seconds: How long it took.
        """
        method = method if method in _METHODS else "other"
        self._requests.labels(path, method, str(status)).inc()
        self._request_seconds.labels(path).observe(seconds)

    def error(self, code: str) -> None:
        """Count an error of a request or of a photo."""
        self._errors.labels(code).inc()

    def photo(self, served: Served, prediction: Prediction, seconds: float) -> None:
        """Count an answer for a photo."""
        of_model = (served.name, served.sha256)
        self._photos.labels(*of_model).inc()
        self._photo_seconds.labels(*of_model).observe(seconds)
        labels = prediction.labels or (() if prediction.label is None else (prediction.label,))
        for label in labels:
            self._answers.labels(*of_model, label).inc()
        if prediction.unknown:
            self._unknown.labels(*of_model).inc()
        if prediction.probability is not None:
            self._confidence.labels(*of_model).observe(prediction.probability)

    def serves(self, served: Served) -> None:
        """Record which file a model is served from, and forget the metrics of files before the last one."""
        files = self._files.setdefault(served.name, {})
        for sha256 in files:
            _forget(self._models, served.name, sha256)
        files.pop(served.sha256, None)
        files[served.sha256] = served.names
        self._models.labels(served.name, served.sha256).set(1)
        while len(files) > _KEPT_FILES:
            oldest = next(iter(files))
            for metric in (self._photos, self._photo_seconds, self._unknown, self._confidence):
                _forget(metric, served.name, oldest)
            for label in files.pop(oldest):
                _forget(self._answers, served.name, oldest, label)

    def model_file(self, name: str, outcome: str) -> None:
        """Count a replaced model file: ``taken`` or ``refused``."""
        self._reloads.labels(name, outcome).inc()


def _forget(metric: Counter | Gauge | Histogram, *labels: str) -> None:
    with contextlib.suppress(KeyError):  # of older prometheus-client, if there is nothing to forget
        metric.remove(*labels)
