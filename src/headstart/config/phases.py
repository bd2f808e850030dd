"""The phases of a run: read from a recipe file, changed by settings of the run, and checked together."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Final

from headstart.config.checking import checked, hint_at, settings_of
from headstart.config.phase import PhaseConfig
from headstart.config.toml import read_toml
from headstart.errors import ConfigError, did_you_mean

RECIPES: Final[dict[str, tuple[str, ...]]] = {
    "auto": ("probe", "finetune"),
    "probe": ("probe",),
    "finetune": ("probe", "finetune"),
    "deep": ("probe", "deep"),
    "full": ("probe", "full"),
    "classic": ("head", "all"),
    "best": (),
}
"""The recipes with the names of their phases. ``recipe.py`` decides the settings of each phase; "best" is a
series of runs with other recipes.
"""

OF_A_PHASE: Final = (
    settings_of(PhaseConfig).keys() - {"name"},
    "a phase: write it below [[phases]] in a recipe file, or use --set PHASE.{}=VALUE",
)
"""For ``checking.checked``: settings of a phase, and where the user has to write them."""


def phases_of(
    tables: Any,
    where: str,
    problems: list[str],
    *,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    run_settings: Collection[str] = (),
) -> tuple[PhaseConfig, ...]:
    """Check the phases of a user or a recipe, one by one and all together.

    Args:
        tables: A list of ``PhaseConfig`` or of mappings.
        where: Text at the beginning of each problem.
        problems: Problems are appended to this list.
        changes: Settings that replace those of a phase, by phase name; the key "" means the last phase.
        run_settings: Names of settings of the whole run, for hints.

    Returns:
        The phases without problems.
    """
    if not isinstance(tables, (list, tuple)):
        problems.append(f"{where}phases is {tables!r}; write each phase as a [[phases]] table.")
        return ()
    elsewhere = (run_settings, "the run: write it beside the phases, as in --set {}=VALUE")
    named, phases = [], []
    for number, table in enumerate(tables, 1):
        if not isinstance(table, (Mapping, PhaseConfig)):
            problems.append(f"{where}phase {number} is {table!r}; write each phase as a [[phases]] table.")
            continue
        given = table.to_table() if isinstance(table, PhaseConfig) else {"name": f"phase{number}", **table}
        last: Mapping[str, Any] = {}
        if changes:
            last = changes.get("", {}) if number == len(tables) else {}
            given |= {**last, **changes.get(str(given["name"]), {})}
        named.append(str(given["name"]))
        found = len(problems)
        values = checked(PhaseConfig, given, f"{where}phase {number}: ", problems, elsewhere=elsewhere)
        if len(problems) == found:
            phases.append(PhaseConfig(**values))
            told = _contradictions(phases[-1])
            if phases[-1].optimizer == "exact" and (epochs := values.get("epochs", 1)) != 1:
                told.append(
                    f"epochs is {epochs}, but optimizer = 'exact' solves the head once, without epochs. "
                    f"Leave epochs out, or {_in_steps(phases[-1])}."
                )
            if "head_lr" in last:  # as it was given
                told = [each.replace("head_lr", "lr") for each in told]
            problems.extend(f"{where}phase {number}: {each}" for each in told)
    problems.extend(
        f"{where}two phases are called {name!r}; give each a name of its own."
        for name in sorted({name for name in named if named.count(name) > 1})
    )
    problems.extend(unknown_phases(changes or {}, named))
    return tuple(phases)


def unknown_phases(changes: Collection[str], names: Collection[str]) -> list[str]:
    """Return a problem for each phase in ``changes`` that does not exist."""
    return [
        f"There is no phase {name!r}.{did_you_mean(name, names)} The phases are {', '.join(names)}."
        for name in changes
        if name and name not in names
    ]


_OF_OTHER_STAGES = {
    "backbone_lr": "is the learning rate of other stages",
    "layer_decay": "slows other stages down",
    "norm": "is about the batch norms of other stages",
    "mirror": "mirrors the feature maps that other stages take",
}


def _in_steps(phase: PhaseConfig) -> str:
    return f"use adam, adamw or sgd, as with --set {phase.name}.optimizer=adam"


def _contradictions(phase: PhaseConfig) -> list[str]:
    """Return a problem for each setting of a phase that contradicts another."""
    problems, defaults = _contradictions_of_schedule(phase), PhaseConfig()
    names = [f.name for f in dataclasses.fields(phase)]
    changed = {name for name in names if getattr(phase, name) != getattr(defaults, name)}
    if phase.unfreeze in ("head", 0):
        problems.extend(
            f"{name} is {getattr(phase, name)!r}, which {meaning}, but unfreeze = {phase.unfreeze!r} trains "
            f"the head alone. Leave {name} out, or unfreeze more."
            for name, meaning in _OF_OTHER_STAGES.items()
            if name in changed
        )
    if phase.class_weights == phase.sampling == "balanced":
        problems.append(
            "class_weights and sampling are both 'balanced', so rare classes would be weighted twice. "
            "Choose one of the two."
        )
    if phase.optimizer == "exact":
        problems.extend(
            f"{name} is {getattr(phase, name)!r}, but optimizer = 'exact' solves the head without steps. "
            f"Leave {name} out, or {_in_steps(phase)}."
            for name, about in settings_of(phase).items()
            if name in changed and about.needs == "steps"
        )
    elif phase.patience is not None and phase.patience >= phase.epochs - 1:
        remedy = f"Make it at most {phase.epochs - 2}, or leave" if phase.epochs > 2 else "Leave"
        problems.append(
            f"patience is {phase.patience}, but epochs is {phase.epochs}, so it could never end the phase "
            f"early. {remedy} patience out."
        )
    return problems


def _contradictions_of_schedule(phase: PhaseConfig) -> list[str]:
    problems = []
    if phase.milestones and phase.schedule != "multistep":
        problems.append(
            f"milestones is {list(phase.milestones)}, but schedule {phase.schedule!r} does not use them. Set "
            f"schedule to 'multistep', or leave milestones out."
        )
    if phase.schedule == "multistep" and not phase.milestones:
        problems.append(
            "schedule is 'multistep', but milestones is empty. Name the epochs after which the learning rate "
            "falls, as in milestones = [20, 50], or choose 'constant'."
        )
    if list(phase.milestones) != (rising := sorted(set(phase.milestones))):
        problems.append(f"milestones is {list(phase.milestones)}; they must increase. Did you mean {rising}?")
    elif phase.schedule == "multistep" and (late := [m for m in phase.milestones if m >= phase.epochs]):
        problems.append(
            f"milestones is {list(phase.milestones)}, but epochs is {phase.epochs}, so the phase ends "
            f"before the learning rate falls at {', '.join(map(str, late))}. Use milestones below "
            f"{phase.epochs}, or more epochs."
        )
    if phase.warmup_epochs >= phase.epochs and phase.warmup_epochs > 0:
        problems.append(
            f"warmup_epochs is {phase.warmup_epochs:g}, but epochs is {phase.epochs}, so the phase "
            f"would never reach its largest learning rate. Make it less than {phase.epochs}."
        )
    return problems


def contradictions(recipe: str, changes: Collection[str], select: str) -> list[str]:
    """Return a problem for each setting of a run that contradicts its recipe.

    Args:
        recipe: Name of the recipe.
        changes: Names of the phases that the user has changed.
        select: Score by which the best weights are chosen.
    """
    if recipe != "best":
        return unknown_phases(changes, RECIPES.get(recipe, tuple(changes)))
    problems = []
    if changes:
        problems.append(
            "recipe is 'best', which decides the phases of its runs, so epochs, lr and settings of phases "
            "cannot be given. Leave them out, or use recipe = 'deep'."
        )
    if select not in ("val_calibrated_loss", "val_loss"):
        problems.append(
            f"recipe is 'best', which compares its runs by the validation loss, but select is {select!r}. "
            f"Leave select out, or use recipe = 'deep'."
        )
    return problems


def read_recipe(path: str, problems: list[str]) -> Any:
    """Read a recipe file, TOML with ``[[phases]]`` and nothing else; append problems to ``problems``."""
    try:
        content = read_toml(path)
    except ConfigError as error:
        problems.extend(error.problems)
        return ()
    problems.extend(
        f"{path}: unknown key {key!r}.{hint_at(key, (), *OF_A_PHASE)} A recipe holds [[phases]] only; "
        f"everything else is an option of the command."
        for key in content
        if key != "phases"
    )
    if not content.get("phases"):
        problems.append(f"{path}: no phases. Write at least one [[phases]] table.")
    return content.get("phases", ())


def changes_of(
    named: Any, last: Mapping[str, Any], run_settings: Collection[str], problems: list[str]
) -> dict[str, dict[str, Any]]:
    """Check settings that change phases. ``phases_of`` checks later whether phases of these names exist.

    Args:
        named: Settings by phase name, as the user gave them, or None.
        last: Settings of the last phase, already checked; None means not set.
        run_settings: Names of settings of the whole run, for hints.
        problems: Problems are appended to this list.

    Returns:
        Settings by phase name; the key "" means the last phase.
    """
    named = named or {}
    if not isinstance(named, Mapping) or not all(isinstance(each, Mapping) for each in named.values()):
        problems.append(
            f"phase_settings is {named!r}; name settings by phase, as in {{'finetune': {{'epochs': 20}}}}."
        )
        named = {}
    elsewhere = (run_settings, "the run: leave the phase out, as in --set {}=VALUE")
    problems.extend(
        f"phase {name}: its name cannot be changed, because its other settings are found by it. Leave it out."
        for name, each in named.items()
        if "name" in each
    )
    changes = {
        str(name): checked(
            PhaseConfig,
            {key: value for key, value in each.items() if key != "name"},
            f"phase {name}: ",
            problems,
            elsewhere=elsewhere,
        )
        for name, each in named.items()
    }
    of_last = {name: value for name, value in last.items() if isinstance(value, (int, float))}
    return ({"": of_last} if of_last else {}) | changes
