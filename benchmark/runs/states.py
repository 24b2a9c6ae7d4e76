"""The state of an experiment, read from its run folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .heartbeat import Heartbeat, is_held, read_heartbeat
from .journal import read_journal


class State(StrEnum):
    """What an experiment is doing."""

    PENDING = "pending"
    """Nobody has begun it."""
    RUNNING = "running"
    """Somebody holds its lock, or gave a sign of life within a minute."""
    FINISHED = "finished"
    """Trained and scored."""
    FAILED = "failed"
    """Ended by an error; it is trained anew when it is asked for again."""
    STOPPED = "stopped"
    """Ended by whoever watched it: a pruned trial of a study."""
    INTERRUPTED = "interrupted"
    """Begun and not ended; it goes on from its checkpoint when it is asked for again."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Where an experiment stands.

    Attributes:
        state: what it is doing.
        epoch: epochs in its journal.
        step: training step at which it failed or was interrupted, where that is known.
        reason: why it failed or stopped, else empty.
        heartbeat: its last sign of life while it runs, and after it was killed.
    """

    state: State
    epoch: int = 0
    step: int | None = None
    reason: str = ""
    heartbeat: Heartbeat | None = None


ENDED = {state.value: state for state in (State.FINISHED, State.FAILED, State.STOPPED)}


def read_state(folder: Path) -> RunState:
    """Read the state of the run in a folder; the folder need not exist."""
    entries = read_journal(folder)
    last = entries[-1] if entries else None
    if last and last.event == State.FINISHED:
        return RunState(state=State.FINISHED, epoch=last.step)
    epoch = max((entry.step for entry in entries), default=0)
    if is_held(folder):
        return RunState(state=State.RUNNING, epoch=epoch, heartbeat=read_heartbeat(folder))
    if last is None:
        return RunState(state=State.PENDING)
    return RunState(
        state=ENDED.get(last.event, State.INTERRUPTED),
        epoch=epoch,
        step=last.details.get("steps"),
        reason=str(last.details.get("reason", "")),
        heartbeat=read_heartbeat(folder),
    )
