"""A plan in the terminal: shown before it is run, trained with its progress, and what became of it."""

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import RenderableType
from rich.markup import escape
from rich.progress import BarColumn
from rich.table import Table
from rich.text import Text

from ...datasets.registry import load_dataset, prepare
from ...errors import without_password
from ...terminal import Bars, console, print_line, short_id, table_of
from ..executors.in_process import Executor
from ..executors.run_plan import Summary, folder_of, run_plan, split_plan
from ..executors.settings import RunSettings
from ..experiments.plan import Plan, PlannedExperiment
from ..networks.backbones import get_backbone
from ..networks.initial_weights import find_weights
from ..runs.folder import STALE_SECONDS, RunFolder
from ..runs.interruption import Interrupted, ended_by_signals
from ..runs.journal import Entry
from ..runs.run import checkpoints_for
from ..speed.estimate import duration, estimate
from ..tracking.pages import page_of_runs
from ..tracking.store import Store
from ..tracking.sync import uploads_wanted
from ..training.metrics import SCORE_NAMES

# Between the lines that a log file gets instead of a bar.
LOG_SECONDS = 30.0
# Training images below which a plan on the small network ends almost as soon as its steps are timed.
WORTH_TIMING = 1000
# What the journal of a run on a GPU may say, and what it means.
SLOWER = {"not_graphed": "step by step instead of as a CUDA graph", "not_fused": "without fused kernels"}


def run_plans(
    plans: Sequence[Plan],
    store: Store,
    settings: RunSettings,
    *,
    executor: Executor | None = None,
    dry_run: bool = False,
) -> bool:
    """Train what plans lack, one after the other, or only show them; return whether something failed.

    Raises:
        InputError: if epochs are to be evaluated and a dataset has no validation split.
    """
    for plan in plans if settings.execution.evaluate_every else ():
        load_dataset(plan.dataset, data_root=settings.data_root).require_validation("--evaluate-every")
    failed = False
    for plan in plans:
        if dry_run:
            show_plan(plan, store, settings)
        else:
            failed |= train_plan(plan, store, settings, executor)
    return failed


def show_plan(plan: Plan, store: Store, settings: RunSettings) -> None:
    """Print a plan, its images and how long it takes here; nothing is trained."""
    done, missing = split_plan(plan, store)
    console().print(_plan_table(plan, {planned.experiment.id for planned in done}))
    images = sum(planned.images for planned in missing)
    console().print(f"{len(done)} finished, {len(missing)} to train: {images:,} training images. Nothing was trained.")
    if missing:
        with console().status("timing a few steps"):
            expected = estimate(plan, missing, store.folders(plan.kind), settings)
        print_line(str(expected))


def _plan_table(plan: Plan, finished: set[str]) -> Table:
    configurations: dict[str, list[PlannedExperiment]] = {}
    for planned in plan.experiments:
        configurations.setdefault(planned.experiment.configuration_id, []).append(planned)
    rows = []
    for group in configurations.values():
        first = group[0]
        seeds = " ".join(f"{p.experiment.seed}{'*' if p.experiment.id in finished else ''}" for p in group)
        ids = " ".join(short_id(p.experiment.id) for p in group)
        rows.append((first.label, first.recipe, first.experiment.backbone, seeds, f"{first.images:,}", ids))
    columns = ("method", "recipe", "backbone", "seeds", "images each", "experiment ids")
    title = f"Plan: {escape(plan.name)}"
    return table_of(columns, rows, numbers=("images each",), title=title, caption="* is finished")


def train_plan(plan: Plan, store: Store, settings: RunSettings, executor: Executor | None) -> bool:
    """Train what a plan lacks and report it; return whether something failed.

    Raises:
        SystemExit: if it was interrupted.
    """
    with console().status("opening the results"):
        done, missing = split_plan(plan, store)
    if missing:
        with console().status(f"preparing {plan.dataset}"):
            prepare(plan.dataset, settings.data_root, splits=plan.splits)
        for weights, experiment in {p.weights: p.experiment for p in missing}.items():
            find_weights(experiment.backbone, experiment.weights_digest, weights.file, settings.data_root)
    execution = settings.execution
    # One that cannot resume under this execution ends the plan here.
    resumed = [
        planned
        for planned in ([] if settings.restart else missing)
        if checkpoints_for(folder_of(planned, plan, store), planned.experiment.id, execution)
    ]
    console().print(
        f"{plan.dataset}: {_experiments(plan.experiments)}, {len(done)} finished before, {len(missing)} to train "
        f"on {execution.device} ({min(settings.workers, max(len(missing), 1))} at once, "
        f"{execution.threads} thread{'s'[: execution.threads > 1]} each)"
    )
    if resumed:
        console().print(f"{len(resumed)} of them from {'a checkpoint' if len(resumed) == 1 else 'checkpoints'}.")
    _print_estimate(plan, missing, resumed, store, settings)
    if not missing:
        console().print("nothing to train: every experiment of this plan is finished.")
    elif execution.device != "cpu" and any(get_backbone(p.experiment.backbone).for_photographs for p in missing):
        console().print("The first steps wait for kernels to be compiled: up to a minute, once per machine.")
    try:
        with ended_by_signals(), PlanProgress(missing, store.folders(plan.kind)) as progress:
            summary = run_plan(plan, store, settings, executor=executor, on_end=progress.end, on_wait=progress.wait)
    except KeyboardInterrupt as stop:
        console().print(
            "[yellow]interrupted[/yellow]: what is finished is kept, what was under way has a checkpoint; "
            "the same command resumes from here."
        )
        raise SystemExit(stop.exit_status if isinstance(stop, Interrupted) else 130) from None
    _report(plan, store, missing, summary)
    return bool(summary.failed)


def _print_estimate(
    plan: Plan,
    missing: Sequence[PlannedExperiment],
    resumed: Sequence[PlannedExperiment],
    store: Store,
    settings: RunSettings,
) -> None:
    """Say how long a plan takes, where that is known or soon found out; on Ray other machines train it."""
    if not missing or settings.executor == "ray":
        return
    begun = {planned.experiment.id: _images_seen(folder_of(planned, plan, store)) for planned in resumed}
    # On a GPU the first steps compile kernels, and this process would hold a part of its memory.
    large = get_backbone(missing[0].experiment.backbone).for_photographs
    worth = large or sum(planned.images for planned in missing) >= WORTH_TIMING
    timing = worth and settings.execution.device == "cpu"
    with console().status("timing a few steps"):
        expected = estimate(plan, missing, store.folders(plan.kind), settings, begun=begun, timing=timing)
    if expected is not None:
        print_line(str(expected))


def _images_seen(folder: RunFolder) -> int:
    """Training images of the epochs that a run has done."""
    return max((int(entry.details["images"]) for entry in folder.entries() if entry.event == "epoch"), default=0)


def _experiments(some: Sequence[PlannedExperiment]) -> str:
    return f"{len(some)} experiment{'s'[: len(some) != 1]}"


def _training_now(running: Sequence[tuple[PlannedExperiment, Sequence[Entry]]]) -> str:
    """What is trained: those that are in the same epoch, such as a cohort, together by their first."""
    together: dict[tuple[int, int], list[tuple[PlannedExperiment, Sequence[Entry]]]] = {}
    for planned, epochs in running:
        of = int(planned.experiment.training["schedule"]["epochs"])
        together.setdefault((of, len(epochs)), []).append((planned, epochs))
    texts = []
    for (of, done), group in together.items():
        planned, epochs = group[0]
        loss = f", loss {epochs[-1].metrics['train/loss']:.3g}" if epochs else ""
        where = f"epoch {done + 1} of {of}{loss}" if done < of else "scoring"
        texts.append(f"{planned.title}{f' and {len(group) - 1} more' if len(group) > 1 else ''}: {where}")
    return "; ".join(texts)


def _report(plan: Plan, store: Store, missing: Sequence[PlannedExperiment], summary: Summary) -> None:
    if missing:
        elsewhere = f", trained by others {len(summary.elsewhere)}" if summary.elsewhere else ""
        console().print(
            f"trained {len(summary.trained)}{elsewhere}, failed {len(summary.failed)}, skipped {len(summary.skipped)}"
        )
    for planned, reason in summary.failed:
        words = escape(f"{planned.label}, seed {planned.experiment.seed}: {reason}")
        console().print(f"[red]failed[/red] {words}", soft_wrap=True)
    if summary.not_uploaded:
        where, reason = without_password(store.tracking_uri), summary.not_uploaded[0][1]
        print_line(f"{where} did not take everything: {reason}; nothing is lost, and the same command tries again")
        print_line(uploads_wanted(len(summary.not_uploaded), store))
    elif summary.trained or summary.elsewhere:
        print_line(f"results: {store.root}. Next: mltbench report {store.options}")
        print_line(f"MLflow's page: {page_of_runs(store.tracking_uri, store.experiment(plan.dataset), plan.kind)}")


class PlanProgress(Bars):
    """One bar over the images of experiments with what is trained now, and one line per experiment that ends.

    In a log file, where a bar is noise, there is a line every half minute instead.

    Args:
        experiments: that are trained, in whatever processes.
        runs: folder of the run folders.
    """

    def __init__(self, experiments: Sequence[PlannedExperiment], runs: Path) -> None:
        self.experiments, self.runs = list(experiments), runs
        self.width = max((len(planned.title) for planned in experiments), default=0)
        self.ended: set[str] = set()
        self.waited_for, self.said = 0, set[str]()
        self.images = sum(planned.images for planned in experiments)
        counts = "{task.fields[ended]}/{task.fields[of]} experiments", "{task.fields[rate]:,.0f} images/s"
        super().__init__("training", BarColumn(), *counts)
        self.logs, self._closed = self.disable and bool(experiments), threading.Event()
        self.disable |= not experiments
        self.add_task("training", total=max(self.images, 1), ended=0, of=len(self.experiments), rate=0)

    def __enter__(self) -> Self:
        if self.logs:
            self._logging = threading.Thread(target=self._log, daemon=True)
            self._logging.start()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._closed.set()
        if self.logs:
            self._logging.join()
        super().__exit__(*error)

    def look(self) -> tuple[int, str]:
        """Images that were trained so far, of their steps where an epoch is under way, and what is trained now."""
        seen, running = 0, list[tuple[PlannedExperiment, list[Entry]]]()
        for planned in self.experiments:
            if planned.experiment.id in self.ended:
                seen += planned.images
                continue
            folder = RunFolder(self.runs / planned.experiment.id)
            epochs, beat = [entry for entry in folder.entries() if entry.event == "epoch"], folder.heartbeat()
            images = int(epochs[-1].details["images"]) if epochs else 0
            if beat is not None and beat.age < STALE_SECONDS:
                running.append((planned, epochs))
                images = max(images, beat.steps * int(planned.experiment.training["batch_size"]))
            seen += min(images, planned.images)
        return seen, _training_now(running)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, updated from the run folders whenever it is drawn, and below it what is trained now."""
        seen, now = self.look()
        for task in self.tasks:
            self.update(task.id, completed=seen, ended=len(self.ended), rate=task.speed or 0)
        yield from super().get_renderables()
        yield Text(now, no_wrap=True, overflow="ellipsis", style="dim")

    def _log(self) -> None:
        before, began, started = self.look()[0], time.monotonic(), False
        while not self._closed.wait(LOG_SECONDS):
            seen, now = self.look()
            # Fewer than before, where one was killed or begins anew.
            before, clock = min(before, seen), time.monotonic()
            rate = (seen - before) / (clock - began)
            left = ""
            if rate and started and seen < self.images:
                left = f", about {duration((self.images - seen) / rate)} left"
            elif rate and not started:
                # Until here processes began, and on a GPU kernels were compiled: that is no speed of what is left.
                before, began, started = seen, clock, True
            print_line(
                f"{len(self.ended)} of {_experiments(self.experiments)}, {seen:,} of {self.images:,} images, "
                f"{rate:,.0f} images/s{left}{now and '; '}{now}"
            )

    def end(self, planned: PlannedExperiment) -> None:
        """Print one line for an experiment that has ended; what is overridden stands last, where it may be long."""
        self.ended.add(planned.experiment.id)
        console().print(self._line(planned), soft_wrap=True, highlight=False)
        entries = RunFolder(self.runs / planned.experiment.id).entries()
        for kind, reason in [item for entry in entries for item in entry.details.items() if item[0] in SLOWER]:
            if reason not in self.said:
                self.said.add(reason)
                print_line(f"{planned.title} was trained {SLOWER[kind]}, which is slower: {reason}")

    def wait(self, busy: Sequence[tuple[PlannedExperiment, str]]) -> None:
        """Print what other processes train and this one waits for, whenever that has changed."""
        if len(busy) == self.waited_for:
            return
        self.waited_for = len(busy)
        planned, holder = busy[0]
        more = f" and {len(busy) - 1} more" if len(busy) > 1 else ""
        print_line(
            f"waiting for {planned.label}, seed {planned.experiment.seed}{more}: {holder} trains "
            f"{'them' if more else 'it'}. Ctrl-C ends the waiting alone."
        )

    def _line(self, planned: PlannedExperiment) -> str:
        folder = RunFolder(self.runs / planned.experiment.id)
        name = f"{escape(planned.title):{self.width}s}  seed {planned.experiment.seed}"
        overrides = f"  {escape(planned.overrides)}" if planned.overrides else ""
        scores = {name: value for entry in folder.entries() for name, value in entry.metrics.items()}
        if not (state := folder.state()).is_finished:
            return f"[red]failed[/red]  {name}  {escape(state.reason)}{overrides}"
        split = "test" if "test/total" in scores else "validation"
        there = {group: scores[f"{split}/{group}"] for group in SCORE_NAMES if f"{split}/{group}" in scores}
        # With a title as long as R-BCE-Focal, 80 columns.
        values = " ".join(f"{group} {100 * value:.1f}" for group, value in there.items())
        return f"[green]done[/green]  {name}  {values}  {scores['cost/train_seconds']:5.1f} s{overrides}"
