"""Two configurations beside each other, by toys whose numbers were computed by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from made_up_runs import frame_of, seeds_of
from mltbench.errors import InputError
from mltbench.reports.results.comparison import (
    compare,
    find_both,
    find_configuration,
    label_of,
    settings_of,
)
from mltbench.reports.results.runs import CLASS_COLUMNS

NO_CLASSES = pd.DataFrame(columns=list(CLASS_COLUMNS))
# Quantile .975 of Student's t with 2 degrees of freedom, from a printed table.
T2 = 4.303


@pytest.mark.parametrize(
    ("name", "seeds", "overrides"),
    [
        ("db", [0, 1], ""),
        ("DB", [0, 1], ""),
        ("DB (mu=0.2)", [2], "mu=0.2"),
        ("db (MU=0.2)", [2], "mu=0.2"),
        ("erm0000", [0, 1, 2], ""),
        ("erm-1", [1], ""),
        ("eeeee", [2], "mu=0.2"),
        ("run-of-ldam", [2], ""),
    ],
)
def test_a_name_is_a_row_a_method_a_configuration_or_a_run(name, seeds, overrides, small_runs):
    runs = small_runs.assign(run_id=[f"run-of-{method}" for method in small_runs.method])
    found = find_configuration(runs.sample(frac=1, random_state=0), name)
    assert found.seed.tolist() == seeds
    assert set(found.overrides) == {overrides}
    assert found.configuration_id.nunique() == 1


def test_a_method_with_one_overridden_configuration_is_that_one(small_runs):
    own = small_runs.assign(overrides=small_runs.overrides.where(small_runs.method != "rs", "backbone=mobilenet_v2"))
    assert label_of(find_configuration(own, "rs")) == "RS (backbone=mobilenet_v2)"


def test_a_method_is_its_row_by_the_protocol_and_a_label_is_exactly_one_configuration():
    runs = frame_of(
        *seeds_of("rs", {0: 1, 1: 2}, configuration_id="1" * 16), *seeds_of("rs", {0: 3}, configuration_id="2" * 16),
        *seeds_of("rs", {0: 4, 1: 5, 2: 6}, overrides="mu=1"),
        *seeds_of("db", {0: 7}, overrides="mu=1"), *seeds_of("db", {0: 8}, overrides="mu=2", title="rs"),
    )  # fmt: skip
    for name, totals in (("rs", [1, 2]), ("RS [222222]", [3]), ("222", [3]), ("rs (mu=1)", [4, 5, 6])):
        assert find_configuration(runs.assign(run_id="r"), name).total.tolist() == totals
    with pytest.raises(InputError, match=r"'db' is 2 configurations: c-dbmu=1 .mu 1., c-dbmu=2 .mu 2."):
        find_configuration(
            runs.assign(run_id="r", settings=[json.dumps({"mu": text[-1:]}) for text in runs.overrides]), "db"
        )


def test_several_configurations_are_named_with_what_differs(small_runs):
    settings = [json.dumps({"recipe.learning_rate": ".2", "seed": seed}) for seed in small_runs.seed]
    runs = small_runs.assign(settings=settings)
    shorter = runs[runs.method == "rs"].assign(
        configuration_id="5" * 16, recipe="digits-smoke", settings='{"recipe.learning_rate": ".1", "seed": "0"}'
    )
    with pytest.raises(InputError) as raised:
        find_configuration(pd.concat([runs, shorter]), "RS")
    text = str(raised.value)
    assert "2 configurations" in text
    assert f"{'rs'.ljust(8, '0')} (recipe.learning_rate .2), 55555555 (recipe.learning_rate .1)" in text
    assert "--recipe" in text
    assert "seed" not in text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dbb", "did you mean 'db'"),
        ("", "unknown"),
        ("rw", "unknown"),
        ("fffff", "is not finished"),
        ("erm-", "3 runs"),
    ],
)
def test_a_name_of_nothing_is_an_error_that_helps(name, says, small_runs):
    runs = small_runs.assign(configuration_id=small_runs.configuration_id.where(small_runs.seed >= 0, ""))
    runs = runs[runs.overrides == ""]
    with pytest.raises(InputError, match=says):
        find_configuration(runs, name)


def of(runs, *names):
    return [find_configuration(runs, name) for name in names]


def test_a_difference_is_the_second_minus_the_first_over_shared_seeds(small_runs):
    found = compare(*of(small_runs, "erm", "rs"), NO_CLASSES, {})
    total = found.groups.set_index("group").loc["total"]
    # Seeds 0, 1, 2: 55 - 50, 55.5 - 51 and 57 - 52.125.
    differences = [5.0, 4.5, 4.875]
    mean = sum(differences) / 3
    half = T2 * math.sqrt(sum((value - mean) ** 2 for value in differences) / 2 / 3)
    assert total.difference == pytest.approx(mean)
    assert (total.low, total.high) == pytest.approx((mean - half, mean + half), abs=1e-3)
    assert (total.n, found.seeds) == (3, (0, 1, 2))
    assert total.second - total["first"] == pytest.approx(mean)
    back = compare(*of(small_runs, "rs", "erm"), NO_CLASSES, {}).groups.set_index("group").loc["total"]
    assert (back.difference, back.low, back.high) == pytest.approx((-mean, -total.high, -total.low))


def test_only_shared_seeds_count(small_runs):
    found = compare(*of(small_runs, "erm", "db"), NO_CLASSES, {})
    total = found.groups.set_index("group").loc["total"]
    assert found.seeds == (0, 1)
    # Without the 52.125 of ERM's third seed.
    assert (total["first"], total.second, total.difference) == pytest.approx((50.5, 56, 5.5))


def test_every_group_has_its_own_means(small_runs):
    groups = compare(*of(small_runs, "db", "rs"), NO_CLASSES, {}).groups.set_index("group")
    # Seeds 0 and 1 of DB and RS.
    expected = {"total": (56, 55.25), "head": (78.5, 79.5), "medium": (60, 61.25), "tail": (43.5, 40.5)}
    assert groups[["first", "second"]].T.to_dict("list") == {name: list(means) for name, means in expected.items()}
    assert groups.difference.tolist() == [-0.75, 1, 1.25, -3]
    assert set(groups.n) == {2}


def test_one_shared_seed_has_no_interval(small_runs):
    total = compare(*of(small_runs, "erm", "ldam"), NO_CLASSES, {}).groups.iloc[0]
    assert total.difference == pytest.approx(51 - 52.125)
    assert np.isnan([total.low, total.high, total.images_low]).all()


def test_classes_are_compared_seed_by_seed_largest_first(small_runs):
    both = of(small_runs, "erm", "rs")
    percent = {"common": ([90, 91, 92], [80, 82, 84]), "rare": ([10, 20, 30], [20, 30, 40]), "untested": (None, None)}
    lines = [
        {"experiment_id": run.experiment_id, "split": split, "class_name": name,
         "group": {"common": "head"}.get(name, "tail"),
         "class_size": {"common": 500, "rare": 3, "untested": 7}[name],
         "ap": math.nan if values[i] is None else values[i][run.seed] + (split == "validation") * run.seed * 7}
        for i, side in enumerate(both) for run in side.itertuples() for split in ("test", "validation")
        for name, values in percent.items()
    ]  # fmt: skip
    classes = compare(*both, pd.DataFrame(lines, columns=list(CLASS_COLUMNS)), {}).classes
    assert classes.class_name.tolist() == ["common", "untested", "rare"]
    rare, common = (classes[classes.class_name == name].iloc[0] for name in ("rare", "common"))
    assert (rare["first"], rare.second, rare.difference, rare.low, rare.high, rare.n) == (20, 30, 10, 10, 10, 3)
    assert (rare.group, rare.class_size, common.class_size) == ("tail", 3, 500)
    # -10, -9, -8: standard deviation 1.
    assert (common.difference, common.low) == pytest.approx((-9, -9 - T2 / math.sqrt(3)), abs=1e-3)
    assert np.isnan(classes[classes.class_name == "untested"].difference.iloc[0])


def test_classes_of_one_size_stay_in_their_order(small_runs):
    names = [f"class {i}" for i in range(50)]
    lines = [("erm-000000000000", "test", name, "tail", 5 - i % 2, i) for i, name in enumerate(names)]
    per_class = pd.DataFrame(lines, columns=["experiment_id", "split", "class_name", "group", "class_size", "ap"])
    classes = compare(*of(small_runs, "erm", "rs"), per_class, {}).classes
    assert classes.class_name.tolist() == names[::2] + names[1::2]


def test_intervals_over_images_are_of_the_mean_over_shared_seeds(small_runs):
    both = of(small_runs, "erm", "db")
    resamples = np.linspace(0, 100, 101)
    resampled = {name: {"total": np.zeros(101)} for name in both[0].experiment_id}
    # Seed 0 gains as it was drawn, seed 1 three times that: the mean gains twice.
    resampled |= {name: {"total": k * resamples} for name, k in zip(both[1].experiment_id, (1, 3), strict=True)}
    groups = compare(*both, NO_CLASSES, resampled).groups.set_index("group")
    assert (groups.loc["total"].images_low, groups.loc["total"].images_high) == pytest.approx((5, 195))
    assert np.isnan(groups.loc["head"].images_low)


def test_only_settings_that_differ_are_named(small_runs):
    settings = {
        "erm": {"method": "erm", "recipe.learning_rate": "0.2", "seed": "0"},
        "rs": {"method": "rs", "recipe.learning_rate": "0.2", "method.epoch_fraction": "0.25", "seed": "1"},
    }
    runs = small_runs.assign(settings=[json.dumps(settings.get(method, {})) for method in small_runs.method])
    first, second = of(runs, "erm", "rs")
    found = compare(first, second.assign(numerics_version="2"), NO_CLASSES, {})
    expected = {"method": ("erm", "rs"), "method.epoch_fraction": ("–", "0.25"), "numerics_version": ("1", "2")}
    assert found.settings == expected
    # Frames that were made by hand may lack them.
    assert set(settings_of(first.assign(settings=math.nan).iloc[0])) == {"dataset_digest", "numerics_version"}


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("dataset", "voc-mlt", "ERM was trained on digits-mlt, RS on voc-mlt"),
        ("dataset_digest", "e" * 64, "two versions of digits-mlt .digests dddddddd and eeeeeeee"),
        ("seed", 7, "share no seed"),
    ],
)
def test_what_cannot_be_paired_says_why(column, value, says, small_runs):
    first, second = of(small_runs, "erm", "rs")
    with pytest.raises(InputError, match=says):
        compare(first, second.assign(**{column: value}), NO_CLASSES, {})


def test_a_configuration_is_not_compared_with_itself(small_runs):
    with pytest.raises(InputError, match="both names are ERM, configuration erm00000"):
        compare(*of(small_runs, "erm", "ERM"), NO_CLASSES, {})
    # One of its runs beside all of them is another matter.
    assert compare(*of(small_runs, "erm", "erm-1"), NO_CLASSES, {}).groups.second.tolist() == [51, 81, 61, 31]


def test_two_names_are_looked_for_on_the_dataset_that_has_both(small_runs):
    elsewhere = small_runs[small_runs.method == "erm"].assign(dataset="voc-mlt", configuration_id="v" * 16)
    third = small_runs[small_runs.method == "rs"].assign(dataset="coco-mlt", configuration_id="c" * 16)
    runs = pd.concat([small_runs, elsewhere, third], ignore_index=True)
    found = find_both(runs, "erm", "rs")
    assert [set(one.dataset) for one in found] == [{"digits-mlt"}, {"digits-mlt"}]
    apart = find_both(pd.concat([elsewhere, small_runs[small_runs.method == "rs"]]), "erm", "rs")
    assert [set(one.dataset) for one in apart] == [{"voc-mlt"}, {"digits-mlt"}]
    with pytest.raises(InputError, match="unknown run, configuration or table row 'none'"):
        find_both(runs, "none", "erm")
    with pytest.raises(InputError, match=r"'erm' is 2 configurations: .*narrow with --dataset"):
        find_both(pd.concat([runs, elsewhere.assign(method="rs", title="RS", configuration_id="w" * 16)]), "erm", "rs")
