"""Carrying a study out on this machine: workers in processes of their own, progress, and trials brought to MLflow."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess

from ...benchmark.tracking.store import Store
from .open_study import OpenStudy
from .trials import Laboratory
from .upload import Brought, bring
from .worker import INTERRUPTED, WorkerTask, start_worker

POLL_SECONDS = 0.5
# A worker may be killed by the system for want of memory; one that dies again and again has another cause.
RESTARTS_PER_WORKER = 2
PATIENCE_SECONDS = 20.0


@dataclass(kw_only=True)
class Crew:
    """The worker processes of a command.

    Attributes:
        task: what they work on.
        processes: that run.
        deaths: how many died.
    """

    task: WorkerTask
    processes: list[SpawnProcess] = field(default_factory=list)
    started: int = 0
    deaths: int = 0

    def start(self) -> None:
        """Start one more worker."""
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=start_worker, args=(self.task,), name=f"worker-{self.started}")
        process.start()
        self.started += 1
        self.processes.append(process)

    def look(self) -> int:
        """Forget the workers that have ended; return how many of them died."""
        ended = [process for process in self.processes if process.exitcode is not None]
        self.processes = [process for process in self.processes if process.exitcode is None]
        died = sum(process.exitcode not in (0, INTERRUPTED) for process in ended)
        self.deaths += died
        return died

    def stop(self) -> None:
        """End all workers; each queues its trial again."""
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()


def carry_out(
    study: OpenStudy,
    store: Store,
    laboratory: Laboratory,
    task: WorkerTask,
    *,
    workers: int,
    on_poll: Callable[[], None] = lambda: None,
) -> Brought:
    """Let workers run a study to its end; return what became of the upload.

    Args:
        study: an open study.
        store: where its trials are brought.
        laboratory: what trials need.
        task: what workers need.
        workers: how many.
        on_poll: called twice a second.

    Raises:
        RuntimeError: if workers die again and again.
    """
    crew = Crew(task=task)
    for _ in range(workers):
        crew.start()
    try:
        while crew.processes:
            time.sleep(POLL_SECONDS)
            on_poll()
            bring(study, store, laboratory)
            for _ in range(crew.look()):
                if crew.deaths > RESTARTS_PER_WORKER * workers:
                    raise RuntimeError(
                        f"{crew.deaths} workers died; the last words above say why, or memory is too short: try "
                        "--workers 1"
                    )
                crew.start()
    finally:
        crew.stop()
        on_poll()
    return bring(study, store, laboratory)
