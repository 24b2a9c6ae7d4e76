"""A plan before it is run: what is to be trained, and how long that takes on this machine."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from ...datasets.dataset import Dataset
from ...terminal import console, table_of
from ..executors.run_plan import split_plan
from ..executors.settings import RunSettings
from ..experiments.plan import Plan, PlannedExperiment
from ..speed.estimate import Rate, expected_seconds, measure_rate, rate_key
from ..tracking.store import Store
from ..training.execution import Execution


def show_plan(plan: Plan, dataset: Dataset, store: Store, settings: RunSettings) -> None:
    """Print a plan, its images and the hours that it takes here, from a few timed steps; nothing is trained.

    Args:
        plan: to show.
        dataset: of the plan; its labels are enough.
        store: says what is finished.
        settings: how it would be run.
    """
    execution = settings.execution
    done, missing = split_plan(plan, store)
    console().print(_plan_table(plan, {planned.experiment.id for planned in done}))
    images = sum(planned.images for planned in missing)
    console().print(f"{len(done)} finished, {len(missing)} to train: {images:,} training images. Nothing was trained.")
    if not missing:
        return
    kinds = {rate_key(planned.experiment): planned for planned in missing}
    rates: dict[tuple[Any, ...], Rate] = {}
    for key, planned in kinds.items():
        with console().status(f"timing a few steps of {planned.experiment.backbone}"):
            rates[key] = measure_rate(planned.experiment, dataset, execution)
        console().print(_rate_line(planned, rates[key], execution), soft_wrap=True, highlight=False)
    validation, *test = (len(dataset.labels(name)) for name in plan.splits[1:])
    scored = sum(planned_scorings(planned, execution) * validation + sum(test) for planned in missing)
    seconds = expected_seconds(missing, rates) + scored / min(rate.scoring for rate in rates.values())
    at_once = min(settings.workers, len(missing))
    together = f" with {at_once} at once, if these do not slow each other down" if at_once > 1 else ""
    console().print(
        f"estimated: [bold]{_duration(seconds / at_once)}[/bold] on this machine{together}: {images:,} training images "
        f"and {scored:,} scored ones",
        soft_wrap=True,
        highlight=False,
    )


def _plan_table(plan: Plan, finished: set[str]) -> Table:
    configurations: dict[str, list[PlannedExperiment]] = {}
    for planned in plan.experiments:
        configurations.setdefault(planned.experiment.configuration_id, []).append(planned)
    rows = []
    for group in configurations.values():
        first = group[0]
        seeds = " ".join(f"{p.experiment.seed}{'*' if p.experiment.id in finished else ''}" for p in group)
        ids = " ".join(p.experiment.id[:8] for p in group)
        rows.append((first.label, first.recipe, first.experiment.backbone, seeds, f"{first.images:,}", ids))
    columns = ("method", "recipe", "backbone", "seeds", "images each", "experiment ids")
    title = f"Plan: {escape(plan.name)}"
    return table_of(columns, rows, numbers=("images each",), title=title, caption="* is finished")


def planned_scorings(planned: PlannedExperiment, execution: Execution) -> int:
    """How often an experiment scores the validation split: after the last epoch, and every so many before it."""
    epochs, every = planned.experiment.training["schedule"]["epochs"], execution.evaluate_every
    return 1 + ((epochs - 1) // every if every else 0)


def _rate_line(planned: PlannedExperiment, rate: Rate, execution: Execution) -> str:
    training = planned.experiment.training
    return (
        f"measured now on {execution.device}, one run, {execution.threads} thread{'s'[: execution.threads > 1]}: "
        f"{planned.experiment.backbone} at {training['image_size']} x {training['image_size']}, batch "
        f"{training['batch_size']}, {training['precision']}: {rate.training:,.1f} images/s in training ({rate.steps} "
        f"steps in {rate.seconds:.1f} s), {rate.scoring:,.1f} images/s in scoring; random pixels and weights"
    )


def _duration(seconds: float) -> str:
    """As people say it.

    >>> _duration(50), _duration(600), _duration(7200), _duration(500_000)
    ('50 seconds', '10 minutes', '2.0 hours', '138.9 hours (5.8 days)')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"{hours:.1f} hours" + (f" ({hours / 24:.1f} days)" if hours > 48 else "")
