"""What an executor must be."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Protocol

from ..runs.run import Job


class Executor(Protocol):
    """Runs jobs somewhere, a job's mates with it; each writes its own folder."""

    def run(self, jobs: Iterable[Job]) -> Generator[Job, None, None]:
        """Run all jobs; yield each when it has ended, well or not (its journal tells).

        A job is taken from `jobs` in the moment in which it can start: taking it claims it. Closing the generator ends
        what is running and returns when nothing is.
        """
