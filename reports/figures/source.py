"""What the figures of one dataset are drawn from, loaded when a figure first asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...benchmark.tracking.store import TAG, Store
from ...benchmark.training.metrics import SCORE_NAMES
from ...datasets.dataset import Dataset, Split
from ...datasets.long_tail.statistics import ClassStatistics
from ...datasets.registry import load_dataset
from ...errors import InputError
from ..results.rows import runs_are, select_runs, shared_seeds
from ..results.runs import local_artifact, per_class_frame, read_arrays

TRIAL_LABELS = ("study", "purpose", "sweep", "study_dataset", "dataset", "method", "title", "trial", "outcome",
                "default", "parameters", "values", "experiment_id")  # fmt: skip


# Labels `(N, C)` uint8 of a training split, and its C class names.
TrainingLabels: TypeAlias = tuple[NDArray[np.uint8], tuple[str, ...]]


class MissingDataError(InputError):
    """A figure has nothing to draw; the message says what it would need."""


def need_rows(frame: pd.DataFrame, lacking: str) -> pd.DataFrame:
    """The frame; if it is empty, a `MissingDataError` with the message `lacking`."""
    if frame.empty:
        raise MissingDataError(lacking)
    return frame


def run_command(dataset: str, methods: Sequence[str]) -> str:
    """The command that makes missing runs, as messages quote it.

    >>> run_command("photos", ["erm", "db"])
    '`mltbench run --dataset photos --method erm --method db`'
    """
    return " ".join([f"`mltbench run --dataset {dataset}", *(f"--method {name}" for name in methods)]) + "`"


@dataclass(frozen=True, eq=False, kw_only=True)
class FigureSource:
    """Everything that figures of one dataset may ask for; what is missing raises `MissingDataError`."""

    dataset: str  # its name, as captions print it
    labels: TrainingLabels | None = None  # where they are all that there is of the dataset
    data_root: Path | None = None  # where the dataset is
    runs: pd.DataFrame | None = None  # of the store, as `load_runs` returns them
    store: Store | None = None  # where the runs' artifacts and curves are
    recipe: str | None = None  # of the runs that are compared; None takes the dataset's own

    @cached_property
    def training(self) -> TrainingLabels:
        """The training labels."""
        if self.labels is not None:
            return self.labels
        return self._split("train").labels, self._opened.classes

    @cached_property
    def test(self) -> Split:
        """The test split."""
        return self._split("test")

    @cached_property
    def _opened(self) -> Dataset:
        if self.labels is not None:
            raise InputError("only its training labels were given")
        return load_dataset(self.dataset, data_root=self.data_root)

    def _split(self, name: str) -> Split:
        try:
            return self._opened.split(name)
        except InputError as error:
            raise MissingDataError(f"the {name} split of {self.dataset} is not available: {error}") from error

    @property
    def finished_runs(self) -> pd.DataFrame:
        """Finished runs of the dataset."""
        runs = self.runs
        return pd.DataFrame() if runs is None else runs[(runs.dataset == self.dataset) & (runs.state == "finished")]

    def require_validation(self) -> None:
        """Raise `MissingDataError` where finished runs show that the dataset has no validation split."""
        if len(runs := self.finished_runs) and runs.validation_total.isna().all():
            raise MissingDataError(f"{self.dataset} has no validation split, which is what it would show")

    @cached_property
    def standard_runs(self) -> pd.DataFrame:
        """Finished runs of the methods' rows by the tables' protocol, in the catalogue's order of methods.

        Where rows share enough seeds to compete, those that lack one are left out. `overrides` are empty: each method
        has one configuration.
        """
        lacking = f"no finished run on {self.dataset}"
        runs = need_rows(self.finished_runs, f"{lacking}; `mltbench run --dataset {self.dataset} --table 1` makes some")
        selection = select_runs(runs, self.dataset, recipe=self.recipe)
        own = need_rows(selection.standard, f"{lacking} with {selection.protocol.text}")
        seeds = shared_seeds(set(of_row.seed) for _, of_row in own.groupby("row"))
        return own.groupby("row", sort=False).filter(lambda of_row: seeds <= set(of_row.seed)).assign(overrides="")

    @property
    def left_out(self) -> tuple[str, ...]:
        """How many finished runs of the dataset are not among the standard ones."""
        number = len(self.finished_runs) - len(self.standard_runs)
        shown = "each method's row by the tables' protocol, where it has the seeds that rows share"
        return (f"{runs_are(number)} not in the figures of results: these show {shown}.",) if number else ()

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Average precision of every class of the standard runs, as `load_per_class` returns it."""
        frame = per_class_frame(self.need_store(), self.standard_runs)
        return need_rows(frame, f"no run on {self.dataset} has its per-class average precision in MLflow")

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Complete trainings of trials of studies about the dataset, one line each, from MLflow's tags alone.

        Labels, seed, and mAP on the validation split in percent by group (NaN where it was not evaluated).
        """
        rows: list[dict[str, Any]] = []
        for run in self.need_store().runs_of(kind="trial"):
            tags, metrics = run.data.tags, run.data.metrics
            row: dict[str, Any] = {label: tags.get(f"{TAG}{label}", "") for label in TRIAL_LABELS}
            row |= {"seed": int(tags[f"{TAG}seed"]), "run_id": run.info.run_id, "artifact_uri": run.info.artifact_uri}
            row |= {group: 100 * metrics.get(f"validation/{group}", float("nan")) for group in SCORE_NAMES}
            rows.append(row | {"default": row["default"] == "true"})
        frame = pd.DataFrame(rows, columns=[*TRIAL_LABELS, "seed", *SCORE_NAMES, "run_id", "artifact_uri"])
        own = frame[(frame.study_dataset == self.dataset) & (frame.outcome == "complete")]
        if own.empty:
            self.require_validation()
        return own

    def sweep(self, name: str) -> pd.DataFrame:
        """Complete trainings of a sweep; of several studies the one that was started last."""
        lacking = f"no sweep {name!r} on {self.dataset}; `mltbench study run {name} --dataset {self.dataset}` makes it"
        frame = need_rows(self.trials[self.trials.sweep == name], lacking)
        last: pd.DataFrame = frame[frame.study == frame.study.iloc[-1]]
        return last.reset_index(drop=True)

    def tuning(self) -> pd.DataFrame:
        """Complete trials of the last tuning, one line each: means over seeds."""
        command = f"mltbench study tune --dataset {self.dataset} --method erm --method db-focal"
        lacking = f"no tuning on {self.dataset}; `{command}` makes one"
        frame = need_rows(self.trials[self.trials.purpose == "tune"], lacking)
        keys = ["study", "dataset", "method", "title", "trial", "default", "parameters", "values"]
        last: pd.DataFrame = frame[frame.study == frame.study.iloc[-1]]
        return last.groupby(keys, sort=False)[list(SCORE_NAMES)].mean().reset_index()

    def need_store(self) -> Store:
        """The store of the runs."""
        if self.store is None:
            raise MissingDataError("no MLflow store was given")
        return self.store

    def test_scores(self, method: str) -> tuple[str, list[NDArray[np.float32]]] | None:
        """Title and raw test logits `(N, C)`, one array per seed, of a method's standard runs; None without a run.

        Rows are in the order of the test split.
        """
        runs = self.standard_runs[self.standard_runs.method == method].sort_values("seed")
        return (str(runs.title.iloc[0]), [self._scores_of(run) for run in runs.itertuples()]) if len(runs) else None

    def _scores_of(self, run: Any) -> NDArray[np.float32]:
        path = local_artifact(self.need_store(), run, "test_scores.npz")
        if path is None:
            raise MissingDataError(f"the test scores of experiment {run.experiment_id} are not in MLflow")
        arrays = read_arrays(path)
        if arrays["ids"].tolist() != self.test.ids.tolist() or self._opened.digest != run.dataset_digest:
            raise MissingDataError(
                f"experiment {run.experiment_id} was evaluated on another version of {self.dataset} than is available"
            )
        return arrays["scores"]


def classes_frame(
    statistics: ClassStatistics, classes: Sequence[str], dataset: str, **columns: NDArray[Any]
) -> pd.DataFrame:
    """One row per class, largest first: dataset, class_name, class_size, group, and the columns given, `(C,)` each."""
    own = {"class_name": list(map(str, classes)), "class_size": statistics.counts, "group": statistics.group_names}
    frame = pd.DataFrame({"dataset": dataset, **own, **columns})
    return frame.sort_values("class_size", ascending=False, kind="stable", ignore_index=True)
