"""What the figures of one dataset are drawn from, loaded when a figure first asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.importing.label_files import read_label_file
from ...datasets.registry import load_dataset
from ...errors import InputError
from ...methods.catalogue import list_methods
from ..results.artifacts import local_artifact
from ..tables.chosen_runs import usual_recipe

if TYPE_CHECKING:
    import pandas as pd

    from ...benchmark.tracking.store import Store
    from ...datasets.dataset import Dataset


class MissingDataError(InputError):
    """A figure has nothing to draw; the message says what it would need."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingLabels:
    """Labels of a training split.

    Attributes:
        labels: `(N, C)` uint8 of 0/1.
        classes: C class names.
    """

    labels: NDArray[np.uint8]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelsOfTest:
    """Labels of a test split.

    Attributes:
        labels: `(N, C)` uint8 of 0/1.
        ids: N image ids.
        digest: of the dataset.
    """

    labels: NDArray[np.uint8]
    ids: list[str]
    digest: str


@dataclass(frozen=True, eq=False, kw_only=True)
class FigureSource:
    """Everything that figures of one dataset may ask for.

    Attributes:
        dataset: its name, as captions say it.
        open_labels: opens the training labels.
        open_dataset: opens the dataset, for its test labels; None where there are labels alone.
        runs: finished experiments of the dataset as `load_runs` returns them, or None.
        store: where their artifacts and curves are, or None.
        recipe: of the runs that are compared; None takes the dataset's own.
    """

    dataset: str
    open_labels: Callable[[], TrainingLabels]
    open_dataset: Callable[[], Dataset] | None = None
    runs: pd.DataFrame | None = None
    store: Store | None = None
    recipe: str | None = None

    @cached_property
    def training(self) -> TrainingLabels:
        """The training labels.

        Raises:
            MissingDataError: if the dataset is not at hand.
        """
        try:
            return self.open_labels()
        except InputError as error:
            raise MissingDataError(f"the training labels of {self.dataset} are not at hand: {error}") from error

    @cached_property
    def standard_runs(self) -> pd.DataFrame:
        """Finished runs of the recipe without overrides, one configuration per method, in the catalogue's order.

        Raises:
            MissingDataError: if there are none.
        """
        if self.runs is None or self.runs.empty:
            raise MissingDataError(f"no finished run on {self.dataset}; `mltbench run --table 1` makes some")
        wanted = self.recipe or usual_recipe(self.runs, self.dataset)
        plain = self.runs[(self.runs.overrides == "") & (self.runs.recipe == wanted)]
        if plain.empty:
            raise MissingDataError(f"no finished run on {self.dataset} with recipe {wanted} and no override")
        return one_configuration_each(plain)

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Average precision of every class of the standard runs, as `load_per_class` returns it."""
        from ..results.per_class import per_class_frame

        frame = per_class_frame(self.need_store(), self.standard_runs)
        if frame.empty:
            raise MissingDataError(f"no run on {self.dataset} has its per-class average precision in MLflow")
        return frame

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Trials of studies about the dataset, as `trials_frame` returns them, read once for all figures.

        Raises:
            MissingDataError: if there is no store.
        """
        from .study_trials import trials_frame

        frame = trials_frame(self.need_store())
        own: pd.DataFrame = frame[frame.study_dataset == self.dataset]
        return own

    def need_store(self) -> Store:
        """The store of the runs.

        Raises:
            MissingDataError: if there is none.
        """
        if self.store is None:
            raise MissingDataError("no MLflow store was given")
        return self.store

    def runs_of(self, method: str) -> pd.DataFrame:
        """Standard runs of one method, by seed; empty where there are none."""
        return self.standard_runs[self.standard_runs.method == method].sort_values("seed")

    def test_scores(self, run: Any) -> NDArray[np.float32]:
        """Raw test logits `(N, C)` of a run (a row of `standard_runs`), rows in the order of the test split.

        Raises:
            MissingDataError: if they are not kept, or the dataset is not at hand or another one.
        """
        path = local_artifact(self.need_store(), run, "test_scores.npz")
        if path is None:
            raise MissingDataError(f"the test scores of experiment {run.experiment_id} are not in MLflow")
        with np.load(path, allow_pickle=False) as arrays:
            scores, ids = arrays["scores"], arrays["ids"].tolist()
        test = self.test
        if test.digest != run.dataset_digest or ids != test.ids:
            raise MissingDataError(
                f"experiment {run.experiment_id} was scored on another version of {self.dataset} than is at hand"
            )
        return np.asarray(scores, dtype=np.float32)

    @cached_property
    def test(self) -> LabelsOfTest:
        """Labels of the test split.

        Raises:
            MissingDataError: if the dataset is not at hand.
        """
        try:
            if self.open_dataset is None:
                raise InputError("there are training labels alone")
            dataset = self.open_dataset()
            split = dataset.split("test")
        except InputError as error:
            raise MissingDataError(f"the test labels of {self.dataset} are not at hand: {error}") from error
        return LabelsOfTest(labels=split.labels, ids=split.ids.tolist(), digest=dataset.digest)


def one_configuration_each(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each method the configuration with most seeds (the newer of two equal ones), in the catalogue's order."""
    found = runs.groupby(["method", "configuration_id"]).agg(seeds=("seed", "nunique"), last=("started", "max"))
    ranked = found.reset_index().sort_values(["seeds", "last"], kind="stable")
    chosen = ranked.groupby("method").configuration_id.last()
    kept = runs[runs.configuration_id == runs.method.map(chosen)]
    known = [method.name for method in list_methods()]
    names = [name for name in known if name in set(kept.method)]
    order = {name: i for i, name in enumerate([*names, *sorted(set(kept.method) - set(names))])}
    return kept.sort_values(["method", "seed"], key=lambda c: c.map(order) if c.name == "method" else c)


def labels_source(name: str, file: Path) -> FigureSource:
    """Figures from a label file alone, `.npz` or CSV, as `mltbench data show --labels` reads it.

    Raises:
        InputError: if the file cannot be used.
    """
    found = read_label_file(file)
    training = TrainingLabels(labels=found.labels, classes=found.classes)
    return FigureSource(dataset=name, open_labels=lambda: training)


def dataset_source(
    name: str,
    *,
    data_root: Path | None = None,
    runs: pd.DataFrame | None = None,
    store: Store | None = None,
    recipe: str | None = None,
) -> FigureSource:
    """Figures of a registered dataset, and of its runs where they are given.

    Args:
        name: of the dataset.
        data_root: where datasets are kept; None takes the default.
        runs: as `load_runs` returns them; those of other datasets and unfinished ones are left out.
        store: that the runs come from.
        recipe: of the runs that are compared; None takes the dataset's own.
    """

    def open_labels() -> TrainingLabels:
        dataset = load_dataset(name, data_root=data_root)
        return TrainingLabels(labels=dataset.split("train").labels, classes=dataset.classes)

    return FigureSource(
        dataset=name,
        open_labels=open_labels,
        open_dataset=lambda: load_dataset(name, data_root=data_root),
        runs=runs[(runs.dataset == name) & (runs.state == "finished")] if runs is not None else None,
        store=store,
        recipe=recipe,
    )
