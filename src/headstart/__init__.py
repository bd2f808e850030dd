"""Transfer learning for images: from a folder of labelled photos to a model you can trust and deploy.

Names are imported when they are first used: predicting needs no PyTorch, and ``import headstart`` is quick.
Importing it sets a few variables of the environment that PyTorch and ONNX Runtime read when they are loaded:
see ``environment.set_defaults``.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from headstart import environment as _environment
from headstart.errors import requires_extra

if TYPE_CHECKING:
    from headstart.answers.compare import compare
    from headstart.answers.comparison import ComparedRun, Comparison
    from headstart.answers.estimates import Estimate, Estimates
    from headstart.answers.evaluate import evaluate
    from headstart.answers.evaluation import Evaluation
    from headstart.answers.table import Answers
    from headstart.answers.verification import Verification
    from headstart.answers.verify import verify
    from headstart.config import (
        CheckSettings,
        FeatureSettings,
        PhaseConfig,
        RecommendSettings,
        TrainConfig,
        TrainSettings,
    )
    from headstart.data.split import Splits
    from headstart.errors import (
        ConfigError,
        DamagedFileError,
        DataError,
        ExportError,
        FileWriteError,
        HeadstartError,
        ImageError,
        InputError,
        MissingPackageError,
        NetworkError,
        ParityError,
        RunFolderError,
        TrainingError,
        UnknownBackboneError,
        UsageError,
        WeightsError,
        WeightsFileError,
    )
    from headstart.findings.finding import Finding, Findings
    from headstart.frozen.backbones import ListedBackbone
    from headstart.frozen.extract import Features
    from headstart.images.photo import Photo
    from headstart.inference.predictor import Predictor, load
    from headstart.model.freeze import freeze, unfreeze
    from headstart.model.network import create_network, feature_extractor
    from headstart.model.stages import cut, stages
    from headstart.neighbours.similar import similar
    from headstart.products.export import Exported, export
    from headstart.recommendation.result import ComparedBackbone, Recommendation
    from headstart.records import Dataset, Listing
    from headstart.reporting.report import Report, report
    from headstart.serving.serve import serve
    from headstart.tasks.heat_map import HeatMap
    from headstart.tasks.prediction import Prediction, SimilarPhoto
    from headstart.training.run.history import EpochRecord
    from headstart.training.run.result import TrainResult
    from headstart.training.tools.backbone_list import BackboneList, backbones
    from headstart.training.tools.check import check
    from headstart.training.tools.features import features
    from headstart.training.tools.inspect import Inspection, inspect
    from headstart.training.tools.lr_find import lr_find
    from headstart.training.tools.lr_range import LrRange
    from headstart.training.tools.plan import Plan, plan
    from headstart.training.tools.preview import Preview, augment
    from headstart.training.tools.recommend import recommend
    from headstart.training.train import resume, train
    from headstart.training.watch.watcher import PhotoCount, RunStart, Watcher

__version__ = "0.1.0"

_environment.set_defaults()  # before anything else of ours is imported

__all__ = [
    "Answers",
    "BackboneList",
    "CheckSettings",
    "ComparedBackbone",
    "ComparedRun",
    "Comparison",
    "ConfigError",
    "DamagedFileError",
    "DataError",
    "Dataset",
    "EpochRecord",
    "Estimate",
    "Estimates",
    "Evaluation",
    "ExportError",
    "Exported",
    "FeatureSettings",
    "Features",
    "FileWriteError",
    "Finding",
    "Findings",
    "HeadstartError",
    "HeatMap",
    "ImageError",
    "InputError",
    "Inspection",
    "ListedBackbone",
    "Listing",
    "LrRange",
    "MissingPackageError",
    "NetworkError",
    "ParityError",
    "PhaseConfig",
    "Photo",
    "PhotoCount",
    "Plan",
    "Prediction",
    "Predictor",
    "Preview",
    "RecommendSettings",
    "Recommendation",
    "Report",
    "RunFolderError",
    "RunStart",
    "SimilarPhoto",
    "Splits",
    "TrainConfig",
    "TrainResult",
    "TrainSettings",
    "TrainingError",
    "UnknownBackboneError",
    "UsageError",
    "Verification",
    "Watcher",
    "WeightsError",
    "WeightsFileError",
    "augment",
    "backbones",
    "check",
    "compare",
    "create_network",
    "cut",
    "evaluate",
    "export",
    "feature_extractor",
    "features",
    "freeze",
    "inspect",
    "load",
    "lr_find",
    "plan",
    "recommend",
    "report",
    "resume",
    "serve",
    "similar",
    "stages",
    "train",
    "unfreeze",
    "verify",
]

_MODULES = {
    name: f"headstart.{module}"
    for module, names in {
        "answers.compare": ["compare"],
        "answers.comparison": ["ComparedRun", "Comparison"],
        "answers.estimates": ["Estimate", "Estimates"],
        "answers.evaluate": ["evaluate"],
        "answers.evaluation": ["Evaluation"],
        "answers.table": ["Answers"],
        "answers.verification": ["Verification"],
        "answers.verify": ["verify"],
        "config": [
            *("CheckSettings", "FeatureSettings", "PhaseConfig", "RecommendSettings", "TrainConfig"),
            "TrainSettings",
        ],
        "data.split": ["Splits"],
        "errors": [
            *("ConfigError", "DamagedFileError", "DataError", "ExportError", "FileWriteError"),
            *("HeadstartError", "ImageError", "InputError", "MissingPackageError", "NetworkError"),
            *("ParityError", "RunFolderError", "TrainingError", "UnknownBackboneError", "UsageError"),
            *("WeightsError", "WeightsFileError"),
        ],
        "findings.finding": ["Finding", "Findings"],
        "frozen.backbones": ["ListedBackbone"],
        "frozen.extract": ["Features"],
        "images.photo": ["Photo"],
        "inference.predictor": ["Predictor", "load"],
        "model.freeze": ["freeze", "unfreeze"],
        "model.network": ["create_network", "feature_extractor"],
        "model.stages": ["cut", "stages"],
        "neighbours.similar": ["similar"],
        "products.export": ["Exported", "export"],
        "recommendation.result": ["ComparedBackbone", "Recommendation"],
        "records": ["Dataset", "Listing"],
        "reporting.report": ["Report", "report"],
        "serving.serve": ["serve"],
        "tasks.heat_map": ["HeatMap"],
        "tasks.prediction": ["Prediction", "SimilarPhoto"],
        "training.run.history": ["EpochRecord"],
        "training.run.result": ["TrainResult"],
        "training.tools.backbone_list": ["BackboneList", "backbones"],
        "training.tools.plan": ["Plan", "plan"],
        "training.tools.check": ["check"],
        "training.tools.features": ["features"],
        "training.tools.inspect": ["Inspection", "inspect"],
        "training.tools.lr_find": ["lr_find"],
        "training.tools.lr_range": ["LrRange"],
        "training.tools.preview": ["Preview", "augment"],
        "training.tools.recommend": ["recommend"],
        "training.train": ["resume", "train"],
        "training.watch.watcher": ["PhotoCount", "RunStart", "Watcher"],
    }.items()
    for name in names
}


# Commands without a function of their name.
_ONLY_COMMANDS = {"cache": "", "demo": "", "predict": ", and in Python headstart.load(MODEL).predict(PHOTOS)"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        hint = ""
        if name in _ONLY_COMMANDS:
            hint = f". In a shell, it is a command: headstart {name} --help{_ONLY_COMMANDS[name]}"
        raise AttributeError(f"module 'headstart' has no attribute {name!r}{hint}")
    with requires_extra("train", f"headstart.{name}"):
        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _needs_torch(name: str) -> bool:
    of_torch = ("headstart.model.", "headstart.training.tools.inspect", "headstart.training.tools.lr_")
    return _MODULES[name].startswith(of_torch)


# Without PyTorch, `help(headstart)` and `from headstart import *` are about what works without it.
if importlib.util.find_spec("torch") is None:
    __all__ = [name for name in __all__ if not _needs_torch(name)]
