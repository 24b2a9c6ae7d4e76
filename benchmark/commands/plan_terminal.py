"""Training a plan in the terminal: what there is to do, its progress, what became of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ...datasets.registry import prepare
from ...errors import without_password
from ...terminal import console
from ..executors.claims import Claims
from ..executors.in_process import InProcess
from ..executors.processes import Processes
from ..executors.protocol import Executor
from ..executors.ray_cluster import RayCluster
from ..executors.run_plan import Summary, Surroundings, carry_out, split_plan
from ..experiments.plan import Plan, PlannedExperiment
from ..networks.initial_weights import find_weights
from ..runs.cohort import LARGEST
from ..runs.interruption import Interrupted, ended_by_signals
from ..runs.journal import read_journal
from ..runs.keeper import checkpoint_for
from ..tracking.store import Store

EXECUTORS = ("local", "ray")
POLL_SECONDS = 0.5
GROUP_COLUMNS = ("total", "head", "medium", "tail")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where a plan's experiments run.

    Attributes:
        workers: experiments at once.
        devices: that the workers take in turn; none leaves the experiments' own.
        executor_name: `local` or `ray`.
        address: of the Ray cluster.
        gpus: per experiment, on Ray.
        wheel: of mltbench, for Ray workers without it.
        cohort: whether experiments that see the same crops are trained together; on Ray they never are.
    """

    workers: int
    devices: tuple[str, ...] = ()
    executor_name: str = "local"
    address: str = "auto"
    gpus: float = 0
    wheel: Path | None = None
    cohort: bool = True

    def largest_cohort(self, jobs: int) -> int:
        """How many of so many jobs may be trained together: no worker is left without any."""
        if not self.cohort or self.executor_name == "ray":
            return 1
        return max(1, min(LARGEST, -(-jobs // self.workers)))

    def executor(self, jobs: int) -> Executor:
        """The executor for so many jobs."""
        workers = min(self.workers, max(jobs, 1))
        if self.executor_name == "ray":
            return RayCluster(workers, address=self.address, gpus=self.gpus, wheel=self.wheel)
        return InProcess() if workers == 1 else Processes(workers, devices=self.devices)


def train_plan(plan: Plan, store: Store, surroundings: Surroundings, engine: Engine, claims: Claims) -> bool:
    """Train what a plan lacks and report it; return whether something failed.

    Raises:
        SystemExit: if it was interrupted.
    """
    with console().status("opening the results"):
        done, missing = split_plan(plan, store)
    if missing:
        with console().status(f"preparing {plan.dataset}"):
            prepare(plan.dataset, surroundings.data_root)
        for weights, experiment in {p.weights: p.experiment for p in missing}.items():
            find_weights(experiment.backbone, experiment.weights_digest, weights.file, surroundings.data_root)
    execution = surroundings.execution
    kept = [] if surroundings.restart else [p for p in missing if _has_checkpoint(p, store, surroundings)]
    console().print(
        f"{plan.dataset}: {len(plan.experiments)} experiments, {len(done)} finished before, {len(missing)} to train "
        f"on {execution.device} ({min(engine.workers, max(len(missing), 1))} at once, "
        f"{execution.threads} thread{'s'[: execution.threads > 1]} each)"
    )
    if kept:
        console().print(f"{len(kept)} of them from {'a checkpoint' if len(kept) == 1 else 'checkpoints'}.")
    if not missing:
        console().print("nothing to train: every experiment of this plan is finished.")
    try:
        with ended_by_signals(), PlanProgress(missing, store.runs) as progress:
            summary = carry_out(
                plan,
                store,
                engine.executor(len(missing)),
                replace(surroundings, largest_cohort=engine.largest_cohort(len(missing))),
                claims=claims,
                on_end=progress.end,
                on_wait=progress.wait,
            )
    except KeyboardInterrupt as stop:
        console().print(
            "[yellow]interrupted[/yellow]: what is finished is kept, what was under way has a checkpoint; "
            "the same command resumes from here."
        )
        raise SystemExit(stop.exit_status if isinstance(stop, Interrupted) else 130) from None
    _report(store, missing, summary)
    return bool(summary.failed)


def _has_checkpoint(planned: PlannedExperiment, store: Store, surroundings: Surroundings) -> bool:
    """Whether an experiment resumes from a checkpoint; one that cannot, under this execution, ends the plan here."""
    identity = planned.experiment.id
    return checkpoint_for(store.runs / identity, identity, surroundings.execution) is not None


def _report(store: Store, missing: Sequence[PlannedExperiment], summary: Summary) -> None:
    if missing:
        elsewhere = f", trained by others {len(summary.elsewhere)}" if summary.elsewhere else ""
        console().print(
            f"trained {len(summary.trained)}{elsewhere}, failed {len(summary.failed)}, skipped {len(summary.skipped)}"
        )
    for planned, reason in summary.failed:
        words = escape(f"{planned.label}, seed {planned.experiment.seed}: {reason}")
        console().print(f"[red]failed[/red] {words}", soft_wrap=True)
    if summary.not_uploaded:
        console().print(
            f"[yellow]{len(summary.not_uploaded)} runs are not in MLflow yet[/yellow] "
            f"({escape(without_password(store.tracking_uri))}: {escape(summary.not_uploaded[0][1])}); they are kept "
            f"under {store.runs}; `mltbench sync --out {store.root}` or the same command uploads them.",
            soft_wrap=True,
        )
    elif summary.trained or summary.elsewhere:
        console().print(f"results: {store.root}. Next: mltbench report --out {store.root}", soft_wrap=True)


class PlanProgress:
    """Follows the journals of running experiments: one bar over all images, one line per finished experiment.

    Args:
        experiments: that are trained, in whatever processes.
        runs: folder of the run folders.
    """

    def __init__(self, experiments: Sequence[PlannedExperiment], runs: Path) -> None:
        self.experiments, self.runs = list(experiments), runs
        self.width = max((len(planned.title) for planned in experiments), default=0)
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[ended]}/{task.fields[of]}"),
            TextColumn("experiments"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            _ImagesPerSecond(""),
            console=console(),
            transient=True,
        )
        self.images = sum(planned.images for planned in experiments)
        self.task = self.bar.add_task("training", total=max(self.images, 1), ended=0, of=len(self.experiments))
        self.ended: set[str] = set()
        self.waited_for = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> PlanProgress:
        if self.experiments:
            self.bar.start()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.experiments:
            self._stop.set()
            self._thread.join()
            self.bar.stop()

    def end(self, planned: PlannedExperiment) -> None:
        """Print one line for an experiment that has ended; what is overridden stands last, where it may be long."""
        self.ended.add(planned.experiment.id)
        console().print(self._line(planned), soft_wrap=True, highlight=False)
        self._update()

    def wait(self, busy: Sequence[tuple[PlannedExperiment, str]]) -> None:
        """Print what other processes train and this one waits for, whenever that has changed."""
        if len(busy) == self.waited_for:
            return
        self.waited_for = len(busy)
        planned, holder = busy[0]
        more = f" and {len(busy) - 1} more" if len(busy) > 1 else ""
        console().print(
            f"waiting for {escape(planned.label)}, seed {planned.experiment.seed}{more}: {escape(holder)} has claimed "
            f"{'them' if more else 'it'}. Ctrl-C ends the waiting alone.",
            soft_wrap=True,
        )

    def _line(self, planned: PlannedExperiment) -> str:
        entries = read_journal(self.runs / planned.experiment.id)
        name = f"{escape(planned.title):{self.width}s}  seed {planned.experiment.seed}"
        overrides = f"  {escape(planned.overrides)}" if planned.overrides else ""
        if not entries:
            return f"[green]done[/green]  {name}  on another machine{overrides}"
        test = next((entry.metrics for entry in entries if entry.event == "test"), None)
        if test is None:
            return f"[red]failed[/red]  {name}  {escape(str(entries[-1].details.get('reason', '')))}{overrides}"
        values = "  ".join(
            f"{group} {100 * test[f'test/{group}']:5.1f}" for group in GROUP_COLUMNS if f"test/{group}" in test
        )
        return f"[green]done[/green]  {name}  {values}  {test['cost/train_seconds']:6.1f} s{overrides}"

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._update()

    def _update(self) -> None:
        seen = 0
        for planned in self.experiments:
            if planned.experiment.id in self.ended:
                seen += planned.images
                continue
            epochs = [e for e in read_journal(self.runs / planned.experiment.id) if e.event == "epoch"]
            seen += int(epochs[-1].details["images"]) if epochs else 0
        self.bar.update(self.task, completed=seen, ended=len(self.ended))


class _ImagesPerSecond(TextColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} images/s")
