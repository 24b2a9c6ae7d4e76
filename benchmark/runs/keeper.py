"""Looks after a training from step to step: resumes it, writes its checkpoints, ends it when a signal asks for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import reporting_full_disk
from ..training.checkpoint import Checkpoint, Header, find_checkpoint, write_checkpoint
from ..training.execution import Execution, ExecutionChangedError
from .heartbeat import Pulse
from .interruption import Interrupted, StopRequest
from .journal import Journal, read_journal
from .provenance import code_version, machine

if TYPE_CHECKING:
    from ..training.trainer import Trainer
    from ..training.training_run import Progress

# At most this share of the time goes into checkpoints, however slow the disk.
WRITING_SHARE = 0.02


class UnusableCheckpointError(ValueError):
    """The checkpoint is whole, but this code cannot go on from it."""


class Keeper:
    """The watch of one run.

    Args:
        journal: of the run; checkpoints lie beside it.
        experiment: id of the experiment.
        checkpoint: to go on from, or None.
        execution: of this process.
        pulse: that the heartbeat shows.
        request: of signals.
    """

    def __init__(
        self,
        journal: Journal,
        experiment: str,
        checkpoint: Checkpoint | None,
        execution: Execution,
        pulse: Pulse,
        request: StopRequest,
    ) -> None:
        self.journal, self.experiment, self.checkpoint, self.execution = journal, experiment, checkpoint, execution
        self.pulse, self.request = pulse, request
        self.attempt = read_journal(journal.folder)[0].time
        self._due, self._paid = time.monotonic() + execution.checkpoint_seconds, 0.0

    def resume(self, trainer: Trainer) -> Progress:
        """Give the trainer and all generators the states of the checkpoint, if there is one."""
        from ..training.generators import set_generator_states
        from ..training.training_run import Progress

        if self.checkpoint is None:
            return Progress()
        try:
            states = self.checkpoint.states()
            trainer.load_state(states["trainer"])
            set_generator_states(states["generators"], trainer.device)
            progress = Progress(**states["progress"])
        except Exception as error:  # whatever another version of the code trips over
            raise UnusableCheckpointError(f"{type(error).__name__}: {error}") from error
        self._tell_resumed(trainer, progress, self.checkpoint)
        self.pulse.steps, self.checkpoint = trainer.steps, None
        return progress

    def _tell_resumed(self, trainer: Trainer, progress: Progress, checkpoint: Checkpoint) -> None:
        conditions = _conditions(self.execution)
        was, now = checkpoint.header.machine, str(conditions["machine"])
        # Elsewhere it goes on, but with other last bits: whoever reads the run should know.
        if was != now:
            conditions["moved_from"] = was
        self.journal.append("resumed", step=progress.epochs, steps=trainer.steps, **conditions)

    def after_step(self, trainer: Trainer, progress: Progress) -> None:
        """Write a checkpoint when it is time; write one and end when a signal asked for it.

        Raises:
            Interrupted: after the checkpoint.
            DiskFullError: if there is no room for it.
        """
        self.pulse.steps = trainer.steps
        stopping = self.request.number is not None
        if stopping or (time.monotonic() >= self._due and progress.seconds >= self._paid):
            self.save(trainer, progress)
        if self.request.number is not None:
            raise Interrupted(self.request.number)

    def save(self, trainer: Trainer, progress: Progress) -> None:
        """Write a checkpoint."""
        from ..training.generators import generator_states

        began, folder = time.monotonic(), self.journal.folder
        states: Mapping[str, Any] = {
            "trainer": trainer.state(),
            "generators": generator_states(trainer.device),
            "progress": asdict(progress),
        }
        header = Header(
            experiment=self.experiment,
            attempt=self.attempt,
            epochs=progress.epochs,
            steps=trainer.steps,
            **_conditions(self.execution),
        )
        with reporting_full_disk(folder):
            self.journal.sync()
            write_checkpoint(folder, header, states)
        now = time.monotonic()
        self._due = now + self.execution.checkpoint_seconds
        # Of its own time: the members of a cohort take turns, and each writes.
        self._paid = progress.seconds + ((now - began) / WRITING_SHARE if self.execution.checkpoint_seconds else 0)


def checkpoint_for(folder: Path, experiment: str, execution: Execution) -> Checkpoint | None:
    """The checkpoint that a run in this folder goes on from; None if it starts anew.

    Raises:
        ExecutionChangedError: if there is one, of another kind of device or another number of threads.
    """
    entries = read_journal(folder)
    if not entries or entries[-1].event in ("failed", "stopped"):
        return None
    found = find_checkpoint(folder, experiment, entries)
    if found is None:
        return None
    was, device = found.header, execution.device.partition(":")[0]
    if (was.device, was.threads) != (device, execution.threads):
        raise ExecutionChangedError(
            f"{folder.name} was interrupted after {was.steps:,} steps on {was.device} with --threads {was.threads}; on "
            f"{device} with --threads {execution.threads} it would not give the same bits. Go on with --device "
            f"{was.device} --threads {was.threads}, or train what was interrupted from its beginning: --restart"
        )
    return found


def _conditions(execution: Execution) -> dict[str, Any]:
    kind = execution.device.partition(":")[0]
    name = machine(execution.device, execution.threads)["device_name"]
    return {
        "device": kind,
        "threads": execution.threads,
        "machine": f"torch {code_version()['torch']} on {name}",
    }
