"""What Headstart leaves behind on the user's machine, and what it needs of it."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

import guard
import headstart as hs
from headstart import environment
from headstart.__main__ import main
from headstart.images.remote_store import RemoteStore

GUARD = guard.__file__
SPIN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def python(code: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in SPIN} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


SHOW = f"\nimport os; print(*(f'{{n}}={{os.environ[n]}}' for n in {SPIN} if n in os.environ))"


@pytest.mark.parametrize(
    ("code", "variables", "found"),
    [
        ("import headstart", {}, "GOMP_SPINCOUNT=3000 KMP_BLOCKTIME=1"),
        ("import headstart.cli", {}, "GOMP_SPINCOUNT=3000 KMP_BLOCKTIME=1"),
        ("import headstart", {"OMP_WAIT_POLICY": "ACTIVE"}, "OMP_WAIT_POLICY=ACTIVE"),
        ("import headstart", {"GOMP_SPINCOUNT": "7"}, "GOMP_SPINCOUNT=7"),
        ("import headstart", {"KMP_BLOCKTIME": "infinite"}, "KMP_BLOCKTIME=infinite"),
        # PyTorch has read the environment by then; the host program's children shall not read another.
        ("import sys; sys.modules['torch'] = sys; import headstart", {}, ""),
    ],
)
def test_threads_that_wait_spin_briefly_unless_the_user_has_decided(
    code: str, variables: dict[str, str], found: str
) -> None:
    assert python(code + SHOW, **variables) == found


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, "1 system"),
        ({"ORT_DISABLE_TELEMETRY": "0", "ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "0 mimalloc"),
    ],
)
def test_other_libraries_report_to_nobody_and_free_memory_unless_the_user_has_decided(
    variables: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("ORT_DISABLE_TELEMETRY", "ARROW_DEFAULT_MEMORY_POOL")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    code = f"import headstart, os; print(*(os.environ[name] for name in {names}))"
    assert python(code, **variables) == found


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(
        '[[phases]]\nname = "one"\nepochs = 1\n\n[[phases]]\nname = "two"\nunfreeze = 1\nepochs = 1\n'
    )
    return path


class Machine:
    """A home, a folder of temporary files and a working directory for one command."""

    def __init__(self, folder: Path, photos: Path, recipe: Path) -> None:
        self.home, self.temporary, self.work = (folder / name for name in ("home", "tmp", "work"))
        for each in (self.home, self.temporary, self.work):
            each.mkdir()
        self.run_folder = folder / "run"
        self.train = (
            *("train", str(photos), "--out", str(self.run_folder), "--recipe", str(recipe)),
            *("--backbone", "squeezenet1_1", "--weights", "random", "--size-px", "32"),
        )

    def run(
        self, *arguments: str, is_root_all_powerful: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command under the guard, in an environment that holds nothing but what it needs."""
        environment = {
            name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ
        }
        environment |= {"HOME": str(self.home), "TMPDIR": str(self.temporary), **variables}
        command = [sys.executable, GUARD, *arguments]
        if not is_root_all_powerful and os.geteuid() == 0:  # who could write into read-only folders otherwise
            command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
        return subprocess.run(
            command, env=environment, cwd=self.work, capture_output=True, text=True, check=False, timeout=300
        )


@pytest.fixture
def machine(tmp_path: Path, photos: Path, recipe: Path) -> Machine:
    return Machine(tmp_path, photos, recipe)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_guard_sees_whoever_opens_a_socket(machine: Machine) -> None:
    assert machine.run().returncode in (guard.CAUGHT, -getattr(signal, "SIGSYS", 0))
    assert machine.run("--version").returncode == 0


def test_nothing_appears_in_the_home_but_the_cache_and_nothing_is_looked_up(machine: Machine) -> None:
    done = machine.run(*machine.train, OMP_DISPLAY_ENV="VERBOSE")
    assert done.returncode == 0, done.stderr
    if sys.platform == "linux":  # GCC's OpenMP says what it has read
        assert "GOMP_SPINCOUNT = '3000'" in done.stderr
    assert {path.name for path in machine.home.iterdir()} == {".cache"}
    assert {path.name for path in (machine.home / ".cache").iterdir()} == {"headstart"}
    assert {path.name for path in (machine.home / ".cache" / "headstart").iterdir()} == {
        "features",
        "matplotlib",  # its list of fonts
    }
    assert not files_below(machine.temporary)
    assert not files_below(machine.work)
    assert machine.run("predict", str(machine.run_folder), machine.train[1]).returncode == 0
    assert {path.name for path in (machine.home / ".cache").iterdir()} == {"headstart"}


def modes_below(folder: Path) -> dict[str, int]:
    """Return the permissions of a folder and all folders in it."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    return {path.relative_to(folder.parent).as_posix(): path.stat().st_mode & 0o777 for path in folders}


@pytest.mark.skipif(os.name == "nt", reason="the user's folders are private on Windows")
def test_other_users_cannot_look_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    umask = os.umask(0o002)  # that of several systems, where even the group may write
    try:
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "mine" / "cache"))
        hs.check(photos)
        RemoteStore().put("https://example.org/cat.jpg", b"photo")
        RemoteStore().put("https://example.org/dog.jpg", b"photo")
    finally:
        os.umask(umask)
    modes = modes_below(tmp_path / "mine" / "cache")
    assert {"cache", "cache/features", "cache/photos"} < modes.keys()
    assert set(modes.values()) == {0o700}
    files = [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".sqlite", ""}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o775  # not the cache's


@pytest.mark.skipif(os.name == "nt", reason="the user's folders are private on Windows")
def test_users_who_share_a_cache_can_use_what_is_made_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "team"
    cache.mkdir()
    cache.chmod(0o775)
    monkeypatch.setenv("HEADSTART_CACHE", str(cache))
    umask = os.umask(0o002)
    try:
        environment.make_in_cache(cache / "features")
    finally:
        os.umask(umask)
    assert modes_below(cache) == {"team": 0o775, "team/features": 0o775}


@pytest.mark.skipif(os.name == "nt", reason="the user's folders are private on Windows")
def test_a_cache_that_was_open_to_others_is_closed_unless_the_user_has_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, named = tmp_path / "headstart", tmp_path / "named"
    for cache in (usual, named):
        cache.mkdir()
        cache.chmod(0o2755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HEADSTART_CACHE")
    environment.make_in_cache(usual / "features")
    assert modes_below(usual) == {"headstart": 0o700, "headstart/features": 0o700}
    monkeypatch.setenv("HEADSTART_CACHE", str(named))
    environment.make_in_cache(named / "features")
    assert modes_below(named) == {"named": 0o755, "named/features": 0o700}


@pytest.mark.slow
def test_a_user_without_a_home_a_name_and_a_temporary_folder_can_train(machine: Machine) -> None:
    machine.work.chmod(0o555)
    done = machine.run(
        *("nobody", *machine.train),
        is_root_all_powerful=False,
        TMPDIR=str(machine.temporary / "gone"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("this user has no home folder") == 1
    assert (machine.run_folder / "curves.png").is_file()
    assert not list(machine.work.iterdir())
    cache = machine.run("nobody", "cache")
    assert (cache.returncode, cache.stdout) == (1, "")
    assert "set HEADSTART_CACHE" in cache.stderr


@pytest.mark.slow
def test_a_home_that_is_read_only_costs_the_store_and_says_so_once(machine: Machine) -> None:
    machine.home.chmod(0o555)
    done = machine.run(*machine.train, is_root_all_powerful=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Features cannot be stored in") == 1
    assert not list(machine.home.iterdir())
    assert (machine.run_folder / "model.onnx").is_file()
    assert not files_below(machine.temporary)


def figures(code: str, home: Path, **variables: str) -> str:
    """Draw a figure of Headstart's in a process whose home this is, then run code."""
    draw = "from headstart.training.tools.figure import new_figure\nimport io, os\n"
    draw += "before = dict(os.environ)\nfigure = new_figure()\nfigure.savefig(io.BytesIO(), format='png')\n"
    draw += "assert dict(os.environ) == before\nimport matplotlib\n"
    clean = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", draw + code],
        env=clean | {"HOME": str(home)} | variables,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def test_a_users_own_matplotlib_settings_count_and_its_fonts_are_still_kept_in_the_cache(
    tmp_path: Path,
) -> None:
    settings = tmp_path / ".config" / "matplotlib"
    settings.mkdir(parents=True)
    (settings / "matplotlibrc").write_text("lines.linewidth: 7\n")
    shown = figures("print(matplotlib.rcParams['lines.linewidth'])", tmp_path)
    if sys.platform == "linux":
        assert shown == "7.0"
        assert {path.name for path in tmp_path.iterdir()} == {".config", ".cache"}
        assert {path.name for path in (tmp_path / ".cache").iterdir()} == {"headstart"}
        assert [path.name for path in settings.iterdir()] == ["matplotlibrc"]


def test_a_users_own_folder_for_matplotlib_is_used(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    code = "print(matplotlib.get_cachedir())"
    own = tmp_path / "own"
    assert figures(code, tmp_path / "home", MPLCONFIGDIR=str(own)) == str(own)
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux's C library")
def test_the_command_line_keeps_freed_memory_unless_the_user_has_decided() -> None:
    code = (
        "import ctypes, types\n"
        "calls = []\n"
        "takes = 1\n"
        "library = types.SimpleNamespace(mallopt=lambda *arguments: calls.append(arguments) or takes)\n"
        "ctypes.CDLL = lambda name: library\n"
        "from headstart.environment import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "print(calls)\n"
        "calls, takes = [], 0\n"
        "keep_freed_memory()  # where the first is refused, the second would do harm\n"
        "del library.mallopt\n"
        "keep_freed_memory()  # with another C library\n"
        "print(calls)"
    )
    assert python(code).splitlines() == ["[(-3, 33554432), (-1, 268435456)]", "[(-3, 33554432)]"]
    assert python(code, MALLOC_TRIM_THRESHOLD_="1").split() == ["[]", "[]"]
    assert python(code, GLIBC_TUNABLES="glibc.malloc.trim_threshold=1").split() == ["[]", "[]"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux's C library")
@pytest.mark.parametrize(
    ("command", "rest", "keeps"),
    [("train", ["--seed", "x"], True), ("predict", ["photo.jpg"], False)],
    ids=str,
)
def test_commands_that_do_not_train_give_freed_memory_back(
    command: str, rest: list[str], keeps: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[int] = []
    library = types.SimpleNamespace(mallopt=lambda number, _: calls.append(number) or 1)
    monkeypatch.setattr(environment, "ctypes", types.SimpleNamespace(CDLL=lambda _: library))
    monkeypatch.setattr(atexit, "register", lambda *_: None)  # this process does not end with the command
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["headstart", command, str(tmp_path / "nothing"), *rest])
    with pytest.raises(SystemExit):
        main()
    assert bool(calls) is keeps


CUDA, ROCM, CPU_ALONE = ("'13.0'", None), (None, "'6.4'"), (None, None)


@pytest.mark.parametrize(
    ("build", "drivers", "variables", "found"),
    [
        (CUDA, ["cuda"], {}, True),
        (CUDA, [], {}, False),
        (CUDA, ["hip"], {}, False),  # an AMD processor with graphics, and PyTorch for NVIDIA
        (CUDA, ["cuda"], {"CUDA_VISIBLE_DEVICES": ""}, False),
        (CUDA, ["cuda"], {"CUDA_VISIBLE_DEVICES": "-1"}, False),
        (CUDA, ["cuda"], {"CUDA_VISIBLE_DEVICES": "-1,0"}, False),
        (CUDA, ["cuda"], {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, False),
        (CUDA, ["cuda"], {"CUDA_VISIBLE_DEVICES": "0"}, True),
        (CUDA, ["cuda"], {"CUDA_VISIBLE_DEVICES": " 1,0"}, True),
        (CUDA, ["cuda"], {"CUDA_VISIBLE_DEVICES": "GPU-8932f937-d72c"}, True),
        (CUDA, ["cuda"], {"CUDA_VISIBLE_DEVICES": "MIG-GPU-8932f937/1/2"}, True),
        (CUDA, ["cuda"], {"HIP_VISIBLE_DEVICES": ""}, True),  # another maker's
        (ROCM, ["hip"], {}, True),
        (ROCM, ["cuda"], {}, False),
        (ROCM, ["hip"], {"CUDA_VISIBLE_DEVICES": ""}, False),
        (ROCM, ["hip"], {"HIP_VISIBLE_DEVICES": "-1"}, False),
        (ROCM, ["hip"], {"ROCR_VISIBLE_DEVICES": ""}, False),
        (ROCM, ["hip"], {"ROCR_VISIBLE_DEVICES": "0,1"}, True),
        (CPU_ALONE, ["cuda", "hip"], {}, False),
    ],
)
def test_whether_there_may_be_a_gpu_is_known_without_pytorch(
    build: tuple[str | None, str | None],
    drivers: list[str],
    variables: dict[str, str],
    found: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('it is imported')")
    text = "cuda: Optional[str] = {}\nhip: Optional[str] = {}\n".format(*build)
    (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name, gpu in environment.GPUS.items():
        if name in drivers:
            (tmp_path / name).touch()
        monkeypatch.setitem(environment.GPUS, name, gpu._replace(driver=str(tmp_path / name)))
        for variable in gpu.variables:
            monkeypatch.delenv(variable, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment.may_have_gpu() is found


def test_without_pytorch_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "has_pytorch", lambda: False)
    assert not environment.may_have_gpu()
