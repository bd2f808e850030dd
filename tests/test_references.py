"""Names in double backticks in docstrings and comments, and files that pages name, exist."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests.parsed import parsed

SOURCE = Path(__file__).parents[1] / "src" / "headstart"
PATHS = {
    path.relative_to(SOURCE).with_suffix("").as_posix().removesuffix("/__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
}
DOTTED = re.compile(r"``([A-Za-z_]\w*(?:\.\w+)+)(?:\(\))?``")
SEE = re.compile(r"[Ss]ee ``(\w+)``")
FILE = re.compile(r".*\.(csv|db|html|json|onnx|part|png|pth|py|safetensors|state|toml)")
# Of libraries, and of variables, that are called as a module of ours is.
OTHERS = {"safetensors.torch.load", "model.encoder", "predictor.info", "phases.1.head_lr"}
OTHERS |= {"head.weight", "head.bias"}  # tensors in files


def names_in(body: Iterable[ast.stmt]) -> set[str]:
    """Return the names that the statements of a module or a class define, and attributes of ``self``."""
    found = set()
    for each in body:
        if isinstance(each, (ast.FunctionDef, ast.ClassDef)):
            found.add(each.name)
        if isinstance(each, ast.FunctionDef):
            nodes = (node for node in ast.walk(each) if isinstance(node, ast.Attribute))
            found |= {node.attr for node in nodes if isinstance(node.ctx, ast.Store)}
        elif isinstance(each, (ast.Assign, ast.AnnAssign)):
            found |= {node.id for node in ast.walk(each) if isinstance(node, ast.Name)}
        elif isinstance(each, ast.If):
            found |= names_in([*each.body, *each.orelse])
    return found


@cache
def known() -> dict[str, set[str]]:
    """Return the names of ours by what they stand in: a class, a file or a folder."""
    names: dict[str, set[str]] = defaultdict(set)
    for module, path in PATHS.items():
        tree = parsed(path)
        parts = module.split("/")
        for start, part in enumerate(parts):
            names[".".join(parts[start:])] |= names_in(tree.body)
            names[part] |= set(parts[start + 1 : start + 2])
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names[node.name] |= names_in(node.body)
    return names


def exists(name: str) -> bool:
    """Tell whether a dotted name is a file of ours, or something in a file, a folder or a class."""
    place, _, last = name.removeprefix("headstart.").rpartition(".")
    return name in known() or last in known().get(place, ())


def test_dotted_names_exist() -> None:
    dangling = {
        f"{module}: {name}"
        for module, path in PATHS.items()
        for name in DOTTED.findall(path.read_text("utf-8"))
        if name.partition(".")[0] in known() and not FILE.fullmatch(name) and name not in OTHERS
        if not exists(name)
    }
    assert not dangling


def test_what_is_to_be_seen_exists() -> None:
    everything = known().keys() | set().union(*known().values())
    dangling = {
        f"{module}: {name}"
        for module, path in PATHS.items()
        for name in SEE.findall(path.read_text("utf-8"))
        if name not in everything
    }
    assert not dangling


def test_files_that_pages_name_exist() -> None:
    root = SOURCE.parents[1]
    pages = {path.name: path.read_text("utf-8") for path in [*root.glob("*.md"), *root.glob("docs/**/*.md")]}
    dangling = {
        f"{name}: {path}"
        for name, text in pages.items()
        for path in re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)+\.py)`", text)
        if not any((folder / path).is_file() for folder in (root, SOURCE))
    }
    assert not dangling
