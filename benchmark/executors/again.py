"""Beginning a job again whose worker has died."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..journal import read_journal
from ..run import Job, run_job


def run_again(job: Job) -> None:
    """Run a job; what a worker that died has left goes on from its checkpoint, or goes where there is none."""
    folder = Path(job.folder)
    if read_journal(folder) and not any(folder.glob("checkpoint*")):
        shutil.rmtree(folder)
    run_job(job)
