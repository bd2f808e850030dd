"""What `import headstart` promises."""

from __future__ import annotations

import builtins
import importlib
import pickle
import pkgutil
import re
import subprocess
import sys

import pytest

import headstart
import headstart.errors


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_public_names_are_sorted_and_there() -> None:
    assert headstart.__all__ == sorted(headstart.__all__)
    for name in headstart.__all__:
        assert getattr(headstart, name).__name__ == name
    assert set(headstart.__all__) <= set(dir(headstart))


def test_every_error_is_public_so_that_it_can_be_caught() -> None:
    classes = {
        name: value
        for name, value in vars(headstart.errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert len(classes) > 10
    for name, error in classes.items():
        assert issubclass(error, headstart.HeadstartError)
        assert getattr(headstart, name) is error
        assert name in headstart.__all__
        assert f" {name} " in (headstart.errors.__doc__ or "")  # the tree


@pytest.mark.parametrize(
    "error",
    [
        headstart.UsageError("a sentence"),
        headstart.ConfigError("batch_size is -5."),
        headstart.ConfigError(["batch_size is -5.", "seed is 'x'."]),
        headstart.ImageError("a.jpg", "truncated"),
        headstart.FileWriteError("run/model.onnx", "disk full", 7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_whole_from_another_process(error: headstart.HeadstartError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_every_error_that_a_public_docstring_names_is_public() -> None:
    named = set()
    for name in headstart.__all__:
        public = getattr(headstart, name)
        methods = vars(public).values() if isinstance(public, type) else ()
        for each in (public, *methods):
            _, _, raises = (getattr(each, "__doc__", None) or "").partition("Raises:\n")
            named |= set(re.findall(r"^\s+(\w+): ", raises, re.MULTILINE))
    assert {"UsageError", "RunFolderError"} <= named
    builtin = {name for name in named if hasattr(builtins, name)}
    assert named - builtin <= set(headstart.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        headstart.trian  # noqa: B018
    with pytest.raises(AttributeError, match=r"headstart predict --help, and in Python headstart\.load"):
        headstart.predict  # noqa: B018


def test_train_stays_a_function_when_every_submodule_has_been_imported() -> None:
    for module in pkgutil.walk_packages(headstart.__path__, "headstart."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert callable(headstart.train)
    for name in headstart.__all__:
        assert getattr(headstart, name).__name__ == name


@pytest.mark.parametrize(
    "code",
    [
        "import headstart",
        "import headstart; headstart.load; headstart.Prediction; headstart.TrainConfig",
        "import headstart.cli",
        "import headstart.inference.predictor, headstart.data.check, headstart.data.split",
    ],
)
def test_what_needs_no_torch_imports_none(code: str) -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'sklearn', 'matplotlib', 'onnx', 'accelerate'}"
    assert run(f"{code}\nimport sys; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_a_missing_package_is_told_with_the_command_that_installs_it() -> None:
    code = """
import sys
sys.modules['torch'] = None  # as if it were not installed
import headstart
from headstart.errors import MissingPackageError
try:
    headstart.create_network
except MissingPackageError as error:
    print(error)
"""
    assert "pip install 'headstart[train]'" in run(code)
