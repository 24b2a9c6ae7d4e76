"""Signals that end a run in good order: the step is finished, a checkpoint and the journal are written."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ...processes import ENDING


class Interrupted(KeyboardInterrupt):
    """A signal of this number ended the run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell expects: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number

    def __str__(self) -> str:
        return signal.Signals(self.number).name


@dataclass
class StopRequest:
    """Whether this process was asked to stop: the number of the first signal that did, or None."""

    number: int | None = None


# A worker process takes its next jobs from a queue that its parent can no longer empty.
_WORKER_STOPPED = StopRequest()


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within, signals are noted in the request that this yields; a second Ctrl-C stops at once.

    Raises:
        Interrupted: at the end, if a signal came and was not raised before; at once in a worker that was stopped.
    """
    in_worker = multiprocessing.parent_process() is not None
    request = _WORKER_STOPPED if in_worker else StopRequest()
    if request.number is not None:
        raise Interrupted(request.number)

    def note(number: int, frame: FrameType | None) -> None:
        if number == request.number == signal.SIGINT:
            raise Interrupted(number)
        request.number = request.number or number

    with _handling(note):
        yield request
    if request.number is not None:
        raise Interrupted(request.number)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise `Interrupted` as Ctrl-C raises KeyboardInterrupt, so that things are closed."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    with _handling(end):
        yield


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Within, the ending signals go to `handler`; in a thread other than the main one nothing can be handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
