"""Training loss and validation mAP over epochs."""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ...benchmark.tracking.store import Store
from ...benchmark.training.metrics import SCORE_NAMES
from .method_styles import method_style
from .registry import register_figure
from .source import FigureSource, need_rows
from .style import COLUMN, PAGE, curve_with_band, group_style, legend_above, new_figure, plain, round_numbers

LOSS = "train/loss"
TOTAL, *OTHERS = (f"validation/{group}" for group in SCORE_NAMES)
PANELS_A_ROW = 4


def learning_curves(store: Store, runs: pd.DataFrame, *, measures: tuple[str, ...] = (LOSS,)) -> pd.DataFrame:
    """Curves of runs of `load_runs` from MLflow's metric history; measures are metrics such as `validation/tail`.

    One row per run, epoch and measure: dataset, method (title), experiment_id, seed, epoch, measure, value.
    """
    rows = [
        (run.dataset, run.title, run.experiment_id, run.seed, point.step, measure, point.value)
        for run in runs.itertuples()
        for measure in measures
        for point in store.client.get_metric_history(str(run.run_id), measure)
    ]
    columns = ["dataset", "method", "experiment_id", "seed", "epoch", "measure", "value"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.drop_duplicates(["experiment_id", "measure", "epoch"], keep="last", ignore_index=True)


def _collect_validation(source: FigureSource) -> pd.DataFrame:
    store, runs = source.need_store(), source.standard_runs
    source.require_validation()
    # Most runs are evaluated once: the total alone shows that, and the groups' curves need not be read.
    total = learning_curves(store, runs, measures=(TOTAL,))
    points = total.groupby("experiment_id").epoch.nunique()
    command = f"mltbench run --dataset {source.dataset} --table 1 --seeds 3 --evaluate-every 1 --out FOLDER"
    lacking = f"the runs were evaluated after their last epoch alone; `{command}` makes others"
    several = need_rows(runs[runs.experiment_id.isin(points[points > 1].index)], lacking)
    groups = learning_curves(store, several, measures=tuple(OTHERS))
    return pd.concat([total[total.experiment_id.isin(several.experiment_id)], groups], ignore_index=True)


def _describe_loss(frame: pd.DataFrame) -> str:
    last = frame.sort_values("epoch").groupby(["method", "seed"], sort=False).value.last().groupby("method").mean()
    return f"Training loss over epochs. At the end: {', '.join(f'{m} {last[m]:.3g}' for m in frame.method.unique())}."


def _describe_validation(frame: pd.DataFrame) -> str:
    total = frame[frame.measure == TOTAL]
    means = 100 * total.groupby(["method", "epoch"], sort=False).value.mean()
    parts = []
    for method in total.method.unique():
        curve = means[method].sort_index()
        parts.append(f"{method} ends at {curve.iloc[-1]:.1f}, best {curve.max():.1f} after epoch {curve.idxmax()}")
    return f"Validation mAP over epochs. Total: {'; '.join(parts)}."


@register_figure(
    name="training-loss",
    title="Learning curves: training loss",
    caption="Mean training loss of each epoch on {dataset}; bands from the lowest to the highest seed. The losses "
    "of different methods are not comparable with each other.",
    describe=_describe_loss,
    part="results",
    collect=lambda source: need_rows(
        learning_curves(source.need_store(), source.standard_runs),
        f"the runs on {source.dataset} have no training loss in MLflow",
    ),
)
def draw_training_loss(frame: pd.DataFrame) -> Figure:
    """Draw the training loss of each method in a panel of its own: mean over seeds, band from lowest to highest."""
    figure, panels = _panels(frame)
    for axes, (method, own) in zip(panels, frame.groupby("method", sort=False), strict=True):
        _draw_curve(axes, own, **method_style(method), markersize=3)
        axes.set_yscale("log")
        round_numbers(axes.yaxis)
    figure.supylabel("training loss (logarithmic)")
    return figure


@register_figure(
    name="validation-curves",
    title="Learning curves: validation mAP",
    caption="mAP on the validation split of {dataset} over epochs, by group; bands from the lowest to the highest "
    "seed. The tables show the last epoch, never the best.",
    describe=_describe_validation,
    part="results",
    collect=_collect_validation,
)
def draw_validation_curves(frame: pd.DataFrame) -> Figure:
    """Draw validation mAP of each method by group, in a panel of its own: mean over seeds, and their range.

    The frame is that of `learning_curves` with the measures `validation/total`, `/head`, `/medium`, `/tail`.
    """
    figure, panels = _panels(frame, sharey=True)
    for axes, (_, own) in zip(panels, frame.groupby("method", sort=False), strict=True):
        for group in SCORE_NAMES:
            curve = own[own.measure == f"validation/{group}"]
            _draw_curve(axes, curve.assign(value=100 * curve.value), **group_style(group), markersize=3, label=group)
    legend_above(figure, panels[0])
    figure.supylabel("validation mAP, percent")
    return figure


def _panels(frame: pd.DataFrame, **grid: Any) -> tuple[Figure, list[Any]]:
    methods = list(frame.method.unique())
    columns = min(len(methods), PANELS_A_ROW)
    rows = math.ceil(len(methods) / columns)
    figure, panels = new_figure(
        COLUMN if columns == 1 else PAGE, 0.6 + 1.25 * rows, rows, columns, squeeze=False, **grid
    )
    for axes in panels.flat[len(methods) :]:
        axes.set_visible(False)
    for axes, method in zip(panels.flat, methods, strict=False):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_title(plain(method))
    figure.supxlabel(f"epoch ({plain(frame.dataset.iloc[0])})")
    return figure, list(panels.flat[: len(methods)])


def _draw_curve(axes: Any, own: pd.DataFrame, **line: Any) -> None:
    every = max(own.epoch.nunique() // 5, 1)
    curve_with_band(axes, own, "epoch", "value", band="range", linewidth=1, markevery=every, **line)
