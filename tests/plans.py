"""Plans of one epoch on Digits-MLT, and what a store holds of them: what the tests of carrying plans out share."""

from mltbench.benchmark.plan import build_plan
from mltbench.datasets.registry import load_dataset

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
