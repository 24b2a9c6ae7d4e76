"""One job after the other, in this process."""

from collections.abc import Generator, Iterable

from ..runs.job import Job


class InProcess:
    """Runs jobs one by one, here."""

    def run(self, jobs: Iterable[Job]) -> Generator[Job, None, None]:
        """Run all jobs; yield each when it has ended."""
        # Late: `mltbench run` trains in other processes, and is on its way 3 s earlier without torch.
        from ..runs.run import run_cohort

        for job in jobs:
            run_cohort(job)
            yield job
