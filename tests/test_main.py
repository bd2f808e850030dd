"""How the command ends; what it says is in test_cli."""

from __future__ import annotations

import subprocess
import sys


def test_the_end_is_at_once_and_after_all_other_exit_handlers() -> None:
    code = (
        "import atexit, os, sys, threading, time\n"
        "import headstart.__main__ as command\n"
        "atexit.register(print, 'never')  # older than the command's: what is cut off\n"
        "def run():\n"
        "    atexit.register(print, 'handler')\n"
        "    threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n"
        "    sys.stderr.write('half a line')\n"
        "    return 3\n"
        "command._run = run\n"
        "command.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "thread\nhandler\n", "half a line")


def test_a_profiler_still_sees_the_end() -> None:
    command = [sys.executable, "-m", "cProfile", "-m", "headstart", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "function calls" in done.stdout


def test_a_bug_still_shows_its_traceback() -> None:
    code = "import headstart.__main__ as command\ncommand._run = lambda: 1 / 0\ncommand.main()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_signal_while_a_compiled_module_is_being_loaded_is_no_bug() -> None:
    code = """
import os, signal
import headstart.__main__ as command
def run():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit as stop:
        raise ImportError("initialization failed") from stop  # as pybind11 does
command._run = run
command.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "headstart: interrupted\n")


def test_a_signal_while_ray_waits_is_an_interruption() -> None:
    code = """
import os, signal, sys
import headstart.__main__ as command
def run():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except SystemExit:
        sys.exit(1)  # as ray.get does
command._run = run
command.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "headstart: interrupted\n")
