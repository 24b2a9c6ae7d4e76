"""What the figures of one dataset are drawn from, loaded when a figure first asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...datasets.errors import InputError
from ...datasets.label_files import read_label_file
from ...datasets.registry import load_dataset

if TYPE_CHECKING:
    import pandas as pd

    from ...benchmark.store import Store
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
class FigureSource:
    """Everything that figures of one dataset may ask for.

    Attributes:
        dataset: its name, as captions say it.
        open_labels: opens the training labels.
        open_dataset: opens the dataset, for its test labels; None where there are labels alone.
        runs: finished experiments of the dataset as `load_runs` returns them, or None.
        store: where their artifacts and curves are, or None.
    """

    dataset: str
    open_labels: Callable[[], TrainingLabels]
    open_dataset: Callable[[], Dataset] | None = None
    runs: pd.DataFrame | None = None
    store: Store | None = None

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

    def need_runs(self) -> pd.DataFrame:
        """Finished runs.

        Raises:
            MissingDataError: if there are none.
        """
        if self.runs is None or self.runs.empty:
            raise MissingDataError(f"no finished run on {self.dataset}; `mltbench run --table 1` makes some")
        return self.runs

    def need_store(self) -> Store:
        """The store of the runs.

        Raises:
            MissingDataError: if there is none.
        """
        if self.store is None:
            raise MissingDataError("no MLflow store was given")
        return self.store


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
) -> FigureSource:
    """Figures of a registered dataset, and of its runs where they are given.

    Args:
        name: of the dataset.
        data_root: where datasets are kept; None takes the default.
        runs: as `load_runs` returns them; those of other datasets and unfinished ones are left out.
        store: that the runs come from.
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
    )
