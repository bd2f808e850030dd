"""Options of the commands, made from the settings: no name, default or help text is written twice."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from headstart.config import TrainConfig, settings_from_pairs
from headstart.config.checking import Setting, nearest_value, settings_of
from headstart.config.keeping import RAY_ADDRESS
from headstart.config.peers import explained, meanings
from headstart.config.phases import OF_A_PHASE

_SETTINGS = settings_of(TrainConfig)
_SET = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any option of train by name, or a setting of a phase with PHASE.KEY=VALUE, for example "
        "finetune.epochs=20. Repeatable; overrides the option itself.",
    ),
]


def option(text: str, default: str | None = None, *names: str, **details: Any) -> Any:
    """Return an option whose default is described rather than shown.

    Args:
        text: Its help.
        default: What happens without it.
        names: As ``typer.Option`` takes them.
        details: Likewise.
    """
    shown = "" if default is None else f" [default: {default}]"
    return typer.Option(*names, help=text + shown, show_default=False, **details)


def _option_of(name: str, about: Setting) -> Any:
    """Return the option of a setting; it is None unless given, so that defaults stay in ``TrainConfig``."""
    text = about.text
    if about.choices:
        text += f": {', '.join(about.choices[:-1])} or {about.choices[-1]}"
    default = getattr(TrainConfig, name)
    if isinstance(default, bool):
        panel = about.section
        return typer.Option(f"--{name}", help=_sentence(text), show_default=False, rich_help_panel=panel)
    shown = about.shown or (f"{default:g}" if isinstance(default, float) else str(default))
    metavar = about.metavar or ("CHOICE" if about.choices else "NUMBER")
    details = {"metavar": metavar, "rich_help_panel": about.section}
    return option(_sentence(text), shown, f"--{name.replace('_', '-')}", **details)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


Data = Annotated[str, typer.Argument(metavar="DATA", help=_sentence(_SETTINGS["data"].text))]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A run folder, or its model.onnx.")]

Ray = Annotated[
    str | None,
    option(
        f"Ray cluster that reads and predicts the photos: {RAY_ADDRESS}.",
        "this process",
        metavar="ADDRESS",
    ),
]


def with_settings(
    command: str, *, has_set: bool = True, **differing: Mapping[str, Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of its settings, in place of its argument ``settings``.

    Args:
        command: Its name, by which the settings name it; ``train`` has all of them.
        has_set: Whether it takes ``--set`` too.
        differing: Attributes of ``Setting``, by the setting's name, that are others for this command.
    """
    names = [
        name for name, each in _SETTINGS.items() if each.section and command in ("train", *each.commands)
    ]
    options = {name: dataclasses.replace(_SETTINGS[name], **differing.get(name, {})) for name in names}
    annotations: dict[str, Any] = {
        name: Annotated[bool | None, _option_of(name, each)]
        if isinstance(getattr(TrainConfig, name), bool)
        else Annotated[str | None, _option_of(name, each)]
        for name, each in options.items()
    }
    if has_set:
        annotations["set_"] = _SET

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def call(**given: Any) -> None:
            pairs = given.pop("set_", None) or []
            settings = {name: value for name in names if (value := given.pop(name)) is not None}
            function(settings=settings | settings_from_pairs(pairs), **given)

        parameters = []
        for each in inspect.signature(function, eval_str=True).parameters.values():
            if each.name != "settings":
                parameters.append(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))
                continue
            parameters += [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
                for name, annotation in annotations.items()
            ]
        call.__doc__ = function.__doc__
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return call

    return decorate


def explain_unknown(error: Any) -> None:
    """Add to the error about an unknown option what Headstart calls it, or how a phase's setting is set.

    Args:
        error: A ``NoSuchOption``, changed in place.
    """
    name = error.option_name.lstrip("-").replace("-", "_")
    own = {each.name: each for each in error.ctx.command.params}
    of_a_phase, _ = OF_A_PHASE
    for meant in (name, *meanings(name)):
        if meant in own:
            called = own[meant]
            shown = called.opts[0] if called.param_type_name == "option" else f"the argument {called.metavar}"
            sentence = f"Headstart calls it {shown}."
        elif meant in of_a_phase and "set_" in own:
            called = "It" if meant == name else f"Headstart calls it {meant}, which"
            sentence = (
                f"{called} is a setting of a phase: use --set PHASE.{meant}=VALUE with the name of a phase, "
                "such as finetune."
            )
        else:
            continue
        break
    else:
        sentence = explained(name)
    if sentence:
        error.possibilities = None
        error.message += f". {sentence}"


def explain_value(error: Any) -> None:
    """Add to the error about a value that is not one of several the one that is meant, or the nearest.

    Args:
        error: A ``BadParameter``, changed in place.
    """
    found = re.match(r"'(.*?)' is not one of (.*)\.$", error.message)
    if found:
        error.message += nearest_value(found[1], re.findall(r"'(.*?)'", found[2]))


class Sections(TyperCommand):
    """A command whose help shows the options of settings under the headings of these."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write what the help shows below the command's description."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                is_argument = parameter.param_type_name == "argument"
                own = "Arguments" if is_argument else "Options"
                record = (record[0].removesuffix(" <str>"), record[1])  # of DATA, which may be an address
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or own, []).append(record)
        for heading, rows in sections.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
