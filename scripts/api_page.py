"""The page of the Python interface, from the docstrings of everything in ``headstart.__all__``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import headstart as hs

_SECTIONS = {"Args": "Parameters", "Attributes": "Attributes", "Returns": "Returns", "Raises": "Raises"}
_SECTIONS |= {"Yields": "Yields", "Source": "Source", "Example": "Example"}
_SECTION = re.compile(r"(" + "|".join(_SECTIONS) + r"):(.*)")
_ENTRY = re.compile(r"(\*{0,2}[\w., ]+?): (.*)")


def api_page() -> str:
    """Return the page as Markdown: functions, then classes, then errors."""
    found = {name: getattr(hs, name) for name in sorted(hs.__all__, key=str.lower)}
    errors = {
        name: each for name, each in found.items() if isinstance(each, type) and issubclass(each, Exception)
    }
    classes = {name: each for name, each in found.items() if isinstance(each, type) and name not in errors}
    functions = {name: each for name, each in found.items() if inspect.isfunction(each)}
    lines = [
        "# Python",
        "",
        "Everything in `headstart.__all__`, with `import headstart as hs`. What is promised about these "
        "names is in [compatibility](compatibility.md).",
    ]
    for title, members in (("Functions", functions), ("Classes", classes), ("Errors", errors)):
        lines += ["", f"## {title}"]
        for name, each in members.items():
            lines += ["", f"### {name}", "", *_documented(each, name)]
            if title == "Classes":
                for method, function in _methods(each):
                    lines += ["", f"#### {name}.{method}", "", *_documented(function, f"{name}.{method}")]
    return "\n".join(lines) + "\n"


def _is_error(each: Any) -> bool:
    return isinstance(each, type) and issubclass(each, Exception)


def _methods(class_: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that say what they do, in their order."""
    bases = [base for base in class_.__mro__ if base.__module__.startswith("headstart")]
    for base in reversed(bases):
        for name, member in vars(base).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
                yield name, member if isinstance(member, property) else function


def _documented(each: Any, name: str) -> Iterator[str]:
    """Yield the lines of a docstring, with the call and the types of parameters."""
    parameters: dict[str, inspect.Parameter] = {}
    if inspect.isfunction(each):
        signature = inspect.signature(each)
        parameters = {p.name: p for p in signature.parameters.values() if p.name not in ("self", "cls")}
        returned = _type(signature.return_annotation)
        call = f"hs.{name}({', '.join(_short(p) for p in parameters.values())})"
        yield f"`{call}`" + (f" → `{returned}`" if returned and returned != "None" else "")
        yield ""
    section = ""
    for block in inspect.cleandoc(each.__doc__ or "").split("\n\n"):
        entries = block.split("\n")
        if heading := _SECTION.fullmatch(entries[0]):
            section = _SECTIONS[heading[1]]
            yield from (f"**{section}**", "")
            yield from _entries([heading[2].strip(), *entries[1:]], parameters)
        else:
            yield from entries
        yield ""


def _entries(lines: list[str], parameters: dict[str, inspect.Parameter]) -> Iterator[str]:
    """Yield the entries of a section as a list; a section without names is a paragraph."""
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.startswith(" ")), default=0)
    for line in filter(str.strip, lines):
        begins = not line[indent:].startswith(" ")
        if begins and (entry := _ENTRY.fullmatch(line.strip())):
            parameter = parameters.get(entry[1].lstrip("*"))
            type_ = _type(parameter.annotation) if parameter else ""
            yield f"- `{entry[1]}`" + (f" (`{type_}`)" if type_ else "") + f": {entry[2]}"
        else:
            yield line.strip() if begins else f"  {line.strip()}"


def _short(parameter: inspect.Parameter) -> str:
    """Return a parameter as in a call: its name, and its default."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return f"{stars}{parameter.name}{default}"


def _type(annotation: Any) -> str:
    """Return an annotation as it stands in the source."""
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, str):
        return annotation.strip("'")
    return getattr(annotation, "__name__", str(annotation))
