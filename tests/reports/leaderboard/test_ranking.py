"""Ranks within noise, and what a site makes of them: boards, marks of ties, means, order."""

import csv
import json
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mltbench.errors import InputError
from mltbench.reports.leaderboard import site as module
from mltbench.reports.leaderboard.site import build_site, ranks_within_noise, read_folder
from scipy import stats
from submissions import TOY_KNOWN, toy

# Whole numbers: differences of theirs have no rounding that could decide on which side of zero an interval ends.
RESULTS = st.dictionaries(
    st.sampled_from("abcde"), st.dictionaries(st.integers(0, 4), st.integers(0, 12), min_size=1), min_size=2
)


def by_scipy(results):
    """One more than how many have a paired t interval above zero, by SciPy, over at least two shared seeds."""
    ranks = {}
    for name, own in results.items():
        ranks[name] = 1
        for other in results.values():
            shared = sorted(own.keys() & other.keys())
            pairs = [[one[seed] for seed in shared] for one in (other, own)]
            differences = np.subtract(*pairs)
            if len(shared) < 2:
                continue
            if len({*differences}) == 1:
                ranks[name] += differences[0] > 0
            else:
                ranks[name] += stats.ttest_rel(*pairs).confidence_interval(0.95).low > 0
    return ranks


@settings(deadline=None)
@given(RESULTS)
def test_ranks_are_those_of_scipys_paired_intervals(results):
    assert ranks_within_noise(results) == by_scipy(results)


@settings(deadline=None)
@given(RESULTS, st.randoms(), st.integers(-50, 50), st.integers(1, 9))
def test_neither_names_nor_the_order_of_seeds_nor_scale_decide(results, random, shift, scale):
    ranks = ranks_within_noise(results)
    names = random.sample(sorted(results), len(results))
    changed = {}
    for name in names:
        seeds = random.sample(sorted(results[name]), len(results[name]))
        changed[f"other {name}"] = {seed + 7: shift + scale * results[name][seed] for seed in seeds}
    assert ranks_within_noise(changed) == {f"other {name}": ranks[name] for name in names}


@settings(deadline=None)
@given(RESULTS, st.sampled_from("abcde"))
def test_a_copy_shares_its_rank_and_pushes_down_whom_its_original_does(results, name):
    assume(name in results)
    ranks, more = ranks_within_noise(results), ranks_within_noise(results | {"copy": dict(results[name])})
    assert more["copy"] == more[name] == ranks[name]
    alone = ranks_within_noise({other: own for other, own in results.items() if other != name})
    assert all(more[other] - ranks[other] == ranks[other] - alone[other] in (0, 1) for other in alone)


def test_ranks_have_ties_inside_noise():
    scores = {"best": (80, 80.5, 81), "close": (79.9, 80.6, 80.8), "worse": (70, 70.6, 70.9), "one seed": (10,)}
    results = {name: dict(enumerate(values)) for name, values in scores.items()} | {"other seeds": {5: 10, 6: 11}}
    assert ranks_within_noise(results) == {"best": 1, "close": 1, "worse": 3, "one seed": 1, "other seeds": 1}


def test_the_interval_has_95_percent_over_the_shared_seeds_alone():
    """Differences of 1, 2 and 9: mean 4, deviation sqrt(19), and 12.706 and 4.303 are quantiles of a printed table."""
    own = {0: 10, 1: 10, 2: 10}
    for factor, rank in ((4.30, 1), (4.31, 2)):
        # Mean and deviation so that the interval ends a hair below or above zero.
        mean = factor * (19 / 3) ** 0.5
        other = {seed: 10 + mean + step for seed, step in enumerate((-3, -2, 5))}
        assert ranks_within_noise({"own": own, "other": other})["own"] == rank
        # Seeds that one of them lacks change nothing.
        assert ranks_within_noise({"own": own | {7: 99}, "other": other | {8: -99}})["own"] == rank
    # Two seeds: a difference of 1 and 1.17 is told from none, 1 and 1.18 is not, nor one seed whatever it says.
    for more, rank in ((1.17, 2), (1.18, 1)):
        assert ranks_within_noise({"own": {0: 0, 1: 0}, "other": {0: 1, 1: more}})["own"] == rank
    assert ranks_within_noise({"own": {0: 0, 1: 5}, "other": {0: 90, 2: 95}})["own"] == 1


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds a site of toys in a moment, without drawing; gives its index and its folder."""
    for draw in ("draw_class_size", "draw_groups"):
        monkeypatch.setattr(module, draw, lambda frame: frame)
    monkeypatch.setattr(module, "as_svg", lambda frame: "<svg>")

    def build(*submissions):
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        (folder / "datasets.json").write_text(json.dumps(TOY_KNOWN | {"open": {"digests": ["d" * 64]}}))
        for number, data in enumerate(submissions):
            (folder / f"{number}.json").write_text(json.dumps(data))
        build_site(folder, tmp_path / "site")
        return json.loads((tmp_path / "site" / "index.json").read_text())

    return build


def ranks_of(index):
    return {row["id"]: row["rank"] for row in index["submissions"]}


def level(name, total, **changes):
    """Three seeds that vary by a little: levels ten points apart are told apart, a tenth of a point is not."""
    return toy(name, {0: total, 1: total + 1, 2: total + 3}, **changes)


def nearly(name, total, **changes):
    return toy(name, {0: total + 0.25, 1: total + 0.875, 2: total + 2.875}, **changes)


def test_ranks_that_are_shared_are_marked(build):
    index = build(level("a", 60), nearly("b", 60), level("c", 50), level("d", 40), nearly("e", 40), level("f", 40))
    assert ranks_of(index) == {"a": "1=", "b": "1=", "c": "3", "d": "4=", "e": "4=", "f": "4="}


@pytest.mark.parametrize(
    "change",
    [
        {"dataset_digest": "e" * 64},
        {"backbone": "resnet-50"},
        {"pretraining": "none"},
        {"protocol": {"recipe": "other", "split": "test", "epoch": "last", "chosen_on": "nothing"}},
    ],
)
def test_a_board_ranks_what_has_one_dataset_version_network_pretraining_and_recipe(build, change):
    index = build(level("high", 60), level("low", 40), level("apart", 50, **change), level("below", 30, **change))
    assert ranks_of(index) == {"high": "1", "low": "2", "apart": "1", "below": "2"}


def test_who_made_it_and_how_it_was_tuned_makes_no_board_of_its_own(build):
    tuned = {"recipe": "digits", "split": "test", "epoch": "last", "chosen_on": "validation"}
    more = {"author": "B", "protocol": tuned, "hyperparameters": {}, "cost": {"train_seconds": None, "device": "B"}}
    assert ranks_of(build(level("high", 60), level("low", 40, **more))) == {"high": "1", "low": "2"}


def test_a_row_has_the_mean_and_the_sample_deviation_of_its_seeds(build):
    one, three = toy("one", {4: 50}, method="Of one seed"), toy("three", {9: 40, 4: 44, 7: 36}, dataset="open")
    for run in three["runs"]:
        # No class of medium size has test images.
        run["ap"] |= {"edge": None, "middle": None}
        run["total"] -= 3.33
    (second, first) = build(one, three)["submissions"]
    assert first["mean"] == {"total": 50, "head": 80, "medium": 55, "tail": 30}
    assert first["deviation"] == {"total": None, "head": None, "medium": None, "tail": None}
    assert second["mean"] == pytest.approx({"total": 40 - 10 / 3, "head": 70, "medium": None, "tail": 20})
    # 36, 40 and 44: squares of 4, 0 and 4 over two.
    assert second["deviation"] == pytest.approx({"total": 4, "head": 4, "medium": None, "tail": 4})
    assert (first["seeds"], second["seeds"], first["method"]) == ([4], [4, 7, 9], "Of one seed")
    assert (first["recipe"], first["page"]) == ("digits", "methods/one.html")


def test_rows_are_ordered_by_dataset_and_then_by_their_mean_over_all_seeds(build):
    # By a first, last, largest or smallest seed the order would be another.
    middle = toy("middle", {0: 60, 1: 38, 2: 60.5})
    elsewhere = level("elsewhere", 30, dataset="open")
    index = build(level("low", 50), middle, level("high", 52.5), elsewhere)
    assert [row["id"] for row in index["submissions"]] == ["elsewhere", "high", "middle", "low"]


@pytest.mark.parametrize(("up", "down"), [("single", "middle"), ("edge", "common"), ("common", "edge")])
def test_the_total_decides_and_no_group(build, tmp_path, up, down):
    """The lower one has the better tail, medium classes or head."""
    index = build(level("high", 40), level("low", 35, up=up, down=down))
    assert [(row["id"], row["rank"]) for row in index["submissions"]] == [("high", "1"), ("low", "2")]
    sizes = rows_of(tmp_path / "site" / "methods" / "low.class-size.csv")
    assert list(dict.fromkeys(row["method"] for row in sizes)) == ["LOW", "HIGH"]


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_figures_show_a_submission_beside_the_best_of_its_board_and_its_groups_beside_all(build, tmp_path):
    best, own, third = toy("best", {0: 60, 1: 63}), toy("own", {0: 50, 2: 56}), toy("third", {0: 40})
    build(third, best, own, level("apart", 66, backbone="resnet-50"), level("open", 65, dataset="open"))
    pages = tmp_path / "site" / "methods"
    sizes = rows_of(pages / "own.class-size.csv")
    assert [(row["method"], row["class_name"], row["class_size"], float(row["ap"])) for row in sizes] == [
        ("OWN", "common", "100", 83), ("OWN", "middle", "99", 61), ("OWN", "edge", "20", 55),
        ("OWN", "rare", "19", 28), ("OWN", "single", "1", 38),
        ("BEST", "common", "100", 91.5), ("BEST", "middle", "99", 69.5), ("BEST", "edge", "20", 63.5),
        ("BEST", "rare", "19", 36.5), ("BEST", "single", "1", 46.5),
    ]  # fmt: skip
    assert {row["method"] for row in rows_of(pages / "best.class-size.csv")} == {"BEST"}
    groups = rows_of(pages / "own.groups.csv")
    assert groups == rows_of(pages / "third.groups.csv")
    assert {(row["method"], row["seed"], row["group"]): float(row["value"]) for row in groups} == {
        (name, str(seed), group): total + step
        for name, seeds in (("BEST", {0: 60, 1: 63}), ("OWN", {0: 50, 2: 56}), ("THIRD", {0: 40}))
        for seed, total in seeds.items()
        for group, step in (("total", 0), ("head", 30), ("medium", 5), ("tail", -20))
    }
    assert {row["dataset"] for row in groups} == {"toy"}
    cells = r'<span class="method">(\w+)</span></th><td class="text">(\w+)</td><td>(\d+)</td>'
    assert re.findall(cells, (pages / "own.html").read_text()) == [
        ("common", "head", "100"), ("middle", "medium", "99"), ("edge", "medium", "20"), ("rare", "tail", "19"),
        ("single", "tail", "1"),
    ]  # fmt: skip
    assert json.loads((pages / "own.json").read_text()) == own


def test_the_first_of_one_id_is_taken_and_what_has_faults_is_left_out(build, tmp_path):
    wrong = level("wrong", 65)
    wrong["runs"][1]["total"] += 1
    index = build(level("a", 60), level("a", 50), wrong, level("b", 40))
    assert [(row["id"], row["mean"]["total"]) for row in index["submissions"]] == [
        ("a", pytest.approx(61 + 1 / 3)), ("b", pytest.approx(41 + 1 / 3)),
    ]  # fmt: skip
    assert {item["file"]: len(item["faults"]) for item in index["rejected"]} == {"1.json": 1, "2.json": 1}
    assert "another submission has it" in index["rejected"][0]["faults"][0]
    # The file of datasets is none of the submissions.
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "datasets.json").write_text("{}")
    with pytest.raises(InputError, match="no submission under"):
        read_folder(tmp_path / "empty")


def test_a_site_is_replaced_as_a_whole_and_nothing_else_is(build, tmp_path):
    build(level("a", 60), level("b", 50))
    (tmp_path / "in" / "1.json").unlink()
    build(level("a", 60))
    site = tmp_path / "site"
    assert [(site / "methods" / f"{name}.html").exists() for name in "ab"] == [True, False]
    assert {path.name for path in tmp_path.iterdir()} == {"in", "site"}
    for name, content in (("thesis.tex", ""), ("index.json", "[]"), ("index.json", '{"format": "other"}')):
        other = tmp_path / f"other {name}{content[1:3]}"
        other.mkdir()
        (other / name).write_text(content)
        with pytest.raises(InputError, match="holds something that is no leaderboard"):
            build_site(tmp_path / "in", other)
        assert [path.name for path in other.iterdir()] == [name]
    (tmp_path / "new").mkdir()
    build_site(tmp_path / "in", tmp_path / "new")
    with pytest.raises(InputError, match="no submission under"):
        build_site(tmp_path / "nowhere", site)
