"""Fig. 6: what each step from ERM to the distribution-balanced loss does to the average precision of each class."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...datasets.long_tail.statistics import GROUPS
from ..results.runs import of_one_dataset
from .placement import name_points
from .registry import register_figure
from .source import MissingDataError, run_command
from .style import LONGEST_NAME, PAGE, SMALL, group_bars, legend_above, name_classes, new_figure, plain

STEPS = ("erm", "rs", "r-bce", "db")
NAMED = 3  # classes of a step


def step_wise(
    per_class: pd.DataFrame, *, steps: Sequence[str] = STEPS, dataset: str | None = None, split: str = "test"
) -> pd.DataFrame:
    """Increments of each class's average precision from one method to the next, over the seeds that both have.

    One row per step and class, largest class first: dataset, step, before, after, class_name, class_size, group,
    increment (mean over seeds, percentage points), deviation (between seeds), seeds.

    Args:
        per_class: as `load_per_class` returns it; runs with overrides are left out.
        steps: methods in order.
        dataset: which, where there are several.
        split: `test` or `validation`.

    Raises:
        InputError: if a method has no run, two neighbours share no seed, or it is not clear which dataset is meant.
    """
    on = of_one_dataset(per_class, dataset)
    own = on[(on.split == split) & (on.overrides == "") & on.method.isin(steps)]
    lacking = [name for name in steps if name not in set(own.method)]
    if lacking:
        cure = f"{run_command(on.dataset.iloc[0], lacking)} makes some; or give other steps"
        raise MissingDataError(f"no run of {', '.join(lacking)} without overrides; {cure}")
    keys = ["class_name", "class_size", "group"]
    rows = []
    for before, after in pairwise(steps):
        both = own[own.method == before].merge(own[own.method == after], on=[*keys, "seed"], suffixes=("", "_after"))
        if both.empty:
            raise MissingDataError(f"{before} and {after} share no seed: run both with the same seeds")
        step = {"step": f"{both.title.iloc[0]} → {both.title_after.iloc[0]}", "before": before, "after": after}
        increments = both.assign(increment=both.ap_after - both.ap).groupby(keys, sort=False).increment
        found = increments.agg(increment="mean", deviation="std", seeds="count").reset_index()
        rows.append(found.assign(**step).sort_values("class_size", ascending=False, kind="stable"))
    frame = pd.concat(rows, ignore_index=True).assign(dataset=own.dataset.iloc[0])
    return frame[["dataset", "step", "before", "after", *keys, "increment", "deviation", "seeds"]]


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby(["step", "group"], sort=False).increment.mean()
    parts = [
        f"{step}: "
        + ", ".join(f"{group} {means[step, group]:+.1f}" for group in GROUPS if (step, group) in means.index)
        for step in frame.step.unique()
    ]
    return f"Mean change of average precision by group, in percentage points. {'; '.join(parts)}."


@register_figure(
    name="step-wise",
    title="Step by step (Fig. 6)",
    caption="Change of each class's average precision on {dataset} from each step to the next, over the seeds that "
    "both methods have; thin lines: standard deviation between seeds. The classes that change most are named.",
    describe=_describe,
    part="results",
    collect=lambda source: step_wise(source.per_class),
)
def draw_step_wise(frame: pd.DataFrame) -> Figure:
    """Draw one panel of bars per step, classes by size; thin lines are the standard deviation between seeds.

    In each, the classes that change most are named.
    """
    number = frame.step.nunique()
    figure, panels = new_figure(PAGE, 0.7 + 1.2 * number, number, sharex=True, sharey=True, squeeze=False)
    steps = [(step, rows.reset_index(drop=True)) for step, rows in frame.groupby("step", sort=False)]
    for axes, (step, own) in zip(panels[:, 0], steps, strict=True):
        group_bars(axes, own, "increment")
        axes.errorbar(own.index, own.increment, yerr=own.deviation, fmt="none", ecolor="black", elinewidth=0.7)
        axes.axhline(0, color="black", linewidth=0.8)
        signs = f"{(own.increment > 0).sum()} of {len(own)} classes rise, mean {own.increment.mean():+.1f}"
        axes.set_title(plain(step, 2 * LONGEST_NAME))
        axes.set_title(signs, loc="right", weight="normal", fontsize=SMALL)
    name_classes(panels[-1, 0], frame[frame.step == frame.step.iloc[0]])
    panels[0, 0].margins(y=0.12)
    legend_above(figure, panels[0, 0])
    figure.supylabel("change of average precision, percentage points")
    name_points(*((axes, _largest(own)) for axes, (_, own) in zip(panels[:, 0], steps, strict=True)))
    return figure


def _largest(own: pd.DataFrame) -> list[tuple[float, float, str]]:
    """Place and name of the classes of one step that change most, at the end of their thin lines."""
    most = own.reindex(own.increment.abs().sort_values(ascending=False, kind="stable").index).head(NAMED)
    ends = most.increment + most.deviation.fillna(0) * np.sign(most.increment)
    return list(zip(map(float, most.index), ends, most.class_name, strict=True))
