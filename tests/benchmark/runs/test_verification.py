"""What a comparison of two run folders says, with folders made by hand; `test_resume.py` trains a run again."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mltbench.benchmark.runs import verification
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.journal import Journal
from mltbench.benchmark.runs.verification import (
    changed_conditions,
    compare_runs,
    last_scores,
    train_again,
    verification_job,
)
from mltbench.benchmark.training.execution import Execution
from mltbench.errors import InputError
from plans import tiny_plan

WEIGHTS = {"neck.bias": torch.tensor([1.0, 2.0, 3.0]), "head.weight": torch.tensor([[4.0, 5.0]])}
SCORES = {"scores": np.array([[0.5, 1.5]], np.float32), "ids": np.array(["a"])}
PRECISION = {"test": {"cat": 0.5, "dog": None}, "validation": {"cat": 0.25, "dog": 0.75}}
POINTS = [
    ("epoch", 1, {"train/loss": 0.5, "validation/total": 0.1, "cost/train_seconds": 1.0}),
    ("epoch", 2, {"train/loss": 0.25, "validation/total": 0.2}),
    ("evaluation", 3, {"validation/total": 0.3, "validation/tail": 0.4}),
    ("test", 3, {"test/total": 0.6, "test/head": 0.7, "cost/train_seconds": 3.0}),
]


def left(folder, *, weights=WEIGHTS, scores=SCORES, precision=PRECISION, points=POINTS, **provenance):
    """A run folder with these results."""
    folder.mkdir()
    torch.save(weights, folder / "weights.pt")
    if scores is not None:
        np.savez(folder / "test_scores.npz", **scores)
    (folder / "per_class.json").write_text(json.dumps({"average_precision": precision}))
    (folder / "provenance.json").write_text(json.dumps(provenance))
    for event, step, metrics in points:
        Journal(folder).append(event, step=step, metrics=metrics)
    return folder


def test_the_same_is_the_same_and_everything_is_counted(tmp_path):
    found = compare_runs(left(tmp_path / "then"), left(tmp_path / "now"))
    assert [(item.what, item.same, item.detail) for item in found] == [
        ("weights", True, "2 tensors"),
        ("test scores", True, "2 arrays"),
        ("average precision per class", True, "4 values"),
        ("metrics in the journal", True, "8 points"),
    ]


def point(event, step, name, value):
    """The points of the journal with another value."""
    return [(e, s, m | {name: value} if (e, s) == (event, step) else m) for e, s, m in POINTS]


@pytest.mark.parametrize(
    ("changed", "what", "detail"),
    [
        ({"weights": WEIGHTS | {"neck.bias": torch.tensor([1.25, 1.5, 3.0])}},
         "weights", "1 of 2 tensors differ, by at most 0.5: neck.bias"),
        ({"weights": {name: -value for name, value in WEIGHTS.items()}},
         "weights", "2 of 2 tensors differ, by at most 10: neck.bias"),
        ({"weights": WEIGHTS | {"neck.bias": torch.tensor([1.0, 2.0, -0.0 + 3.0], dtype=torch.float64)}},
         "weights", "1 of 2 tensors differ, by at most 0: neck.bias"),
        ({"weights": WEIGHTS | {"neck.bias": torch.tensor([1.0, 2.0])}},
         "weights", "1 of 2 tensors differ: neck.bias"),
        ({"weights": {"head.weight": WEIGHTS["head.weight"]}}, "weights", "1 of 2 tensors differ: neck.bias"),
        ({"weights": WEIGHTS | {"more": torch.tensor(1.0)}}, "weights", "1 of 3 tensors differ: more"),
        ({"scores": SCORES | {"ids": np.array(["b"])}}, "test scores", "1 of 2 arrays differ: ids"),
        ({"scores": SCORES | {"scores": np.array([[0.5, np.nan]], np.float32)}},
         "test scores", "1 of 2 arrays differ, by at most nan: scores"),
        ({"precision": PRECISION | {"test": {"cat": 0.5, "dog": 0.0}}},
         "average precision per class", "1 of 4 values differ, by at most nan: test, dog"),
        ({"precision": PRECISION | {"validation": {"cat": 0.75, "dog": 0.25}}},
         "average precision per class", "2 of 4 values differ, by at most 0.5: validation, cat"),
        ({"points": point("epoch", 2, "train/loss", np.nextafter(0.25, 1))},
         "metrics in the journal", "1 of 8 points differ, by at most 5.55e-17: train/loss after 2 epochs"),
        ({"points": POINTS[:3]}, "metrics in the journal", "2 of 8 points differ: test/total after 3 epochs"),
    ],
)  # fmt: skip
def test_what_differs_is_found_and_said(changed, what, detail, tmp_path):
    found = compare_runs(left(tmp_path / "then"), left(tmp_path / "now", **changed))
    assert [(item.what, item.detail) for item in found if not item.same] == [(what, detail)]


def test_costs_may_differ_and_scores_that_were_not_kept_are_not_compared(tmp_path):
    then = left(tmp_path / "then", scores=None)
    found = compare_runs(then, left(tmp_path / "now", points=point("test", 3, "cost/train_seconds", 9.0)))
    assert [(item.what, item.same) for item in found] == [
        ("weights", True),
        ("average precision per class", True),
        ("metrics in the journal", True),
    ]


def test_the_last_scores_are_those_of_the_end_by_split_and_group(tmp_path):
    then = left(tmp_path / "then")
    now = left(tmp_path / "now", points=point("evaluation", 3, "validation/total", 0.35)[:3])
    assert last_scores(then, now) == {"validation/total": (0.3, 0.35), "validation/tail": (0.4, 0.4)}
    assert last_scores(then, then) == {
        "validation/total": (0.3, 0.3), "validation/tail": (0.4, 0.4), "test/total": (0.6, 0.6), "test/head": (0.7, 0.7)
    }  # fmt: skip
    assert list(last_scores(then, then)) == ["validation/total", "validation/tail", "test/total", "test/head"]


NOW = {"mltbench": "1", "commit": "abc", "source_digest": "ef", "python": "3", "torch": "2", "numpy": "2.4"}
NOW |= {"system": "Linux", "device_name": "a CPU"}


def test_conditions_that_are_not_as_they_were_are_told(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        verification, "code_version", lambda: {k: NOW[k] for k in ("mltbench", "commit", "source_digest")}
    )
    monkeypatch.setattr(verification, "machine", lambda *where: asked.append(where) or NOW | {"threads": "4"})
    then = left(tmp_path / "then", **NOW | {"threads": "2", "command": "mltbench run"})
    assert changed_conditions(then) == {}
    assert asked == [("cpu", 2)]
    other = left(tmp_path / "other", **{name: f"another {value}" for name, value in NOW.items()})
    assert changed_conditions(other) == {name: (f"another {value}", value) for name, value in NOW.items()}
    Journal(then).append("resumed", moved_from="torch 1 on another CPU")
    Journal(then).append("resumed", moved_from="torch 2 on a CPU")
    older = then / "provenance.json"
    older.write_text(json.dumps({"torch": "1"}))
    assert changed_conditions(then) == {
        "torch": ("1", "2"), "resumed elsewhere": ("torch 1 on another CPU", "one machine")
    }  # fmt: skip


def finished_folder(path, **execution):
    """A finished run that was trained so."""
    (planned,) = tiny_plan().experiments
    folder = RunFolder(path / planned.experiment.id)
    folder.path.mkdir(parents=True)
    folder.announce(replace(planned, weights=replace(planned.weights, file=Path("/weights.pt"))), "a plan")
    trained = Execution(threads=3, evaluate_every=2, score_test=False, checkpoint_seconds=7.0)
    folder.journal.append("start", execution={**asdict(trained), **execution})
    return folder, planned, trained


def test_a_run_is_trained_again_as_it_was(dataset, tmp_path):
    folder, planned, trained = finished_folder(tmp_path / "runs", cohort="of an older version")
    with pytest.raises(InputError, match="holds no finished run"):
        verification_job(folder, tmp_path / "scratch", data_root=tmp_path)
    folder.journal.append("finished")
    job = verification_job(folder, tmp_path / "scratch", data_root=tmp_path / "data", plugins=["mine.py"])
    (member,) = job.members
    assert job.execution == trained
    assert (job.data_root, job.plugins, job.restart) == (str(tmp_path / "data"), ("mine.py",), False)
    assert json.loads(member.experiment_json)["id"] == member.experiment_id == planned.experiment.id
    assert (member.folder, member.weights) == (str(tmp_path / "scratch" / planned.experiment.id), "/weights.pt")


def test_what_a_gpu_has_trained_is_not_verified(dataset, tmp_path):
    folder, *_ = finished_folder(tmp_path / "runs", device="cuda")
    folder.journal.append("finished")
    with pytest.raises(InputError, match="was trained on cuda"):
        verification_job(folder, tmp_path, data_root=tmp_path)


@pytest.mark.parametrize("finished", [True, False])
def test_training_again_must_come_to_its_end(finished, dataset, monkeypatch, tmp_path):
    folder, *_ = finished_folder(tmp_path / "runs")
    folder.journal.append("finished")
    job = verification_job(folder, tmp_path, data_root=tmp_path)
    monkeypatch.setattr(verification, "run_cohort", lambda given: given is job and finished)
    if finished:
        train_again(job)
        return
    RunFolder(job.members[0].folder).path.mkdir()
    Journal(Path(job.members[0].folder)).append("failed", reason="no such dataset")
    with pytest.raises(InputError, match="training it again failed: no such dataset"):
        train_again(job)
