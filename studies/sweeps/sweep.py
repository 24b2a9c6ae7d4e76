"""Sweeps: declared in files `NAME.toml` beside this one, trained as plans, shown as tables of what MLflow has."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from ...benchmark.experiments.plan import Plan, PlannedExperiment
from ...benchmark.tracking.store import TAG, Store
from ...benchmark.training.metrics import SCORE_NAMES
from ...errors import InputError, require_known
from ...methods.catalogue import whose_paper_values
from ...terminal import table_of
from ..tuning.definition import Setting, as_overrides, as_settings, open_dataset, values_of

LABELS = ("study", "sweep", "study_dataset", "dataset", "method", "parameters", "default", "experiment_id")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a few settings do, all else being equal.

    Attributes:
        grid: values of each setting, by key such as `method.beta`; empty to compare the methods alone.
        together: every combination of the grid; False varies one setting at a time, the others at their defaults.
        variants: by dataset, the datasets that are compared in its place; the same training images are taken of each.
    """

    name: str  # as `mltbench study run` takes it
    summary: str  # one sentence
    reference: str  # where the paper shows it, or that it does not
    methods: Sequence[str]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)  # settings held, by key
    together: bool = True
    variants: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def points(self, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every point of the grid, each once; `defaults` are those of its keys.

        >>> Sweep(name="", summary="", reference="", methods=(), grid={"a": (1, 2), "b": (3, 4)}).points({})
        [{'a': 1, 'b': 3}, {'a': 1, 'b': 4}, {'a': 2, 'b': 3}, {'a': 2, 'b': 4}]
        """
        if self.together:
            return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]
        points = [{**defaults, key: value} for key, values in self.grid.items() for value in values]
        return [point for i, point in enumerate(points) if point not in points[:i]]

    def datasets(self, dataset: str) -> Sequence[str]:
        """Datasets that are compared when the sweep is run on one.

        Raises:
            InputError: if the sweep compares variants, and this dataset has none.
        """
        if self.variants and dataset not in self.variants:
            raise InputError(
                f"sweep {self.name!r} compares variants of a dataset, and {dataset!r} has none; "
                f"known: {', '.join(self.variants)}"
            )
        return self.variants.get(dataset, (dataset,))


@cache
def sweeps() -> dict[str, Sweep]:
    """All sweeps, by name."""
    texts = {file.name: file.read_text("utf-8") for file in files(__package__).iterdir() if file.name.endswith(".toml")}
    names = {name.removesuffix(".toml"): tomllib.loads(texts[name]) for name in sorted(texts)}
    return {name: Sweep(name=name, **fields) for name, fields in names.items()}


def get_sweep(name: str) -> Sweep:
    """Return one sweep.

    Raises:
        InputError: if there is none of that name.
    """
    require_known("sweep", name, sweeps())
    return sweeps()[name]


def plan_sweep(sweep: Sweep, setting: Setting, *, seeds: Sequence[int], name: str | None = None) -> list[Plan]:
    """The plans of a sweep: one, or one for each variant of the dataset, with an experiment per method, point and seed.

    What a sweep does not change is as in the paper, unless the setting says whose values to take. Results are kept
    under the name of a study; None makes one of sweep and dataset.

    Raises:
        InputError: if the dataset has no variants to compare, or an override fits no method.
    """
    setting = replace(setting, values=setting.values or whose_paper_values(setting.dataset))
    setting.experiments(sweep.methods, overrides=setting.overrides, seeds=seeds)
    study, plans = name or f"{sweep.name}-{setting.dataset}", []
    for dataset in sweep.datasets(setting.dataset):
        found = [
            planned for method in sweep.methods for planned in _experiments(sweep, setting, method, dataset, seeds)
        ]
        own = {"study": study, "purpose": "sweep", "sweep": sweep.name, "study_dataset": setting.dataset}
        unique = {planned.experiment.id: replace(planned, tags={**own, **planned.tags}) for planned in found}
        plans.append(Plan(name=study, dataset=dataset, experiments=tuple(unique.values()), scores_test=False))
    return plans


def sweeps_table() -> Table:
    """The sweeps that can be run."""
    rows = []
    for name, sweep in sweeps().items():
        variants = max((len(names) for names in sweep.variants.values()), default=1)
        # Any values may stand for the defaults, which lie on every axis: only the number of points counts.
        points = sweep.points({key: values[0] for key, values in sweep.grid.items()})
        number = len(points) * len(sweep.methods) * variants
        rows.append((name, sweep.summary, ", ".join(sweep.methods), number, sweep.reference))
    columns = ("name", "what it shows", "methods", "points", "reference")
    return table_of(
        columns,
        rows,
        numbers=("points",),
        prose=("what it shows", "methods", "reference"),
        optional=("reference",),
        title="Sweeps: mltbench study run NAME",
    )


def sweep_runs(store: Store | None) -> pd.DataFrame:
    """One line per finished training of a sweep: its labels, point, and validation mAP by group in percent."""
    rows = []
    for run in store.runs_of(kind="trial") if store else ():
        tags, metrics = run.data.tags, run.data.metrics
        if tags.get(f"{TAG}purpose") == "sweep" and tags.get(f"{TAG}outcome") == "complete":
            point = int(tags[f"{TAG}trial"].rpartition("/")[2])
            scores = (100 * metrics.get(f"validation/{name}", float("nan")) for name in SCORE_NAMES)
            rows.append((*(tags[f"{TAG}{label}"] for label in LABELS), point, *scores))
    return pd.DataFrame(rows, columns=[*LABELS, "point", *SCORE_NAMES]).drop_duplicates(["study", "experiment_id"])


def finished_sweeps_table(runs: pd.DataFrame) -> Table:
    """The sweeps that were run, by name, from what `sweep_runs` returns."""
    # Not in the order of their runs: sweeps that share a training began it at the same time.
    groups = runs.groupby(["study", "sweep", "study_dataset"])
    rows = [(*labels, ", ".join(sorted(own.method.unique())), len(own)) for labels, own in groups]
    columns = ("name", "sweep", "dataset", "methods", "trainings")
    return table_of(
        columns, rows, numbers=columns[4:], prose=("methods",), title="Sweeps in MLflow: mltbench study show NAME"
    )


def sweep_tables(runs: pd.DataFrame, study: str) -> list[Table]:
    """A table for every dataset and method of a sweep: mean and standard deviation of each point over its seeds."""
    runs, tables = runs[runs.study == study].sort_values("point", kind="stable"), []
    known = [sweep for name, sweep in sweeps().items() if name in set(runs.sweep)]
    order = [name for sweep in known for names in (*sweep.variants.values(), sweep.methods) for name in names]
    groups = runs.groupby(["dataset", "method"], sort=False)
    for labels, own in sorted(groups, key=lambda group: [order.index(name) for name in group[0] if name in order]):
        points = {text: json.loads(text) for text in own.parameters.unique()}
        first = next(iter(points.values()))
        varied = [key for key in first if len({str(point[key]) for point in points.values()}) > 1]
        held = ", ".join(f"{key}={value}" for key, value in first.items() if key not in varied)
        rows = []
        for text, trainings in own.groupby("parameters", sort=False):
            cells = [f"{points[text][key]}{'*' * (trainings.default.iloc[0] == 'true')}" for key in varied]
            rows.append((*cells, *(_spread(trainings[name]) for name in SCORE_NAMES), len(trainings)))
        columns = (*(key.partition(".")[2] for key in varied), *SCORE_NAMES, "seeds")
        title = escape(f"{labels[1]} on {labels[0]}{f' with {held}' if held else ''}")
        note = "mAP on the validation split, percent: mean ± standard deviation over seeds; * are the defaults"
        optional = ("seeds", "medium", "head")
        tables.append(table_of(columns, rows, numbers=columns, optional=optional, title=title, caption=note))
    return tables


def _experiments(
    sweep: Sweep, setting: Setting, method: str, dataset: str, seeds: Sequence[int]
) -> list[PlannedExperiment]:
    """Every point of a method with the first seed, then with the second: half a sweep shows its curve."""
    held = [*setting.fixed(method), *as_overrides(sweep.fixed)]
    (base,) = setting.experiments([method], overrides=held, seeds=seeds[:1])
    if dataset != setting.dataset:
        held += as_overrides(_equal_images(base, setting, dataset))
    defaults, points = values_of(sweep.grid, base), []
    for number, point in enumerate(sweep.points(defaults)):
        tags = {
            "trial": f"{method}@{dataset}/{number}",
            "parameters": json.dumps(as_settings(held) | point, sort_keys=True),
            "default": str(point == defaults).lower(),
        }
        overrides = [*held, *as_overrides(point)]
        trainings = setting.experiments([method], overrides=overrides, seeds=seeds, dataset=dataset)
        points.append([replace(planned, tags=tags) for planned in trainings])
    return [planned for one_seed in zip(*points, strict=True) for planned in one_seed]


def _equal_images(base: PlannedExperiment, setting: Setting, variant: str) -> dict[str, Any]:
    """Settings with which a variant's training takes as many images as the base's, as nearly as whole epochs allow."""
    method, schedule = base.experiment.method, base.experiment.training["schedule"]
    datasets = [open_dataset(name, data_root=setting.settings.data_root) for name in (setting.dataset, variant)]
    if method.schedule != "plain":
        largest = [int(dataset.statistics.counts.max()) for dataset in datasets]
        share = method.parameters["epoch_fraction"] * largest[0] / largest[1]
        return {"method.epoch_fraction": float(f"{share:.6g}")}
    ratio = len(datasets[0].labels("train")) / len(datasets[1].labels("train"))
    decays = ",".join(str(round(epoch * ratio)) for epoch in schedule["decay_after"])
    return {
        "recipe.plain.epochs": max(1, round(schedule["epochs"] * ratio)),
        "recipe.plain.decay_after": f"{decays}," if decays else "()",
    }


def _spread(values: pd.Series[float]) -> str:
    deviation = f" ± {values.std():.2f}" if values.count() > 1 else ""
    return f"{values.mean():.2f}{deviation}" if values.count() else "–"
