"""`mltbench study tune | run | worker | show | list`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from ..benchmark.commands.options import (
    FileOptions,
    MethodOptions,
    ResultsOptions,
    SettingOptions,
    StoreOptions,
    ThreadOptions,
    parse_seeds,
)
from ..benchmark.executors.run_plan import Surroundings
from ..benchmark.experiments.plan import choose_methods
from ..benchmark.training.devices import default_workers
from ..benchmark.training.execution import Execution
from ..datasets.commands.options import AtLeastOne, DataOptions, NotNegative
from ..terminal import console
from .sweeps.registry import get_sweep
from .tuning.carrying import carry_out_study, tell_plan, work_here
from .tuning.definition import Budget, StudyDefinition, equal_budget
from .tuning.designs import Setting, sweeping, tuning
from .tuning.open_study import join_study
from .tuning.showing import studies_table, sweeps_table, tables_of
from .tuning.storage import GRACE_SECONDS
from .tuning.worker import WorkerTask, dataset_opener

STUDY = Group("Study", sort_key=0)
StorageUrl = Annotated[
    str | None,
    Parameter(
        name="--storage",
        env_var="MLTBENCH_STUDIES",
        help="Database for many machines, such as postgresql://user@host/studies [default: a journal file].",
    ),
]
StudyName = Annotated[str, Parameter(help="Name of the study; `mltbench study list` shows them.")]


@Parameter(name="*", group=STUDY)
@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """Where and how long a study is worked on."""

    hours: Annotated[float | None, NotNegative] = None
    """Begin no trial after so many hours of this command."""
    storage: StorageUrl = None
    grace: Annotated[int, Parameter(validator=Number(gte=3))] = GRACE_SECONDS
    """Seconds without a sign of life after which another worker's trial is taken over."""
    training: ThreadOptions = ThreadOptions()
    files: FileOptions = FileOptions()
    store: StoreOptions = StoreOptions()
    data: DataOptions = DataOptions()

    @property
    def deadline(self) -> float | None:
        """When no trial is begun any more, as `time.time` counts."""
        return None if self.hours is None else time.time() + 3600 * self.hours

    @property
    def root(self) -> Path:
        """The folder of the results, for workers in other folders too."""
        return self.store.root.resolve()

    def surroundings(self) -> Surroundings:
        """What each training needs."""
        return Surroundings(
            data_root=self.data.root.resolve(),
            execution=Execution(device=self.training.chosen, threads=self.training.threads, score_test=False),
            plugins=self.files.load(),
            word_vectors=self.files.word_vectors.resolve() if self.files.word_vectors else None,
        )


@Parameter(name="*", group=STUDY)
@dataclass(frozen=True, kw_only=True)
class StudyOptions(WorkOptions):
    """What tuning and sweeps have in common."""

    dataset: str = "digits-mlt"
    """A dataset by name."""
    name: str | None = None
    """Name of the study [default: from what it does]."""
    workers: Annotated[int | None, AtLeastOne] = None
    """Trials at once [default: cores, or 1 on CUDA]."""
    dry_run: bool = False
    """Show what would be searched and train nothing."""
    setting: SettingOptions = SettingOptions()

    def place(self, surroundings: Surroundings) -> Setting:
        """What every trial has in common."""
        return Setting(
            dataset=self.dataset,
            open_dataset=dataset_opener(surroundings.data_root),
            recipe=self.setting.recipe,
            overrides=self.setting.override,
            backbone=self.setting.backbone_choice,
        )


def tune(
    *,
    methods: MethodOptions = MethodOptions(),
    trials: Annotated[int, AtLeastOne] = 40,
    seeds_per_trial: Annotated[int, AtLeastOne] = 1,
    objective: str = "total",
    sampler: str = "tpe",
    parameter: tuple[str, ...] = (),
    no_pruning: bool = False,
    options: StudyOptions = StudyOptions(),
) -> int:
    """Tune methods, each over its own space, all with the same number of training images.

    The validation split alone is scored. The default hyper-parameters are trial 0. The same command resumes a study
    that was interrupted; with more --trials it goes further.

    For example:

        mltbench study tune --method erm --method db-focal --trials 40
        mltbench study tune --table 1 --dataset digits-mlt --seeds-per-trial 2 --hours 2
        mltbench study tune --method db --objective both --parameter method.mu --parameter method.negative_scale

    Args:
        trials: Budget of each method, in full trials; pruned ones leave images to further ones.
        seeds_per_trial: Trainings of each trial; their mean counts.
        objective: total, tail, or both (a Pareto front; no pruning).
        sampler: tpe, random or grid.
        parameter: Search this setting alone, such as method.mu; repeatable.
        no_pruning: Train every trial to its end.
    """
    surroundings = options.surroundings()
    definition = tuning(
        options.name or f"tune-{options.dataset}",
        choose_methods(methods.table, methods.method),
        options.place(surroundings),
        objective=objective,
        sampler=sampler,
        seeds_per_trial=seeds_per_trial,
        parameters=parameter,
        prune=not no_pruning,
    )
    return _carry_out(definition, equal_budget(definition.arms, trials, seeds_per_trial), surroundings, options)


def run(sweep: str, /, *, seeds: str = "3", options: StudyOptions = StudyOptions()) -> int:
    """Run one of the paper's sweeps; what is finished, in whatever study, is not trained again.

    For example:

        mltbench study run beta --dataset digits-mlt --seeds 3
        mltbench study run stepwise --seeds 3 --dry-run

    Args:
        sweep: A sweep by name; `mltbench study list` shows them.
        seeds: How many seeds (3 means 0, 1, 2), or a list such as 4,5,6.
    """
    surroundings = options.surroundings()
    name = options.name or f"{sweep}-{options.dataset}"
    definition = sweeping(name, get_sweep(sweep), options.place(surroundings), seeds=parse_seeds(seeds))
    points = max(len(arm.points) for arm in definition.arms)
    return _carry_out(definition, equal_budget(definition.arms, points, len(definition.seeds)), surroundings, options)


def worker(name: StudyName, /, *, options: WorkOptions = WorkOptions()) -> None:
    """Join a study and work on it until it wants no more; any number of workers may, on any machine.

    For example:

        mltbench study worker tune-digits-mlt
        mltbench study worker tune-digits-mlt --storage postgresql://user@host/studies --tracking-uri http://host:5000
    """
    work_here(
        console(),
        name,
        options.root,
        options.storage,
        options.surroundings(),
        options.store.tracking_uri,
        deadline=options.deadline,
        grace=options.grace,
    )


def show(name: StudyName, /, *, storage: StorageUrl = None, results: ResultsOptions = ResultsOptions()) -> None:
    """Show a study: its trials, what is best by each objective, and which settings matter.

    For example:

        mltbench study show tune-digits-mlt
    """
    for table in tables_of(join_study(name, results.root.resolve(), storage)):
        console().print(table)


def list_studies(*, storage: StorageUrl = None, results: ResultsOptions = ResultsOptions()) -> None:
    """List the sweeps that can be run, and the studies that there are.

    For example:

        mltbench study list
    """
    console().print(sweeps_table())
    console().print(studies_table(results.root.resolve(), storage))


def _carry_out(definition: StudyDefinition, budget: Budget, surroundings: Surroundings, options: StudyOptions) -> int:
    tell_plan(console(), definition, budget)
    if options.dry_run:
        console().print("Nothing was trained.")
        return 0
    task = WorkerTask(
        name=definition.name,
        root=options.root,
        url=options.storage,
        surroundings=surroundings,
        deadline=options.deadline,
        grace=options.grace,
    )
    workers = options.workers or default_workers(surroundings.execution.device)
    tracking_uri = options.store.tracking_uri
    return int(not carry_out_study(console(), definition, budget, task, workers=workers, tracking_uri=tracking_uri))
