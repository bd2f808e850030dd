"""After the last epoch: the model files, the proof that they agree, the test score, the metrics."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from headstart.config import TrainConfig
from headstart.data.records import Dataset, Record
from headstart.data.split import Splits
from headstart.errors import TrainingError
from headstart.evaluation.evaluate import labels_matrix, probabilities_of, score_photos
from headstart.evaluation.multilabel import choose_thresholds
from headstart.export.onnx import onnx_graph
from headstart.export.parity import check_parity
from headstart.export.safetensors import save_network
from headstart.files import write_whole
from headstart.model_file import ModelInfo, seal_onnx
from headstart.predictor import Prediction, Predictor
from headstart.runtime import CPU, fastest_providers
from headstart.training.run_dir import RunDir
from headstart.training.stopwatch import Stopwatch

# At most, spread over the validation split; more would take seconds and show nothing new.
_PARITY_PHOTOS = 12


def finish(
    run: RunDir,
    network: nn.Module,
    info: ModelInfo,
    config: TrainConfig,
    dataset: Dataset,
    splits: Splits,
    stopwatch: Stopwatch,
) -> dict[str, Any]:
    """Write the model files and the metrics; score the test photos, which nothing has seen until now.

    Args:
        run: Where.
        network: With its best weights, on the CPU.
        info: What the model files say of themselves.
        config: With its phases.
        dataset: For the account of the files.
        splits: For parity (val) and the score (test).
        stopwatch: For the seconds.

    Returns:
        The content of ``metrics.json``.

    Raises:
        ParityError: The exported model says something else than the network; there is no ``model.onnx`` then.
    """
    providers = CPU if config.device == "cpu" else fastest_providers()
    with stopwatch("export"):
        graph = onnx_graph(network, info)
        if info.task == "multilabel":
            draft = Predictor.from_bytes(seal_onnx(graph, info), providers=providers)
            thresholds = _thresholds(draft, info, splits.val)
            info = dataclasses.replace(info, thresholds=thresholds)
        model = seal_onnx(graph, info)
        save_network(run.path / "model.safetensors", network, info)
        predictor = Predictor.from_bytes(model, providers=providers)
        photos = splits.val[:: math.ceil(len(splits.val) / _PARITY_PHOTOS)]
        parity = check_parity(predictor, network, [photo.path for photo in photos])
        write_whole(run.path / "model.onnx", model)
    test = None
    if splits.test:
        with stopwatch("test"):
            scores, unreadable = score_photos(predictor, splits.test)
            _refuse_unreadable("test", unreadable)
            test = scores.to_dict()
    assert run.progress.best is not None
    best, share = run.progress.best.record, run.progress.best.share
    metrics = {
        "task": info.task,
        "backbone": info.backbone,
        "weights": info.weights,
        "class_names": list(info.class_names),
        "targets": list(info.targets),
        "head": info.head,
        "seed": config.seed,
        "images": {
            "found": dataset.found,
            "used": len(dataset.records),
            "quarantined": len(dataset.quarantined),
            "ignored": len(dataset.ignored),
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "shared": splits.shared,
        },
        "phases": run.phases(config.phases),
        "best": {"phase": best.phase, "epoch": best.epoch}
        | {f"val_{name}": value for name, value in best.val.items()}
        | ({"share": share} if share < 1 else {}),
        "parity": asdict(parity),
        "seconds": stopwatch.seconds(),
        "versions": dict(info.versions),
    }
    if test is not None:
        metrics["test"] = test
    run.draw_curves()
    run.write_metrics(metrics)  # last, for it says that the run is finished
    return metrics


def _refuse_unreadable(split: str, unreadable: Sequence[Prediction]) -> None:
    if unreadable:
        raise TrainingError(
            f"A {split} photo could be read before and no longer can: {unreadable[0].path}: "
            f"{unreadable[0].error}."
        )


def _thresholds(predictor: Predictor, info: ModelInfo, val: Sequence[Record]) -> tuple[float, ...]:
    """Choose each class's threshold on the validation photos, as the deployed model sees them."""
    predictions = list(predictor.predict_iter(photo.path for photo in val))
    _refuse_unreadable("validation", [each for each in predictions if each.error is not None])
    labels = labels_matrix(val, len(info.class_names))
    return choose_thresholds(labels, probabilities_of(predictions, info))
