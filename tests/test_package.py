"""What `import headstart` promises."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import headstart


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_public_names_are_sorted_and_there() -> None:
    assert headstart.__all__ == sorted(headstart.__all__)
    for name in headstart.__all__:
        assert getattr(headstart, name).__name__ == name
    assert set(headstart.__all__) <= set(dir(headstart))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        headstart.trian  # noqa: B018


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
        "import headstart.predictor, headstart.runtime, headstart.data.check, headstart.data.split",
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
    headstart.train
except MissingPackageError as error:
    print(error)
"""
    assert "pip install 'headstart[train]'" in run(code)


def test_every_public_name_has_a_docstring() -> None:
    for name in headstart.__all__:
        assert getattr(headstart, name).__doc__, name
