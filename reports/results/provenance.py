"""Where numbers come from: what every experiment was made with, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from ...benchmark.tracking.store import Store
from .artifacts import local_artifact, read_json
from .results import GROUPS, VALIDATION

DIGESTS = ("weights_digest", "word_vectors_digest")


@dataclass(frozen=True, kw_only=True)
class ExperimentRecord:
    """One finished experiment.

    Attributes:
        id: its id.
        seed: its seed.
        results: mAP in percent by column of `load_runs`; None where there is none.
        train_seconds: of the training, or None.
        command: that repeats it.
        run_id: of MLflow.
        link: address of the run on the tracking server, or None for a local store.
        started: UTC, to the second.
        provenance: commit, versions, machine.
    """

    id: str
    seed: int
    results: Mapping[str, float | None]
    train_seconds: float | None
    command: str
    run_id: str
    link: str | None
    started: str
    provenance: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ConfigurationRecord:
    """What the seeds of one table row share.

    Attributes:
        id: the experiments' id without the seed.
        label: method with its overrides.
        dataset: its name.
        digests: of the dataset, the initial weights, the word vectors.
        settings: every hyper-parameter.
        experiments: by seed.
    """

    id: str
    label: str
    dataset: str
    digests: Mapping[str, str]
    settings: Mapping[str, str]
    experiments: tuple[ExperimentRecord, ...]


def configuration_records(store: Store, runs: pd.DataFrame) -> list[ConfigurationRecord]:
    """Records of all finished runs, grouped by configuration, in the order of `runs`."""
    finished = runs[runs.state == "finished"]
    groups = finished.groupby("configuration_id", sort=False)
    return [_configuration(store, str(name), group) for name, group in groups]


def _configuration(store: Store, name: str, runs: pd.DataFrame) -> ConfigurationRecord:
    first = next(runs.itertuples())
    settings = {k: v for k, v in json.loads(str(first.settings)).items() if k not in ("seed", "dataset", "method")}
    return ConfigurationRecord(
        id=name,
        label=f"{first.title!s} ({first.overrides!s})" if first.overrides else str(first.title),
        dataset=str(first.dataset),
        digests={"dataset_digest": str(first.dataset_digest), **_digests(store, first)},
        settings={**settings, "numerics_version": str(first.numerics_version)},
        experiments=tuple(_experiment(store, run) for run in runs.sort_values("seed").itertuples()),
    )


def _digests(store: Store, run: Any) -> dict[str, str]:
    path = local_artifact(store, run, "experiment.json")
    deciding = read_json(path, "deciding")["deciding"] if path else {}
    return {name: str(deciding[name]) for name in DIGESTS if deciding.get(name)}


def _experiment(store: Store, run: Any) -> ExperimentRecord:
    started = datetime.fromtimestamp(int(run.started) / 1000, UTC)
    return ExperimentRecord(
        id=str(run.experiment_id),
        seed=int(run.seed),
        results={column: _number(getattr(run, column)) for column in (*GROUPS, *VALIDATION)},
        train_seconds=_number(run.train_seconds),
        command=str(run.command),
        run_id=str(run.run_id),
        link=_link(store.tracking_uri, run),
        started=started.strftime("%Y-%m-%d %H:%M:%S"),
        provenance=json.loads(str(run.provenance)),
    )


def _link(tracking_uri: str, run: Any) -> str | None:
    # An address with a password in it must not reach a page that is passed on.
    if not tracking_uri.startswith(("http://", "https://")) or "@" in tracking_uri:
        return None
    return f"{tracking_uri.rstrip('/')}/#/experiments/{run.mlflow_experiment}/runs/{run.run_id}"


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
