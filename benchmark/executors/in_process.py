"""One experiment after the other, in this process."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from ..runs.cohort import run_unit
from ..runs.run import Job


class InProcess:
    """Runs jobs one by one, here."""

    def run(self, jobs: Iterable[Job]) -> Generator[Job, None, None]:
        """Run all jobs; yield each when it has ended."""
        for job in jobs:
            run_unit(job)
            yield job
