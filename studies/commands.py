"""`mltbench study tune | run | worker | show | list`."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from ..benchmark.commands.options import (
    FileOptions,
    MethodOptions,
    SettingOptions,
    StoreOptions,
    ThreadOptions,
    TrainingOptions,
    parse_seeds,
)
from ..benchmark.commands.plans import run_plans
from ..benchmark.executors.settings import RunSettings
from ..benchmark.experiments.plan import choose_methods
from ..benchmark.tracking.store import require_results
from ..benchmark.training.devices import default_workers
from ..benchmark.training.execution import Execution
from ..datasets.commands.options import AtLeastOne, DataOptions, NotNegative
from ..errors import InputError
from ..terminal import Json, as_records, console, print_json, print_tables
from .sweeps.sweep import finished_sweeps_table, get_sweep, plan_sweep, sweep_runs, sweep_tables, sweeps_table
from .tuning.definition import Setting, tuning
from .tuning.study import GRACE_SECONDS, StudyStorage, begin_study, join_study
from .tuning.terminal import follow, show_search, studies_table, study_as_json, study_tables
from .tuning.worker import run_trials, run_workers

STUDY = Group("Study", sort_key=0)
StorageUrl = Annotated[
    str | None,
    Parameter(
        name="--storage",
        env_var="MLTBENCH_STUDIES",
        help="Database for many machines, such as postgresql://user@host/studies [default: a SQLite file].",
    ),
]
StudyName = Annotated[str, Parameter(help="Name of the study; `mltbench study list` shows them.")]


@Parameter(name="*", group=STUDY)
@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """Where and how long a tuning is worked on."""

    hours: Annotated[float | None, NotNegative] = None
    """Begin no trial after so many hours of this command."""
    storage: StorageUrl = None
    grace: Annotated[int, Parameter(validator=Number(gte=3))] = GRACE_SECONDS
    """Seconds without a heartbeat after which a trial is queued again."""
    training: ThreadOptions = ThreadOptions()
    files: FileOptions = FileOptions()
    store: StoreOptions = StoreOptions()
    data: DataOptions = DataOptions()

    @property
    def deadline(self) -> float | None:
        """When no trial is begun any more, as `time.time` counts."""
        return None if self.hours is None else time.time() + 3600 * self.hours

    @property
    def place(self) -> StudyStorage:
        """Where the study is kept, for workers in other folders too."""
        return StudyStorage(root=self.store.root.resolve(), url=self.storage, grace=self.grace)

    def settings(self, workers: int | None = None) -> RunSettings:
        """How trials are trained."""
        device, vectors = self.training.chosen, self.files.word_vectors
        return RunSettings(
            data_root=self.data.root.resolve(),
            execution=Execution(device=device, threads=self.training.threads, score_test=False),
            plugins=self.files.load(),
            word_vectors=vectors.resolve() if vectors else None,
            workers=workers or default_workers(device),
        )


@Parameter(name="*", group=STUDY)
@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What tunings and sweeps have in common."""

    dataset: str = "digits-mlt"
    """A dataset by name."""
    name: str | None = None
    """Name of the study [default: from what it does]."""
    dry_run: bool = False
    """Show what would be searched and train nothing."""
    setting: SettingOptions = SettingOptions()

    def of(self, settings: RunSettings) -> Setting:
        """What all trainings have in common."""
        return Setting(
            dataset=self.dataset,
            settings=settings,
            recipe=self.setting.recipe,
            overrides=self.setting.override,
            backbone=self.setting.backbone_choice,
            values=self.setting.values,
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
    workers: Annotated[int | None, AtLeastOne] = None,
    study: StudyOptions = StudyOptions(),
    work: WorkOptions = WorkOptions(),
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
        workers: Trials at once [default: cores, or 1 on CUDA].
    """
    settings = work.settings(workers)
    definition = tuning(
        study.name or f"tune-{study.dataset}",
        choose_methods(methods.table, methods.method),
        study.of(settings),
        objective=objective,
        sampler=sampler,
        seeds_per_trial=seeds_per_trial,
        parameters=parameter,
        prune=not no_pruning,
    )
    show_search(definition, trials)
    if study.dry_run:
        console().print("Nothing was trained.")
        return 0
    deadline, store = work.deadline, work.store.open()
    opened = begin_study(definition, trials, work.place)
    return int(not follow(opened, store, settings, lambda update: run_workers(opened, settings, deadline, update)))


def run(
    sweep: str,
    /,
    *,
    seeds: str = "3",
    study: StudyOptions = StudyOptions(),
    files: FileOptions = FileOptions(),
    training: TrainingOptions = TrainingOptions(),
    results: StoreOptions = StoreOptions(),
    data: DataOptions = DataOptions(),
) -> int:
    """Run one of the paper's sweeps; what is finished, in whatever study, is not trained again.

    All else has the paper's values, or those of --values: digits-mlt has tuned ones.

    For example:

        mltbench study run beta --dataset digits-mlt --seeds 3
        mltbench study run stepwise --seeds 3 --dry-run

    Args:
        sweep: A sweep by name; `mltbench study list` shows them.
        seeds: How many seeds (3 means 0, 1, 2), or a list such as 4,5,6.
    """
    settings = training.settings(files, data.root)
    plans = plan_sweep(get_sweep(sweep), study.of(settings), seeds=parse_seeds(seeds), name=study.name)
    store = results.open()
    failed = run_plans(plans, store, settings, dry_run=study.dry_run)
    if not study.dry_run:
        print_tables(sweep_tables(sweep_runs(store), plans[0].name))
    return int(failed)


def worker(name: StudyName, /, *, work: WorkOptions = WorkOptions()) -> int:
    """Join a study and work on it until it wants no more; any number of workers may, on any machine.

    For example:

        mltbench study worker tune-digits-mlt
        mltbench study worker tune-digits-mlt --storage postgresql://user@host/studies --tracking-uri http://host:5000
    """
    settings, deadline, opened = work.settings(), work.deadline, join_study(name, work.place)
    store = work.store.open()
    return int(
        not follow(opened, store, settings, lambda update: run_trials(opened, settings, deadline, on_trial=update))
    )


def show(
    name: StudyName, /, *, as_json: Json = False, storage: StorageUrl = None, results: StoreOptions = StoreOptions()
) -> None:
    """Show a tuning (its trials, what is best by each objective, which settings matter), or what a sweep showed.

    For example: `mltbench study show tune-digits-mlt`
    """
    data: dict[str, Any]
    try:
        study = join_study(name, StudyStorage(root=results.root.resolve(), url=storage))
    except InputError:
        runs = _sweep_runs(results)
        if name not in set(runs.study):
            raise
        data, tables = {"trainings": runs[runs.study == name].to_dict("records")}, sweep_tables(runs, name)
    else:
        data, tables = study_as_json(study), study_tables(study)
    if as_json:
        print_json(data)
    else:
        print_tables(tables)


def list_studies(*, as_json: Json = False, storage: StorageUrl = None, results: StoreOptions = StoreOptions()) -> None:
    """List the sweeps that can be run, and the studies that there are.

    For example: `mltbench study list`
    """
    tables = {
        "sweeps": sweeps_table(),
        "studies": studies_table(StudyStorage(root=results.root.resolve(), url=storage)),
        "finished sweeps": finished_sweeps_table(_sweep_runs(results)),
    }
    if as_json:
        print_json({kind: as_records(table) for kind, table in tables.items()})
    else:
        print_tables([*tables.values()])


def _sweep_runs(results: StoreOptions) -> pd.DataFrame:
    """What MLflow has of sweeps; nothing where there is no MLflow yet."""
    try:
        require_results(results.root, results.tracking_uri)
    except InputError:
        return sweep_runs(None)
    return sweep_runs(results.open(create=False))
