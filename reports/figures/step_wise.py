"""Fig. 6: what each step from ERM to the distribution-balanced loss does to the average precision of each class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...datasets.long_tail.statistics import GROUPS
from ...errors import InputError
from .registry import FigureEntry, register_figure
from .source import FigureSource, MissingDataError
from .style import GROUP_COLOURS, GROUP_HATCHES, legend_above, name_classes, new_figure, plain, style, width_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = ("erm", "rs", "r-bce", "db")


def step_wise(
    per_class: pd.DataFrame, *, steps: Sequence[str] = STEPS, dataset: str | None = None, split: str = "test"
) -> pd.DataFrame:
    """Increments of each class's average precision from one method to the next, over the seeds that both have.

    Args:
        per_class: as `load_per_class` returns it; runs with overrides are left out.
        steps: methods in order.
        dataset: which, where there are several.
        split: `test` or `validation`.

    Returns:
        One row per step and class, largest class first: dataset, step, before, after, class_name, class_size, group,
        increment (mean over seeds, percentage points), deviation (between seeds), seeds.

    Raises:
        InputError: if a method has no run, two neighbours share no seed, or it is not clear which dataset is meant.
    """
    own = of_one_dataset(per_class, dataset)
    own = own[(own.split == split) & (own.overrides == "") & own.method.isin(steps)]
    lacking = [name for name in steps if name not in set(own.method)]
    if lacking:
        raise InputError(f"no run of {', '.join(lacking)} (without overrides); run them, or give other steps")
    keys = ["class_name", "class_size", "group", "seed"]
    rows = []
    for before, after in pairwise(steps):
        both = own[own.method == before].merge(own[own.method == after], on=keys, suffixes=("", "_after"))
        if both.empty:
            raise InputError(f"{before} and {after} share no seed: run both with the same seeds")
        both["increment"] = both.ap_after - both.ap
        step = f"{both.title.iloc[0]} → {both.title_after.iloc[0]}"
        found = both.groupby(keys[:3], sort=False).increment.agg(["mean", "std", "count"]).reset_index()
        found.columns = [*keys[:3], "increment", "deviation", "seeds"]
        rows.append(found.assign(dataset=own.dataset.iloc[0], step=step, before=before, after=after))
    frame = pd.concat(rows, ignore_index=True)
    frame["position"] = frame.step.map({step: i for i, step in enumerate(dict.fromkeys(frame.step))})
    frame = frame.sort_values(["position", "class_size"], ascending=[True, False], kind="stable", ignore_index=True)
    return frame[["dataset", "step", "before", "after", *keys[:3], "increment", "deviation", "seeds"]]


@style()
def draw_step_wise(frame: pd.DataFrame) -> Figure:
    """Draw one panel of bars per step, classes by size; thin lines are the standard deviation between seeds.

    Args:
        frame: as `step_wise` returns it.
    """
    steps = list(dict.fromkeys(frame.step))
    classes = frame[frame.step == steps[0]].class_name.tolist()
    figure, panels = new_figure(width_for(len(classes)), 1.2 + 1.75 * len(steps), len(steps), sharex=True, sharey=True)
    for axes, step in zip(np.atleast_1d(panels), steps, strict=True):
        own = frame[frame.step == step].reset_index(drop=True)
        for group in GROUPS:
            part = own[own.group == group]
            axes.bar(part.index, part.increment, width=0.8, color=GROUP_COLOURS[group], hatch=GROUP_HATCHES[group],
                     edgecolor="white", linewidth=0, label=group)  # fmt: skip
        axes.errorbar(own.index, own.increment, yerr=own.deviation, fmt="none", ecolor="black", elinewidth=0.8)
        axes.axhline(0, color="black", linewidth=0.8)
        signs = f"{(own.increment > 0).sum()} of {len(own)} classes rise, mean {own.increment.mean():+.1f}"
        axes.set_title(plain(step))
        axes.set_title(signs, loc="right", weight="normal", fontsize=8)
        axes.spines[["right", "top"]].set_visible(False)
    first, last = np.atleast_1d(panels)[[0, -1]]
    name_classes(last, classes)
    last.set_xlabel(f"classes of {plain(frame.dataset.iloc[0])}, largest first")
    first.set_title(first.get_title("left"), pad=22)
    first.set_title(first.get_title("right"), loc="right", pad=22, weight="normal", fontsize=8)
    legend_above(first, 3)
    figure.supylabel("change of average precision, percentage points", fontsize=9)
    return figure


def of_one_dataset(frame: pd.DataFrame, dataset: str | None) -> pd.DataFrame:
    """Rows of the named dataset, or of the only one that there is.

    Raises:
        InputError: if there are several and none is named, or none of that name.
    """
    known = sorted(set(frame.dataset))
    if dataset is None and len(known) != 1:
        raise InputError(f"name one dataset with dataset=; there are: {', '.join(known) or '(none)'}")
    found = frame[frame.dataset == (dataset or known[0])]
    if found.empty:
        raise InputError(f"nothing on dataset {dataset!r}; there are: {', '.join(known) or '(none)'}")
    return found


def _collect(source: FigureSource) -> pd.DataFrame:
    per_class = source.per_class
    try:
        return step_wise(per_class)
    except InputError as error:
        raise MissingDataError(str(error)) from error


def _describe(frame: pd.DataFrame) -> str:
    means = frame.groupby(["step", "group"], sort=False).increment.mean()
    parts = [
        f"{step}: "
        + ", ".join(f"{group} {means[step, group]:+.1f}" for group in GROUPS if (step, group) in means.index)
        for step in dict.fromkeys(frame.step)
    ]
    return f"Mean change of average precision by group, in percentage points. {'; '.join(parts)}."


register_figure(
    FigureEntry(
        name="step-wise",
        title="Step by step (Fig. 6)",
        caption="Change of each class's average precision on {dataset} from each step to the next, over the seeds that "
        "both methods have; thin lines: standard deviation between seeds.",
        describe=_describe,
        part="results",
        collect=_collect,
        draw=draw_step_wise,
        place=20,
    )
)
