"""After the last epoch: the model files, the proof that they agree, the test score, the metrics."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from accelerate import Accelerator

from headstart.data.records import Dataset
from headstart.data.split import Splits
from headstart.errors import ExportError, TrainingError, shell_command
from headstart.evaluation.evaluate import score_photos
from headstart.evaluation.multilabel import choose_thresholds
from headstart.export.onnx import onnx_graph
from headstart.export.parity import check_parity
from headstart.export.safetensors import save_network
from headstart.files import write_whole
from headstart.model_file import ModelInfo, seal_onnx
from headstart.predictor import Prediction, Predictor
from headstart.runtime import CPU, fastest_providers
from headstart.training.deployed import (
    outputs_of_file,
    outputs_of_file_from_rows,
    refuse_disagreement,
    rows_of,
)
from headstart.training.epoch import score_outputs
from headstart.training.features import PhaseFeatures
from headstart.training.provenance import versions_in_steps
from headstart.training.run_dir import RunDir
from headstart.training.setup import Setup
from headstart.training.stopwatch import Stopwatch

# At most, spread over the validation split; more would take seconds and show nothing new.
_PARITY_PHOTOS = 12


def finish(
    run: RunDir,
    setup: Setup,
    features: PhaseFeatures,
    dataset: Dataset,
    splits: Splits,
    accelerator: Accelerator,
    stopwatch: Stopwatch,
) -> dict[str, Any]:
    """Write the model files and the metrics; score the test photos, which nothing has seen until now.

    The weights are safe before anything else is tried. The scores are those of the exported file.

    Args:
        run: Where.
        setup: With the network, which has its best weights.
        features: Of the last phase, still open.
        dataset: For the account of the files.
        splits: For the scores (val, test).
        accelerator: Knows the device and the precision.
        stopwatch: For the seconds.

    Returns:
        The content of ``metrics.json``.

    Raises:
        ExportError: The network cannot be exported; ``model.safetensors`` is there.
        ParityError: The exported model and the network disagree; there is no ``model.onnx`` then.
    """
    config, network, targets = setup.config, setup.network, setup.targets
    assert run.progress.best is not None
    best, share = run.progress.best.record, run.progress.best.share
    info = _info(setup, dataset)
    providers = CPU if config.device == "cpu" else fastest_providers()
    with stopwatch("export"):
        save_network(run.path / "model.safetensors", network, info)
        try:
            graph = onnx_graph(network.cpu(), info)
            model = seal_onnx(graph, info)
            predictor = Predictor.from_bytes(model, providers=providers)
        except Exception as error:  # whatever an exporter or ONNX Runtime does not support
            raise ExportError(
                f"The trained weights are safe in {run.path / 'model.safetensors'}, but the network cannot "
                f"be exported to ONNX: {type(error).__name__}: {error}\nOnce the cause is removed, this "
                f"repeats the export alone: {shell_command('resume', run.path)}"
            ) from error
        deployed = None
        if all(phase.optimizer == "exact" for phase in config.phases):  # else every photo, from its bytes
            deployed = outputs_of_file_from_rows(model, info, features, splits.val)
        if deployed is None:
            deployed = outputs_of_file(predictor, splits.val)
        rows = rows_of(targets, splits.val)
        refuse_disagreement(deployed, rows, splits.val, predictor, setup, features, best, accelerator)
        if info.task == "multilabel":
            thresholds = choose_thresholds(rows.numpy() > 0.5, deployed.sigmoid().numpy())
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
    metrics = {
        "task": info.task,
        "backbone": info.backbone,
        "weights": info.weights,
        "class_names": list(info.class_names),
        "targets": list(info.targets),
        "head": {"kind": info.head, **run.progress.head},
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
        | {f"val_{name}": value for name, value in score_outputs(deployed, rows, setup.task).items()}
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


def _info(setup: Setup, dataset: Dataset) -> ModelInfo:
    return ModelInfo(
        task=dataset.task,
        backbone=setup.backbone.full_name,
        weights=setup.weights.sha256 or setup.weights.kind,
        class_names=dataset.class_names,
        preprocessing=setup.preprocessing,
        head=setup.head,
        targets=dataset.targets,
        scale=(setup.targets.scale.mean, setup.targets.scale.std),
        thresholds=(0.5,) * len(dataset.class_names) if dataset.task == "multilabel" else (),
        versions=versions_in_steps(),
    )
