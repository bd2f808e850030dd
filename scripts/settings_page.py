"""The page of all settings, from the fields that hold their meaning."""

from __future__ import annotations

from typing import Any

from headstart.config import PhaseConfig, TrainConfig
from headstart.config.checking import Setting, settings_of
from headstart.config.operations import OPERATIONS, PRESETS


def settings_page() -> str:
    """Return the page as Markdown."""
    lines = [
        "# Settings",
        "",
        "The settings of a run are keyword arguments of `hs.train`, keys of `config.toml` and, with hyphens,",
        "options of the command. Those of a phase are keys of `[[phases]]` in a recipe file: see",
        "[recipe files](recipe-files.md). `--set NAME=VALUE` sets any of them.",
        "",
        "## Of a run",
        "",
        *_list(TrainConfig),
        "",
        "## Of a phase",
        "",
        *_list(PhaseConfig),
        "",
        "## Of the operations of augment",
        "",
        "Each operation also has `p`, the probability that it is applied to a view.",
        "",
    ]
    for name, kind in OPERATIONS.items():
        own = {key: each for key, each in settings_of(kind).items() if key != "p"}
        lines += [f"- `{name}`: {_first_line(kind)}"]
        lines += [f"    - {_described(key, each, getattr(kind, key, None))}" for key, each in own.items()]
    lines += ["", "## Presets of augment", ""]
    for preset, operations in PRESETS.items():
        lines.append(f"- `{preset}`: {', '.join(f'`{each.op}`' for each in operations) or 'nothing'}")
    return "\n".join(lines) + "\n"


def _list(class_: Any) -> list[str]:
    return [
        f"- {_described(name, each, getattr(class_, name, None))}"
        for name, each in settings_of(class_).items()
    ]


def _described(name: str, about: Setting, default: Any) -> str:
    text = f"`{name}`: {about.text}"
    if about.choices:
        text += "; one of " + ", ".join(f"`{choice}`" for choice in about.choices)
    limits = [
        f"{words} {value:g}"
        for words, value in (
            ("at least", about.at_least),
            ("above", about.above),
            ("at most", about.at_most),
            ("below", about.below),
        )
        if value is not None
    ]
    text += f"; {', '.join(limits)}" if limits else ""
    shown = about.shown or ("none" if default is None or default == () else str(default))
    text += f". Default: {shown}" if shown else ""
    return text.replace("*", "\\*").replace("<", "\\<")


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]
