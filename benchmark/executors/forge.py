"""How worker processes begin: forked from one that has imported torch, where that is safe, else each from nothing.

Two workers then wait for one import of torch instead of two, and share its memory.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext

from ..runs.interruption import ENDING


def worker_context(device: str) -> ForkServerContext | SpawnContext:
    """How workers for a device are begun: CUDA does not survive a fork, and other systems' libraries may not."""
    if sys.platform != "linux" or device != "cpu":
        return multiprocessing.get_context("spawn")
    _start()
    return multiprocessing.get_context("forkserver")


def import_ahead(device: str) -> None:
    """Let torch be imported beside what this command does until it has jobs for workers: .5 to 1.3 s less.

    With torch here, workers may not be needed.
    """
    if sys.platform == "linux" and device == "cpu" and "torch" not in sys.modules:
        _start()
        atexit.register(_end)


def _start() -> None:
    """Start the process that workers are forked from, unless it runs.

    It ends when this process and its workers have ended, however they ended. Signals to the whole process group are not
    for it.
    """
    forkserver.set_forkserver_preload([f"{__package__}.preloaded"])
    resource_tracker.ensure_running()  # before signals are blocked: having started, it lets them through
    with _blocked():
        forkserver.ensure_running()


def _end() -> None:
    """End it at once: a command that has trained nothing does not leave an import behind that goes on for seconds."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def take_signals() -> None:
    """Let this process, a worker, take the signals that the one that it was forked from does not."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextmanager
def _blocked() -> Iterator[None]:
    """Within, the ending signals wait; processes that are started here never get them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
