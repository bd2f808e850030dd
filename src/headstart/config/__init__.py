"""The settings of a training run, their checking, and the operations of augmentation."""

from headstart.config.backbone import file_is_not_trained
from headstart.config.checking import Need
from headstart.config.doubtful import doubtful_settings
from headstart.config.keywords import CheckSettings, FeatureSettings, RecommendSettings, TrainSettings
from headstart.config.phase import PhaseConfig
from headstart.config.phases import RECIPES
from headstart.config.settings import TrainConfig
from headstart.config.toml import read_toml, settings_from_pairs
from headstart.config.unused import unused_settings

__all__ = [
    "RECIPES",
    "CheckSettings",
    "FeatureSettings",
    "Need",
    "PhaseConfig",
    "RecommendSettings",
    "TrainConfig",
    "TrainSettings",
    "doubtful_settings",
    "file_is_not_trained",
    "read_toml",
    "settings_from_pairs",
    "unused_settings",
]
