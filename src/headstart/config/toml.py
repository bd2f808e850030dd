"""Settings as text: TOML files, and the pairs of ``--set``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from headstart.errors import ConfigError

_NOT_BY_SET: Final = {
    "data": "the folder of photos is the command's argument DATA",
    "out": "the run folder is named by --out",
    "phases": "phases are given by --recipe FILE.toml, and their settings by --set PHASE.KEY=VALUE",
    "phase_settings": "settings of phases are given by --set PHASE.KEY=VALUE",
}


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: The file is missing or is not valid TOML.
    """
    import tomllib  # where it is used: the help of the command line needs none

    try:
        return tomllib.loads(Path(path).read_text("utf-8", errors="surrogateescape"))
    except OSError as error:
        raise ConfigError(
            f"{os.fspath(path)}: {error.strerror or error}. Name an existing TOML file."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{os.fspath(path)}: not valid TOML: {error}.") from error


def settings_from_pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """Read the values of ``--set``: ``KEY=VALUE``, or ``PHASE.KEY=VALUE`` for a setting of a phase.

    A value that begins with a quote or a bracket is read as TOML. Any other value is text, and is converted
    when the settings are checked. If a key is given twice, the last value is used.

    Raises:
        ConfigError: A pair is malformed, or its key cannot be set in this way; the message lists all.
    """
    import tomllib

    settings: dict[str, Any] = {}
    phases: dict[str, dict[str, Any]] = {}
    problems = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        phase, dot, key = name.strip().rpartition(".")
        key = key.replace("-", "_")
        if not equals or not key or (dot and not phase):
            problems.append(
                f"--set {pair!r} is not KEY=VALUE, for example --set batch_size=16, or "
                f"--set finetune.epochs=20 for a setting of a phase."
            )
        elif not phase and key in _NOT_BY_SET:
            problems.append(f"--set {pair!r} is not possible: {_NOT_BY_SET[key]}.")
        else:
            value: Any = text.strip()
            if value[:1] in ("[", "{", '"', "'"):
                try:
                    value = tomllib.loads(f"value = {value}")["value"]
                except tomllib.TOMLDecodeError as error:
                    problems.append(f"--set {pair!r}: the value is not valid TOML: {error}.")
            (phases.setdefault(phase, {}) if phase else settings)[key] = value
    if problems:
        raise ConfigError(problems)
    return settings | ({"phase_settings": phases} if phases else {})
