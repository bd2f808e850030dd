from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from headstart.config import RECIPES, Need, PhaseConfig, TrainConfig, settings_from_pairs, unused_settings
from headstart.config.operations import Rotation
from headstart.errors import ConfigError
from headstart.recipe import Facts, complete

# A wrong setting, and what its message must say: the value, what is allowed.
WRONG = [
    ({"seed": "x"}, ["seed", "'x'", "whole number"]),
    ({"seed": -1}, ["seed", "-1", "at least 0"]),
    ({"seed": True}, ["seed", "True", "whole number"]),
    ({"seed": 1.5}, ["seed", "1.5", "whole number"]),
    ({"batch_size": 0}, ["batch_size", "0", "at least 1"]),
    ({"batchsize": 4}, ["batchsize", "Did you mean 'batch_size'"]),
    (
        {"recipe": "finetun"},
        ["'finetun'", "Did you mean 'finetune'", "probe, finetune, deep, full, classic, best"],
    ),
    ({"recipe": "nowhere.toml"}, ["nowhere.toml", "No such file"]),
    ({"resize": "cropp"}, ["'cropp'", "Did you mean 'crop'", "crop, pad, squash"]),
    ({"allow_quarantined": 1.5}, ["allow_quarantined", "1.5", "at most 1"]),
    ({"allow_quarantined": "nan"}, ["allow_quarantined", "nan", "a number"]),
    ({"val": 0}, ["val is 0", "above 0", "fraction", "or a folder"]),
    ({"val": 1}, ["val is 1", "below 1", "fraction", "or a folder"]),
    ({"val": "1.5"}, ["val is '1.5'", "below 1"]),
    ({"val": -0.2}, ["val is -0.2", "above 0"]),
    ({"val": True}, ["val is True", "a number or text"]),
    ({"device": "gpu"}, ["'gpu'", "auto, cpu, cuda, mps"]),
    ({"phases": 3}, ["phases is 3", "[[phases]]"]),
    ({"phases": [{"head_lr": 0}]}, ["phase 1", "head_lr is 0", "above 0"]),
    ({"phases": [{"epochs": 0}, {"unfrezze": 1}]}, ["phase 1", "epochs is 0", "phase 2", "'unfreeze'"]),
    ({"phases": [{"optimizer": "exact", "mixup": 0.2}]}, ["mixup is 0.2", "'exact'"]),
    ({"phases": [{"wise_ft": "maybe"}]}, ["wise_ft is 'maybe'", "true or false"]),
    ({"phases": [{"milestones": "a,b", "schedule": "multistep"}]}, ["milestones is 'a,b'", "[20, 50]"]),
    ({"phases": [{"name": "a"}, {"name": "a"}]}, ["two phases are called 'a'"]),
    ({"phases": [{"milestones": [3]}]}, ["phase 1", "milestones is [3]", "'constant'", "to 'multistep'"]),
    ({"phases": [{}, {"schedule": "multistep"}]}, ["phase 2", "milestones is empty", "[20, 50]"]),
    (
        {"phases": [{"epochs": 2, "warmup_epochs": 2.5}]},
        ["warmup_epochs is 2.5", "epochs is 2", "less than 2"],
    ),
    ({"phases": [{"epochs": 2, "warmup_epochs": 2}]}, ["warmup_epochs is 2,", "less than 2"]),
    (
        {"phases": [{"optimizer": "adm"}]},
        ["optimizer is 'adm'; it must be one of adam, adamw, sgd, exact: ", ". Did you mean 'adam'?"],
    ),
    ({"phases": [{"optimizer": "exact", "epochs": 5}]}, ["epochs is 5", "once", "adam, adamw or sgd"]),
    ({"phases": [{"optimizer": "exact", "weight_decay": 0.1}]}, ["weight_decay is 0.1", "'exact'"]),
    ({"phases": [{"optimizer": "exact", "patience": 3}]}, ["patience is 3", "'exact'"]),
    ({"phases": [{"optimizer": "exact", "momentum": 0.8}]}, ["momentum is 0.8", "'exact'"]),
    ({"phases": [{"optimizer": "exact", "gamma": 0.5}]}, ["gamma is 0.5", "'exact'"]),
    ({"phases": [{"optimizer": "exact", "warmup_epochs": 0.5}]}, ["warmup_epochs is 0.5", "'exact'"]),
    (
        {"phases": [{"milestones": [5, 2], "schedule": "multistep"}]},
        ["[5, 2]", "mean [2, 5]", "must increase"],
    ),
    ({"phases": [{"milestones": [2, 2], "schedule": "multistep"}]}, ["[2, 2]", "mean [2]"]),
    (
        {"phases": [{"milestones": [3, 10, 12], "schedule": "multistep"}]},
        ["[3, 10, 12]", "epochs is 10", "falls at 10, 12", "below 10"],
    ),
    ({"phases": [{"backbone_lr": 1e-4}]}, ["backbone_lr is 0.0001", "'head' trains the head alone"]),
    ({"phases": [{"layer_decay": 0.5, "unfreeze": 0}]}, ["layer_decay is 0.5", "unfreeze = 0", "more"]),
    ({"phases": [{"norm": "train"}]}, ["norm is 'train'", "head alone"]),
    ({"phases": [{"patience": 9}]}, ["patience is 9", "epochs is 10", "at most 8"]),
    ({"phases": [{"patience": 1, "epochs": 2}]}, ["patience is 1", "epochs is 2", "Leave patience out"]),
    (
        {"phases": [{"class_weights": "balanced", "sampling": "balanced"}]},
        ["class_weights and sampling", "twice", "Choose one"],
    ),
    ({"phases": [{"augment": [{"op": "blur", "p": 0}]}]}, ["blur: p is 0", "no view", "larger"]),
    ({"phases": [{"lr": 1e-3}]}, ["phase 1", "'lr'", "Headstart calls it 'head_lr'"]),
    ({"head_lr": 1e-3}, ["'head_lr'", "a setting of a phase", "[[phases]]"]),
    ({"wd": 1e-3}, ["'wd'", "Headstart calls it 'weight_decay', which is a setting of a phase"]),
    ({"learning_rate": 1e-3}, ["'learning_rate'", "Headstart calls it 'lr'."]),
    ({"mean": "0.5,0.5"}, ["mean is '0.5,0.5'", "three numbers", "0.5,0.5,0.5"]),
    ({"backbone": "f.onnx", "std": "1,0,1"}, ["std is '1,0,1'", "above 0"]),
    (
        {"mean": [0, 0, 0], "std": "1,1,1", "output_name": "x"},
        ["mean is (0.0, 0.0, 0.0)", "std is (1.0, 1.0, 1.0)", "output_name is 'x'", "Leave output_name out"],
    ),
    *(
        ({"backbone": "my/F.onnx", **settings}, [words, "An ONNX file cannot be fine-tuned", "my/F.onnx"])
        for settings, words in (
            ({"recipe": "finetune"}, "recipe is 'finetune'"),
            ({"recipe": "full"}, "recipe is 'full'"),
            ({"recipe": "classic"}, "recipe is 'classic'"),
            ({"phases": [{"optimizer": "exact"}, {"name": "b", "unfreeze": 1}]}, "The phases train in steps"),
            ({"task": "box"}, "task is 'box'"),
            ({"head": "spatial"}, "head is 'spatial'"),
        )
    ),
    ({"backbone": "f.onnx", "weights": "random"}, ["weights is 'random'", "contains its own"]),
    ({"phases": [{"batch_size": 8}]}, ["'batch_size'", "a setting of the run", "--set batch_size=VALUE"]),
]


@pytest.mark.parametrize(("settings", "told"), WRONG, ids=lambda v: str(v)[:40])
def test_a_wrong_setting_is_told_with_its_value_and_what_is_allowed(
    settings: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_settings("photos", **settings)
    for words in told:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [(settings, told) for settings, told in WRONG if settings.keys() <= vars(TrainConfig()).keys()],
    ids=lambda v: str(v)[:40],
)
def test_a_configuration_checks_itself_when_it_is_made(settings: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig("photos", **settings)
    for words in told:
        assert words in str(caught.value)
    with pytest.raises(ConfigError):
        dataclasses.replace(TrainConfig("photos"), **settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"head_lr": 0, "epochs": "many"}, ["head_lr is 0", "epochs is 'many'"]),
        ({"augment": "lots"}, ["augment is 'lots'"]),
        ({"optimizer": "adm"}, ["Did you mean 'adam'"]),
    ],
)
def test_a_phase_checks_itself_when_it_is_made(settings: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        PhaseConfig(**settings)
    for words in told:
        assert words in str(caught.value)


def test_a_configuration_is_the_same_however_it_is_made(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[phases]]\nname = "head"\nepochs = 2\n')
    settings = {"batch_size": "8", "val": "0.3", "recipe": recipe}
    made = TrainConfig(tmp_path, **settings)  # type: ignore[arg-type]
    assert made == TrainConfig.from_settings(tmp_path, **settings)
    assert made == TrainConfig.from_settings(config=made)
    assert made == TrainConfig.from_settings(tmp_path, made)
    assert (made.data, made.batch_size, made.val, made.phases[0].epochs) == (str(tmp_path), 8, 0.3, 2)
    assert TrainConfig.from_settings("photos", TrainConfig(batch_size=8)).data == "photos"
    phases = [PhaseConfig("a"), {"name": "b"}]
    assert [phase.name for phase in TrainConfig("photos", phases=phases).phases] == ["a", "b"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, ["data is missing"]),
        ({"data": 3}, ["data is 3", "text"]),
        ({"data": b"photos"}, ["data is b'photos'", "text"]),
        ({"data": TrainConfig("photos")}, ["data is TrainConfig(", "config="]),
        ({"config": TrainConfig()}, ["data is missing in config"]),
        ({"config": {"data": "photos"}}, ["config is {'data': 'photos'}", "hs.TrainConfig(data=...)"]),
        ({"config": "photos"}, ["config is 'photos'", "hs.TrainConfig(data=...)"]),
        (
            {"config": TrainConfig("photos"), "seed": 1, "val": 0.3},
            ["Both config and seed, val", "dataclasses.replace(config, seed=...)"],
        ),
        ({"data": "a", "config": TrainConfig("b")}, ["data is 'a', but 'b' in config"]),
    ],
    ids=lambda v: str(v)[:40],
)
def test_data_and_settings_are_given_once(arguments: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_settings(**arguments)
    for words in told:
        assert words in str(caught.value)


def test_what_goes_together_is_accepted() -> None:
    phases = [
        {"name": "a", "optimizer": "exact", "epochs": 1},
        {"name": "b", "schedule": "multistep", "milestones": [3, 9], "patience": 8, "norm": "frozen"},
        {"name": "c", "unfreeze": 1, "norm": "train", "backbone_lr": 1e-4, "layer_decay": 0.5},
        {"name": "d", "sampling": "balanced", "augment": [{"op": "blur", "p": 0.01}]},
    ]
    written = TrainConfig.from_settings("photos", phases=phases).to_dict()
    assert TrainConfig.from_settings(**written).to_dict() == written


def test_a_file_as_backbone_has_settings_of_its_own_and_is_found_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"backbone": "f.onnx", "mean": "0.5, 0.4,0.3", "std": [1, 2, 3], "output_name": "tokens"}
    config = TrainConfig.from_settings("photos", phases=[{"optimizer": "exact"}], **given).absolute()
    assert (config.mean, config.std, config.output_name) == ((0.5, 0.4, 0.3), (1, 2, 3), "tokens")
    assert config.backbone == str(tmp_path / "f.onnx")
    assert TrainConfig.from_settings(**config.to_dict()) == config


def test_all_wrong_settings_are_told_at_once() -> None:
    wrong = {
        "seed": "x",
        "batch_size": 0,
        "device": "gpu",
        "val": 1.5,
        "phases": [{"head_lr": -1, "epochs": "many"}],
    }
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_settings("photos", **wrong)
    assert len(caught.value.problems) == 6


def test_settings_may_be_text_as_a_command_line_has_them() -> None:
    config = TrainConfig.from_settings(
        Path("photos"), seed="7", val="0.3", allow_quarantined="0.5", size_px="96", resize=""
    )
    assert (config.seed, config.val, config.allow_quarantined, config.size_px) == (7, 0.3, 0.5, 96)
    assert config.resize is None
    assert config.val_fraction == 0.3
    assert config.val_folder is None


@pytest.mark.parametrize("is_absolute", [True, False])
def test_photos_have_the_same_paths_wherever_a_run_is_resumed(
    is_absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run has absolute paths: its validation photos lie below the data, or have absolute paths."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/v", "more"):
        (tmp_path / folder).mkdir(parents=True)
    config = TrainConfig.from_settings(
        "photos", val=str(tmp_path / "photos/v") if is_absolute else "photos/v"
    )
    assert config.val_folder == str(Path("photos/v"))
    assert config.absolute().val_folder == str(tmp_path / "photos/v")
    elsewhere = TrainConfig.from_settings("photos", val="more")
    assert elsewhere.val_folder == elsewhere.absolute().val_folder == str(tmp_path / "more")
    in_folders = TrainConfig.from_settings("photos", val="more-{0..3}/a.tar")
    assert in_folders.val_folder == str(tmp_path / "more-{0..3}" / "a.tar")


def test_settings_may_be_numbers_and_arrays_of_numpy() -> None:
    given = {"seed": np.int64(3), "val": np.float64(0.25), "epochs": np.int32(2), "mean": np.full(3, 0.5)}
    config = TrainConfig.from_settings("photos", backbone="own.onnx", recipe="auto", **given)
    assert (config.seed, config.val, config.epochs, config.mean) == (3, 0.25, 2, (0.5, 0.5, 0.5))
    assert type(config.seed) is int
    with pytest.raises(ConfigError, match="three numbers"):
        TrainConfig.from_settings("photos", backbone="own.onnx", mean=np.full(4, 0.5))


def test_a_stage_may_be_a_name_or_a_number() -> None:
    phases = [
        {"name": "a", "unfreeze": "layer4"},
        {"name": "b", "unfreeze": 2},
        {"name": "c", "unfreeze": "1"},
    ]
    config = TrainConfig.from_settings("photos", phases=phases)
    assert [phase.unfreeze for phase in config.phases] == ["layer4", 2, 1]


def test_a_configuration_survives_toml(tmp_path: Path) -> None:
    config = TrainConfig.from_settings(
        "photos/\udcff", seed=3, size_px=64, phases=[PhaseConfig("a", 1, 2, head_lr=0.5), {"name": "b"}]
    )
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()), "utf-8", errors="surrogateescape")
    assert TrainConfig.from_toml(path) == config


def test_a_recipe_file_holds_phases_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[[phases]]\nname = "head"\nepochs = 2\n\n[[phases]]\nname = "all"\nunfreeze = "all"\n')
    config = TrainConfig.from_settings("photos", recipe=path)
    assert [(p.name, p.unfreeze, p.epochs) for p in config.phases] == [
        ("head", "head", 2),
        ("all", "all", 10),
    ]

    for text, told in [
        ("seed = 1\n[[phases]]\n", "unknown key 'seed'"),
        ("lr = 1\n[[phases]]\n", "Headstart calls it 'head_lr', which is a setting of a phase"),
        ("", "no phases"),
        ("phases = 3", "phases is 3"),
        ("[[phases", "not valid TOML"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=r".*") as caught:
            TrainConfig.from_settings("photos", recipe=path)
        assert told in str(caught.value)


def test_pairs_become_settings() -> None:
    assert settings_from_pairs(["seed=1", "batch-size = 8", "val=a=b"]) == {
        "seed": "1",
        "batch_size": "8",
        "val": "a=b",
    }
    assert settings_from_pairs(["seed=1", "seed=2"]) == {"seed": "2"}
    with pytest.raises(ConfigError) as caught:
        settings_from_pairs(["seed", "data=x", "out = y", "phases=[]", "=1"])
    for problem, words in zip(
        caught.value.problems,
        ["'seed' is not KEY=VALUE", "DATA", "--out", "--recipe FILE.toml", "'=1' is not KEY=VALUE"],
        strict=True,
    ):
        assert words in problem


def changed(recipe: str, **settings: Any) -> list[tuple[str, int, float]]:
    """Names, epochs and rates of a recipe's phases, completed as a run does."""
    facts = Facts(num_train=1000, head_inputs=1280)
    phases = complete(TrainConfig.from_settings("photos", recipe=recipe, **settings), facts).phases
    return [(phase.name, phase.epochs, phase.head_lr) for phase in phases]


def test_settings_of_phases_change_what_the_recipe_says(tmp_path: Path) -> None:
    assert changed("classic") == [("head", 10, 1e-3), ("all", 10, 1e-4)]
    assert changed("classic", epochs="20", lr="0.5") == [("head", 10, 1e-3), ("all", 20, 0.5)]
    pairs = settings_from_pairs(["head.epochs=3", "all.head-lr=2e-4", "epochs=7"])
    assert changed("classic", **pairs) == [("head", 3, 1e-3), ("all", 7, 2e-4)]
    named = settings_from_pairs(["all.epochs=9"])  # by its name goes before as the last
    assert changed("classic", epochs=7, **named) == [("head", 10, 1e-3), ("all", 9, 1e-4)]
    path = tmp_path / "recipe.toml"
    path.write_text('[[phases]]\nname = "a"\naugment = "light"\n\n[[phases]]\nname = "b"\n')
    config = TrainConfig("photos", recipe=str(path), epochs=4, phase_settings={"a": {"epochs": 3}})
    assert [(phase.epochs, phase.views) for phase in config.phases] == [(3, 3), (4, 1)]
    assert not {"epochs", "lr", "phase_settings"} & config.to_dict().keys()
    assert TrainConfig.from_settings(**config.to_dict()) == config


def test_views_follow_the_epochs_and_the_augmentation_of_a_changed_phase() -> None:
    facts = Facts(num_train=1000, head_inputs=1280, task="box")

    def last(**settings: Any) -> PhaseConfig:
        return complete(TrainConfig.from_settings("photos", recipe="finetune", **settings), facts).phases[-1]

    assert last().views == last().epochs  # it varies photos
    assert last(epochs=31).views == 31
    assert last(epochs=31, **settings_from_pairs(["finetune.views=2"])).views == 2
    assert last(**settings_from_pairs(["finetune.augment=none"])).views == 1
    shown = settings_from_pairs(['finetune.augment=[{op = "rotation", degrees = 15}]', "finetune.epochs=5"])
    assert (last(**shown).augment, last(**shown).views) == ((Rotation((-15, 15)),), 5)


@pytest.mark.parametrize(
    ("recipe", "pairs", "told"),
    [
        (
            "finetune",
            ["finetun.epochs=3"],
            ["no phase 'finetun'", "Did you mean 'finetune'", "probe, finetune"],
        ),
        ("classic", ["finetune.epochs=3"], ["no phase 'finetune'", "head, all"]),
        ("auto", ["fine.epochs=3"], ["no phase 'fine'", "probe, finetune"]),
        ("finetune", ["finetune.epoch=3"], ["phase finetune: unknown setting 'epoch'", "'epochs'"]),
        ("finetune", ["finetune.lr=3"], ["'lr'", "Headstart calls it 'head_lr'."]),
        ("finetune", ["finetune.epochs=many"], ["phase finetune: epochs is 'many'", "whole number"]),
        ("finetune", ["finetune.batch_size=3"], ["setting of the run", "--set batch_size=VALUE"]),
        ("finetune", ["finetune.augment=[{op = 3"], ["not valid TOML"]),
        ("finetune", ["head_lr=1"], ["a setting of a phase", "--set PHASE.head_lr=VALUE"]),
        ("finetune", ["epochs=0"], ["epochs is '0'", "at least 1"]),
        ("finetune", ["phase_settings=3"], ["--set PHASE.KEY=VALUE"]),
        ("finetune", ["finetune.name=last"], ["phase finetune: its name cannot be changed"]),
        ("finetune", [".epochs=3"], ["'.epochs=3' is not KEY=VALUE"]),
        ("classic", ["all.schedule=multistep"], ["phase 2: ", "milestones is empty"]),
        ("probe", ["epochs=5"], ["epochs is 5", "'exact'", "without epochs"]),
        ("probe", ["lr=0.5"], ["phase 1: lr is 0.5", "'exact'", "without steps", "Leave lr out"]),
    ],
    ids=str,
)
def test_a_wrong_change_of_a_phase_is_told(recipe: str, pairs: list[str], told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(recipe, **settings_from_pairs(pairs))
    for words in told:
        assert words in str(caught.value)


def test_every_recipe_has_the_phases_that_are_written_down_for_it() -> None:
    for recipe, names in RECIPES.items():
        if recipe == "best":
            assert not names  # it is a series of runs
            continue
        assert tuple(name for name, _, _ in changed(recipe)) == names


def test_settings_of_phases_are_named_by_phase() -> None:
    for wrong in (3, {"finetune": 3}, ["finetune"]):
        with pytest.raises(ConfigError, match="name settings by phase"):
            TrainConfig.from_settings("photos", phase_settings=wrong)
    assert TrainConfig.from_settings("photos", phase_settings={}) == TrainConfig("photos")


def test_every_setting_says_what_it_is() -> None:
    for config in (TrainConfig, PhaseConfig):
        assert all(field.metadata["setting"].text for field in dataclasses.fields(config))


def test_without_views_each_epoch_has_a_new_one() -> None:
    def views(**settings: Any) -> int:
        return TrainConfig.from_settings("photos", phases=[settings]).phases[0].views

    assert views(augment="light", epochs=7) == 7
    assert views(augment="light", epochs=7, views=2) == 2
    assert views(augment=[{"op": "horizontal-flip"}], epochs=7) == 7
    assert views() == views(augment="none") == 1
    assert views(augment="light", optimizer="exact") == 1


def test_what_the_data_are_told_is_checked_like_every_setting(tmp_path: Path) -> None:
    for settings, told in [
        ({"task": "detection"}, ["task is 'detection'", "classification, multilabel, regression, box"]),
        ({"boxes": "larges"}, ["boxes is 'larges'", "Did you mean 'largest'"]),
        ({"target": 3}, ["target is 3", "text"]),
    ]:
        with pytest.raises(ConfigError, match=r".*") as caught:
            TrainConfig.from_settings("photos", **settings)
        for words in told:
            assert words in str(caught.value)
    table = tmp_path / "labels.csv"
    config = TrainConfig.from_settings(
        table, target="t,u", group_by="plant", val=tmp_path / "val.csv"
    ).absolute()
    assert (config.data, config.val) == (str(table), str(tmp_path / "val.csv"))
    assert config.source_options["target"] == "t,u"
    assert config.source_options["group_by"] == "plant"
    assert config.source_options["label_column"] is None


def test_a_folder_of_that_name_does_not_make_default_weights_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("default", "random", "run"):
        (tmp_path / name).mkdir()
    found = [TrainConfig(data="d", weights=name).absolute().weights for name in ("default", "random", "run")]
    assert found == ["default", "random", str(tmp_path / "run")]


@pytest.mark.parametrize(
    ("settings", "lacking", "names"),
    [
        ({}, {"steps", "boxes", "split"}, []),
        ({"batch_size": 32, "max_minutes": None}, {"steps"}, []),  # as by default
        ({"batch_size": 8, "max_minutes": 5, "min_visible": 0.2}, set(), []),
        (
            {"batch_size": 8, "select": "val_accuracy", "memory_format": "contiguous", "seed": 1},
            {"steps"},
            ["batch_size", "select", "memory_format"],
        ),
        ({"checkpoint_seconds": 60.0, "max_minutes": 5.0}, {"steps"}, ["checkpoint_seconds", "max_minutes"]),
        ({"min_visible": 0.2, "boxes": "largest"}, {"boxes"}, ["boxes", "min_visible"]),
        ({"val": 0.3}, {"split"}, ["val"]),
        ({"val": "more/photos"}, {"split"}, []),
    ],
)
def test_settings_without_effect_are_named_one_by_one(
    settings: dict[str, Any], lacking: set[Need], names: list[str]
) -> None:
    notes = unused_settings(TrainConfig(data="photos", **settings), lacking)
    assert [note.split()[1] for note in notes] == names
    for note, name in zip(notes, names, strict=True):
        assert f"{name} is {settings[name]!r}, which has no effect in this run: " in note
