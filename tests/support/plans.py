"""What tests of carrying plans out share: plans of one epoch, what a store holds of them, the tiny set as a plug-in."""

import sys
import textwrap
from collections import Counter
from contextlib import contextmanager

from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.datasets.registry import load_dataset
from mltbench.methods import plugins

# A plug-in that registers the tiny set, unless this process has it.
TINY = """
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.datasets.registry import DatasetEntry, list_datasets, register_dataset

if "tiny" not in [entry.name for entry in list_datasets()]:
    register_dataset(DatasetEntry(
        name="tiny", summary="", source="", open=lambda root: tiny_dataset(), recipe="digits", backbone="digits-resnet"
    ))
"""
# A plugin with a loss of its own; its forward pass counts its calls.
LOSS = """
import multiprocessing
import os
import signal
from pathlib import Path

import mltbench
import torch


@mltbench.register_loss("{name}", like="{like}")
class Loss_{name}(torch.nn.Module):
    calls = 0

    def __init__(self, statistics):
        super().__init__()

    def forward(self, logits, labels):
        self.calls += 1
{body}
"""
PLAIN = "return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)"
QUICK = ("recipe.plain.epochs=1", "recipe.resampled.epochs=1")
SMALL = (*QUICK, "recipe.batch_size=8")


def plugin_text(name, body, like="rs"):
    """The text of a plugin whose loss is computed by `body`."""
    return LOSS.format(name=name, like=like, body=textwrap.indent(textwrap.dedent(body).strip(), " " * 8))


@contextmanager
def plugin_file(path, *texts, load=True):
    """Write a plugin and load it; forget it at the end."""
    path.write_text("".join(texts))
    name = plugins.plugin_module_name(path)
    if load:
        plugins.load_plugins([str(path)])
    yield path
    sys.modules.pop(name, None)


def make_plan(data_root, methods, **more):
    options = {"seeds": [0], "overrides": QUICK, **more}
    return build_plan(load_dataset("digits-mlt", data_root=data_root), methods, **options)


def tiny_plan(methods=("erm",), *, overrides=SMALL, seeds=(0,)):
    return build_plan(tiny_dataset(), methods, seeds=seeds, overrides=overrides)


def contents(store, kind="experiment"):
    """What MLflow has, without the ids that it gives: all that uploading could change."""
    return sorted(
        (
            *(run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
            *(sorted(some.items()) for some in (run.data.tags, run.data.params)),
            *(points(store, run), len(run.inputs.dataset_inputs)),
        )
        for run in store.runs_of(kind=kind)
    )


def points(store, run):
    """Every metric point of a run, as often as MLflow has it."""
    histories = (store.client.get_metric_history(run.info.run_id, name) for name in run.data.metrics)
    return sorted((p.key, p.step, p.timestamp, float(p.value).hex()) for history in histories for p in history)


def expected_points(entries):
    """Every point of a journal as MLflow has it: curves over epochs, what there is once at step 0."""
    written = [(name, entry.step, entry.time, value) for entry in entries for name, value in entry.metrics.items()]
    times = Counter(name for name, *_ in written)
    curves = {name for name in times if name.startswith("train/") or times[name] > 1}
    return sorted((name, step if name in curves else 0, time, value.hex()) for name, step, time, value in written)


def require_each_point_once(store, plan):
    """All runs of a plan are in MLflow once and closed, with every point of their journals once, and their files."""
    ids = sorted(planned.experiment.id for planned in plan.experiments)
    runs = [run for run in store.runs_of() if run.data.tags["mltbench.experiment_id"] in ids]
    assert sorted(run.data.tags["mltbench.experiment_id"] for run in runs) == ids
    for run in runs:
        assert run.info.status == "FINISHED"
        entries = read_journal(store.runs / run.data.tags["mltbench.experiment_id"])
        assert points(store, run) == expected_points(entries)
        names = {file.path for file in store.client.list_artifacts(run.info.run_id)}
        assert {"weights.pt", "test_scores.npz", "journal.jsonl"} <= names


def numbers(store):
    """Metrics of every run by experiment id, costs apart."""
    return {
        run.data.tags["mltbench.experiment_id"]: {k: v for k, v in run.data.metrics.items() if not k.startswith("cost")}
        for run in store.runs_of()
    }
