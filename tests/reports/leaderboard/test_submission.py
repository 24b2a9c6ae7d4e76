"""A submission: what it is made from, what its means are, and with which others it is compared."""

import json
import math
from copy import deepcopy
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mltbench.errors import InputError
from mltbench.reports.leaderboard import submission as module
from mltbench.reports.leaderboard.submission import (
    Submission,
    class_groups,
    group_means,
    make_submission,
    read_json,
    slug,
)
from submissions import SIZES, TOY_GROUPS, TOY_SIZES, submission, toy

# Percent, by class; the numbers of the validation split are others.
AP = {"rare": 41.0, "edge": 68.0, "common": 96.0, "middle": 74.0, "single": 51.0}
MEANS = {"total": 66, "head": 96, "medium": 71, "tail": 46}


def test_classes_are_grouped_by_the_papers_bounds():
    assert class_groups(TOY_SIZES) == TOY_GROUPS


def test_means_are_those_of_all_classes_and_of_each_group():
    assert group_means(AP, TOY_SIZES) == MEANS
    assert group_means(dict(reversed(AP.items())), TOY_SIZES) == MEANS
    # What has no value counts for nothing, and a group without any has no mean.
    assert group_means(AP | {"rare": None}, TOY_SIZES) == {**MEANS, "total": 289 / 4, "tail": 51}
    assert group_means(AP | {"common": None}, TOY_SIZES) == {"total": 234 / 4, "medium": 71, "tail": 46}
    # No group alone: three sizes, and a mean that no other classes have.
    assert group_means({"a": 1, "b": 2, "c": 5}, {"a": 1, "b": 20, "c": 21}) == pytest.approx(
        {"total": 8 / 3, "medium": 3.5, "tail": 1}
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 200), st.none() | st.integers(0, 100)), min_size=1))
def test_the_total_is_the_mean_of_the_groups_weighted_by_their_classes(classes):
    ap = {str(i): value for i, (_, value) in enumerate(classes)}
    means = group_means(ap, {str(i): size for i, (size, _) in enumerate(classes)})
    bounds = {"head": (100, 200), "medium": (20, 99), "tail": (1, 19)}
    numbers = {
        group: sum(low <= size <= high and value is not None for size, value in classes)
        for group, (low, high) in bounds.items()
    }
    assert set(means) - {"total"} == {group for group, number in numbers.items() if number}
    assert ("total" in means) == any(numbers.values())
    weighted = sum(means[group] * number for group, number in numbers.items() if number)
    assert means.get("total", 0) * sum(numbers.values()) == pytest.approx(weighted)


def test_scores_are_computed_from_the_classes_of_each_seed_whatever_is_claimed():
    data = toy("toy", {8: 66, 3: 67})
    data["runs"][0] |= {"total": 1.0, "head": 2.0, "medium": 3.0, "tail": 4.0}
    scores = Submission(data=data).scores
    assert list(scores.columns) == ["total", "head", "medium", "tail"]
    assert scores.to_dict("index") == {3: {name: mean + 1 for name, mean in MEANS.items()}, 8: MEANS}
    assert list(scores.index) == [3, 8]
    for run in data["runs"]:
        run["ap"]["common"] = None
    assert Submission(data=data).scores["head"].isna().all()


@pytest.mark.parametrize(
    ("path", "separates"),
    [
        (["dataset"], True), (["dataset_digest"], True), (["backbone"], True), (["pretraining"], True),
        (["protocol", "recipe"], True), (["protocol", "chosen_on"], False), (["id"], False), (["method"], False),
        (["author"], False), (["code"], False), (["cost", "device"], False),
    ],
)  # fmt: skip
def test_a_board_has_one_dataset_version_network_pretraining_and_recipe(path, separates):
    one, other = toy("one", {0: 50}), toy("one", {0: 60, 1: 61})
    assert Submission(data=one).board == Submission(data=other).board
    *rooms, last = path
    place = other
    for room in rooms:
        place = place[room]
    place[last] = "another"
    assert (Submission(data=one).board != Submission(data=other).board) == separates


def test_boards_that_swap_two_values_are_two():
    data = toy("one", {0: 50})
    swapped = {**data, "backbone": data["pretraining"], "pretraining": data["backbone"]}
    assert Submission(data=data).board != Submission(data=swapped).board


@pytest.mark.parametrize(
    ("text", "slugged"),
    [
        ("DB-Focal (mu=0.2) ../x", "db-focal-mu-0-2-x"),
        ("…", "submission"),
        ("a" * 64, "a" * 64),
        # The end is the beginning of what sha256sum gives for the text.
        ("a" * 65, "a" * 55 + "-635361c4"),
        ("B" * 54 + " " + "a" * 10, "b" * 54 + "-28b9d819"),
    ],
)
def test_an_id_is_short_and_safe_in_file_names(text, slugged):
    assert slug(text) == slugged


def test_long_ids_that_begin_alike_differ():
    assert slug("a" * 65) != slug("a" * 66) != slug("A" * 66)


@pytest.mark.parametrize("text", ["{", '{"a": NaN}', '{"a": Infinity}', '{"a": 1, "a": 2}', "[" * 100_000, "\xff"])
def test_what_is_no_strict_json_is_an_error(text, tmp_path):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"x\.json is no JSON"):
        read_json(tmp_path / "x.json")


def test_a_file_may_have_twenty_megabytes(tmp_path, monkeypatch):
    assert module.MOST_BYTES == 20_000_000
    monkeypatch.setattr(module, "MOST_BYTES", 12)
    (tmp_path / "x.json").write_text('{"a": 12345}')
    assert read_json(tmp_path / "x.json") == {"a": 12345}
    (tmp_path / "x.json").write_text('{"a": 123456}')
    with pytest.raises(InputError, match=r"x\.json has 13 bytes; a submission has at most 12"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"cannot read .*y\.json"):
        read_json(tmp_path / "y.json")


@pytest.fixture
def folder(tmp_path):
    """A results root without MLflow: artifacts lie in the folders of runs."""
    return SimpleNamespace(root=tmp_path, runs=tmp_path / "runs", artifacts_of=lambda uri: tmp_path / "nowhere")


@pytest.fixture
def runs(folder, small_runs):
    """Two runs of one configuration, the later seed first, with files as a finished run leaves them."""
    changes = [
        {"seed": 8, "experiment_id": "8" * 16, "train_seconds": 20.0, "provenance": '{"device_name": "H100"}'},
        {"seed": 3, "experiment_id": "3" * 16, "train_seconds": 10.52, "provenance": '{"device_name": "A100"}'},
    ]
    settings = {"method.mu": 0.3, "recipe.batch_size": 32, "seed": 3, "backbone": "resnet", "method.nu": "x" * 501}
    common = {"title": "DB", "overrides": "mu=0.2", "dataset": "toy", "dataset_digest": "d" * 64, "recipe": "digits",
              "backbone": "digits-resnet", "settings": json.dumps(settings)}  # fmt: skip
    frame = pd.DataFrame([{**small_runs.iloc[0].to_dict(), **common, **change} for change in changes])
    for experiment_id, offset in (("3" * 16, 0), ("8" * 16, 0.01)):
        write(folder, experiment_id, {name: (value + offset) / 100 for name, value in AP.items()})
    return frame


def write(folder, experiment_id, ap, digest="0123456789abcdef", **more):
    own = folder.runs / experiment_id
    own.mkdir(parents=True, exist_ok=True)
    (own / "experiment.json").write_text(json.dumps({"deciding": {"weights_digest": digest} if digest else {}}))
    by_split = {"validation": dict.fromkeys(reversed(AP), 0.5), "test": ap}
    counts = {"training_images_per_class": TOY_SIZES, "training_images": 239}
    (own / "per_class.json").write_text(json.dumps({"average_precision": by_split} | counts | more))


def made(folder, runs):
    return make_submission(folder, runs, author="A. Name", code="https://example.org", chosen_on="validation")


def test_a_submission_holds_the_test_scores_of_every_seed_and_how_they_were_made(folder, runs):
    data = made(folder, runs)
    third, eighth = data.pop("runs")
    assert third == {"seed": 3, "experiment_id": "3" * 16, "ap": AP, **MEANS}
    eighth_ap = {name: value + 0.01 for name, value in AP.items()}
    assert (eighth["seed"], eighth["experiment_id"], eighth["ap"]) == (8, "8" * 16, pytest.approx(eighth_ap, abs=1e-9))
    assert {name: eighth[name] for name in MEANS} == pytest.approx({n: mean + 0.01 for n, mean in MEANS.items()})
    assert data == {
        "format": "mltbench-submission-1", "id": "db-mu-0-2-toy-digits-resnet-digits", "method": "DB (mu=0.2)",
        "author": "A. Name", "code": "https://example.org", "dataset": "toy", "dataset_digest": "d" * 64,
        "protocol": {"recipe": "digits", "split": "test", "epoch": "last", "chosen_on": "validation"},
        "backbone": "digits-resnet", "pretraining": "weights 0123456789ab",
        "hyperparameters": {"method.mu": "0.3", "recipe.batch_size": "32", "method.nu": "x" * 500},
        "cost": {"train_seconds": 15.3, "device": "A100, H100"}, "training_images": TOY_SIZES,
    }  # fmt: skip


def test_numbers_keep_four_decimals_and_a_class_without_test_images_has_none(folder, runs):
    write(folder, "3" * 16, {name: value / 100 for name, value in AP.items()} | {"rare": None, "edge": 1 / 3})
    ap = made(folder, runs)["runs"][0]["ap"]
    assert (ap["rare"], ap["edge"], ap["common"]) == (None, 33.3333, 96)


@pytest.mark.parametrize(("digest", "text"), [("random", "none"), ("", "unknown"), ("ab" * 32, "weights abababababab")])
def test_its_pretraining_is_that_of_the_weights_that_it_began_with(folder, runs, digest, text):
    write(folder, "8" * 16, {name: value / 100 for name, value in AP.items()}, digest)
    assert made(folder, runs)["pretraining"] == text
    (folder.runs / ("8" * 16) / "experiment.json").unlink()
    assert made(folder, runs)["pretraining"] == "unknown"


def test_what_is_not_known_of_the_cost_is_said(folder, runs):
    data = made(folder, runs.assign(train_seconds=[math.nan, 12.26], provenance="{}", overrides=""))
    assert (data["cost"], data["method"]) == ({"train_seconds": 12.3, "device": "unknown"}, "DB")
    assert made(folder, runs.assign(train_seconds=math.nan))["cost"]["train_seconds"] is None


def test_a_run_without_test_scores_or_class_sizes_makes_no_submission(folder, runs):
    (folder.runs / ("3" * 16) / "per_class.json").unlink()
    with pytest.raises(InputError, match=f"experiment {'3' * 16} has no per-class average precision"):
        made(folder, runs)
    write(folder, "8" * 16, {"rare": 0.1}, training_images_per_class={"edge": 20}, training_images=20)
    with pytest.raises(InputError, match="numbers of training images are not available"):
        made(folder, runs)


def test_a_submission_that_passes_is_not_changed_by_reading_it():
    data = submission("good", 60)
    before = deepcopy(data)
    assert Submission(data=data).id == "good"
    assert Submission(data=data).scores.shape == (3, 4)
    assert (data, set(data["training_images"])) == (before, set(SIZES))
