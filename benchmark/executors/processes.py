"""Several experiments at once, in local processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ...datasets.errors import InputError
from ..journal import Journal, read_journal
from ..run import Job, run_job


class Processes:
    """Runs jobs in `workers` spawned processes, which import torch once and load the dataset once each."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, jobs: Sequence[Job]) -> Iterator[Job]:
        """Run all jobs; yield each when it has ended.

        A worker that dies fails the jobs that were running; the waiting ones go on.

        Raises:
            InputError: if no worker can be started.
        """
        waiting = list(jobs)
        while waiting:
            ended: list[Job] = []
            try:
                for job in self._run_pool(waiting):
                    ended.append(job)
                    yield job
            except BrokenProcessPool:
                for job in _died(job for job in waiting if job not in ended):
                    ended.append(job)
                    yield job
                if not ended:
                    raise InputError(
                        "worker processes end before they begin: memory is too short, or a script starts them without "
                        '`if __name__ == "__main__":`; run one experiment at a time with --workers 1'
                    ) from None
            waiting = [job for job in waiting if job not in ended]

    def _run_pool(self, jobs: Sequence[Job]) -> Iterator[Job]:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(self.workers, len(jobs)), mp_context=context, initializer=_start_worker)
        futures: dict[Future[bool], Job] = {pool.submit(run_job, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        pool.shutdown()


def _died(jobs: Iterator[Job]) -> Iterator[Job]:
    """Those of the unfinished jobs that a dead worker had begun; their journals now say so."""
    for job in jobs:
        entries = read_journal(Path(job.folder))
        if not entries:
            continue
        if entries[-1].event not in ("finished", "failed"):
            Journal(Path(job.folder)).append(
                "failed", reason="the worker process died (killed from outside, or out of memory)"
            )
        yield job


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; a worker simply ends, and the parent says what happened.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
