"""TensorBoard: event files in ``tensorboard/`` of the run folder, written without PyTorch or TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tomli_w

from headstart.config import PhaseConfig
from headstart.training.run.history import EpochRecord
from headstart.training.watch.tracked import final_numbers, numbers_of
from headstart.training.watch.watcher import RunStart, Watcher

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter


class TensorBoard(Watcher):
    """Writes the scores of each epoch. TensorBoard stores them as float32.

    A step is a row of ``history.csv``, counted from 1. A resumed run writes all rows again, and TensorBoard
    shows them instead of the earlier ones.
    """

    def __init__(self) -> None:
        self._writer: EventFileWriter | None = None
        self._step = 0

    def run_begun(self, start: RunStart) -> None:
        """Open an event file; in a resumed run, it replaces the earlier ones."""
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(start.path / "tensorboard"))
        if start.is_resumed:
            self._add(0, session_log=SessionLog(status=SessionLog.START))
        toml = tomli_w.dumps(start.config.absolute().to_dict())
        self._add_text("settings", "".join(f"    {line}\n" for line in toml.splitlines()))
        for record in start.history:
            self._add_record(record)

    def phase_begun(self, phase: PhaseConfig, frozen_stages: tuple[str, ...], num_trainable: int) -> None:
        """Write the name of the phase at its first step."""
        self._add_text("phase", phase.name, self._step + 1)

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """Write the scores of an epoch."""
        self._add_record(record)
        self._flush()

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        """Write the final scores and close the file."""
        self._add_numbers(final_numbers(metrics))
        self._close()

    def run_stopped(self, error: BaseException) -> None:
        """Close the file; a resumed run opens another one in the same folder."""
        self._close()

    def _add_record(self, record: EpochRecord) -> None:
        self._step += 1
        self._add_numbers(numbers_of(record))

    def _add_numbers(self, numbers: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        self._add(self._step, summary=Summary(value=values))

    def _add_text(self, tag: str, text: str, step: int = 0) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata

        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        metadata = create_summary_metadata(display_name=tag, description="")
        self._add(step, summary=Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]))

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        assert self._writer is not None
        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))

    def _flush(self) -> None:
        assert self._writer is not None
        self._writer.flush()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
