"""Worker processes: how many cores there are, a map over them, and their end when the parent has died."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
# A closed terminal is no reason to lose an hour; what is ignored, as SIGHUP under `nohup`, stays so. Windows has none.
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def usable_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Results in the order of the items, from worker processes or, for one worker, from this process.

    Twice as many items as workers are under way at most, so that results which nobody has taken yet stay few.

    Raises:
        BrokenProcessPool: if a worker was killed.
    """
    if workers == 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        pending: deque[Future[Result]] = deque()
        for item in items:
            with signals_blocked():
                pending.append(pool.submit(function, item))
            if len(pending) == 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    end_with_parent()
    # Ctrl-C reaches the whole process group; the parent ends its workers, and says so once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_signals_through()


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Within, signals wait; a process that is started here gets none until it lets them through.

    Otherwise Ctrl-C would end it amid its imports, with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Python 3.11 starts it with the first process, and lets signals through then.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_signals_through() -> None:
    """Let this worker process have the signals that were blocked when it was started."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def end_with_parent() -> None:
    """Let this worker process end as soon as its parent has died; a killed parent cannot end it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
