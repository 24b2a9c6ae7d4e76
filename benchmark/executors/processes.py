"""Several jobs at once, in processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Self

from ...errors import InputError
from ...processes import end_with_parent, let_signals_through, signals_blocked
from ..runs.folder import RunFolder
from ..runs.interruption import Interrupted
from ..runs.job import Job
from ..runs.run import run_cohort

# A worker that is asked to end finishes its step and writes its checkpoint first.
ENDS_WITHIN_SECONDS = 30.0
READY, ENDED = "ready", "ended"


class Processes:
    """Runs jobs in processes of their own, which load the dataset once each.

    Args:
        workers: jobs at once.
        devices: devices that the workers take in turn, such as `cuda:0` and `cuda:1`; none leaves the jobs' own.
        retries: how often the job of a worker that died (killed from outside, out of memory) is begun again.
    """

    def __init__(self, workers: int, *, devices: Sequence[str] = (), retries: int = 2) -> None:
        self.workers, self.devices, self.retries = workers, devices, retries
        self._started: list[_Worker] = []

    @contextmanager
    def ready(self) -> Iterator[Self]:
        """Within, a first worker imports what it needs, which takes seconds, while its first job is prepared."""
        self._started.append(_Worker(0))
        try:
            yield self
        finally:
            _end(self._started)

    def run(self, jobs: Iterable[Job]) -> Generator[Job, None, None]:
        """Run all jobs; yield each when it has ended. A worker that dies takes no other job with it.

        Raises:
            InputError: if no worker can be started.
        """
        source, again, deaths = iter(jobs), deque[Job](), dict[str, int]()
        workers = self._started
        try:
            while True:
                self._employ(workers, source, again)
                busy = [worker for worker in workers if worker.job is not None]
                if not busy:
                    break
                ready = wait([worker.connection for worker in busy])
                for worker in [worker for worker in busy if worker.connection in ready]:
                    job, state = worker.job, worker.listen()
                    if isinstance(state, InputError):
                        raise state
                    if job is None or state == READY:
                        continue
                    if state == ENDED:
                        yield job
                        continue
                    workers.remove(worker)
                    folder = job.members[0].folder
                    deaths[folder] = deaths.get(folder, 0) + 1
                    if len(job.members) > 1 or deaths[folder] <= self.retries:
                        # Each alone, for one of them may be the cause.
                        again.extend(job.one_by_one())
                    elif worker.began:
                        RunFolder(folder).journal.append("failed", reason=_death(worker, deaths[folder]))
                        yield job
                    else:
                        raise InputError(
                            "worker processes end before they begin: memory is too short, or a script starts them "
                            'without `if __name__ == "__main__":`; run one experiment at a time with --workers 1'
                        )
        finally:
            _end(workers)

    def _employ(self, workers: list[_Worker], source: Iterator[Job], again: deque[Job]) -> None:
        """Give every free worker a job, and start workers while there are jobs for them."""
        while len(idle := [worker for worker in workers if worker.job is None]) + self.workers - len(workers) > 0:
            job = again.popleft() if again else next(source, None)
            if job is None:
                return
            if not idle:
                taken = {worker.slot for worker in workers}
                free = next(slot for slot in range(self.workers) if slot not in taken)
                idle = [_Worker(free)]
                workers += idle
            device = self.devices[idle[0].slot % len(self.devices)] if self.devices else job.execution.device
            idle[0].give(job, replace(job, execution=replace(job.execution, device=device)))


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, slot: int) -> None:
        self.slot, self.began = slot, False
        self.job: Job | None = None
        # Forked processes would not survive CUDA, nor other systems' libraries.
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_work, args=(there,), name=f"worker {slot}")
        with signals_blocked():
            self.process.start()
        there.close()

    def give(self, job: Job, as_run: Job) -> None:
        self.job = job
        with suppress(OSError):  # a worker that has died is noticed when it is listened to
            self.connection.send(as_run)

    def listen(self) -> str | InputError | None:
        """What it says, an error that ends the plan among it; None if it has died."""
        try:
            said: str | InputError = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return None
        self.began = True
        if said == ENDED:
            self.job = None
        return said


def _death(worker: _Worker, times: int) -> str:
    code = worker.process.exitcode or 0
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return (
        f"the worker process died {times} time{'s'[: times > 1]} (killed from outside, or out of memory; "
        f"last by {how}); lower --workers if memory is short"
    )


def _end(workers: list[_Worker]) -> None:
    """End the workers, take them from the list, and return when no process writes any more."""
    for worker in workers:
        worker.connection.close()
        if worker.job is not None:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(ENDS_WITHIN_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
    workers.clear()


def _work(connection: Connection) -> None:
    end_with_parent()
    # Ctrl-C reaches the whole process group: a worker that trains ends its step, another one ends at once, and neither
    # reports it, for the parent does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    let_signals_through()
    with suppress(EOFError, OSError):
        connection.send(READY)
        while True:
            job = connection.recv()
            try:
                run_cohort(job)
            except InputError as error:  # a full disk, say: the end of the plan, not of this experiment alone
                connection.send(error)
            except Interrupted:
                return
            else:
                connection.send(ENDED)
