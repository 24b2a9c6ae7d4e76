"""What the commands do with a study: tell the plan, carry it out, and say what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from ...benchmark.tracking.store import open_store
from ...errors import without_password
from .coordinator import carry_out
from .definition import Budget, StudyDefinition
from .open_study import OpenStudy, begin_study, join_study
from .progress import StudyProgress
from .showing import summary_tables
from .tables import definition_table
from .upload import Brought, bring, end_study_runs
from .winners import announce_winners
from .worker import WorkerTask, laboratory_of, work

if TYPE_CHECKING:
    from ...benchmark.executors.run_plan import Surroundings
    from ...datasets.dataset import Dataset


def tell_plan(console: Console, definition: StudyDefinition, budget: Budget) -> None:
    """Say what is searched, and what it takes."""
    console.print(definition_table(definition))
    seeds = len(definition.seeds)
    if definition.purpose == "sweep":
        number = sum(len(arm.points) for arm in definition.arms) * seeds
        images = sum(arm.images * len(arm.points) for arm in definition.arms) * seeds
        console.print(
            f"{number} trainings ({seeds} seed{'s'[: seeds > 1]}): about {images:,} training images. "
            "Validation split alone."
        )
        return
    pruning = "pruned by epoch (Hyperband)" if definition.prunes else "not pruned"
    console.print(
        f"Budget of each method: {budget.images:,} training images, which are {budget.trials} full trials of "
        f"{seeds} seed{'s'[: seeds > 1]}. Trial 0 has the defaults. Sampler {definition.sampler}; maximised: "
        f"validation {' and '.join(definition.values)}; {pruning}.",
        soft_wrap=True,
    )


def carry_out_study(
    console: Console,
    definition: StudyDefinition,
    budget: Budget,
    task: WorkerTask,
    *,
    workers: int,
    tracking_uri: str | None,
) -> bool:
    """Carry a study out with workers here, and tell about it; return whether everything ended well."""
    with console.status("opening the results"):
        store = open_store(task.root, tracking_uri)
        study = begin_study(definition, budget, task.root, task.url, grace=task.grace)
    laboratory = laboratory_of(task.root, task.surroundings)
    for dataset in dict.fromkeys(arm.dataset for arm in definition.arms):
        with console.status(f"preparing {dataset}"):
            _prepare(laboratory.open_dataset(dataset))
    try:
        with StudyProgress(console, study, laboratory.trials) as progress:
            brought = carry_out(study, store, laboratory, task, workers=workers, on_poll=progress.update)
    except KeyboardInterrupt:
        bring(study, store, laboratory)
        console.print("[yellow]interrupted[/yellow]: every trial is kept; the same command goes on from here.")
        raise SystemExit(130) from None
    except RuntimeError as error:
        console.print(f"[red]stopped[/red]: {escape(str(error))}", soft_wrap=True)
        return False
    _tell_end(console, study, brought, store.tracking_uri)
    if brought.reasons:
        return False
    end_study_runs(study, store, "FINISHED")
    if definition.purpose == "tune":
        announce_winners(study, store, laboratory)
        console.print(
            f"winners are in MLflow. Next: mltbench run --from-study {definition.name} --seeds 5 --out {task.root}",
            soft_wrap=True,
        )
    else:
        console.print(f"Next: mltbench report --out {task.root} draws its figure.", soft_wrap=True)
    return True


def work_here(
    console: Console,
    name: str,
    root: Path,
    url: str | None,
    surroundings: Surroundings,
    tracking_uri: str | None,
    *,
    deadline: float | None,
    grace: int,
) -> None:
    """Join a study and work on it in this process; bring each trial to MLflow."""
    study = join_study(name, root, url, grace=grace)
    store = open_store(root, tracking_uri)
    laboratory = laboratory_of(root, surroundings)
    for dataset in dict.fromkeys(arm.dataset for arm in study.definition.arms):
        _prepare(laboratory.open_dataset(dataset))
    progress = StudyProgress(console, study, laboratory.trials)

    def on_trial(*_: object) -> None:
        progress.update()
        bring(study, store, laboratory)

    try:
        work(study, laboratory, deadline=deadline, on_trial=on_trial)
    except KeyboardInterrupt:
        console.print("[yellow]interrupted[/yellow]: the trial is queued again for whoever works on the study next.")
        raise SystemExit(130) from None
    brought = bring(study, store, laboratory)
    if study.definition.purpose == "tune":
        announce_winners(study, store, laboratory)
    _tell_end(console, study, brought, store.tracking_uri)


def _tell_end(console: Console, study: OpenStudy, brought: Brought, tracking_uri: str) -> None:
    for table in summary_tables(study):
        console.print(table)
    if brought.reasons:
        console.print(
            f"[yellow]not every trial is in MLflow yet[/yellow] ({escape(without_password(tracking_uri))}: "
            f"{escape(brought.reasons[0])}); the same command brings them there without training again.",
            soft_wrap=True,
        )


def _prepare(dataset: Dataset) -> None:
    """Open what a study needs once, before several processes ask for it; never the test split."""
    for split in ("train", "validation"):
        dataset.split(split)
