"""Training loss and validation mAP over epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .registry import FigureEntry, register_figure
from .source import FigureSource, MissingDataError
from .style import BLACK, GROUP_COLOURS, GROUP_MARKERS, new_figure, plain, round_numbers, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...benchmark.tracking.store import Store

LOSS = "train/loss"
VALIDATION = ("validation/total", "validation/head", "validation/medium", "validation/tail")
COLUMNS = ("dataset", "method", "experiment_id", "seed", "epoch", "measure", "value")
PANELS_A_ROW = 4


def learning_curves(store: Store, runs: pd.DataFrame, *, measures: tuple[str, ...] = (LOSS,)) -> pd.DataFrame:
    """Curves of runs from MLflow's metric history, one row per run, epoch and measure.

    Args:
        store: that the runs come from.
        runs: as `load_runs` returns them.
        measures: MLflow metrics, such as `train/loss` or `validation/tail`.

    Returns:
        dataset, method (title), experiment_id, seed, epoch, measure, value.
    """
    rows = [
        (run.dataset, run.title, run.experiment_id, run.seed, point.step, measure, point.value)
        for run in runs.itertuples()
        for measure in measures
        for point in store.client.get_metric_history(str(run.run_id), measure)
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.drop_duplicates(["experiment_id", "measure", "epoch"], keep="last", ignore_index=True)


@style()
def draw_training_loss(frame: pd.DataFrame) -> Figure:
    """Draw the training loss of each method in a panel of its own: mean over seeds, band from lowest to highest.

    Args:
        frame: as `learning_curves` returns it.
    """
    figure, panels = _panels(frame)
    for axes, (method, own) in zip(panels, frame.groupby("method", sort=False), strict=False):
        _draw_curve(axes, own, {"color": BLACK})
        axes.set_yscale("log")
        round_numbers(axes.yaxis)
        axes.set_title(plain(method))
    figure.supylabel("mean training loss (logarithmic)", fontsize=9)
    return figure


@style()
def draw_validation_curves(frame: pd.DataFrame) -> Figure:
    """Draw validation mAP of each method by group, in a panel of its own: mean over seeds, and their range.

    Args:
        frame: as `learning_curves` returns it, with the measures `validation/total`, `/head`, `/medium`, `/tail`.
    """
    figure, panels = _panels(frame, sharey=True)
    for axes, (method, own) in zip(panels, frame.groupby("method", sort=False), strict=False):
        for measure in VALIDATION:
            group = measure.removeprefix("validation/")
            curve = own[own.measure == measure].assign(value=lambda part: 100 * part.value)
            looks = {"color": GROUP_COLOURS[group], "marker": GROUP_MARKERS[group], "markersize": 3.5}
            _draw_curve(axes, curve, looks, label=group)
        axes.set_title(plain(method))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, ncols=4, loc="outside upper left")
    figure.supylabel("validation mAP, percent", fontsize=9)
    return figure


def _panels(frame: pd.DataFrame, **grid: Any) -> tuple[Figure, list[Any]]:
    number = frame.method.nunique()
    columns = min(number, PANELS_A_ROW)
    rows = math.ceil(number / columns)
    figure, panels = new_figure(1.2 + 2.3 * columns, 0.9 + 1.75 * rows, rows, columns, squeeze=False, **grid)
    flat = list(np.asarray(panels).flat)
    for axes in flat[number:]:
        axes.set_visible(False)
    for axes in flat[:number]:
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["right", "top"]].set_visible(False)
    figure.supxlabel(f"epoch ({plain(frame.dataset.iloc[0])})", fontsize=9)
    return figure, flat[:number]


def _draw_curve(axes: Any, own: pd.DataFrame, looks: dict[str, Any], label: str | None = None) -> None:
    curve = own.groupby("epoch").value.agg(["mean", "min", "max"])
    axes.fill_between(curve.index, curve["min"], curve["max"], color=looks["color"], alpha=0.2, linewidth=0)
    axes.plot(curve.index, curve["mean"], linewidth=1.3, label=label, markevery=max(len(curve) // 5, 1), **looks)


def _collect_loss(source: FigureSource) -> pd.DataFrame:
    frame = learning_curves(source.need_store(), source.standard_runs)
    if frame.empty:
        raise MissingDataError(f"the runs on {source.dataset} have no training loss in MLflow")
    return frame


def _collect_validation(source: FigureSource) -> pd.DataFrame:
    store, runs = source.need_store(), source.standard_runs
    # Most runs are scored once: the total alone tells, and the groups' curves need not be asked for.
    total = learning_curves(store, runs, measures=(VALIDATION[0],))
    points = total.groupby("experiment_id").epoch.nunique()
    several = runs[runs.experiment_id.isin(points[points > 1].index)]
    if several.empty:
        raise MissingDataError("the runs were scored after their last epoch alone; `mltbench run --evaluate-every 1`")
    groups = learning_curves(store, several, measures=VALIDATION[1:])
    return pd.concat([total[total.experiment_id.isin(several.experiment_id)], groups], ignore_index=True)


def _describe_loss(frame: pd.DataFrame) -> str:
    last = frame.sort_values("epoch").groupby(["method", "seed"], sort=False).value.last().groupby("method").mean()
    order = [str(name) for name in dict.fromkeys(frame.method)]
    return "Training loss over epochs. At the end: " + ", ".join(f"{name} {last[name]:.3g}" for name in order) + "."


def _describe_validation(frame: pd.DataFrame) -> str:
    total = frame[frame.measure == "validation/total"]
    means = 100 * total.groupby(["method", "epoch"], sort=False).value.mean()
    parts = []
    for method in dict.fromkeys(total.method):
        curve = means[method].sort_index()
        parts.append(f"{method} ends at {curve.iloc[-1]:.1f}, best {curve.max():.1f} after epoch {curve.idxmax()}")
    return f"Validation mAP over epochs. Total: {'; '.join(parts)}."


register_figure(
    FigureEntry(
        name="training-loss",
        title="Learning curves: training loss",
        caption="Mean training loss of each epoch on {dataset}; bands from the lowest to the highest seed. The losses "
        "of different methods are not comparable with each other.",
        describe=_describe_loss,
        part="results",
        collect=_collect_loss,
        draw=draw_training_loss,
        place=80,
    )
)
register_figure(
    FigureEntry(
        name="validation-curves",
        title="Learning curves: validation mAP",
        caption="mAP on the validation split of {dataset} over epochs, by group; bands from the lowest to the highest "
        "seed. The tables show the last epoch, never the best.",
        describe=_describe_validation,
        part="results",
        collect=_collect_validation,
        draw=draw_validation_curves,
        place=81,
    )
)
