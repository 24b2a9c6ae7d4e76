"""What an executor must be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..run import Job


class Executor(Protocol):
    """Runs jobs somewhere; each job writes its own folder."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Run all jobs; yield each when it has ended, well or not (its journal tells)."""
