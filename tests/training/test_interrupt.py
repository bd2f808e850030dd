"""Signals while training: what is bounded, what is waited for, and who may end a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart.training.run import interrupt
from headstart.training.run.interrupt import Stopped, end_process_by, held_back


class Ended(BaseException):
    """Takes the place of the end of the process."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A step may take a tenth of a second, and nothing ends the tests."""
    monkeypatch.setattr(interrupt, "SECONDS_PER_STEP", 0.1)
    monkeypatch.setattr(os, "_exit", lambda code: pytest.fail("the library ended the process"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    end_process_by(None)
    assert signal.getsignal(signal.SIGINT) is handlers[signal.SIGINT]
    for number, handler in handlers.items():
        signal.signal(number, handler)


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def train(saved: list[str], *, step: float = 0.0, save: float = 0.0, again: int | None = None) -> None:
    """A training in small: the signal comes in the first step; ``again``, another comes while saving."""

    def steps() -> Iterator[int]:
        for number in range(3):
            send()
            time.sleep(step)
            yield number

    with held_back() as stop:
        try:
            for _ in stop.bounded_each(steps()):
                stop.check()
        except Stopped:
            if again is not None:
                send(again)
            time.sleep(save)
            saved.append("saved")
            raise


def score(number: int, seconds: float, said: list[str]) -> None:
    """Scoring in small: the signal comes in its first batch."""
    with held_back(said.append) as stop, stop.bounded():
        send(number)
        time.sleep(seconds)


@pytest.mark.parametrize("by_command_line", [False, True])
def test_a_save_takes_as_long_as_it_needs(by_command_line: bool) -> None:
    if by_command_line:
        end_process_by(lambda number, message: pytest.fail(message))
    saved: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(saved, save=0.4)
    assert saved == ["saved"]


def test_a_save_between_steps_is_not_bounded_either() -> None:
    def make() -> Iterator[int]:
        yield 0
        pytest.fail("the next step was begun")

    saved = []

    def epoch() -> None:
        with held_back() as stop:
            for _ in stop.bounded_each(make()):
                send()
                time.sleep(0.4)  # as the best weights on a slow disk
                saved.append("saved")
                stop.check()

    with pytest.raises(KeyboardInterrupt):
        epoch()
    assert saved == ["saved"]


def test_a_step_that_takes_too_long_is_given_up_and_the_program_lives() -> None:
    saved: list[str] = []
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(saved, step=20)
    assert time.monotonic() - begun < 5
    assert saved == []


def test_scoring_is_bounded_as_a_step_is() -> None:
    said: list[str] = []
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        score(signal.SIGINT, 20, said)
    assert time.monotonic() - begun < 5
    assert "the run can be resumed from its last checkpoint" in said[0]


def test_a_second_signal_does_not_wait_for_the_save() -> None:
    saved: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(saved, save=20, again=signal.SIGINT)
    assert saved == []


def test_only_the_command_line_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[int, str]] = []

    def end(number: int, message: str) -> None:
        received.append((number, message))
        raise Ended

    end_process_by(end)
    with pytest.raises(Ended):
        train([], save=20, again=signal.SIGTERM)
    assert [number for number, _ in received] == [signal.SIGTERM]


@pytest.mark.parametrize("step", [0.0, 20.0])
def test_sigterm_goes_to_the_programs_own_handler_once(step: float) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            score(signal.SIGTERM, step, [])
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_that_python_did_not_install_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    getsignal = signal.getsignal
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda n: None if n == signal.SIGTERM else getsignal(n))
        with held_back():
            assert getsignal(signal.SIGTERM) is signal.SIG_DFL


PROGRAM = """
import os, runpy, sys, time

place, marker = sys.argv.pop(1), sys.argv.pop(1)
if place == "saving":
    from headstart.training.run.run_dir import RunDir

    def slow(self, *arguments, **named):
        open(marker, "w").close()
        time.sleep(100)

    RunDir.record = slow
else:
    from headstart.images.photo import Photo

    def slow(photo):
        open(marker, "w").close()
        time.sleep(100)

    Photo.content = slow
runpy.run_module("headstart", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("place", ["saving", pytest.param("reading", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_on_the_command_line_a_second_signal_ends_the_process_at_once(
    place: str, photos: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM, place, str(tmp_path / "marker"), "train", str(photos)]
    command += ["--backbone", "resnet18", "--weights", "random", "--size-px", "32", "--recipe", "classic"]
    command += ["--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "marker").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        _, err = process.communicate(timeout=30)
        assert time.monotonic() - begun < 5
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err
