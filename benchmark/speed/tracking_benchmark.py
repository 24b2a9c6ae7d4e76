"""What a tracking server costs a training step: none, a healthy one, and one that fails in each of five ways."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..experiments.plan import Plan
from ..runs.journal import JOURNAL_NAME, read_journal
from ..runs.run import Job, run_job
from ..tracking.store import Store, environment, open_store
from ..tracking.upload import Uploader
from ..tracking.upload_thread import UploadThread
from .failing_server import FAILURES, WELL, FailingServer, mlflow_server

if TYPE_CHECKING:
    from ..training.trainer import Trainer

NONE, HEALTHY = "no tracking", "healthy"
VARIANTS = (NONE, HEALTHY, *FAILURES)
# A request that hangs is given up after so long, so that each block sees more than one of them.
WAITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "NO_PROXY": "127.0.0.1"}


@dataclass(frozen=True, kw_only=True)
class TrackingCost:
    """Training steps beside one kind of server.

    Attributes:
        variant: of `VARIANTS`.
        milliseconds: of a step, the mean of each round.
        ratios: to the same round without tracking.
        asked: requests that the server saw.
        brought: runs that it took in the end.
    """

    variant: str
    milliseconds: tuple[float, ...]
    ratios: tuple[float, ...]
    asked: int
    brought: int

    @property
    def ratio(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.ratios)


def compare_servers(plan: Plan, job: Job, trainer: Trainer, *, rounds: int, epochs: int) -> list[TrackingCost]:
    """Measure steps while an ended run waits to be brought to a server; the variants take turns in each round.

    Args:
        plan: of one short experiment, which is run once.
        job: of that experiment; its folder is not used.
        trainer: whose steps are measured.
        rounds: blocks of each variant.
        epochs: of a block, in which one run is brought: runs are longer than that, so it is the dear case.
    """
    with TemporaryDirectory() as name, environment(WAITS):
        folder = Path(name)
        (planned,) = plan.experiments
        ended = folder / "ended" / planned.experiment.id
        run_job(replace(job, folder=str(ended)))
        with mlflow_server(folder) as port:
            server = FailingServer(port)
            try:
                bench = _Bench(plan, ended, server, open_store(folder / "results", server.uri), trainer, epochs)
                bench.block(0, WELL)  # whatever is made once: connections, tables, the experiment in MLflow
                return bench.compare(rounds)
            finally:
                server.close()


class _Bench:
    """One server, one trainer, one ended run in ever new copies."""

    def __init__(
        self, plan: Plan, ended: Path, server: FailingServer, store: Store, trainer: Trainer, epochs: int
    ) -> None:
        self.plan, self.ended, self.server, self.store = plan, ended, server, store
        self.trainer, self.epochs = trainer, epochs
        self.copies: list[Path] = []

    def compare(self, rounds: int) -> list[TrackingCost]:
        times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        asked, copies = dict.fromkeys(VARIANTS, 0), {variant: list[Path]() for variant in VARIANTS}
        for number in range(rounds):
            # Nobody is always first in a round.
            for variant in (*VARIANTS[number % len(VARIANTS) :], *VARIANTS[: number % len(VARIANTS)]):
                before = sum(self.server.asked.values())
                times[variant].append(self.block(len(self.copies), variant))
                asked[variant] += sum(self.server.asked.values()) - before
                copies[variant].append(self.copies[-1])
        brought = {variant: self._brought(folders) for variant, folders in copies.items() if variant != NONE}
        plain = times[NONE]
        return [
            TrackingCost(
                variant=variant,
                milliseconds=tuple(times[variant]),
                ratios=tuple(mine / none for mine, none in zip(times[variant], plain, strict=True)),
                asked=asked[variant],
                brought=brought.get(variant, 0),
            )
            for variant in VARIANTS
        ]

    def block(self, number: int, variant: str) -> float:
        """Milliseconds of a step while one run is brought, or not, to a server of this kind."""
        runs = _copy(self.ended, self.ended.parents[1] / str(number), later=number)
        self.copies.append(runs)
        self.server.mood = variant if variant in FAILURES else WELL
        uploads = UploadThread(Uploader(self.store, self.plan, runs=runs), on_ended=lambda planned: None)
        if variant != NONE:
            uploads.put(self.plan.experiments[0])
        before, started = self.trainer.steps, time.perf_counter()
        for _ in range(self.epochs):
            self.trainer.train_epoch(0)
        seconds = time.perf_counter() - started
        self.server.mood = WELL
        uploads.finish("FINISHED")
        return 1000 * seconds / (self.trainer.steps - before)

    def _brought(self, folders: Sequence[Path]) -> int:
        """How many runs are in MLflow, each once and with every point of its journal."""
        return sum(_points_in_mlflow(self.store, self.plan, runs) == _points(runs) for runs in folders)


def _copy(ended: Path, runs: Path, *, later: int) -> Path:
    """A folder of runs with a copy of an ended run that began so many milliseconds later: another run for MLflow."""
    shutil.copytree(ended, runs / ended.name)
    journal = runs / ended.name / JOURNAL_NAME
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    moved = [json.dumps(line | {"time": line["time"] + later}) + "\n" for line in lines]
    journal.write_text("".join(moved))
    return runs


Points = Mapping[tuple[str, int, int], float]


def _points(runs: Path) -> list[Points]:
    (folder,) = runs.iterdir()
    return [{(n, e.step, e.time): v for e in read_journal(folder) for n, v in e.metrics.items()}]


def _points_in_mlflow(store: Store, plan: Plan, runs: Path) -> list[Points]:
    (folder,) = runs.iterdir()
    start = read_journal(folder)[0].time
    return [
        {
            (name, point.step, point.timestamp): point.value
            for name in run.data.metrics
            for point in store.client.get_metric_history(run.info.run_id, name)
        }
        for run in store.runs_of(plan.dataset)
        if run.info.start_time == start
    ]
