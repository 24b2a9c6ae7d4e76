"""Jobs as tasks of a Ray cluster, on one machine or many."""

import importlib.util
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import reporting_full_disk, write_durably
from ..runs.folder import ARTIFACTS, LABELS_NAME, RunFolder
from ..runs.job import Job
from ..runs.journal import JOURNAL_NAME
from ..runs.run import run_cohort
from ..training.checkpoint import remove_checkpoints

# Ray's smallest: jobs go as text, and what comes back goes through its object store only without a shared folder.
OBJECT_STORE_BYTES = 80 * 2**20


class RayCluster:
    """Runs jobs as Ray tasks; a task whose worker dies is begun again by Ray, from its checkpoint.

    `workers`, `address`, `gpus` per job and `wheel` are those of `RunSettings`; a job is begun again `retries` times.

    Raises:
        InputError: if Ray is not installed, or the wheel is not there.
    """

    def __init__(
        self, workers: int, *, address: str = "auto", gpus: float = 0, retries: int = 3, wheel: Path | None = None
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise InputError("--executor ray needs the package ray: pip install 'mltbench[ray]'")
        if wheel is not None and not zipfile.is_zipfile(wheel):
            raise InputError(f"no wheel at {wheel}; `pip wheel --no-deps -w dist .` in the checkout makes one")
        self.workers, self.address, self.gpus, self.retries, self.wheel = workers, address, gpus, retries, wheel

    def run(self, jobs: Iterable[Job]) -> Generator[Job, None, None]:
        """Run all jobs; yield each when it has ended.

        Raises:
            InputError: if there is no cluster at the address.
        """
        import ray

        source, running = iter(jobs), dict[Any, Job]()
        first = next(source, None)
        if first is None:
            return
        with self._connected(first.execution.threads):
            needs: dict[str, Any] = {"num_cpus": first.execution.threads, "num_gpus": self.gpus}
            task: Any = ray.remote(**needs, max_retries=self.retries)(work_here)
            waiting: list[Job] = [first]
            try:
                while True:
                    while len(running) < self.workers and (job := waiting.pop() if waiting else next(source, None)):
                        members = tuple(replace(m, folder=str(Path(m.folder).resolve())) for m in job.members)
                        running[task.remote(replace(job, members=members))] = job
                    if not running:
                        return
                    (ended, *_), _ = ray.wait(list(running), num_returns=1)
                    job = running.pop(ended)
                    _record_end(ended, job, self.retries)
                    yield job
            finally:
                for unfinished in running:
                    ray.cancel(unfinished, force=True)
                if running:
                    ray.wait(list(running), num_returns=len(running), timeout=30)

    @contextmanager
    def _connected(self, threads: int) -> Iterator[None]:
        import ray

        # Nothing is reported to anybody, and the terminal belongs to the plan.
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
        local: dict[str, Any] = {}
        if self.address == "local":
            local = {"num_cpus": self.workers * threads, "object_store_memory": OBJECT_STORE_BYTES}
            local |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        ours = not ray.is_initialized()
        with _unpacked(self.wheel) as package:
            if ours:
                try:
                    ray.init(
                        address=self.address,
                        logging_level=logging.ERROR,
                        log_to_driver=False,
                        runtime_env={"py_modules": [str(package)]} if package else {},
                        **local,
                    )
                except (ConnectionError, ValueError, RuntimeError) as error:
                    reason = str(error).partition("\n")[0]
                    raise InputError(
                        f"no Ray cluster at --address {self.address}: {reason}; start one with `ray start --head "
                        "--disable-usage-stats --include-dashboard=false`, or use --address local"
                    ) from error
            try:
                yield
            finally:
                if ours:
                    ray.shutdown()


def work_here(job: Job) -> list[Mapping[str, bytes]]:
    """Run a job on the machine of a worker, which needs nothing but its own copy of the dataset.

    Where it sees a run's folder, it writes there, and returns nothing. Elsewhere it writes under its own results root,
    resumes from a checkpoint that is there, and returns the files of each ended run by name.
    """
    root = Path(os.environ.get("MLTBENCH_HOME") or Path(tempfile.gettempdir()) / "mltbench-results")
    members = [
        member
        if (Path(member.folder) / LABELS_NAME).exists()
        else replace(member, folder=str(root / "runs" / member.experiment_id))
        for member in job.members
    ]
    run_cohort(replace(job, members=tuple(members), data_root=os.environ.get("MLTBENCH_DATA") or job.data_root))
    files: list[Mapping[str, bytes]] = []
    for asked, member in zip(job.members, members, strict=True):
        files.append({})
        if member is not asked:
            folder = Path(member.folder)
            files[-1] = {name: (folder / name).read_bytes() for name in ARTIFACTS if (folder / name).exists()}
            shutil.rmtree(folder)
    return files


def _record_end(ended: Any, job: Job, retries: int) -> None:
    """Write what a worker has returned, or why a task did not get so far as to write it itself."""
    import ray

    files, problem = list[Mapping[str, bytes]](), ""
    try:
        files = ray.get(ended)
    except ray.exceptions.WorkerCrashedError:
        problem = f"the worker process died {retries + 1} times (killed from outside, or out of memory)"
    except ray.exceptions.RayError as error:
        problem = f"Ray could not run it: {str(error).strip().splitlines()[-1]}"
    for folder in (RunFolder(member.folder) for member in job.members):
        folder.path.mkdir(parents=True, exist_ok=True)
        # Of a cohort, some may have ended before the others met it.
        if problem and not folder.state().is_ended:
            folder.journal.append("failed", reason=problem)
    for member, returned in zip(job.members, files, strict=True) if files else ():
        with reporting_full_disk(Path(member.folder)):
            if returned:
                remove_checkpoints(Path(member.folder))  # of an earlier try that was made here
            # The journal last: a reader to whom the run has ended finds everything else.
            for name, content in sorted(returned.items(), key=lambda file: file[0] == JOURNAL_NAME):
                write_durably(Path(member.folder) / name, content)


@contextmanager
def _unpacked(wheel: Path | None) -> Iterator[Path | None]:
    """The package in a wheel as a folder: Ray would install a wheel together with everything that it needs."""
    if wheel is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        yield Path(folder) / "mltbench"
