"""Runs made up by hand: as a line of `load_runs`, and as MLflow holds them."""

from dataclasses import dataclass

import pandas as pd
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag
from mltbench.benchmark.tracking.store import TAG, Store
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.methods.catalogue import list_methods
from mltbench.reports.results.runs import COLUMNS

TITLES = {method.name: method.title for method in list_methods()}


def record(method, seed, scores=(50.0, 60.0, 50.0, 40.0), **changes):
    """One run as a line of `load_runs`."""
    row = {
        "experiment_id": f"{method}{changes.get('overrides', '')}{seed}",
        "configuration_id": f"c-{method}{changes.get('overrides', '')}",
        "dataset": "digits-mlt", "method": method, "title": TITLES.get(method, method), "overrides": "",
        "recipe": "digits", "seed": seed,
        "state": "finished", **dict(zip(SCORE_NAMES, scores, strict=True)),
    }  # fmt: skip
    return row | changes


def seeds_of(method, totals, **changes):
    """Runs of one method, seed by seed, that differ in total alone."""
    return [record(method, seed, (total, 60, 50, 40), **changes) for seed, total in totals.items()]


def frame_of(*records):
    """Such lines as `load_runs` returns them."""
    return pd.DataFrame(records, columns=list(COLUMNS))


@dataclass(frozen=True, kw_only=True)
class ListedStore(Store):
    """A store whose MLflow holds these runs."""

    listed: tuple[Run, ...] = ()

    def runs_of(self, dataset=None, *, kind="experiment"):
        return [run for run in self.listed if run.data.tags[f"{TAG}kind"] == kind]


def mlflow_run(tags, metrics=None, *, params=None, run_id="run", started=1, artifact_uri="", experiment="7"):
    """A run as MLflow returns it; tags have the suite's names."""
    info = RunInfo(run_id, experiment, "somebody", "FINISHED", started, started + 1, "active", artifact_uri)
    data = RunData(
        metrics=[Metric(name, value, 0, 0) for name, value in (metrics or {}).items()],
        params=[Param(name, value) for name, value in (params or {}).items()],
        tags=[RunTag(f"{TAG}{name}", value) for name, value in ({"kind": "experiment"} | tags).items()],
    )
    return Run(info, data)
