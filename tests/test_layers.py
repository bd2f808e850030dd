"""Imports go one way. This reads them, so that nobody has to remember."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "headstart"

# Lowest row first. Within a row, a module may import those to its right.
ROWS = [
    [
        *("weight_files", "model_file", "tasks", "records", "runtime", "images", "config"),
        *("files", "columns", "cores", "environment", "errors"),
    ],
    ["data"],
    [
        "probe",
        "features",
        "evaluation",
        "answers",
        "predictions",
        "predictions_file",
        "drawings",
        "predictor",
    ],
    ["model"],
    ["export"],
    ["training"],
    ["__main__", "cli", "demo"],
]
TORCH_FREE = [
    *ROWS[0],
    "data",
    "recipe",
    *ROWS[2],
    *("__main__", "cli"),  # which import the others where they are used
]
# Files and folders of a room that otherwise needs PyTorch. They may name its types for the type checker.
TORCH_FREE_FILES = {
    "training/tools/extractor.py",
    "training/tools/figure.py",
    "training/hand_over.py",
    "training/run/history.py",
    "training/run/interrupt.py",
    "training/run/moved.py",
    "training/run/photos_csv.py",
    "training/tools/picture.py",
    "training/tools/preview.py",
    "training/probe.py",
    "training/tools/probe_plan.py",
    "training/run/provenance.py",
    "training/run/result.py",
    "training/run/run_folder.py",
    "training/steps/sampler.py",
    "training/solved.py",
    "training/run/stopwatch.py",
    "training/story.py",
    "training/train.py",
    "training/watch",
}
TORCH = {"torch", "torchvision", "timm", "accelerate", "sklearn", "scipy"}
NETWORKS = {"onnx", "safetensors"}  # files of networks: what reads and makes them, which prediction does not
WITH_NETWORKS = {"features", "probe"}


def module_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: Path, *, when_imported: bool = False) -> set[str]:
    """Full names of what a file imports: wherever in it, or only outside functions."""
    found = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while nodes:
        node = nodes.pop()
        if when_imported and (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_for_types(node)
        ):
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            if node.module == "headstart":
                found.update(f"headstart.{alias.name}" for alias in node.names)
    return found


def is_for_types(node: ast.AST) -> bool:
    """Tell whether a node is ``if TYPE_CHECKING``, which never runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def allowed_for(module: str) -> set[str]:
    if module == "recipe":
        return {"config", "tasks"}
    for number, row in enumerate(ROWS):
        if module in row:
            below = {name for lower in ROWS[:number] for name in lower}
            right = set(row[row.index(module) + 1 :])
            return below | right | {module} | ({"recipe"} if number >= ROWS.index(["training"]) else set())
    raise AssertionError(f"{module} has no place in the layers; give it one in ROWS")


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    module = module_of(path)
    ours = {name.split(".")[1] for name in imports_of(path) if name.startswith("headstart.")}
    wrong = ours - allowed_for(module)
    if module == "model":
        wrong |= ours & {"data"}
    if module == "data":
        wrong |= ours & {"model"}
    assert not wrong, f"{path} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", [p for p in FILES if module_of(p) in TORCH_FREE], ids=lambda p: p.name)
def test_what_must_do_without_torch_never_imports_it(path: Path) -> None:
    refused = TORCH if module_of(path) in WITH_NETWORKS else TORCH | NETWORKS
    assert not {name.partition(".")[0] for name in imports_of(path)} & refused
    names = {
        name.split(".")[1] for name in imports_of(path, when_imported=True) if name.startswith("headstart.")
    }
    assert names <= set(TORCH_FREE)


@pytest.mark.parametrize("name", sorted(TORCH_FREE_FILES))
def test_what_must_do_without_torch_imports_it_where_it_is_used_at_most(name: str) -> None:
    files = [SOURCE / name] if name.endswith(".py") else sorted((SOURCE / name).glob("*.py"))
    assert files
    names = {each for file in files for each in imports_of(file, when_imported=True)}
    assert "safetensors.torch" not in names
    assert not {each.partition(".")[0] for each in names} & (TORCH - {"onnx", "safetensors"})
    for each in names:
        parts = each.split(".")
        if parts[0] == "headstart" and len(parts) > 1:
            places = {"/".join(parts[1:end]) for end in range(2, len(parts) + 1)}
            assert parts[1] in TORCH_FREE or {*places, *(f"{e}.py" for e in places)} & TORCH_FREE_FILES, each


LOOKS = re.compile(r"""task["'\])]* *(==|!=|in) *[\[({"']|tasks\.[A-Z]+\.name|match .*task""")


def test_tasks_are_told_apart_in_their_own_files() -> None:
    """A comparison with a task's name is a place that a new task would have to be added to."""
    looks = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if LOOKS.search(line) and module_of(path) not in ("tasks", "config")
    ]
    assert not looks  # the settings are read before anything that computes is imported


def test_there_is_one_call_of_the_onnx_exporter() -> None:
    callers = [path.name for path in FILES if "torch.onnx.export(" in path.read_text("utf-8")]
    assert callers == ["to_onnx.py"]


MOST_LINES_OF_A_FILE = 400
LONG_FILES = {
    "training/tools/lr_find.py",
    "training/tools/plan.py",
}  # with several ideas still; may only shrink
MOST_LINES_OF_A_FUNCTION = 60
MOST_LONG_FUNCTIONS = 11  # may only shrink


def test_files_are_short_enough_to_be_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(SOURCE))
        for path in FILES
        if path.read_text("utf-8").count("\n") > MOST_LINES_OF_A_FILE
    }
    assert not long - LONG_FILES, "a file with two ideas becomes two files"


def test_functions_are_short_stories() -> None:
    long = [
        f"{path.relative_to(SOURCE)}: {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]
    assert len(long) <= MOST_LONG_FUNCTIONS, f"a long function becomes named steps: {long}"
