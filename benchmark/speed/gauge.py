"""Seconds and memory of pieces of work."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Gauge:
    """Measures pieces of work one after the other.

    Memory is what is anonymous, over that at the beginning: pages of mapped files, which the system takes back when it
    needs them, are not in it. NaN where the system does not tell.

    Attributes:
        seconds: by piece.
        peak_mib: most memory while a piece ran, by piece; it holds what earlier pieces left.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_mib: dict[str, float] = {}
        self._before = _anonymous_mib()

    @contextmanager
    def piece(self, name: str) -> Iterator[None]:
        """Measure a block."""
        values, stop = [_anonymous_mib()], threading.Event()

        def follow() -> None:
            while not stop.wait(0.005):
                values.append(_anonymous_mib())

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - started
            stop.set()
            thread.join()
            self.peak_mib[name] = max(*values, _anonymous_mib()) - self._before


def _anonymous_mib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    line = next((line for line in status.read_text().splitlines() if line.startswith("RssAnon")), "x nan")
    return float(line.split()[1]) / 1024
