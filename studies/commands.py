"""`mltbench study tune | run | worker | show | list`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..benchmark.commands.run import BackboneName, Out, Plugins, TrackingUri, Weights, WeightsInput, WeightsPadding
from ..datasets.commands.preparing import DataRoot
from .tuning.storage import GRACE_SECONDS

if TYPE_CHECKING:
    from ..benchmark.executors.run_plan import Surroundings
    from ..benchmark.networks.initial_weights import BackboneChoice
    from .tuning.definition import Budget, StudyDefinition
    from .tuning.designs import Setting

study = typer.Typer(
    no_args_is_help=True,
    help="Studies: hyper-parameters tuned and swept, on the validation split alone.",
)
Name = Annotated[str, typer.Argument(help="Name of the study; `mltbench study list` shows them.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the study [default: from what it does].")]
StorageUrl = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar="MLTBENCH_STUDIES",
        help="Database for many machines, such as postgresql://user@host/studies [default: a journal file].",
    ),
]
RecipeName = Annotated[str | None, typer.Option(help="Training recipe [default: the dataset's own].")]
Overrides = Annotated[
    list[str] | None, typer.Option(help="method.KEY=VALUE or recipe.KEY=VALUE of every trial; repeatable.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Trials at once [default: cores, or 1 on CUDA].")]
Threads = Annotated[int, typer.Option(min=1, help="Torch threads per trial; they change the last bits.")]
WordVectors = Annotated[Path | None, typer.Option(help="GloVe text or .npz for ML-GCN.")]
Hours = Annotated[float | None, typer.Option(min=0.0, help="Begin no trial after so many hours of this command.")]
Grace = Annotated[
    int, typer.Option(min=3, help="Seconds without a sign of life after which another worker's trial is taken over.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be searched and train nothing.")]


@study.command()
def tune(
    method: Annotated[list[str] | None, typer.Option(help="A method by name; repeatable.")] = None,
    table: Annotated[list[int] | None, typer.Option(help="Methods of the paper's Table 1 or 2; repeatable.")] = None,
    dataset: Annotated[str, typer.Option(help="A dataset by name.")] = "digits-mlt",
    trials: Annotated[
        int,
        typer.Option(min=1, help="Budget of each method, in full trials; pruned ones leave images to further ones."),
    ] = 40,
    hours: Hours = None,
    seeds_per_trial: Annotated[int, typer.Option(min=1, help="Trainings of each trial; their mean counts.")] = 1,
    objective: Annotated[str, typer.Option(help="total, tail, or both (a Pareto front; no pruning).")] = "total",
    sampler: Annotated[str, typer.Option(help="tpe, random or grid.")] = "tpe",
    parameter: Annotated[
        list[str] | None, typer.Option(help="Search this setting alone, such as method.mu; repeatable.")
    ] = None,
    no_pruning: Annotated[bool, typer.Option("--no-pruning", help="Train every trial to its end.")] = False,
    name: NameOption = None,
    recipe: RecipeName = None,
    override: Overrides = None,
    backbone: BackboneName = None,
    weights: Weights = None,
    weights_input: WeightsInput = None,
    weights_padding: WeightsPadding = None,
    device: Device = "auto",
    workers: Workers = None,
    threads: Threads = 1,
    word_vectors: WordVectors = None,
    plugin: Plugins = None,
    storage: StorageUrl = None,
    grace: Grace = GRACE_SECONDS,
    dry_run: DryRun = False,
    out: Out = None,
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Tune methods, each over its own space, all with the same number of training images.

    The validation split alone is scored. The default hyper-parameters are trial 0. The same command goes on with a
    study that was interrupted; with more --trials it goes further.

    \b
    Examples:
        mltbench study tune --method erm --method db-focal --trials 40
        mltbench study tune --table 1 --dataset digits-mlt --seeds-per-trial 2 --hours 2
        mltbench study tune --method db --objective both --parameter method.mu --parameter method.negative_scale
    """
    from ..benchmark.experiments.plan import choose_methods
    from ..benchmark.networks.initial_weights import BackboneChoice
    from .tuning.definition import equal_budget
    from .tuning.designs import tuning

    surroundings = _surroundings(device, threads, word_vectors, plugin, data_root)
    choice = BackboneChoice(backbone=backbone, weights=weights, input=weights_input, padding=weights_padding)
    setting = _setting(dataset, recipe, override, choice, surroundings)
    definition = tuning(
        name or f"tune-{dataset}",
        choose_methods(table or [], method or []),
        setting,
        objective=objective,
        sampler=sampler,
        seeds_per_trial=seeds_per_trial,
        parameters=parameter or [],
        prune=not no_pruning,
    )
    budget = equal_budget(definition.arms, trials, seeds_per_trial)
    _carry_out(definition, budget, surroundings, workers, hours, storage, grace, dry_run, out, tracking_uri)


@study.command()
def run(
    sweep: Annotated[str, typer.Argument(help="A sweep by name; `mltbench study list` shows them.")],
    dataset: Annotated[str, typer.Option(help="A dataset by name.")] = "digits-mlt",
    seeds: Annotated[str, typer.Option(help="How many seeds (3 means 0, 1, 2), or a list such as 4,5,6.")] = "3",
    hours: Hours = None,
    name: NameOption = None,
    recipe: RecipeName = None,
    override: Overrides = None,
    backbone: BackboneName = None,
    weights: Weights = None,
    weights_input: WeightsInput = None,
    weights_padding: WeightsPadding = None,
    device: Device = "auto",
    workers: Workers = None,
    threads: Threads = 1,
    word_vectors: WordVectors = None,
    plugin: Plugins = None,
    storage: StorageUrl = None,
    grace: Grace = GRACE_SECONDS,
    dry_run: DryRun = False,
    out: Out = None,
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Run one of the paper's sweeps; what is finished, in whatever study, is not trained again.

    \b
    Examples:
        mltbench study run beta --dataset digits-mlt --seeds 3
        mltbench study run stepwise --seeds 3 --dry-run
    """
    from ..benchmark.commands.terminal import parse_seeds
    from ..benchmark.networks.initial_weights import BackboneChoice
    from .sweeps.registry import get_sweep
    from .tuning.definition import equal_budget
    from .tuning.designs import sweeping

    surroundings = _surroundings(device, threads, word_vectors, plugin, data_root)
    choice = BackboneChoice(backbone=backbone, weights=weights, input=weights_input, padding=weights_padding)
    setting = _setting(dataset, recipe, override, choice, surroundings)
    definition = sweeping(name or f"{sweep}-{dataset}", get_sweep(sweep), setting, seeds=parse_seeds(seeds))
    points = max(len(arm.points) for arm in definition.arms)
    budget = equal_budget(definition.arms, points, len(definition.seeds))
    _carry_out(definition, budget, surroundings, workers, hours, storage, grace, dry_run, out, tracking_uri)


@study.command()
def worker(
    name: Name,
    hours: Hours = None,
    device: Device = "auto",
    threads: Threads = 1,
    word_vectors: WordVectors = None,
    plugin: Plugins = None,
    storage: StorageUrl = None,
    grace: Grace = GRACE_SECONDS,
    out: Out = None,
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Join a study and work on it until it wants no more; any number of workers may, on any machine.

    \b
    Examples:
        mltbench study worker tune-digits-mlt
        mltbench study worker tune-digits-mlt --storage postgresql://user@host/studies --tracking-uri http://host:5000
    """
    from ..terminal import console
    from .tuning.carrying import work_here

    surroundings = _surroundings(device, threads, word_vectors, plugin, data_root)
    work_here(console(), name, _root(out), storage, surroundings, tracking_uri, deadline=_deadline(hours), grace=grace)


@study.command()
def show(name: Name, storage: StorageUrl = None, out: Out = None) -> None:
    """Show a study: its trials, what is best by each objective, and which settings matter.

    \b
    Example:
        mltbench study show tune-digits-mlt
    """
    from ..terminal import console
    from .tuning.open_study import join_study
    from .tuning.showing import tables_of

    for table in tables_of(join_study(name, _root(out), storage)):
        console().print(table)


@study.command()
def overhead(
    method: Annotated[str, typer.Option(help="A method by name.")] = "db-focal",
    dataset: Annotated[str, typer.Option(help="A dataset by name.")] = "digits-mlt",
    trials: Annotated[int, typer.Option(min=3, help="How many trials.")] = 100,
    data_root: DataRoot = None,
) -> None:
    """Measure what a trial costs beside its training: TPE, journal, lease and plan.

    \b
    Example:
        mltbench study overhead --trials 100
    """
    from ..terminal import console
    from .tuning.overhead import describe, trial_overheads

    surroundings = _surroundings("cpu", 1, None, None, data_root)
    console().print(
        describe(trial_overheads(surroundings, dataset=dataset, method=method, trials=trials)), soft_wrap=True
    )


@study.command("list")
def list_studies(storage: StorageUrl = None, out: Out = None) -> None:
    """List the sweeps that can be run, and the studies that there are.

    \b
    Example:
        mltbench study list
    """
    from ..terminal import console
    from .tuning.showing import studies_table, sweeps_table

    console().print(sweeps_table())
    console().print(studies_table(_root(out), storage))


def _carry_out(
    definition: StudyDefinition,
    budget: Budget,
    surroundings: Surroundings,
    workers: int | None,
    hours: float | None,
    storage: str | None,
    grace: int,
    dry_run: bool,
    out: Path | None,
    tracking_uri: str | None,
) -> None:
    from ..benchmark.training.devices import default_workers
    from ..terminal import console
    from .tuning.carrying import carry_out_study, tell_plan
    from .tuning.worker import WorkerTask

    tell_plan(console(), definition, budget)
    if dry_run:
        console().print("Nothing was trained.")
        return
    root = _root(out)
    task = WorkerTask(
        name=definition.name,
        root=root,
        url=storage,
        surroundings=surroundings,
        deadline=_deadline(hours),
        grace=grace,
    )
    chosen = workers or default_workers(surroundings.execution.device)
    if not carry_out_study(console(), definition, budget, task, workers=chosen, tracking_uri=tracking_uri):
        raise typer.Exit(1)


def _surroundings(
    device: str, threads: int, word_vectors: Path | None, plugin: list[str] | None, data_root: Path | None
) -> Surroundings:
    from ..benchmark.executors.run_plan import Surroundings
    from ..benchmark.training.devices import resolve_device
    from ..benchmark.training.execution import Execution
    from ..datasets.registry import resolve_data_root
    from ..methods.plugins import load_plugins

    load_plugins(plugin or [])
    return Surroundings(
        data_root=resolve_data_root(data_root).resolve(),
        execution=Execution(device=resolve_device(device), threads=threads, score_test=False),
        plugins=tuple(str(Path(file).resolve()) for file in plugin or []),
        word_vectors=word_vectors.resolve() if word_vectors else None,
    )


def _setting(
    dataset: str,
    recipe: str | None,
    override: list[str] | None,
    backbone: BackboneChoice,
    surroundings: Surroundings,
) -> Setting:
    from .tuning.designs import Setting
    from .tuning.worker import dataset_opener

    return Setting(
        dataset=dataset,
        open_dataset=dataset_opener(surroundings.data_root),
        recipe=recipe,
        overrides=tuple(override or []),
        backbone=backbone,
    )


def _root(out: Path | None) -> Path:
    from ..benchmark.tracking.store import resolve_results_root

    return resolve_results_root(out).resolve()


def _deadline(hours: float | None) -> float | None:
    return None if hours is None else time.time() + 3600 * hours
