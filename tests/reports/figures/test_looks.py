"""How all figures look: widths, font sizes, nothing cut off, methods the same everywhere, names in free places."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.datasets.dataset import Split
from mltbench.datasets.long_tail.statistics import ClassStatistics
from mltbench.methods.catalogue import CATALOGUE
from mltbench.reports.figures.class_distribution import class_distribution
from mltbench.reports.figures.class_size import class_size
from mltbench.reports.figures.co_occurrence import co_occurrence
from mltbench.reports.figures.confusion import confusion
from mltbench.reports.figures.cost import cost
from mltbench.reports.figures.critical_difference import ranks_frame
from mltbench.reports.figures.examples import examples
from mltbench.reports.figures.imbalance import imbalance_frame
from mltbench.reports.figures.method_styles import STYLES, method_style
from mltbench.reports.figures.negative_gradient import negative_gradient
from mltbench.reports.figures.parallel_coordinates import coordinates_frame
from mltbench.reports.figures.pareto_front import front_frame
from mltbench.reports.figures.placement import name_points
from mltbench.reports.figures.registry import get_figure, list_figures
from mltbench.reports.figures.sampling_variance import sampling_variance
from mltbench.reports.figures.score_distributions import score_distributions
from mltbench.reports.figures.sensitivity import sensitivity_frame
from mltbench.reports.figures.step_wise import step_wise
from mltbench.reports.figures.style import COLUMN, PAGE, limits, new_figure, plain, style
from mltbench.reports.figures.weight_function import weight_function

STEPS = {"erm": "ERM", "rs": "RS", "r-bce": "R-BCE", "db": "DB"}
HOSTILE = "$x_$ <b>a plug-in's title that is far too long to be a title of anything</b>"
FOUR = tuple(STEPS.values())
MANY = (*(f"a class named {i}" for i in range(78)), "$x_$", "a class whose name is longer than all of the others")
SWEEPS = [entry.name for entry in list_figures() if entry.name.startswith("sweep-")]
PER_CLASS = ("dataset", "method", "title", "overrides", "seed", "split", "class_name", "class_size", "group", "ap")
RUNS = ("dataset", "method", "title", "overrides", "configuration_id", "seed", "total", "train_seconds",
        "images_per_second")  # fmt: skip


@cache
def frames(titles=FOUR, classes=("a", "b", "c"), seeds=2):
    """The data of every figure, by its name: methods of these titles, in this order, on these classes."""
    generator = np.random.default_rng(0)
    named = dict(zip(STEPS, titles, strict=False)) | {f"m{i}": title for i, title in enumerate(titles[len(STEPS) :])}
    counts = np.geomspace(150, 4, len(classes)).astype(int)
    labels = np.zeros((300, len(classes)), dtype=np.uint8)
    for i, count in enumerate(counts):
        labels[generator.choice(300, count, replace=False), i] = 1
    statistics = ClassStatistics.from_labels(labels)
    every = [(method, title, seed) for method, title in named.items() for seed in range(seeds)]
    per_class = pd.DataFrame([
        ("d", method, title, "", seed, "test", name, size, group, 100 * generator.random())
        for method, title, seed in every
        for name, size, group in zip(classes, counts, statistics.group_names, strict=True)
    ], columns=PER_CLASS)  # fmt: skip
    runs = pd.DataFrame([
        ("d", method, title, "", method, seed, 60 + generator.random(), 20.0 + seed, 5.0)
        for method, title, seed in every
    ], columns=RUNS)  # fmt: skip
    groups = pd.DataFrame([
        ("d", title, seed, group, 60 + generator.random()) for _, title, seed in every for group in SCORE_NAMES
    ], columns=["dataset", "method", "seed", "group", "value"])  # fmt: skip
    curves = pd.DataFrame([
        ("d", title, f"{title}{seed}", seed, epoch, measure, 1 / epoch)
        for _, title, seed in every
        for epoch in range(1, 9)
        for measure in ("train/loss", *(f"validation/{group}" for group in SCORE_NAMES))
    ], columns=["dataset", "method", "experiment_id", "seed", "epoch", "measure", "value"])  # fmt: skip
    scores = {title: [(labels + generator.normal(size=labels.shape)).astype(np.float32)] for title in titles}
    trials = pd.DataFrame([
        ("d", method, title, f"{method}{i}", i == 0, *(60 + 5 * generator.random(4)),
         json.dumps({"method.mu": 0.1 * i, "recipe.schedule": "abc"[i % 3]}))
        for method, title in named.items() for i in range(6)
    ], columns=["dataset", "method", "title", "trial", "default", *SCORE_NAMES, "parameters"])  # fmt: skip
    sweep = groups.rename(columns={"method": "title"})
    sweep = pd.concat([sweep.assign(x=x, paper=10.0) for x in (0.1, 1.0, 10.0, 100.0)])
    variants = pd.concat([per_class.assign(dataset=f"v{i}", class_size=per_class.class_size**i) for i in (1, 2)])
    tuned = groups[groups.seed == 0].rename(columns={"method": "title", "value": "difference"})
    tuned = tuned.assign(objective="total", study="s", low=tuned.difference - 1, high=tuned.difference + 1, n=3)
    images = generator.integers(0, 256, (300, 9, 7, 3)).astype(np.uint8)
    test = Split(images=images, labels=labels, ids=np.array([str(i) for i in range(300)]))
    pair = dict(list(scores.items())[:2])
    return {
        "groups": groups,
        "critical-difference": ranks_frame(per_class, "d"),
        "step-wise": step_wise(per_class),
        "class-size": class_size(per_class, methods=tuple(named)),
        "examples": examples(scores[titles[0]], test, statistics, classes, method=titles[0], dataset="d"),
        "confusion": confusion(scores, labels, labels, classes, dataset="d"),
        "score-distributions": score_distributions(pair, labels, statistics.group_names, dataset="d"),
        "cost": cost(runs),
        "training-loss": curves[curves.measure == "train/loss"],
        "validation-curves": curves[curves.measure != "train/loss"],
        **dict.fromkeys(SWEEPS, sweep),
        "imbalance": imbalance_frame(variants, "d"),
        "parallel-coordinates": coordinates_frame(trials),
        "pareto-front": front_frame(trials),
        "sensitivity": sensitivity_frame(trials),
        "tuned-winners": tuned,
        "co-occurrence": co_occurrence(labels, classes, dataset="d"),
        "class-distribution": class_distribution(labels, classes, dataset="d", epochs=2),
        "sampling-variance": sampling_variance(labels, classes, dataset="d"),
        "negative-gradient": negative_gradient(),
        "weight-function": weight_function(),
    }


SHAPES = {
    "of every method, and one with a hostile title": {"titles": (HOSTILE, *(method.title for method in CATALOGUE))},
    "of 80 classes with hostile names, and one seed": {"classes": MANY, "seeds": 1},
}


# Those that name classes.
BY_CLASS = ("step-wise", "class-size", "examples", "confusion", "co-occurrence", "class-distribution",
            "sampling-variance")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (entry.name, which)
        for entry in list_figures()
        if entry.name not in SWEEPS[1:]  # one function draws them all
        for which in list(SHAPES)[: 1 + (entry.name in BY_CLASS)]
    ],
)
def test_a_figure_fits_a_paper_and_nothing_is_cut_off(name, shape):
    shape = SHAPES[shape]
    figure = get_figure(name).draw(frames(**shape)[name])
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert width in (COLUMN, PAGE)
    assert height < 9.5 or "titles" in shape  # a panel for each of 17 methods needs more than a page
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert {text.get_fontsize() for text in texts} <= {7, 8, 9}
    drawn = figure.get_tightbbox()
    assert (drawn.x0, drawn.y0) > (-0.03, -0.03)
    assert drawn.x1 < width + 0.03
    assert drawn.y1 < height + 0.03


# Those that show methods by their looks.
BY_METHOD = ("groups", "critical-difference", "class-size", "confusion", "cost", "training-loss", "imbalance",
             "pareto-front", SWEEPS[0])  # fmt: skip


def look(style):
    return to_hex(style["color"]), style["marker"], to_hex(style["markerfacecolor"])


def looks(figure):
    lines = [line for axes in figure.axes for line in axes.lines if line.get_marker() not in ("", "None", "|", "_")]
    return {
        look({key: getattr(line, f"get_{key}")() for key in ("color", "marker", "markerfacecolor")}) for line in lines
    }


@pytest.mark.parametrize("name", BY_METHOD)
def test_a_method_looks_the_same_in_every_figure_with_and_without_a_plugin(name):
    titles = FOUR
    for shown in (titles, (*titles, "Mine"), titles[::-1], ("DB", "ERM", "Mine (tuned)", "RS")):
        drawn = looks(get_figure(name).draw(frames(titles=shown)[name]))
        assert drawn == {look(method_style(title)) for title in shown}


def test_methods_of_the_catalogue_differ_in_colour_or_marker_and_no_other_is_taken_for_one():
    own = {method.title: look(method_style(method.title)) for method in CATALOGUE}
    assert len(set(own.values())) == len(own)
    assert set(STYLES) == set(own)
    others = {look(method_style(f"Mine {i}")) for i in range(500)}
    assert not others & set(own.values())
    assert len(others) > 80


def test_focal_variants_are_hollow_in_the_colour_of_what_they_vary():
    for plain_one, focal in (("ERM", "Focal"), ("RS", "RS-Focal"), ("R-BCE", "R-BCE-Focal"), ("DB", "DB-Focal")):
        (colour, marker, inside), varied = (look(method_style(title)) for title in (plain_one, focal))
        assert (varied, inside) == ((colour, marker, "#ffffff"), colour)


def test_names_cover_no_point_no_line_and_no_other_name_or_are_left_out():
    generator = np.random.default_rng(0)
    x, y = generator.random((2, 30))
    with style():
        figure, axes = new_figure(COLUMN, 2.5)
        axes.plot(x, y, "o")
        axes.plot([0, 1], [0, 1])
        written = name_points((axes, [(*point, f"class {i}") for i, point in enumerate(zip(x, y, strict=True))]))
        figure.draw_without_rendering()
    assert 5 < len(written) < 30
    boxes = [text.get_window_extent() for text in axes.texts]
    points = axes.transData.transform(np.concatenate([np.stack([x, y], axis=1), np.linspace([0, 0], [1, 1], 400)]))
    for i, box in enumerate(boxes):
        assert not ((points > box.min) & (points < box.max)).all(axis=1).any(), axes.texts[i]
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert axes.get_window_extent().contains(*box.min)


def test_the_farthest_classes_are_named_beside_their_points():
    frame = frames(classes=tuple("abcdefghij"))["class-size"]
    axes = get_figure("class-size").draw(frame).axes[0]
    away = frame.assign(away=frame.ap - frame.trend).groupby("class_name").away.mean().abs()
    named = [text for text in axes.texts if text.get_text() in set(frame.class_name)]
    assert away.idxmax() in {text.get_text() for text in named}
    for text in named:
        assert text.xy in set(zip(frame.class_size, frame.ap, strict=True))


def test_an_axis_spans_the_values_and_leaves_out_what_would_flatten_them():
    assert limits([70, 72], margin=0.1) == pytest.approx((69.8, 72.2))
    assert limits([70.0]) == (69.5, 70.5)
    assert limits([70, 71, 72, 73, 74, 3, np.nan], margin=0) == (70, 74)
    assert limits([70, 71, 72, 73, 74, 80], margin=0) == (70, 80)
    broken = frames(titles=(*FOUR, "LDAM", "RW", "Focal", "CB-Focal"))["groups"].copy()
    broken.loc[broken.method == "RS", "value"] = 3.0
    axes = get_figure("groups").draw(broken).axes[0]
    assert axes.get_xlim()[0] > 50
    assert [text.get_text() for text in axes.texts] == ["← 3.0"]


def test_a_long_name_is_shortened_in_the_picture_alone():
    assert plain("a" * 40) == "a" * 31 + "…"
    assert plain("$a\nb") == r"\$a b"
