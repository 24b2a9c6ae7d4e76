"""What an executor must be, and the simplest one."""

from collections.abc import Generator, Iterable
from typing import Protocol

from ..runs.job import Job
from ..runs.run import run_cohort


class Executor(Protocol):
    """Runs jobs somewhere; each experiment writes its own folder, whose state says what became of it."""

    def run(self, jobs: Iterable[Job]) -> Generator[Job, None, None]:
        """Run all jobs; yield each when it has ended, well or not.

        A job is taken from `jobs` in the moment in which it can start. Closing the generator ends what is running, and
        returns when nothing is.
        """


class InProcess:
    """Runs jobs one by one, here."""

    def run(self, jobs: Iterable[Job]) -> Generator[Job, None, None]:
        """Run all jobs; yield each when it has ended."""
        for job in jobs:
            run_cohort(job)
            yield job
