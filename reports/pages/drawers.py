"""Processes that draw figures, starting up while the caller still reads what they will draw."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager


@contextmanager
def open_drawers(number: int) -> Iterator[Executor]:
    """So many processes for `draw_figures`, which import at once what drawing needs; gone when the block ends."""
    # joblib's processes, unlike those of multiprocessing, do not run the caller's script again.
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=number)
    starting = [executor.submit(_start_up) for _ in range(number)]
    try:
        yield executor
    finally:
        # Ended before its first tasks are handed out (a matter of milliseconds), joblib's thread dies visibly.
        while not all(task.running() or task.done() for task in starting):
            time.sleep(0.001)
        # Every result that was asked for is in; what is still at work belongs to a caller that failed.
        executor.shutdown(wait=True, kill_workers=True)


def _start_up() -> None:
    gc.disable()
    from ..figures.registry import list_figures
    from ..figures.style import style

    list_figures()
    with style():
        pass
