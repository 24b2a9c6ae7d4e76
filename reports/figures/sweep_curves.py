"""Fig. 7a and 7b, and every other sweep over one setting: mAP by group, with bands over seeds."""

import json
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from ...benchmark.training.metrics import SCORE_NAMES
from ...errors import InputError
from ...methods.catalogue import get_method, whose_paper_values
from .method_styles import method_style
from .registry import register_figure
from .source import FigureSource
from .style import GREY, PAGE, REFERENCE, curve_with_band, legend_above, new_figure, plain

# Sweep: setting on the axis, what the paper calls it, title, and what its text says.
SWEEPS = {
    "beta": ("method.beta", "beta", "Effect of beta in the smoothing function (Fig. 7a)",
             "The paper's total peaks at 5 < beta < 10 on both of its datasets."),
    "lambda": ("method.negative_scale", "lambda", "Effect of lambda in negative-tolerant regularization (Fig. 7b)",
               "The paper's curves peak away from lambda = 1: at 5 to 10 on VOC-MLT, at 2 to 3 on COCO-MLT."),
    "kappa": ("method.kappa", "kappa", "Effect of the class-specific bias nu",
              'The paper, without a figure: "the effect of nu is relatively small".'),
    "mu": ("method.mu", "mu", "Effect of mu in the smoothing function", "The paper has no curve of it."),
    "alpha": ("method.alpha", "alpha", "Effect of alpha, the lift of the weights", "The paper has no curve of it."),
    "ntr-on-positives": ("method.negative_scale", "lambda", "Tolerance on positive logits too (Sec. 4.5)",
                         'The paper: "the results slightly drop as expected".'),
}  # fmt: skip
LOGARITHMIC_FROM = 10


def sweep_frame(trials: pd.DataFrame, key: str, dataset: str) -> pd.DataFrame:
    """One line per training and group: dataset, title, x (the setting), seed, group, value, paper (the paper's x).

    The trials are those of `FigureSource.sweep`, the key is that of the setting, such as `method.beta`.
    """
    wide = trials.assign(x=[float(json.loads(text)[key]) for text in trials.parameters])
    long = wide.melt(["title", "method", "x", "seed"], list(SCORE_NAMES), var_name="group", value_name="value")
    paper = {method: _paper_value(method, key, dataset) for method in long.method.unique()}
    columns = ["dataset", "title", "x", "seed", "group", "value", "paper"]
    return long.assign(dataset=dataset, paper=long.method.map(paper))[columns].dropna(subset=["value"])


def draw_sweep(frame: pd.DataFrame, *, symbol: str) -> Figure:
    """Draw a panel per group with limits of its own, a curve per method: means, bands of one standard deviation.

    `symbol` is what the paper calls the setting; its choices are lines.
    """
    groups = [group for group in SCORE_NAMES if group in set(frame.group)]
    figure, panels = new_figure(PAGE, 2.4, 1, len(groups), squeeze=False)
    positive = frame.x[frame.x > 0]
    for axes, group in zip(panels[0], groups, strict=True):
        for title, own in frame[frame.group == group].groupby("title", sort=False):
            curve_with_band(axes, own, "x", "value", label=plain(title), **method_style(title))
        if len(positive) and positive.max() / positive.min() >= LOGARITHMIC_FROM:
            # A zero has its place left of the logarithmic part.
            axes.set_xscale("symlog", linthresh=positive.min())
            axes.minorticks_off()
        values = sorted(frame.x.unique())
        axes.set_xticks(values, [f"{x:g}" for x in values], rotation=90)
        for i, choice in enumerate(sorted(frame.paper.dropna().unique())):
            label = "paper's choice" if i == 0 else None
            axes.axvline(choice, color=GREY, linestyle=REFERENCE, linewidth=1, label=label)
        axes.set_title(group)
        axes.set_xlabel(rf"$\{symbol}$")
    panels[0, 0].set_ylabel("validation mAP, percent")
    legend_above(figure, panels[0, 0])
    return figure


def _paper_value(method: str, key: str, dataset: str) -> float:
    try:
        return float(get_method(method, dataset=whose_paper_values(dataset)).parameters[key.partition(".")[2]])
    except (InputError, KeyError):
        return float("nan")


def _collect(source: FigureSource, *, sweep: str) -> pd.DataFrame:
    return sweep_frame(source.sweep(sweep), SWEEPS[sweep][0], source.dataset)


def _describe(frame: pd.DataFrame, *, symbol: str) -> str:
    parts = []
    for title, own in frame.groupby("title", sort=False):
        for group in own.group.unique():
            means = own[own.group == group].groupby("x").value.mean()
            best = f"best {means.max():.1f} at {means.idxmax():g}"
            parts.append(f"{title}, {group}: {best}, worst {means.min():.1f} at {means.idxmin():g}")
    return f"mAP against {symbol}, {frame.seed.nunique()} seeds. {'; '.join(parts)}."


for _sweep, (_, _symbol, _title, _text) in SWEEPS.items():
    register_figure(
        name=f"sweep-{_sweep}",
        title=_title,
        caption="mAP on the validation split of {dataset} by group; bands are one standard deviation over seeds. "
        f"The dashed line marks the value of the paper that is the default here. {_text}",
        describe=partial(_describe, symbol=_symbol),
        part="studies",
        collect=partial(_collect, sweep=_sweep),
    )(partial(draw_sweep, symbol=_symbol))
