"""Carrying out a plan in the terminal: what there is to do, how it goes, what became of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from ...errors import unknown_name, without_password
from ..executors.in_process import InProcess
from ..executors.processes import Processes
from ..executors.ray_cluster import RayCluster
from ..executors.run_plan import carry_out, split_plan
from ..runs.cohort import LARGEST
from ..runs.interruption import Interrupted, ended_by_signals
from ..runs.keeper import checkpoint_for
from .progress import PlanProgress, working

if TYPE_CHECKING:
    from rich.console import Console

    from ..executors.claims import Claims
    from ..executors.protocol import Executor
    from ..executors.run_plan import Summary, Surroundings
    from ..experiments.plan import Plan, PlannedExperiment
    from ..tracking.store import Store


EXECUTORS = ("local", "ray")


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

    def __post_init__(self) -> None:
        if self.executor_name not in EXECUTORS:
            raise unknown_name("executor", self.executor_name, EXECUTORS)

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
        # A process of its own imports torch while this one imports MLflow; with torch here there is nothing to gain.
        here = workers == 1 and "torch" in sys.modules
        return InProcess() if here else Processes(workers, devices=self.devices)


def run_plan(
    console: Console, plan: Plan, store: Store, surroundings: Surroundings, engine: Engine, claims: Claims
) -> bool:
    """Carry a plan out and tell about it; return whether something failed."""
    from ...datasets.registry import prepare
    from ..networks.initial_weights import find_weights

    with working(console, "opening the results"):
        done, missing = split_plan(plan, store)
    if missing:
        with working(console, f"preparing {plan.dataset}"):
            prepare(plan.dataset, surroundings.data_root)
        for weights, experiment in {p.weights: p.experiment for p in missing}.items():
            find_weights(experiment.backbone, experiment.weights_digest, weights.file, surroundings.data_root)
    execution = surroundings.execution
    kept = [] if surroundings.restart else [p for p in missing if _has_checkpoint(p, store, surroundings)]
    console.print(
        f"{plan.dataset}: {len(plan.experiments)} experiments, {len(done)} finished before, {len(missing)} to train "
        f"on {execution.device} ({min(engine.workers, max(len(missing), 1))} at once, "
        f"{execution.threads} thread{'s'[: execution.threads > 1]} each)"
    )
    if kept:
        console.print(f"{len(kept)} of them from {'a checkpoint' if len(kept) == 1 else 'checkpoints'}.")
    if not missing:
        console.print("nothing to train: every experiment of this plan is finished.")
    waiting = _Waiting(console)
    try:
        with ended_by_signals(), PlanProgress(console, missing, store.runs) as progress:
            summary = carry_out(
                plan,
                store,
                engine.executor(len(missing)),
                replace(surroundings, largest_cohort=engine.largest_cohort(len(missing))),
                claims=claims,
                on_end=progress.end,
                on_wait=waiting.tell,
            )
    except KeyboardInterrupt as stop:
        console.print(
            "[yellow]interrupted[/yellow]: what is finished is kept, what was under way has a checkpoint; "
            "the same command goes on from here."
        )
        raise typer.Exit(stop.exit_status if isinstance(stop, Interrupted) else 130) from None
    _tell(console, store, missing, summary)
    return bool(summary.failed)


def _has_checkpoint(planned: PlannedExperiment, store: Store, surroundings: Surroundings) -> bool:
    """Whether an experiment goes on from a checkpoint; one that may not, under this execution, ends the plan here."""
    identity = planned.experiment.id
    return checkpoint_for(store.runs / identity, identity, surroundings.execution) is not None


class _Waiting:
    """Says once what is waited for, and again when that has changed."""

    def __init__(self, console: Console) -> None:
        self.console, self.said = console, -1

    def tell(self, busy: Sequence[tuple[PlannedExperiment, str]]) -> None:
        if len(busy) == self.said:
            return
        self.said = len(busy)
        planned, holder = busy[0]
        more = f" and {len(busy) - 1} more" if len(busy) > 1 else ""
        self.console.print(
            f"waiting for {escape(planned.label)}, seed {planned.experiment.seed}{more}: {escape(holder)} has claimed "
            f"{'them' if more else 'it'}. Ctrl-C ends the waiting alone.",
            soft_wrap=True,
        )


def _tell(console: Console, store: Store, missing: Sequence[PlannedExperiment], summary: Summary) -> None:
    if missing:
        elsewhere = f", trained by others {len(summary.elsewhere)}" if summary.elsewhere else ""
        console.print(
            f"trained {len(summary.trained)}{elsewhere}, failed {len(summary.failed)}, skipped {len(summary.skipped)}"
        )
    for planned, reason in summary.failed:
        words = escape(f"{planned.label}, seed {planned.experiment.seed}: {reason}")
        console.print(f"[red]failed[/red] {words}", soft_wrap=True)
    if summary.not_uploaded:
        console.print(
            f"[yellow]{len(summary.not_uploaded)} runs are not in MLflow yet[/yellow] "
            f"({escape(without_password(store.tracking_uri))}: {escape(summary.not_uploaded[0][1])}); they are kept "
            f"under {store.runs}; `mltbench sync --out {store.root}` or the same command brings them there.",
            soft_wrap=True,
        )
    elif summary.trained or summary.elsewhere:
        console.print(f"results: {store.root}. Next: mltbench report --out {store.root}", soft_wrap=True)
