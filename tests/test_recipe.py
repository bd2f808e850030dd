from __future__ import annotations

import pytest

from headstart.config import RECIPES, PhaseConfig, TrainConfig
from headstart.config.operations import operations_of
from headstart.errors import ConfigError
from headstart.recipe import (
    EXACT_LIMIT_BYTES,
    Facts,
    complete,
    has_rows_in_file,
    solving_bytes,
    solving_bytes_from_file,
)

FACTS = Facts(num_train=900, head_inputs=1280)


def phases_of(recipe: str, facts: Facts = FACTS) -> tuple[PhaseConfig, ...]:
    return complete(TrainConfig.from_settings("photos", recipe=recipe), facts).phases


@pytest.mark.parametrize("recipe", [name for name, phases in RECIPES.items() if phases])
@pytest.mark.parametrize("facts", [FACTS, Facts(900, None)])
def test_every_recipe_trains_the_head_first(recipe: str, facts: Facts) -> None:
    phases = phases_of(recipe, facts)
    assert phases[0].unfreeze == "head"
    # What a recipe makes is what a user could have written.
    config = TrainConfig.from_settings("photos", phases=[vars(phase) for phase in phases])
    assert config.phases == phases


def test_a_series_of_runs_has_no_phases_of_its_own() -> None:
    with pytest.raises(ConfigError, match="Name a recipe of one run"):
        phases_of("best")


def test_fine_tuning_comes_after_the_head_and_is_slow() -> None:
    for recipe, unfreeze in (("finetune", 1), ("deep", 2), ("full", "all"), ("classic", "all")):
        _, rest = phases_of(recipe)
        assert rest.head_lr <= 3e-4
        assert rest.unfreeze == unfreeze


def test_fine_tuning_takes_about_130_steps_within_four_to_ten_epochs() -> None:
    epochs = [phases_of("finetune", Facts(n, None))[1].epochs for n in (80, 500, 900, 100_000)]
    assert epochs == [10, 8, 4, 4]
    assert [phases_of("deep", Facts(n, None))[1].epochs for n in (80, 100_000)] == [20, 8]


def test_maps_are_mirrored_where_photos_may_be() -> None:
    for keeps_label in (False, True):
        for takes_map in (False, True):
            facts = Facts(900, 1280, keeps_label=keeps_label, takes_map=takes_map)
            assert phases_of("finetune", facts)[1].mirror == (keeps_label and takes_map)
    assert not phases_of("finetune", Facts(900, 1280, "regression", takes_map=True))[1].mirror


def test_deep_training_flips_no_photo_whose_label_that_changes() -> None:
    for keeps_label in (False, True):
        deep = phases_of("deep", Facts(900, 1280, keeps_label=keeps_label, takes_map=True))[1]
        flips = [each for each in operations_of(deep.augment) if each.op == "horizontal-flip"]
        assert bool(flips) == keeps_label
        assert operations_of(deep.augment)
        assert not deep.mirror
    for task, augment in (("regression", "none"), ("box", "light"), ("multilabel", "light")):
        assert phases_of("deep", Facts(900, 1280, task))[1].augment == augment


def test_numbers_and_boxes_take_three_times_as_many_steps() -> None:
    for task, epochs in (("regression", [20, 10, 3]), ("box", [12, 10, 3])):
        found = [phases_of("finetune", Facts(n, None, task))[1].epochs for n in (80, 960, 100_000)]
        assert found == epochs


def test_every_task_has_phases_that_a_user_could_have_written() -> None:
    for task in ("multilabel", "regression", "box"):
        phases = phases_of("finetune", Facts(500, None, task))
        assert not any(phase.optimizer == "exact" for phase in phases)
        again = TrainConfig.from_settings("photos", phases=[vars(phase) for phase in phases])
        assert again.phases == phases


def test_classic_is_what_the_notes_say() -> None:
    for phase, lr in zip(phases_of("classic"), (1e-3, 1e-4), strict=True):
        assert (phase.optimizer, phase.head_lr, phase.schedule) == ("adam", lr, "step")
        assert (phase.step_epochs, phase.gamma) == (7, 0.9)


@pytest.mark.parametrize("num_classes", [2, 100, 1000])
def test_a_linear_head_is_solved_while_its_answers_are_small(num_classes: int) -> None:
    numbers = range(10_000, 3_000_000, 50_000)
    solved = [
        phases_of("probe", Facts(n, 1280, num_classes=num_classes))[0].optimizer == "exact" for n in numbers
    ]
    assert solved[0] or num_classes == 1000
    assert solved == sorted(solved, reverse=True)  # up to a number of photos
    assert sum(solved) < len(solved) or num_classes == 2


def test_rows_are_in_a_file_if_memory_does_not_hold_them() -> None:
    for n in (50_000, 60_000, 70_000, 1_000_000):
        assert has_rows_in_file(n, 1280, 10) == (solving_bytes(n, 1280, 10) > EXACT_LIMIT_BYTES)
    assert not has_rows_in_file(50_000, 1280, 10)
    assert has_rows_in_file(70_000, 1280, 10)
    assert not has_rows_in_file(20_000, 25_088, 10)  # where there are fewer rows than numbers in each
    of_file = [solving_bytes_from_file(n, 1280, 10) for n in (100_000, 1_000_000)]
    assert of_file[1] - of_file[0] < 4 * 900_000 * 1280 / 5  # grows with the answers, not with the rows


def test_a_head_that_is_not_a_linear_layer_is_trained_in_steps() -> None:
    assert phases_of("probe", Facts(10, None))[0].optimizer == "adam"


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_a_linear_head_for_labels_or_numbers_is_solved_too(task: str) -> None:
    assert phases_of("probe", Facts(900, 1280, task))[0].optimizer == "exact"
    assert phases_of("finetune", Facts(900, 1280, task))[0].optimizer == "adam"  # see recipe._first


def test_what_solving_takes_counts_classes_and_the_smaller_side() -> None:
    features = 4 * 10_000 * 1000
    assert 2 * features < solving_bytes(10_000, 1000, 2) < 6 * features
    assert solving_bytes(10_000, 1000, 2000) > solving_bytes(10_000, 1000, 2) + 15 * 8 * 1000 * 2000
    assert solving_bytes(2000, 2000, 2) > 4 * 2000 * 2000 + 16 * 2000 * 2000  # products and their vectors


def test_few_photos_get_more_epochs_of_the_head() -> None:
    epochs = [phases_of("probe", Facts(n, None))[0].epochs for n in (20, 900, 100_000)]
    assert epochs == [40, 28, 10]


def test_phases_of_the_users_own_stay() -> None:
    config = TrainConfig.from_settings("photos", phases=[{"name": "mine"}])
    assert complete(config, FACTS) == config
