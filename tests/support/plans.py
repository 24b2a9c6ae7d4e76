"""What tests of carrying plans out share: plans of one epoch, what a store holds of them, the tiny set as a plug-in."""

from mltbench.benchmark.experiments.plan import build_plan
from mltbench.datasets.registry import load_dataset

# A plug-in that registers the tiny set, unless this process has it.
TINY = """
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.datasets.registry import DatasetEntry, list_datasets, register_dataset

if "tiny" not in [entry.name for entry in list_datasets()]:
    register_dataset(DatasetEntry(
        name="tiny", summary="", source="", open=lambda root: tiny_dataset(), recipe="digits", backbone="digits-resnet"
    ))
"""
QUICK = ("recipe.plain.epochs=1", "recipe.resampled.epochs=1")


def make_plan(data_root, methods, **more):
    return build_plan(
        load_dataset("digits-mlt", data_root=data_root), methods, overrides=QUICK, **{"seeds": [0], **more}
    )


def numbers(store):
    """Metrics of every run by experiment id, costs apart."""
    return {
        run.data.tags["mltbench.experiment_id"]: {k: v for k, v in run.data.metrics.items() if not k.startswith("cost")}
        for run in store.runs_of()
    }
