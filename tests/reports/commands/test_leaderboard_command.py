"""`mltbench leaderboard`: which runs are submitted, which files pass, and what scores give."""

import json

import numpy as np
import pandas as pd
import pytest
from mltbench.datasets.dataset import Dataset, Split
from mltbench.reports.commands import leaderboard
from submissions import TOY_KNOWN, toy

# By experiment: method, dataset, recipe, overrides, configuration, seed, state. Where a choice leaves something out,
# others have more seeds.
RUNS = {
    "a0": ("db", "toy", "digits", "", "a", 0, "finished"),
    "a1": ("db", "toy", "digits", "", "a", 1, "finished"),
    "a2": ("db", "toy", "digits", "", "a", 2, "failed"),
    "b0": ("db", "toy", "digits", "", "of an older version", 0, "finished"),
    **{f"c{seed}": ("db", "toy", "photos", "", "c", seed, "finished") for seed in range(3)},
    **{f"d{seed}": ("db", "toy", "digits", "mu=0.2", "d", seed, "finished") for seed in range(4)},
    **{f"e{seed}": ("db", "voc", "digits", "", "e", seed, "finished") for seed in range(5)},
    **{f"f{seed}": ("rs", "toy", "digits", "", "f", seed, "finished") for seed in range(6)},
    "g0": ("erm", "toy", "digits", "", "g", 0, "running"),
}
COLUMNS = ("method", "dataset", "recipe", "overrides", "configuration_id", "seed", "state")


@pytest.fixture
def submit(call, out, own_folder, monkeypatch, tmp_path):
    """Submits one of those runs; gives the exit status, the ids of the runs that were taken, and what was printed."""
    frame = pd.DataFrame(
        [(*run, name, 1) for name, run in RUNS.items()], columns=[*COLUMNS, "experiment_id", "started"]
    )
    taken = []

    def make(store, runs, **more):
        taken.append((sorted(runs.experiment_id), more))
        return toy("made", {0: 60}, **made)

    made = {}
    monkeypatch.setattr(leaderboard, "runs_frame", lambda store: frame)
    monkeypatch.setattr(leaderboard, "make_submission", make)
    words = ["--author", "A. Name", "--code", "https://example.org/code", "--out", out]

    def submit(*options, to=tmp_path, **changes):
        made.update(changes)
        status, printed, error = call("leaderboard", "submit", *words, "--to", to, *options)
        return status, taken.pop() if taken else None, printed + error

    return submit


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ("--method db --dataset toy", "c0 c1 c2"),
        ("--method db --dataset toy --recipe digits", "a0 a1"),
        ("--method db --dataset toy --recipe digits --overrides mu=0.2", "d0 d1 d2 d3"),
        ("--method db --dataset toy --overrides mu=0.2", "d0 d1 d2 d3"),
        ("--method db --dataset voc", "e0 e1 e2 e3 e4"),
        ("--method rs --dataset toy --recipe digits", "f0 f1 f2 f3 f4 f5"),
    ],
)
def test_the_finished_runs_of_one_configuration_are_submitted(submit, options, runs):
    status, (taken, more), _ = submit(*options.split())
    assert (status, " ".join(taken)) == (0, runs)
    assert more == {"author": "A. Name", "code": "https://example.org/code", "chosen_on": "nothing"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--method db", "no finished run on 'digits-mlt'; there are runs on: toy, voc"),
        ("--method erm --dataset toy", "unknown method with finished runs on toy 'erm'"),
        ("--method rs --dataset voc", "unknown method with finished runs on voc 'rs'"),
        ("--method rs --dataset toy --recipe photos", "there are: recipe digits, overrides ''"),
        ("--method rs --dataset toy --overrides mu=0.2", "there are: recipe digits, overrides ''"),
    ],
)
def test_a_choice_without_finished_runs_is_an_error(submit, options, says):
    status, taken, printed = submit(*options.split())
    assert (status, taken) == (2, None)
    assert says in printed


def test_what_would_not_pass_is_not_written_but_a_dataset_of_ones_own_is(submit, tmp_path):
    chosen = ("--method", "rs", "--dataset", "toy")
    status, _, printed = submit(*chosen, to=tmp_path / "new" / "rs.json")
    assert (status, "note: dataset = 'toy': not a dataset of this board" in printed) == (0, True)
    assert json.loads((tmp_path / "new" / "rs.json").read_text()) == toy("made", {0: 60})
    assert submit(*chosen, to=tmp_path / "more")[0] == 0
    assert [path.name for path in (tmp_path / "more").iterdir()] == ["made.json"]
    status, _, printed = submit(*chosen, to=tmp_path / "bad", author="\t")
    assert (status, "the submission would not pass its check:\n  author = " in printed) == (2, True)
    assert not (tmp_path / "bad").exists()


SCORES = np.array([[0.9, 0.1, 0.4], [0.8, 0.7, 0.3], [0.3, 0.6, 0.2], [0.1, 0.2, 0.1]])
LABELS = np.array([[0, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=np.uint8)
# Positives in places 2 and 4 of class a, 1 and 2 of b, 1 of c.
AP = {"a": 50.0, "b": 100.0, "c": 100.0}
IDS = np.array(["i", "j", "k", "l"])


@pytest.fixture
def scored(own_folder, monkeypatch, tmp_path):
    """A dataset with 20, 2 and 1 training images, per-image scores of its test split, and a submission of theirs."""
    train = np.repeat(np.eye(3, dtype=np.uint8), [20, 2, 1], axis=0)

    def split(labels, ids):
        return Split(images=np.zeros((len(labels), 2, 2, 3), dtype=np.uint8), labels=labels, ids=ids)

    splits = {"train": split(train, np.arange(23).astype(str)), "validation": split(1 - LABELS, IDS)}
    dataset = Dataset.in_memory("toy", ("a", "b", "c"), splits | {"test": split(LABELS, IDS)})
    monkeypatch.setattr(leaderboard, "load_dataset", lambda name, data_root: dataset)
    known = {"toy": {"digests": [dataset.digest, "d" * 64]}}
    monkeypatch.setattr(leaderboard, "known_datasets", lambda folder=None: known)
    np.savez("scores.npz", scores=SCORES, ids=IDS, classes=np.array(["a", "b", "c"]))
    run = {"seed": 4, "ap": AP, "total": 83.33, "medium": 50, "tail": 100}
    other = {"seed": 5, "ap": AP | {"c": 90.0}, "total": 80}
    data = toy("mine", {}, runs=[other, run], training_images={"a": 20, "b": 2, "c": 1}, dataset_digest=dataset.digest)

    def write(**changes):
        (tmp_path / "mine.json").write_text(json.dumps(data | changes))
        return "mine.json"

    return write


def test_scores_in_a_file_are_scored_on_the_test_split(scored, call):
    status, printed, _ = call("leaderboard", "check", "scores.npz", "--dataset", "toy")
    means = "total 83.33, medium 50.00, tail 100.00"
    assert (status, printed) == (0, f"scores.npz: scored again on the test split of toy: {means}\n")


@pytest.mark.parametrize(
    ("options", "changes", "status", "says"),
    [
        ("", {}, 0, "mine.json: good"),
        ("--scores 4=scores.npz", {}, 0, "mine.json: good"),
        ("--scores 5=scores.npz", {}, 1, "runs[0].ap['c'] = 90.0: the scores of seed 5 give 100.00"),
        ("--scores 4=scores.npz --scores 5=scores.npz", {}, 1, "mine.json: 1 fault\n  runs[0]"),
        ("--scores 5=scores.npz --scores 4=scores.npz", {}, 1, "mine.json: 1 fault\n  runs[0]"),
        ("--scores 6=scores.npz", {}, 1, "has no seed 6, but scores of it"),
        ("--scores 4=scores.npz", {"dataset_digest": "d" * 64}, 2, "the submission says dddddddddddd"),
        ("--scores 4", {}, 2, "must be SEED=FILE.npz"),
        ("--scores 4=", {}, 2, "must be SEED=FILE.npz"),
        ("--scores=-4=scores.npz", {}, 2, "must be SEED=FILE.npz"),
        # What has faults is not scored.
        ("--scores 6=nothing.npz", {"author": "\t"}, 1, "mine.json: 1 fault\n  author = "),
    ],
)
def test_a_submission_is_compared_with_the_scores_of_its_seeds(scored, call, options, changes, status, says):
    found, printed, error = call("leaderboard", "check", scored(**changes), *options.split())
    assert (found, says in printed + error) == (status, True)


def test_one_bad_file_of_several_makes_the_check_fail(scored, call, tmp_path):
    (tmp_path / "bad.json").write_text("{")
    for files in (("bad.json", scored()), (scored(), "bad.json")):
        status, printed, _ = call("leaderboard", "check", *files)
        assert (status, "mine.json: good" in printed, "bad.json: 1 fault\n" in printed) == (1, True, True)
    (tmp_path / "bad.json").write_text("{}")
    assert "bad.json: 14 faults\n" in call("leaderboard", "check", "bad.json")[1]


def test_a_folder_becomes_a_site_and_what_was_left_out_is_told(call, own_folder, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "datasets.json").write_text(json.dumps(TOY_KNOWN))
    (folder / "bad.json").write_text("{")
    status, printed, _ = call("leaderboard", "build", folder, "--out", "site")
    assert (status, "0 submissions, 1 left out: site/index.html" in printed, "bad.json" in printed) == (0, True, True)
    assert (tmp_path / "site" / "index.html").is_file()
    assert call("leaderboard", "build", tmp_path / "nowhere")[0] == 2
