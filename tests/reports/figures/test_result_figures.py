"""Figures of results and of studies: their numbers by hand and by scikit-learn, and their drawings."""

import json

import numpy as np
import pandas as pd
import pytest
from mltbench.benchmark.tracking.store import TAG
from mltbench.benchmark.training.metrics import SCORE_NAMES
from mltbench.errors import InputError
from mltbench.reports.figures.class_size import class_size, draw_class_size
from mltbench.reports.figures.confusion import confusion, confusion_by_presence, draw_confusion
from mltbench.reports.figures.cost import cost, draw_cost, spread_out
from mltbench.reports.figures.critical_difference import draw_critical_difference, ranks_frame
from mltbench.reports.figures.imbalance import draw_imbalance, imbalance_frame
from mltbench.reports.figures.learning_curves import draw_training_loss, draw_validation_curves
from mltbench.reports.figures.pareto_front import front_frame
from mltbench.reports.figures.registry import draw_figures, get_figure
from mltbench.reports.figures.score_distributions import draw_score_distributions, score_distributions
from mltbench.reports.figures.sensitivity import sensitivity_frame
from mltbench.reports.figures.source import FigureSource, MissingDataError
from mltbench.reports.figures.step_wise import draw_step_wise, step_wise
from mltbench.reports.figures.style import as_svg
from mltbench.reports.results.rows import is_leading
from mltbench.reports.results.runs import runs_frame
from mltbench.reports.tables.tuned import tuned_frame, tuned_table
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


@pytest.mark.parametrize("hidden", [0, 0.3])
def test_confusion_is_the_area_under_the_curve_of_scikit_learn(hidden):
    generator = np.random.default_rng(0)
    labels = (generator.random((300, 5)) < [0.5, 0.4, 0.3, 0.2, 0.004]).astype(np.uint8)
    labels[generator.random((300, 5)) < hidden] = 255
    scores = generator.integers(0, 6, (300, 5)).astype(np.float32)
    found = confusion_by_presence(scores, labels)
    for j, i in np.ndindex(5, 5):
        without = (labels[:, i] == 0) & (labels[:, j] != 255)
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


def test_images_of_which_a_class_is_unknown_are_in_no_count_of_pairs():
    labels = np.array([[1, 0], [1, 255], [0, 1], [255, 1], [1, 1], [1, 0]], dtype=np.uint8)
    frame = confusion({"ERM": [np.zeros((6, 2))]}, labels, labels, ("a", "b"))
    images = {(row.given, row.class_name): row.images for row in frame.itertuples()}
    assert images == {("a", "a"): 0, ("a", "b"): 2, ("b", "a"): 1, ("b", "b"): 0}
    assert frame[(frame.given == "a") & (frame.class_name == "b")].co_occurrence.iloc[0] == 1 / 3


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
    return frame.assign(started=range(len(frame)), state="finished")


def test_one_configuration_of_each_method_is_compared_by_its_means_over_seeds():
    every = runs()
    chosen = every[is_leading(every, "method")].sort_values("method", key=lambda c: c.map(["erm", "db", "own"].index))
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


SWEEPS = {
    "beta": ("r-bce", "method.beta", (0.1, 1, 5, 10, 100), 10),
    "lambda": ("db", "method.negative_scale", (1, 2, 5, 10, 20), 5),
    "kappa": ("db", "method.kappa", (0, 0.01, 0.05, 0.5), 0.05),
}


def put(store, kind, tags, metrics):
    tagged = {f"{TAG}{key}": value for key, value in {"kind": kind, **tags}.items()}
    run = store.client.create_run(store.experiment("digits-mlt"), tags=tagged)
    for name, value in metrics.items():
        store.client.log_metric(run.info.run_id, name, value)
    store.client.set_terminated(run.info.run_id)


def put_trial(store, study, method, settings, seed, total, *, trial, sweep="", outcome="complete"):
    tags = {
        "study": study, "purpose": "sweep" if sweep else "tune", "sweep": sweep, "study_dataset": "digits-mlt",
        "dataset": "digits-mlt", "method": method, "title": method.upper(), "trial": f"{method}@digits-mlt/{trial}",
        "outcome": outcome, "default": str(trial == 0).lower(), "parameters": json.dumps(settings), "values": "{}",
        "experiment_id": f"{study}{method}{trial}{seed}", "seed": str(seed),
    }  # fmt: skip
    scores = zip(SCORE_NAMES, (total, total + 0.1, total + 0.05, total - 0.2), strict=True)
    put(store, "trial", tags, {f"validation/{group}": score for group, score in scores})


def draw(store, folder, *names):
    source = FigureSource(dataset="digits-mlt", runs=runs_frame(store), store=store)
    return draw_figures(source, folder, entries=[get_figure(name) for name in names])


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweeps_figure_shows_every_seed_and_the_papers_choice(store, tmp_path, sweep):
    method, key, values, paper = SWEEPS[sweep]
    for i, value in enumerate(values):
        for seed in range(3):
            put_trial(store, sweep, method, {key: value}, seed, 0.7 + 0.01 * i + 0.001 * seed, trial=i, sweep=sweep)
    drawn = draw(store, tmp_path, f"sweep-{sweep}").drawn
    frame = pd.read_csv(tmp_path / f"sweep-{sweep}.csv")
    assert len(frame) == len(values) * 3 * 4
    mean = frame[(frame.x == values[1]) & (frame.group == "tail")].value.mean()
    assert mean == pytest.approx(100 * (0.711 - 0.2))
    assert set(frame.paper) == {paper}
    assert f"best {100 * (0.7 + 0.01 * (len(values) - 1) + 0.001):.1f}" in drawn[0].alternative_text


def test_a_tunings_figures_leave_pruned_trials_out(store, tmp_path):
    for method, base in (("erm", 0.7), ("db", 0.75)):
        for trial in range(6):
            settings = {"recipe.learning_rate": 0.05 * 2**trial}
            settings |= {"method.mu": 0.1 * trial} if method == "db" else {}
            put_trial(store, "tuning", method, settings, 1000, base + 0.01 * trial, trial=trial)
        put_trial(store, "tuning", method, {}, 1000, 0.1, trial=9, outcome="pruned")
    names = ("parallel-coordinates", "pareto-front", "sensitivity")
    found = draw(store, tmp_path, *names)
    assert found.without == {}
    assert [figure.name for figure in found.drawn] == list(names)
    assert len(pd.read_csv(tmp_path / "pareto-front.csv")) == 12
    sensitivity = pd.read_csv(tmp_path / "sensitivity.csv").set_index(["method", "group"])
    assert sensitivity.over_defaults["db", "total"] == pytest.approx(5)
    assert sensitivity["median"]["erm", "total"] == pytest.approx(72.5)


def test_front_and_sensitivity_by_hand():
    scores = {"default": [True, False, False, False], "total": [50.0, 60, 55, 60], "tail": [40.0, 30, 35, 20]}
    trials = pd.DataFrame({"dataset": "d", "method": "rs", "title": "RS", "trial": list("abcd"), **scores})
    assert front_frame(trials).front.tolist() == [True, True, True, False]
    row = sensitivity_frame(trials).set_index("group").loc["total"]
    assert (row.defaults, row.best, row["median"], row.lower_quartile) == (50, 60, 57.5, 53.75)
    assert row.over_best == 0


def test_imbalance_follows_fixed_shares_of_classes():
    lines = [
        ("ERM", seed, variant, f"c{i}", size, 10.0 * i + seed)
        for variant, sizes in (("a", (50, 40, 30, 20, 10)), ("b", (50, 20, 8, 4, 2)))
        for seed in (0, 2)
        for i, size in enumerate(sizes)
    ]
    columns = ["title", "seed", "dataset", "class_name", "class_size", "ap"]
    frame = imbalance_frame(pd.DataFrame(lines, columns=columns), "d")
    assert sorted(frame.ratio.unique()) == [5, 25]
    first = frame[(frame.seed == 0) & (frame.ratio == 25)].iloc[0]
    assert (first.total, first.rarest, first.frequent) == (20, 35, 10)
    assert len(draw_imbalance(frame).axes) == 3


def test_default_and_tuned_are_paired_by_fresh_seeds(store, tmp_path):
    winner = {
        "method": "db", "dataset": "digits-mlt", "recipe": "digits", "weights": {}, "fixed": [],
        "settings": ["method.mu=0.2"], "objective": "total", "trial": 3, "value": 0.8, "seeds": [1000],
        "default_configuration": "dd", "tuned_configuration": "tt",
    }  # fmt: skip
    put(store, "study", {"study": "tuning", "winners": json.dumps([winner])}, {})
    differences = {0: 1.0, 1: 2.0, 2: 3.0, 1000: 50.0}
    for seed, difference in differences.items():
        for configuration, total in (("dd", 70.0), ("tt", 70.0 + difference)):
            tags = {
                "experiment_id": f"{configuration}{seed}", "configuration_id": configuration, "dataset": "digits-mlt",
                "method": "db", "title": "DB", "recipe": "digits", "seed": str(seed), "state": "finished",
            }  # fmt: skip
            put(store, "experiment", tags, {f"test/{group}": total / 100 for group in SCORE_NAMES})
    frame = tuned_frame(store, runs_frame(store), "digits-mlt")
    row = frame[frame.group == "total"].iloc[0]
    assert (row.n, row.default, row.tuned) == pytest.approx((3, 70, 72))
    # Student's t(2) at 97.5 % is 4.302653; the deviation of 1, 2, 3 is 1.
    half = 4.302653 / 3**0.5
    assert (row.low, row.high) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    assert tuned_table(frame).row_count == 4
    drawn = draw(store, tmp_path, "tuned-winners").drawn
    assert "DB +2.0" in drawn[0].alternative_text
