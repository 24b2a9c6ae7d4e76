"""The trials of studies as one tidy table, read from MLflow's tags alone."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from ...benchmark.tracking.store import TAG, Store
from ..results.results import GROUPS
from .source import FigureSource, MissingDataError

LABELS = ("study", "purpose", "sweep", "study_dataset", "dataset", "method", "title", "trial", "outcome", "default",
          "parameters", "values", "experiment_id")  # fmt: skip
COLUMNS = (*LABELS, "seed", *GROUPS, "run_id", "artifact_uri")


def trials_frame(store: Store) -> pd.DataFrame:
    """One line per training of a trial: labels, seed, mAP on the validation split in percent (NaN where not scored)."""
    rows: list[dict[str, Any]] = []
    for run in store.runs_of(kind="trial"):
        tags, metrics = run.data.tags, run.data.metrics
        row: dict[str, Any] = {label: tags.get(f"{TAG}{label}", "") for label in LABELS}
        row |= {"seed": int(tags[f"{TAG}seed"]), "run_id": run.info.run_id, "artifact_uri": run.info.artifact_uri}
        row |= {group: 100 * metrics.get(f"validation/{group}", float("nan")) for group in GROUPS}
        rows.append(row)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["default"] = frame["default"] == "true"
    return frame


def need_sweep(source: FigureSource, sweep: str) -> pd.DataFrame:
    """Complete trainings of a sweep about the source's dataset; of several studies the one that was begun last.

    Raises:
        MissingDataError: if there are none.
    """
    frame = source.trials
    frame = frame[(frame.sweep == sweep) & (frame.outcome == "complete")]
    if frame.empty:
        raise MissingDataError(f"no sweep {sweep!r} on {source.dataset}; `mltbench study run {sweep}` makes it")
    return _last_study(frame)


def need_tuning(source: FigureSource) -> pd.DataFrame:
    """Trials of the last tuning about the source's dataset: one line each, means over seeds, complete ones alone.

    Raises:
        MissingDataError: if there are none.
    """
    frame = source.trials
    frame = frame[(frame.purpose == "tune") & (frame.outcome == "complete")]
    if frame.empty:
        raise MissingDataError(f"no tuning on {source.dataset}; `mltbench study tune` makes one")
    frame = _last_study(frame)
    keys = ["study", "dataset", "method", "title", "trial", "default", "parameters", "values"]
    means: pd.DataFrame = frame.groupby(keys, sort=False)[list(GROUPS)].mean().reset_index()
    return means


def parameter(frame: pd.DataFrame, key: str) -> pd.Series[Any]:
    """The value of one setting in every line."""
    return frame.parameters.map(lambda text: json.loads(text).get(key))


def _last_study(frame: pd.DataFrame) -> pd.DataFrame:
    own: pd.DataFrame = frame[frame.study == frame.study.iloc[-1]].reset_index(drop=True)
    return own
