"""What holds of every file of the sources."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.parsed import parsed

import headstart

SOURCE = Path(headstart.__path__[0])


def trees() -> dict[str, ast.Module]:
    return {path.relative_to(SOURCE).as_posix(): parsed(path) for path in sorted(SOURCE.rglob("*.py"))}


def nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those below ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from nodes_at_run_time(child)


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def packages(tree: ast.AST) -> set[str]:
    """Return the packages that are imported, wherever in a file, but not for types alone."""
    nodes = list(nodes_at_run_time(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("used", "what", "files"),
    [
        (attributes, {"cpu_count", "process_cpu_count", "sched_getaffinity"}, {"cores.py"}),
        (attributes, {"home", "expanduser", "getuser"}, {"environment.py"}),
        (packages, {"matplotlib"}, {"training/tools/figure.py"}),
        (packages, {"torchvision", "timm"}, set()),  # model/libraries.py imports them by their names
    ],
    ids=["processors", "homes", "matplotlib", "torchvision and timm"],
)
def test_what_has_traps_is_used_in_one_place(
    used: Callable[[ast.AST], set[str]], what: set[str], files: set[str]
) -> None:
    assert {name for name, tree in trees().items() if what & used(tree)} == files


def without_docstring(node: ast.AST, where: str) -> Iterator[str]:
    """Name the public functions, classes and methods of a module that say nothing of themselves."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)) and not child.name.startswith("_"):
            name = f"{where}.{child.name}"
            # A module's class says what forward does; a property is an attribute, whose name may say it all.
            property_ = any(isinstance(d, ast.Name) and d.id == "property" for d in child.decorator_list)
            if child.name != "forward" and not property_ and not ast.get_docstring(child):
                yield name
            if isinstance(child, ast.ClassDef):
                yield from without_docstring(child, name)


def test_everything_public_has_a_docstring() -> None:
    # Read, not imported: Python gives every dataclass a __doc__.
    assert not [name for name, tree in trees().items() if tree.body and not ast.get_docstring(tree)]
    assert not [missing for name, tree in trees().items() for missing in without_docstring(tree, name)]
