"""What MLflow's own pages show: descriptions with links, saved views of the runs, and their addresses.

A saved view is what the button "Views" of the page of runs offers: filter, order, columns, groups and charts, kept as
a tag of the experiment. MLflow does not document the tag; where it cannot read one, the page opens without the view.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from urllib.parse import quote, urlsplit

from ...errors import without_password
from ..experiments.plan import Kind, PlannedExperiment
from ..training.metrics import SCORE_NAMES

# Every tag of the suite starts so.
TAG = "mltbench."
NOTE = "mlflow.note.content"
# By default MLflow opens pages for chat models.
TRAINING_PAGES = "workflowType=machine_learning"
# Where `mlflow ui` listens.
LOCAL_PAGES = "http://127.0.0.1:5000"
# Digest of what was last written to an experiment: what people change there afterwards is left as it is.
WRITTEN = f"{TAG}pages"
RUN_NAME = "attributes.`Run Name`"
# Characters of the list of winners in a description, which MLflow cuts after 8,000.
LONGEST_LIST = 7000


@dataclass(frozen=True, kw_only=True)
class SavedView:
    """A saved view of the runs of one kind, best first."""

    key: str  # in its address
    name: str
    kind: str  # tag `mltbench.kind` of its runs
    split: str  # whose mAP it shows
    columns: Sequence[str] = ()  # tags that it shows besides
    groups: Sequence[str] = ()  # tags, over whose runs means are taken
    charts: bool = False  # whether it opens with charts

    def address(self, experiment_id: str) -> str:
        """Where it is on any server."""
        charts = "&compareRunsMode=CHART" if self.charts else ""
        return f"#/experiments/{experiment_id}/runs?viewStateShareKey={self.key}&{TRAINING_PAGES}{charts}"

    def tag(self, created: int) -> tuple[str, str]:
        """The experiment's tag that holds it; later ones are listed first."""
        total, *_ = scores = [f"{self.split}/{name}" for name in SCORE_NAMES]
        columns = [*(f"metrics.`{name}`" for name in scores), *(f"tags.`{TAG}{name}`" for name in self.columns)]
        sections = list(dict.fromkeys([self.split, "train", "validation", "cost"]))
        charts = [_chart("BAR", name, runsCountToCompare=100) for name in scores]
        state: dict[str, Any] = {
            "searchFilter": f"tags.`{TAG}kind` = '{self.kind}'",
            "orderByKey": f"metrics.`{total}`",
            "orderByAsc": False,
            "selectedColumns": columns,
            "columnOrder": [RUN_NAME, *columns],
            "columnWidths": {RUN_NAME: 300, **dict.fromkeys(columns, 120)},
            "runsHiddenMode": "SHOW_ALL",
            "compareRunCharts": [*charts, _chart("LINE", "train/loss", xAxisKey="step")],
            "compareRunSections": [{"uuid": name, "name": name, "display": True} for name in sections],
            "isAccordionReordered": True,
        }
        if self.groups:
            keys = [{"mode": "tag", "groupByData": f"{TAG}{name}"} for name in self.groups]
            state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
        value = {"name": self.name, "createdAt": created, "updatedAt": created, "state": json.dumps(state)}
        return f"mlflow.sharedViewState.{self.key}", json.dumps(value)


COMPARISON = SavedView(
    key="methods",
    name="Methods, means over seeds",
    kind="experiment",
    split="test",
    groups=["configuration"],
    charts=True,
)
RUNS = SavedView(
    key="runs",
    name="Runs, best first",
    kind="experiment",
    split="test",
    columns=["overrides", "recipe"],
)
TRIALS = SavedView(
    key="trials",
    name="Trials of studies",
    kind="trial",
    split="validation",
    columns=["study", "overrides"],
)
VIEWS = (COMPARISON, RUNS, TRIALS)


def experiment_tags(experiment_id: str) -> Mapping[str, str]:
    """Tags of an experiment of MLflow: its kind, its description, its saved views; the last one is their digest."""
    tags = {
        # Under "Model training", MLflow then lists its runs.
        "mlflow.experimentKind": "custom_model_development",
        NOTE: _experiment_description(experiment_id),
        **dict(view.tag(len(VIEWS) - number) for number, view in enumerate(VIEWS)),
    }
    return {**tags, WRITTEN: hashlib.sha256(json.dumps(tags).encode()).hexdigest()[:12]}


def run_description(planned: PlannedExperiment, experiment_id: str) -> str:
    """What a run is, in one line, and the command that repeats it."""
    trial, view = planned.tags.get("trial"), TRIALS if "study" in planned.tags else COMPARISON
    what = f"{planned.label} on {planned.experiment.dataset}, seed {planned.experiment.seed}, recipe {planned.recipe}"
    of = f"Trial {trial} of study {planned.tags['study']}: " if trial else ""
    return f"{of}{what}. [Compare it with others]({view.address(experiment_id)}). To repeat it: `{planned.command}`"


def study_description(study: str, experiment_id: str, winners: Sequence[str]) -> str:
    """What the run of a study is, with its winners, each in a line of its own, and a link to its trials."""
    address = TRIALS.address(experiment_id)
    if "'" not in study:  # which MLflow's filters cannot escape
        some = f"tags.`{TAG}study` = '{study}' and tags.`{TAG}kind` = 'trial'"
        order = "orderByKey=metrics.%60validation%2Ftotal%60&orderByAsc=false"
        address = f"#/experiments/{experiment_id}/runs?searchFilter={quote(some, safe='')}&{order}&{TRAINING_PAGES}"
    lines = [f"- {winner}\n" for winner in winners] or ["No trial is complete.\n"]
    shown = [line for line, length in zip(lines, accumulate(map(len, lines)), strict=True) if length <= LONGEST_LIST]
    if hidden := len(lines) - len(shown):
        shown.append(f"- and {hidden} more: `mltbench study show {shlex.quote(study)}`\n")
    found = "".join(shown)
    return (
        f"Study {study}: what was found best on the validation split. [Its trials]({address}).\n\n{found}\n"
        f"To compare it with the defaults: `mltbench run --from-study {shlex.quote(study)} --seeds 5`"
    )


def page_of_runs(tracking_uri: str, experiment_id: str, kind: Kind) -> str:
    """How to open MLflow's page of the runs of a kind: the address on its server, after the command that starts one."""
    address = (COMPARISON if kind == "experiment" else TRIALS).address(experiment_id)
    uri = without_password(tracking_uri)
    if urlsplit(uri).scheme in ("http", "https"):
        return f"{uri.rstrip('/')}/{address}"
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}\n  then open {LOCAL_PAGES}/{address}"


def run_name(planned: PlannedExperiment) -> str:
    """What a run is called: what tells it from others comes first, for a table shows some twenty characters."""
    overrides = f" ({planned.overrides})" if planned.overrides else ""
    name = f"{planned.title}, seed {planned.experiment.seed}{overrides}"
    tags = planned.tags
    return f"{tags['study']} {tags['trial'].rpartition('/')[2]}: {name}" if {"study", "trial"} <= tags.keys() else name


def _experiment_description(experiment_id: str) -> str:
    links = (f"[{view.name}]({view.address(experiment_id)})" for view in VIEWS)
    return (
        f"{' · '.join(links)}\n\n"
        "One run per experiment: a method, its settings and a seed. "
        "`test/total`, `test/head`, `test/medium` and `test/tail` are mAP on the test split after the last epoch, in "
        "0..1; `train/loss` and `train/learning_rate` are curves over epochs. Tags `mltbench.method`, `mltbench.seed` "
        "and `mltbench.overrides` say what a run is, `mltbench.plan` which plan asked for it; `mltbench.command` "
        "repeats it. `mltbench.kind` is `experiment`, `trial` (of a search, scored on the validation split alone) or "
        "`study` (one run per search; its trials have the same `mltbench.study`)."
    )


def _chart(kind: str, metric: str, **more: Any) -> Mapping[str, Any]:
    section = metric.partition("/")[0]
    return {
        "type": kind,
        "uuid": metric,
        "metricKey": metric,
        "metricSectionId": section,
        "displayName": metric,
        **more,
    }
