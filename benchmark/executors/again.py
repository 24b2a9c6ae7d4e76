"""Beginning a job again whose worker has died."""

from __future__ import annotations

from pathlib import Path

from ..heartbeat import LOCK_NAME
from ..journal import read_journal
from ..labels import LABELS_NAME
from ..run import Job, run_job

KEPT = (LABELS_NAME, LOCK_NAME)


def run_again(job: Job) -> None:
    """Run a job; what a worker that died has left goes on from its checkpoint, or goes where there is none."""
    folder = Path(job.folder)
    if read_journal(folder) and not any(folder.glob("checkpoint*")):
        for path in folder.iterdir():
            if path.name not in KEPT:
                path.unlink()
    run_job(job)
