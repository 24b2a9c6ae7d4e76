"""One experiment after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..run import Job, run_job


class InProcess:
    """Runs jobs one by one, here."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Run all jobs; yield each when it has ended."""
        for job in jobs:
            run_job(job)
            yield job
