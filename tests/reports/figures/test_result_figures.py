import numpy as np
import pandas as pd
import pytest
from mltbench.errors import InputError
from mltbench.reports.figures.class_size import class_size, draw_class_size
from mltbench.reports.figures.confusion import confusion, confusion_by_presence, draw_confusion
from mltbench.reports.figures.cost import cost, draw_cost, spread_out
from mltbench.reports.figures.critical_difference import draw_critical_difference, ranks_frame
from mltbench.reports.figures.learning_curves import draw_training_loss, draw_validation_curves
from mltbench.reports.figures.registry import get_figure
from mltbench.reports.figures.score_distributions import draw_score_distributions, score_distributions
from mltbench.reports.figures.source import MissingDataError, one_configuration_each
from mltbench.reports.figures.step_wise import draw_step_wise, step_wise
from mltbench.reports.figures.style import as_svg
from sklearn.metrics import roc_auc_score
from web_pages import ParsedPage

CLASSES = {"a": (300, "head"), "b": (50, "medium"), "c": (5, "tail")}


RANKED = {
    ("a", 0): (90, 80, 70), ("a", 1): (92, 82, 72), ("a", 5): (0, 0, 0), ("b", 0): (80, 70, 80), ("b", 1): (80, 70, 80),
    ("$c_$", 0): (70, 60, 50), ("$c_$", 1): (99, 60, 50), ("$c_$", 2): (99, 99, 99),
}  # fmt: skip


def per_class(values, dataset="digits-mlt", split="test"):
    """`values[method, seed]` is the AP of the classes a, b, c."""
    rows = [
        (dataset, method, method.upper(), "", seed, split, name, size, group, ap)
        for (method, seed), aps in values.items()
        for (name, (size, group)), ap in zip(CLASSES.items(), aps, strict=True)
    ]
    columns = "dataset method title overrides seed split class_name class_size group ap"
    return pd.DataFrame(rows, columns=columns.split())


def test_increments_are_paired_by_seed():
    erm, rs = {("erm", 0): (90, 50, 10), ("erm", 1): (80, 40, 20)}, {("rs", 0): (88, 55, 30), ("rs", 2): (0, 0, 0)}
    frame = per_class(erm | rs)
    found = step_wise(frame, steps=("erm", "rs"))
    assert found.class_name.tolist() == ["a", "b", "c"]
    assert found.increment.tolist() == [-2, 5, 20]  # seed 0 alone is shared
    assert found.seeds.tolist() == [1, 1, 1]
    both = step_wise(pd.concat([frame, per_class({("rs", 1): (90, 44, 20)})]), steps=("erm", "rs"))
    assert both.increment.tolist() == [4, 4.5, 10]
    assert both.deviation.tolist() == pytest.approx(np.std([[-2, 5, 20], [10, 4, 0]], axis=0, ddof=1))


def test_increments_of_what_is_not_there_are_errors():
    frame = per_class({("erm", 0): (1, 2, 3), ("rs", 1): (1, 2, 3)})
    with pytest.raises(InputError, match="no run of r-bce, db"):
        step_wise(frame)
    with pytest.raises(InputError, match="erm and rs share no seed"):
        step_wise(frame, steps=("erm", "rs"))
    two = pd.concat([frame, per_class({("erm", 0): (1, 2, 3)}, dataset="other")])
    with pytest.raises(InputError, match="name one dataset with dataset=; there are: digits-mlt, other"):
        step_wise(two, steps=("erm", "rs"))


def test_ranks_are_of_means_over_the_seeds_that_all_share():
    # Means of seeds 0 and 1: A 91 81 71, B 80 70 80, C 84.5 60 50: ranks 1 1 2, 3 2 1, 2 3 3.
    frame = ranks_frame(pd.concat([per_class(RANKED), per_class(RANKED, split="validation")]), "toy")
    assert dict(zip(frame.method, frame["rank"], strict=True)) == pytest.approx({"A": 4 / 3, "B": 2, "$C_$": 8 / 3})
    assert (frame.seeds.iloc[0], frame.classes.iloc[0]) == (2, 3)
    svg = as_svg(draw_critical_difference(frame))
    for text in (
        "$C_$  2.67",
        "3 classes of toy",
        "2 shared seeds",
        "Friedman",
        "Nemenyi",
        "no claim about other data",
    ):
        assert text in svg
    assert "A 1.33, B 2.00" in get_figure("critical-difference").describe(frame)


def test_too_few_methods_that_share_a_seed_are_not_ranked():
    two = {key: value for key, value in RANKED.items() if key[0] != "$c_$"}
    for values in (two, RANKED | {("d", 7): (1, 2, 3)}):
        with pytest.raises(MissingDataError, match="3 methods that share a seed"):
            ranks_frame(per_class(values), "toy")


def test_trends_are_running_means_and_bands_those_of_seeds():
    found = class_size(per_class({("erm", 0): (90, 60, 30), ("erm", 1): (60, 30, 0)}), methods=("erm", "db"))
    assert found.ap.tolist() == [75, 45, 15]
    assert found.trend.tolist() == [60, 45, 30]  # windows of two, three and two classes
    assert found.lowest.tolist() == [45, 30, 15]
    assert found.highest.tolist() == [75, 60, 45]


def test_confusion_is_the_area_under_the_curve_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels = (generator.random((300, 5)) < [0.5, 0.4, 0.3, 0.2, 0.004]).astype(np.uint8)
    scores = generator.integers(0, 6, (300, 5)).astype(np.float32)
    found = confusion_by_presence(scores, labels)
    for j, i in np.ndindex(5, 5):
        without = labels[:, i] == 0
        known = i != j and labels[without, j].sum() >= 5
        area = roc_auc_score(labels[without, j], scores[without, i]) if known else np.nan
        assert found[j, i] == pytest.approx(area, nan_ok=True)


def test_a_class_that_lures_another_is_found():
    image = np.arange(100)
    labels = np.stack([image < 50, (image >= 40) & (image < 60)], axis=1).astype(np.uint8)
    scores = np.stack([0 * image, image < 50], axis=1).astype(np.float32)  # class 1 scores high wherever class 0 is
    frame = confusion({"ERM": [scores]}, labels, labels, ("a", "b"))
    pair = frame[(frame.given == "a") & (frame.class_name == "b")].iloc[0]
    assert (pair.confusion, pair.images, pair.co_occurrence) == (1, 40, 0.2)
    assert frame[(frame.given == "b") & (frame.class_name == "a")].confusion.iloc[0] == 0.5


def test_densities_and_means_are_those_of_the_cells():
    generator = np.random.default_rng(0)
    labels = (generator.random((500, 3)) < 0.3).astype(np.uint8)
    scores = generator.normal(size=(500, 3)).astype(np.float32) + 4 * labels
    frame = score_distributions({"R-BCE": [scores, scores]}, labels, ("head", "head", "tail"))
    for (group, kind), part in frame.groupby(["group", "kind"]):
        columns = [0, 1] if group == "head" else [2]
        cells = scores[:, columns][labels[:, columns] == (kind == "positive")]
        assert part["mean"].iloc[0] == pytest.approx(cells.mean(), rel=1e-4)
        assert part.cells.iloc[0] == 2 * len(cells)
        assert (part.density * (part.high - part.low)).sum() == pytest.approx(1, abs=0.02)


def runs():
    rows = [
        ("erm", "ERM", "x", 0, 60.0, 100.0), ("erm", "ERM", "x", 1, 62.0, 120.0), ("erm", "ERM", "y", 0, 10.0, 1.0),
        ("db", "DB", "z", 0, 70.0, 50.0), ("own", "$Own_$", "w", 0, 70.0, 50.0),
    ]  # fmt: skip
    names = ["method", "title", "configuration_id", "seed", "total", "train_seconds"]
    frame = pd.DataFrame(rows, columns=names).assign(dataset="digits-mlt", overrides="", images_per_second=5.0)
    return frame.assign(started=range(len(frame)))


def test_one_configuration_of_each_method_is_compared_by_its_means_over_seeds():
    chosen = one_configuration_each(runs())
    assert chosen.method.tolist() == ["erm", "erm", "db", "own"]
    assert set(chosen.configuration_id) == {"x", "z", "w"}
    found = cost(chosen).set_index(["method", "seeds"])
    assert found.loc[("ERM", 2), ["seconds", "total"]].tolist() == [110, 61]
    assert found.loc[("ERM", 2), "total_deviation"] == pytest.approx(2**0.5)


def test_names_beside_a_figure_keep_their_distance_and_order():
    heights = np.array([0.9, 0.9, 0.9, 0.5, 0.1, 0.1])
    moved = spread_out(heights, 0.1)
    assert (np.diff(moved) <= -0.1 + 1e-9).all()
    assert moved[3] == pytest.approx(0.5)
    many = spread_out(np.full(40, 0.5), 0.1)
    assert many.min() >= -1e-9
    assert many.max() <= 1 + 1e-9


def test_every_figure_draws_hostile_names():
    values = {(method, seed): (80, 50, 20 + seed) for method in ("erm", "rs", "r-bce", "db") for seed in (0, 1)}
    frame = per_class(values).replace({"class_name": {"a": "$x_$"}, "title": {"DB": "<b>$DB_$"}})
    labels = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(np.uint8)
    scores = {"$A_$": [labels.astype(np.float32)], "B": [labels.astype(np.float32)]}
    curves = pd.DataFrame({"epoch": [1, 2, 3], "value": [1, 0.5, 0.3]})
    curves = curves.assign(dataset="d$_", method="$A_$", experiment_id="1", seed=0)
    for figure in (
        draw_step_wise(step_wise(frame)),
        draw_class_size(class_size(frame)),
        draw_confusion(confusion(scores, labels, labels, ("$x_$", "b", "c"))),
        draw_score_distributions(score_distributions(scores, labels, ("head", "medium", "tail"))),
        draw_cost(cost(runs())),
        draw_training_loss(curves.assign(measure="train/loss")),
        draw_validation_curves(curves.assign(measure="validation/total")),
    ):
        page = ParsedPage(as_svg(figure))
        assert any(name in page.shown for name in ("$x_$", "<b>$DB_$", "$A_$", "$Own_$"))
        assert not page.all("b")


def test_figures_are_drawn_from_labels_alone_on_the_command_line(call, own_folder, small_labels, tmp_path):
    np.savez("own.npz", ids=np.arange(7), labels=small_labels, classes=["a", "b", "c", "d"])
    draw = ("figures", "draw", "--labels", "own.npz", "--figure")
    status, output, _ = call(*draw, "co-occurrence", "--to", "drawn")
    assert (status, "1 figures in drawn" in output) == (0, True)
    assert set(pd.read_csv(tmp_path / "drawn" / "co-occurrence.csv").given) == set("abcd")
    status, output, _ = call(*draw, "cost", "--figure", "sweep-beta")
    assert status == 1
    assert "left out cost: no finished run on own" in output
    assert "left out sweep-beta: no MLflow store" in output
    assert "did you mean 'cost'" in call(*draw, "costs")[2]
    assert "nothing to draw" in call("figures", "draw")[2]
    assert "step-wise" in call("figures", "list")[1]
