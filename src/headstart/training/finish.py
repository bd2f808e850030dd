"""After the last epoch: the model files, and the proof that they agree with what training saw."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from accelerate import Accelerator
from torch import nn

from headstart import tasks
from headstart.answers.groups import with_groups
from headstart.config import PhaseConfig
from headstart.data.split import Splits
from headstart.errors import ExportError, shell_command
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.predictor import Predictor
from headstart.inference.run_self_test import seal_with_self_test
from headstart.inference.runtime import CPU, Provider, fastest_providers
from headstart.model.stages_head import read_stages, settled
from headstart.probe.photos import OutOfFold
from headstart.probe.unknown_graph import with_unknown
from headstart.products.calibration import Calibration, calibrate, with_factors, with_temperatures
from headstart.products.fixed_shapes import with_fixed_shapes
from headstart.products.heat_map import with_heat_map
from headstart.products.multiplied import multiply_outputs
from headstart.products.onnx import onnx_graph
from headstart.products.outputs import (
    outputs_of_file,
    outputs_of_file_from_rows,
    tensor_of,
    with_thresholds,
)
from headstart.products.parity import Parity, check_parity
from headstart.products.safetensors import save_network
from headstart.products.unknown import Unknown, find_unknown, is_wanted
from headstart.records import Dataset, Record
from headstart.training.floor import Model
from headstart.training.run.provenance import versions_in_steps
from headstart.training.run.run_dir import RunDir
from headstart.training.setup import Setup
from headstart.training.steps.deployed import refuse_disagreement
from headstart.training.steps.features import PhaseFeatures
from headstart.training.steps.last_features import MOST_COMPUTED, LastFeatures

_PARITY_PHOTOS: Final = 12
"""The most validation photos that are compared, spread over the split; more would show nothing new."""


def finish(
    run: RunDir,
    setup: Setup,
    features: PhaseFeatures,
    dataset: Dataset,
    splits: Splits,
    accelerator: Accelerator,
) -> Model:
    """Write the best weights, then the model file, and compare the file with what training saw.

    The weights are safe before anything else is tried.

    Args:
        run: Where.
        setup: With the network, which has its best weights.
        features: Of the last phase, still open.
        dataset: Says what the model is for.
        splits: For the scores of the validation photos.
        accelerator: Knows the device and the precision.

    Raises:
        ExportError: The network cannot be exported; ``model.safetensors`` is there.
        ParityError: The exported model and the network disagree; there is no ``model.onnx`` then.
    """
    config, network = setup.config, settled(setup.network.cpu())
    assert run.progress.best is not None
    best = run.progress.best.record
    info = with_groups(_info(setup, dataset, network), splits.train)
    providers = CPU if config.device == "cpu" else fastest_providers()
    save_network(run.path / "model.safetensors", network, info)
    graph, predictor = _export(run, network, info, providers)
    wanted = is_wanted(config, info.task)
    last = LastFeatures.find(graph, info, features, run.path, providers) if wanted else None
    outputs = _outputs(graph, predictor, last, setup, features, splits.val, run)
    refuse_disagreement(
        outputs, splits.val, predictor, setup, features, best, accelerator, has_changed=run.has_changed
    )
    answered = run.checkpoints.load_out_of_fold(splits.train, setup.source.say)
    is_solved = head_is_solved(config.phases, best.phase, run.progress.best.share)
    graph, outputs, answered, calibration = _calibrated(
        graph, outputs, answered, network, info, splits, run.progress.head, is_solved=is_solved
    )
    is_plain = is_solved and config.phases[0].augment == "none"
    unknown = _find_unknown(last, splits, outputs, answered if is_plain else None) if wanted else None
    graph, info = _with_unknown(graph, info, last, unknown)
    info = with_temperatures(info, calibration)
    has_changed = bool(info.thresholds or info.temperatures) or info.unknown_threshold is not None
    if has_changed:
        info = with_thresholds(info, splits.val, outputs)
    heat_map = with_heat_map(graph, info)
    model = seal_with_self_test(with_fixed_shapes(heat_map.model, info.preprocessing.size_px), info)
    finished = Predictor.from_bytes(model, providers=providers)
    if isinstance(unknown, Unknown):
        unknown.refuse_disagreement(finished, is_on_cpu=providers == CPU)
    parity = _parity(finished, predictor, calibration, network, splits)
    if has_changed:
        save_network(run.path / "model.safetensors", network, info)
    run.write_bytes("model.onnx", model)
    facts = _facts(run, setup, parity)
    return Model(finished, outputs, answered, facts, calibration, unknown, heat_map=heat_map)


def _facts(run: RunDir, setup: Setup, parity: Parity) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the training: see ``Model``."""
    progress, best = run.progress, run.progress.best
    assert best is not None
    return {
        "seed": setup.config.seed,
        "weights_from": setup.weights.to_dict(),
        "head": progress.head,
        "phases": progress.by_phase(setup.config.phases),
        "best": {"phase": best.record.phase, "epoch": best.record.epoch, "share": best.share},
        "parity": asdict(parity),
    }


def _parity(
    finished: Predictor,
    uncalibrated: Predictor,
    calibration: Calibration | None,
    network: nn.Module,
    splits: Splits,
) -> Parity:
    """Compare the file with the network, which may not be calibrated, on a few validation photos."""
    predictor = finished if calibration is None or calibration.is_in_weights else uncalibrated
    photos = splits.val[:: math.ceil(len(splits.val) / _PARITY_PHOTOS)]
    return check_parity(predictor, network, [photo.photo for photo in photos])


def _calibrated(
    graph: bytes,
    outputs: np.ndarray,
    answered: OutOfFold | None,
    network: nn.Module,
    info: ModelInfo,
    splits: Splits,
    head: Mapping[str, Any],
    *,
    is_solved: bool,
) -> tuple[bytes, np.ndarray, OutOfFold | None, Calibration | None]:
    """Calibrate the graph and the network, which is changed in place.

    The answers out of fold belong to the model only if its head was solved; steps train another head.

    Returns:
        The graph, its outputs for the validation photos, the answers out of fold, and the temperatures.
    """
    of_head = answered if is_solved else None
    calibration = calibrate(info, splits, outputs, of_head, tau=head.get("tau", 0.0))
    if calibration is None or not calibration.is_needed:
        return graph, outputs, answered, calibration
    factors = calibration.factors(info)
    calibration = dataclasses.replace(calibration, is_in_weights=multiply_outputs(network, info, factors))
    return (
        with_factors(graph, factors[-tasks.of(info.task).num_logits(len(info.class_names)) :]),
        outputs * factors,
        of_head.multiplied(factors) if of_head else answered,
        calibration,
    )


def _find_unknown(
    last: LastFeatures | None, splits: Splits, outputs: np.ndarray, out_of_fold: OutOfFold | None
) -> Unknown | str:
    """Fit the score of foreign photos, or say why there is none."""
    if last is None:
        return "Photos of none of the classes are not recognised: the network's last layer is not linear"
    return find_unknown(splits, outputs, out_of_fold, last, most=MOST_COMPUTED)


def _with_unknown(
    graph: bytes, info: ModelInfo, last: LastFeatures | None, unknown: Unknown | str | None
) -> tuple[bytes, ModelInfo]:
    """Add the score to the graph and its threshold to the description, if there is a score."""
    if last is None or not isinstance(unknown, Unknown):
        return graph, info
    info = dataclasses.replace(info, unknown_threshold=unknown.score.threshold)
    return with_unknown(graph, last.tensor, unknown.score), info


def _export(
    run: RunDir, network: nn.Module, info: ModelInfo, providers: Sequence[Provider]
) -> tuple[bytes, Predictor]:
    """Return the network as a graph, which is not sealed yet, and what predicts with it."""
    try:
        graph = onnx_graph(network.cpu(), info)
        return graph, Predictor.from_bytes(seal_onnx(graph, info), providers=providers)
    except Exception as error:  # whatever an exporter or ONNX Runtime does not support
        raise ExportError(
            f"The trained weights are safe in {run.path / 'model.safetensors'}, but the network cannot "
            f"be exported to ONNX: {type(error).__name__}: {error}\nWhen the cause has been removed, "
            f"repeat only the export: {shell_command('resume', run.path)}"
        ) from error


def _outputs(
    graph: bytes,
    predictor: Predictor,
    last: LastFeatures | None,
    setup: Setup,
    features: PhaseFeatures,
    photos: Sequence[Record],
    run: RunDir,
) -> np.ndarray:
    """Return the file's outputs for validation photos, from stored rows if those are a tensor within it."""
    is_solved = all(phase.optimizer == "exact" for phase in setup.config.phases)
    if is_solved and features.prefix.is_on_onnx:
        tensor = tensor_of(graph, features.prefix.function)
        if tensor is not None:
            rows = features.plain.rows((photo, 0) for photo in photos)
            outputs = outputs_of_file_from_rows(graph, tensor, rows)
            if outputs is not None:
                return outputs
    return outputs_of_file(predictor, photos, run.path) if last is None else last.outputs(photos)


def head_is_solved(phases: Sequence[PhaseConfig], best: str, share: float) -> bool:
    """Return whether the best weights have the solved head that answers out of fold.

    Args:
        phases: Phases of the run.
        best: The phase of the best weights.
        share: Their fraction of the weights of that phase, as in ``Best``.
    """
    index = [phase.name for phase in phases].index(best)
    num_used = index + 1 if share > 0 else index
    # A later head on trained stages would have replaced the answers.
    replaced = any(phase.unfreeze in ("head", 0) for phase in phases[num_used:])
    return num_used > 0 and not replaced and all(each.optimizer == "exact" for each in phases[:num_used])


def _info(setup: Setup, dataset: Dataset, network: nn.Module) -> ModelInfo:
    stages = tuple(f"stage.{name}" for name in read_stages(network))
    head = setup.head if stages or setup.head != "stages" else "linear"
    return ModelInfo(
        task=dataset.task,
        backbone=setup.backbone.full_name,
        weights=setup.weights.identity,
        weights_from=setup.weights.origin,
        licence=setup.weights.licence,
        class_names=dataset.class_names,
        preprocessing=setup.preprocessing,
        head=head,
        stages=stages,
        targets=dataset.targets,
        scale=(setup.targets.scale.mean, setup.targets.scale.std),
        thresholds=tasks.of(dataset.task).first_thresholds(len(dataset.class_names)),
        versions=versions_in_steps(),
    )
