from __future__ import annotations

import pytest

from headstart.config import RECIPES, PhaseConfig, TrainConfig
from headstart.recipe import Facts, complete

FACTS = Facts(num_train=900, num_classes=4)


def phases_of(recipe: str, facts: Facts = FACTS) -> tuple[PhaseConfig, ...]:
    return complete(TrainConfig.from_settings("photos", recipe=recipe), facts).phases


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_the_head_first(recipe: str) -> None:
    phases = phases_of(recipe)
    assert phases[0].unfreeze == "head"
    # What a recipe makes is what a user could have written.
    config = TrainConfig.from_settings("photos", phases=[vars(phase) for phase in phases])
    assert config.phases == phases


def test_fine_tuning_is_slower_than_training_the_head() -> None:
    for recipe in ("finetune", "full", "classic"):
        head, rest = phases_of(recipe)
        assert rest.lr < head.lr
        assert rest.unfreeze == (1 if recipe == "finetune" else "all")


def test_classic_is_what_the_notes_say() -> None:
    for phase, lr in zip(phases_of("classic"), (1e-3, 1e-4), strict=True):
        assert (phase.optimizer, phase.lr, phase.schedule) == ("adam", lr, "step")
        assert (phase.step_epochs, phase.gamma) == (7, 0.9)


def test_few_photos_get_more_epochs_of_the_head() -> None:
    epochs = [phases_of("probe", Facts(n, 4))[0].epochs for n in (20, 900, 100_000)]
    assert epochs[0] > epochs[1] >= epochs[2]


def test_phases_of_the_users_own_stay() -> None:
    config = TrainConfig.from_settings("photos", phases=[{"name": "mine"}])
    assert complete(config, FACTS) == config
