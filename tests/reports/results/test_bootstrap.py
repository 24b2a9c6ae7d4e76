"""Results on resampled test images: as scikit-learn gives them for copies of images, and whose they are."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up_runs import ListedStore, frame_of, record
from mltbench.errors import InputError
from mltbench.reports.results import bootstrap
from mltbench.reports.results.bootstrap import (
    bootstrap_runs,
    difference_over_images,
    group_means,
    percentile_interval,
    resample_weights,
    weighted_average_precision,
)
from sklearn.metrics import average_precision_score


@pytest.mark.parametrize("hidden", [0, 0.4])
@pytest.mark.parametrize(("seed", "at_once"), [(0, 60 * 5), (1, 60), (2, 1)])
def test_weights_are_what_copies_of_images_give(seed, at_once, hidden, monkeypatch):
    # Resamples are taken five at a time, and one by one where not even one fits.
    monkeypatch.setattr(bootstrap, "WEIGHTS_AT_ONCE", at_once)
    generator = np.random.RandomState(seed)
    # Rounded scores tie, and a class without positives stays NaN.
    scores = generator.randn(60, 5).round(1)
    scores[:, 0] = 1 + scores[:, 0] * 1e-12  # which a float32 cannot tell apart
    labels = (generator.rand(60, 5) < 0.1).astype(np.uint8)
    labels[:, 4] = 0
    labels[generator.rand(60, 5) < hidden] = 255
    labels[labels[:, 3] == 1, 3] = 0
    labels[3, 3] = 1  # an only positive, which many resamples lack
    weights = resample_weights(60, 12, seed=seed)
    found = weighted_average_precision(scores, labels, weights)
    for row, counts in zip(found, weights, strict=True):
        copies = np.repeat(np.arange(60), counts)
        for c, value in enumerate(row):
            known = copies[labels[copies, c] != 255]
            drawn = labels[known, c]
            expected = average_precision_score(drawn, scores[known, c]) if drawn.any() else np.nan
            assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_score_that_is_no_number_is_not_ranked():
    scores = np.array([[0.5, 0.1], [0.2, math.nan]])
    with pytest.raises(InputError, match="image 1, class 1 is NaN"):
        weighted_average_precision(scores, np.ones((2, 2), np.uint8), resample_weights(2, 3))


def test_everybody_draws_the_same_resamples():
    assert resample_weights(5, 3).tolist() == [[1, 0, 0, 3, 1], [1, 1, 1, 1, 1], [2, 1, 1, 0, 1]]
    assert resample_weights(5, 1, seed=1).tolist() == [[1, 1, 0, 2, 1]]


def test_resamples_draw_as_many_images_as_there_are_and_repeat():
    weights = resample_weights(500, 400, seed=3)
    assert (weights.sum(axis=1) == 500).all()
    assert (weights == resample_weights(500, 400, seed=3)).all()
    # An image is left out of a resample with probability (1 - 1/500)^500 = .3675.
    assert (weights == 0).mean() == pytest.approx(0.3675, abs=0.005)
    assert weights.mean(axis=0).std() == pytest.approx(1 / 20, abs=0.01)


def test_groups_are_means_over_their_classes():
    per_class = np.array([[0.9, 0.5, 0.1, np.nan], [0.8, 0.6, 0.2, 0.4]])
    found = group_means(per_class, ["head", "head", "tail", "tail"])
    expected = {"total": [50, 50], "head": [70, 70], "tail": [10, 30]}
    assert {name: values.round(6).tolist() for name, values in found.items()} == expected


def test_an_interval_holds_the_middle_of_the_resamples():
    assert percentile_interval(np.append(np.arange(1001.0), np.nan)) == pytest.approx((25, 975))
    assert percentile_interval(np.array([0.0, 40.0])) == pytest.approx((1, 39))


def test_a_difference_over_images_is_of_the_pairs_that_both_have():
    steps = np.arange(101.0)
    resampled = {
        "a0": {"total": 3 * steps, "tail": steps}, "b0": {"total": steps}, "a1": {"total": 6 * steps},
        "b1": {"total": 2 * steps}, "a2": {"total": 1000 * steps}, "b3": {"total": 1000 * steps},
    }  # fmt: skip
    pairs = [("a0", "b0"), ("a1", "b1"), ("a2", "b2"), ("a3", "b3")]
    # The mean of 3 - 1 and 6 - 2 is 3 times the steps, of which the middle 95 % go from 2.5 to 97.5.
    assert difference_over_images(pairs, "total", resampled) == pytest.approx((7.5, 292.5))
    assert difference_over_images([(b, a) for a, b in pairs], "total", resampled) == pytest.approx((-292.5, -7.5))
    assert difference_over_images(pairs[:1], "tail", resampled) is None
    assert difference_over_images([], "total", resampled) is None


# Five images, three classes.
SCORES = np.array([[5, 1, 3], [4, 2, 1], [3, 5, 2], [2, 4, 5], [1, 3, 4]], dtype=np.float32)
LABELS = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 1, 0], [1, 0, 1]], dtype=np.uint8)
IDS = np.array(list("vwxyz"))


def on_copies(scores, labels):
    """AP of each class in percent, on the images that `test_everybody_draws_the_same_resamples` counts."""
    draws = [0, 3, 3, 3, 4], [0, 1, 2, 3, 4], [0, 0, 1, 2, 4]
    aps = [
        [average_precision_score(labels[i, c], scores[i, c]) if labels[i, c].any() else math.nan for c in range(3)]
        for i in draws
    ]
    return 100 * np.array(aps)


@pytest.fixture
def scored(tmp_path):
    """Write the stored scores of a run; gives its line."""

    def write(name, scores=SCORES, *, state="finished", dataset="one", **arrays):
        held = {"scores": scores, "labels": LABELS, "ids": IDS, "classes": np.array(list("pqr"))} | arrays
        (tmp_path / "runs" / name).mkdir(parents=True)
        np.savez(tmp_path / "runs" / name / "test_scores.npz", **{k: v for k, v in held.items() if v is not None})
        away = (tmp_path / "away").as_uri()
        return record("erm", 0, experiment_id=name, state=state, dataset=dataset, artifact_uri=away)

    return write


GROUPS = pd.DataFrame(
    [("one", "p", "head"), ("one", "q", "tail"), ("one", "r", "tail"), ("two", "p", "tail"), ("two", "q", "head"),
     ("two", "r", "head"), ("one", "p", "head")], columns=["dataset", "class_name", "group"],
)  # fmt: skip


def test_every_finished_run_is_scored_on_the_same_resamples_by_the_groups_of_its_dataset(scored, tmp_path):
    store = ListedStore(root=tmp_path, tracking_uri="http://mlflow.invalid")
    lines = [scored("a"), scored("b", -SCORES), scored("c", dataset="two"), scored("failed", state="failed"),
             record("erm", 0, experiment_id="no scores", dataset="one", artifact_uri="/nowhere")]  # fmt: skip
    calls = []
    found = bootstrap_runs(store, frame_of(*lines), GROUPS, resamples=3, on_run=lambda: calls.append(1))
    assert (list(found), len(calls)) == (["a", "b", "c"], 4)
    for name, sign in (("a", 1), ("b", -1), ("c", 1)):
        aps = on_copies(sign * SCORES, LABELS)
        one, others = aps[:, 0], np.nanmean(aps[:, 1:], axis=1)
        head, tail = (others, one) if name == "c" else (one, others)
        expected = {"total": np.nanmean(aps, axis=1), "head": head, "tail": tail}
        assert set(found[name]) == set(expected)
        for group, values in expected.items():
            assert found[name][group] == pytest.approx(values), (name, group)


def test_results_are_kept_by_run_and_number_and_a_damaged_file_is_made_anew(scored, tmp_path):
    store = ListedStore(root=tmp_path, tracking_uri="http://mlflow.invalid")
    frame = frame_of(scored("a"), scored("b", -SCORES))

    def totals(resamples):
        return {k: v["total"].tolist() for k, v in bootstrap_runs(store, frame, GROUPS, resamples=resamples).items()}

    found = totals(3)
    (damaged,) = (tmp_path / "report-cache").rglob("a-3*")
    damaged.write_bytes(b"PK")
    assert totals(3) == found
    for file in (tmp_path / "runs").rglob("*.npz"):
        file.unlink()
    assert totals(3) == found
    assert found["a"] != found["b"]
    assert totals(4) == {}
    # Nothing but time is lost where nothing can be kept.
    blocked = ListedStore(root=tmp_path / "other", tracking_uri="http://mlflow.invalid")
    (tmp_path / "other").write_text("a file")
    assert bootstrap_runs(blocked, frame.assign(artifact_uri=str(tmp_path)), GROUPS, resamples=3) == {}


def test_labels_that_are_not_stored_are_those_of_the_same_images_of_the_dataset(scored, tmp_path, monkeypatch):
    test, opened = SimpleNamespace(ids=IDS, labels=LABELS), []
    held = {"test": test}
    monkeypatch.setattr(
        bootstrap, "load_dataset", lambda name: opened.append(name) or SimpleNamespace(split=held.__getitem__)
    )
    store = ListedStore(root=tmp_path, tracking_uri="http://mlflow.invalid")
    frame = frame_of(scored("with", labels=LABELS), scored("without", labels=None))
    found = bootstrap_runs(store, frame, GROUPS, resamples=3)
    assert opened == ["one"]
    assert found["with"]["total"].tolist() == found["without"]["total"].tolist()
    test.ids = IDS[::-1]
    with pytest.raises(InputError, match="experiment without scored other test images than one has here"):
        bootstrap_runs(store, frame, GROUPS, resamples=4)
