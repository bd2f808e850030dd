"""Imports go one way. This reads them, so that nobody has to remember."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "headstart"

# The house, from the ground up: files and rooms of ``src/headstart``. A file may import what stands in lines
# above its own, and what stands in its own room; within a room, too, no imports go round in a circle.
GROUND_FLOOR = """
messages
reasons
errors
blas
columns
charts
cores
environment
files
locks
package_files
config
cluster
images
packed_columns
packed
records
tasks
inference
weight_files
recipe
views
data
frozen
probe
answers
findings
neighbours
recommendation
reporting
serving
"""
UPPER_FLOOR = """
model
products
training/run/history
training/tools/figure
training/watch
training/steps/tensors
training/run
training/by_folds
training/floor
training/findings
training/hand_over
training/probe_setup
training/solve_folds
training/ground
training/steps
training/settings_warnings
training/setup
training/steps/phase
training/steps/deployed
training/finish
training/upper
training/choose
training/tools
training/train
demo
cli
__main__
"""
HOUSE = [*GROUND_FLOOR.split(), *UPPER_FLOOR.split()]
# On the upper floor, these can be imported without PyTorch too: they import it where they use it, at most.
WITHOUT_TORCH = {
    *("products/answers_csv", "products/calibration", "products/export", "products/finished"),
    "products/fixed_shapes",
    *("products/half", "products/heat_map", "products/kept_unknown", "products/mean_blocks"),
    *("products/new_folder", "products/parity_with_run"),
    *("products/outputs", "products/plain_photo", "products/product", "products/report_html"),
    *("products/test_vector", "products/timm_card", "products/unknown", "products/web_folder"),
    "products/web_runtime",
    *("training/by_folds", "training/solve_folds", "training/run/copied", "training/tools/folds"),
    "training/run/kept_decisions",
    *("training/choose", "training/findings", "training/floor", "training/ground", "training/hand_over"),
    *("training/probe_setup", "training/settings_warnings", "training/train"),
    "training/run/dealt",
    *("training/run/history", "training/run/interrupt", "training/run/moved", "training/run/photos_csv"),
    *("training/run/provenance", "training/run/result", "training/run/run_folder", "training/run/stopwatch"),
    *("training/steps/sampler", "training/steps/schedule", "training/watch"),
    *("training/tools/backbone_list", "training/tools/extractor", "training/tools/features"),
    *("training/tools/figure", "training/tools/lr_range", "training/tools/phase_plan"),
    *("training/tools/picture", "training/tools/plan", "training/tools/preview"),
    *("training/tools/best", "training/tools/check", "training/tools/cluster_plan"),
    *("training/tools/on_ray", "training/tools/recommend"),
    *("demo", "cli", "__main__"),
}
TORCH = {"torch", "torchvision", "timm", "accelerate", "sklearn", "scipy"}
NETWORKS = {"onnx", "safetensors"}  # files of networks: what reads and makes them, which prediction does not
WITH_NETWORKS = {"frozen", "probe"}

FILES = {
    str(path.relative_to(SOURCE).with_suffix("")).removesuffix("/__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path != SOURCE / "__init__.py"
}


def place_of(module: str) -> str:
    """Return the longest entry of the house that a module stands in."""
    places = [place for place in HOUSE if f"{module}/".startswith(f"{place}/")]
    if not places and module == "training":
        return "training/floor"  # its own __init__, which is empty
    assert places, f"{module} has no place in the house; give it one in GROUND_FLOOR or UPPER_FLOOR"
    return max(places, key=len)


def imports_of(path: Path, *, when_imported: bool = False) -> set[str]:
    """Full names of what a file imports: wherever in it, or only outside functions."""
    found: set[str] = set()
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


def modules_of(names: Iterable[str]) -> set[str]:
    """Return those of our modules that full names are, or are in."""
    ours = {
        name.removeprefix("headstart.").replace(".", "/") for name in names if name.startswith("headstart.")
    }
    return {name if name in FILES else name.rpartition("/")[0] for name in ours} & FILES.keys()


IMPORTS = {module: imports_of(path) for module, path in FILES.items()}


def test_imports_go_one_way() -> None:
    above = {
        f"{module} imports {each}, which stands above it"
        for module, names in IMPORTS.items()
        for each in modules_of(names)
        if HOUSE.index(place_of(each)) > HOUSE.index(place_of(module))
    }
    assert not above


def test_no_imports_go_round_in_a_circle() -> None:
    below = {module: modules_of(names) - {module} for module, names in IMPORTS.items()}
    while leaves := {module for module, others in below.items() if not others}:
        below = {module: others - leaves for module, others in below.items() if module not in leaves}
    assert not below, f"these files import each other in a circle, or import one that does: {sorted(below)}"


def is_without_torch(module: str) -> bool:
    places = [*GROUND_FLOOR.split(), *WITHOUT_TORCH]
    return any(f"{module}/".startswith(f"{place}/") for place in places) or FILES[module].stat().st_size == 0


def packages_of(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_the_ground_floor_never_imports_torch() -> None:
    for module, names in IMPORTS.items():
        if place_of(module) in GROUND_FLOOR.split():
            refused = TORCH if module.partition("/")[0] in WITH_NETWORKS else TORCH | NETWORKS
            assert not packages_of(names) & refused, module


def test_what_does_without_torch_imports_it_where_it_is_used_at_most() -> None:
    for module in filter(is_without_torch, FILES):
        names = imports_of(FILES[module], when_imported=True)
        assert "safetensors.torch" not in names, module
        assert not packages_of(names) & TORCH, module
        others = {each for each in modules_of(names) if not is_without_torch(each)}
        assert not others, (
            f"{module} can be imported without PyTorch, but imports {sorted(others)}. Import these inside "
            f"functions, or add them to WITHOUT_TORCH if they do not need PyTorch when they are imported."
        )


def test_the_list_of_what_does_without_torch_names_what_exists() -> None:
    folders = {module.rpartition("/")[0] for module in FILES}
    assert not WITHOUT_TORCH - FILES.keys() - folders


LOOKS = re.compile(r"""task["'\])]* *(==|!=|in) *[\[({"']|tasks\.[A-Z]+\.name|match .*task""")


def test_tasks_are_told_apart_in_their_own_files() -> None:
    """A comparison with a task's name is a place that a new task would have to be added to."""
    looks = [
        f"{path.relative_to(SOURCE)}:{number}"
        for path in FILES.values()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if LOOKS.search(line) and path.relative_to(SOURCE).parts[0] not in ("tasks", "config")
    ]
    assert not looks  # the settings are read before anything that computes is imported


USES_PHOTOS = {f"headstart.images.{name}" for name in ("decode", "given", "photo", "preprocess")}
OPENS = {"open", "Image.open", "read_file"}


def test_photos_are_read_by_themselves_alone() -> None:
    """What uses photos asks ``Photo`` for their bytes, for a photo need not be a file."""
    opening = {
        module
        for module, path in FILES.items()
        if USES_PHOTOS & imports_of(path)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ((name := ast.unparse(node.func)) in OPENS or name.endswith(".read_bytes"))
    }
    assert opening == {"inference/predictions_file"}  # opens the file that it writes


def test_there_is_one_call_of_the_onnx_exporter() -> None:
    callers = [path.name for path in FILES.values() if "torch.onnx.export(" in path.read_text("utf-8")]
    assert callers == ["to_onnx.py"]


MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_LONG_FUNCTIONS = 1  # may only shrink


def test_files_are_short_enough_to_be_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(SOURCE))
        for path in FILES.values()
        if path.read_text("utf-8").count("\n") > MOST_LINES_OF_A_FILE
    }
    assert not long, "a file with two ideas becomes two files"


def test_functions_are_short_stories() -> None:
    long = [
        f"{path.relative_to(SOURCE)}: {node.name}"
        for path in FILES.values()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION
    ]
    assert len(long) <= MOST_LONG_FUNCTIONS, f"a long function becomes named steps: {long}"
