"""Most tests are processes of their own: what has been imported cannot be imported again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

COMPILER_IS_ABSENT = "assert not {'torch._dynamo', 'torch._dynamo.utils'} & set(sys.modules)\n"
COMPILER_IS_REAL = """
import torch._dynamo.utils
assert torch._dynamo.utils.__file__.endswith("utils.py")
assert sys.modules["torch._dynamo.utils"] is torch._dynamo.utils
assert torch._dynamo.utils.is_compile_supported("cpu") in (True, False)
assert torch.compiler.disable.__module__ == "torch.compiler"
assert not any(type(finder).__module__.startswith("headstart") for finder in sys.meta_path)
x = torch.arange(3.0)
assert torch.equal(torch.compile(lambda x: 2 * x, backend="eager")(x), 2 * x)
"""


# Imports PyTorch once, and runs each line that it reads in a child of its own.
SERVER = """
import json, os, sys, traceback
import torch

for line in sys.stdin:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            exec(json.loads(line), {"sys": sys, "torch": torch})
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as told:
        print(json.dumps(told.read() or ("died" if os.waitpid(child, 0)[1] else "")), flush=True)
"""
LIBRARIES = "from headstart.model import libraries\n"
Python = Callable[[str], None]


@pytest.fixture(scope="module")
def python() -> Iterator[Python]:
    """Run code in a process that has imported PyTorch and nothing else."""
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def run(code: str) -> None:
            print(json.dumps(code), file=server.stdin, flush=True)
            failure = json.loads(server.stdout.readline())
            assert not failure, failure

        yield run
        server.stdin.close()


@pytest.mark.parametrize(
    "order", ["torchvision_models timm", pytest.param("timm torchvision_models", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_the_compiler_comes_when_it_is_asked_for_and_not_before(order: str, python: Python) -> None:
    calls = "".join(f"libraries.{name}()\n" for name in order.split())
    python(
        LIBRARIES + calls + "import torchvision, timm\n"
        "assert libraries.torchvision_models() is torchvision.models and libraries.timm() is timm\n"
        "for network in (timm.create_model('resnet18'), torchvision.models.resnet18()):\n"
        "    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)\n"
        + COMPILER_IS_ABSENT
        + COMPILER_IS_REAL
    )


@pytest.mark.slow
def test_what_was_put_off_works_and_a_failing_import_leaves_nothing_behind(python: Python) -> None:
    python(
        LIBRARIES + "try:\n    libraries._import('headstart.no_such_module')\n"
        "except ModuleNotFoundError: pass\n" + COMPILER_IS_ABSENT + "libraries.torchvision_models()\n"
        "with libraries._without_compiler():\n"
        "    from torchvision import ops, tv_tensors\n"
        "box = torch.tensor([[0.0, 0.0, 3.0, 3.0]])\n"
        "pooled = ops.roi_align(torch.arange(16.0).reshape(1, 1, 4, 4), [box], 2)\n"
        "assert pooled.flatten().tolist() == [3.75, 5.25, 9.75, 11.25]\n"
        + COMPILER_IS_ABSENT
        + "assert sys.modules['torchvision.ops.roi_align'].is_compile_supported('cpu') in (True, False)\n"
        "image = tv_tensors.Image(torch.zeros(3, 4, 4))\n"
        "def wrap(x): return tv_tensors.wrap(torch.Tensor(x) + 1, like=x)\n"
        "for function in (wrap, torch.compile(wrap, backend='eager')):\n"
        "    assert type(function(image)) is tv_tensors.Image\n" + COMPILER_IS_REAL
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        "from torch._dynamo.utils import counters",
        "import torch._dynamo.comptime",  # a module that torch._dynamo itself imports, too
        "torch._dynamo.config",
    ],
)
def test_who_asks_for_more_gets_the_real_compiler(more: str, python: Python) -> None:
    python(f"{LIBRARIES}with libraries._without_compiler():\n    {more}\n" + COMPILER_IS_REAL)


# Another PyTorch, torchvision or timm: each of these is done before anything of ours is imported.
OTHERS = {
    "no module of the decorator": "import torch._compile; sys.modules['torch._compile'] = None",
    "no decorator": "import torch._compile; del torch._compile._disable_dynamo",
    "other parameters of the decorator": (
        "import torch._compile\n"
        "def fails(*arguments): raise TypeError('renamed')\n"
        "torch._compile._disable_dynamo = fails"
    ),
    "no public function": "del torch.compiler.disable",
    "no place for the public function": "del torch.compiler",
    "no file with the function that is put off": (
        "from pathlib import Path\n"
        "def gone(path, *arguments, **details): raise FileNotFoundError(path)\n"
        "Path.read_text = gone"
    ),
    "another name of the function that is put off": (
        "from pathlib import Path\n"
        "Path.read_text = lambda path, *arguments, **details: 'def supports_compilation(device): ...'"
    ),
    "a library that fails without the compiler": (
        "class Fails:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        stands_in = not hasattr(sys.modules.get('torch._dynamo.utils', torch), '__file__')\n"
        "        if name == 'torchvision.ops.boxes' and stands_in: raise RuntimeError('half imported')\n"
        "sys.meta_path.insert(0, Fails())"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_another_pytorch_or_torchvision_costs_a_second_and_nothing_else(name: str, python: Python) -> None:
    python(
        f"{OTHERS[name]}\n{LIBRARIES}network = libraries.torchvision_models().resnet18()\n"
        "assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)\n"
        "import torchvision\n"
        "assert torchvision.ops.nms and torchvision.models.resnet18\n"
        "import torch._dynamo.utils\n"
        "assert torch._dynamo.utils.__file__\n"
        "ours = [each for each in sys.meta_path if 'headstart' in type(each).__module__]\n"
        "assert not ours, ours\n"
    )


@pytest.mark.slow
def test_a_compiler_that_is_there_already_is_used(python: Python) -> None:
    python(
        f"import torch._dynamo\n{LIBRARIES}libraries.torchvision_models()\n"
        "utils = sys.modules['torch._dynamo.utils']\n"
        "assert sys.modules['torchvision.ops.roi_align'].is_compile_supported is utils.is_compile_supported\n"
    )
