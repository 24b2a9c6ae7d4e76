"""A training set in which labels are unknown, through whole trainings: every method, cohorts, scores, plug-ins."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from crashes import cohort_job, fingerprint
from mltbench import list_methods
from mltbench.benchmark.experiments.recipe import Schedule
from mltbench.benchmark.runs.folder import RunFolder
from mltbench.benchmark.runs.run import run_cohort
from mltbench.benchmark.training import check
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.datasets.dataset import Dataset
from mltbench.datasets.registry import DatasetEntry, register_dataset
from mltbench.datasets.word_vectors import hashed_word_vectors
from mltbench.methods import loss as loss_module
from mltbench.methods.catalogue import CATALOGUE
from plans import PLAIN
from sklearn.metrics import average_precision_score
from trainings import Training

# In a class or an image without a positive there is nothing to rank or to weigh by.
BY_POSITIVES = {"cb-focal-sum": 1, "map-surrogate": 0}
# Rows of the training split in which the last two classes are unknown, with and without it of others.
HIDDEN = slice(0, 8)


@pytest.fixture
def incomplete(own_registrations, monkeypatch):
    """The tiny set with a third of its labels unknown, under its name."""
    splits, generator = {}, np.random.default_rng(0)
    for name in ("train", "validation", "test"):
        split = tiny_dataset().split(name)
        labels = split.labels.copy()
        labels[generator.random(labels.shape) < 0.3] = 255
        labels[HIDDEN, 4:] = 255
        labels[8:14] = np.eye(6)
        splits[name] = replace(split, labels=labels)
    dataset = Dataset.in_memory("tiny", tiny_dataset().classes, splits)
    monkeypatch.setattr(check, "tiny_dataset", lambda: dataset)
    register_dataset(
        DatasetEntry(
            name="tiny", summary="", source="", open=lambda root: dataset, recipe="digits", backbone="digits-resnet"
        )
    )
    return dataset


def training_of(name, dataset):
    method = next(method for method in list_methods() if method.name == name)
    once = Schedule(epochs=1, decay_after=())
    experiment = tiny_experiment(method, batch_size=6, image_size=16, neck_width=8, plain=once, resampled=once)
    vectors = hashed_word_vectors(dataset.classes).vectors if method.head.needs_word_vectors else None
    return Training(experiment, dataset, word_vectors=vectors)


@pytest.mark.parametrize("name", [method.name for method in CATALOGUE])
def test_every_method_learns_from_known_labels_alone(name, incomplete, monkeypatch):
    training = training_of(name, incomplete)
    learner, rows = training.learner, torch.arange(8)
    targets = training.feed.data.targets(rows)
    assert ((targets == -1) == torch.from_numpy(incomplete.labels("train")[:8] == 255)).all()
    features = training.feed.features(rows, training.feed.prepare(torch.rand(8, 16)))
    logits = learner.network.learning_part(features).detach().requires_grad_()
    unused, place = copy.deepcopy(learner.loss), learner.place(0, rows)
    learner.loss_of(logits, targets, *place).backward()
    counts = targets != -1
    if name in BY_POSITIVES:
        counts &= (targets == 1).any(dim=BY_POSITIVES[name], keepdim=True)
    assert ((logits.grad != 0) == counts).all()
    # Of the meta device nothing can be asked.
    learner.loss = copy.deepcopy(unused).to("meta")
    assert learner.loss_of(*(given.to("meta") for given in (logits, targets, *place))).is_meta
    # As on a GPU, where the training labels are known to be as the statistics say.
    learner.loss, before = unused, logits.grad.clone()
    monkeypatch.setattr(loss_module, "kinds_of", lambda labels: None)
    logits.grad = None
    learner.loss_of(logits, targets, *place).backward()
    assert torch.equal(logits.grad, before)
    loss, images = training.epoch()
    assert np.isfinite(loss)
    assert images
    scores, raw = learner.evaluate("test")
    labels = incomplete.labels("test")
    known = [labels[:, c] != 255 for c in range(6)]
    expected = [average_precision_score(labels[rows, c], raw[rows, c]) for c, rows in enumerate(known)]
    assert scores.per_class == pytest.approx(expected, abs=1e-12)


def test_a_cohort_has_the_bits_of_separate_training(incomplete, tmp_path):
    names = ("rs", "db-focal", "rs+cb-focal")
    for job in cohort_job(names, tmp_path / "alone").one_by_one():
        assert run_cohort(job)
    assert run_cohort(cohort_job(names, tmp_path / "together"))
    for name in names:
        assert fingerprint(tmp_path / "together" / name) == fingerprint(tmp_path / "alone" / name)
    stored = np.load(tmp_path / "alone" / "rs" / "test_scores.npz")["labels"]
    assert (stored == incomplete.labels("test")).all()
    counts = json.loads((tmp_path / "alone" / "rs" / "per_class.json").read_text())["training_images_per_class"]
    assert list(counts.values()) == (incomplete.labels("train") == 1).sum(axis=0).tolist()


def test_a_loss_that_does_not_take_unknown_labels_is_refused_before_it_trains(incomplete, plugin, tmp_path):
    plugin("mine", PLAIN)
    assert not run_cohort(cohort_job(["mine"], tmp_path))
    state = RunFolder(tmp_path / "mine").state()
    assert "takes_unknown = True" in state.reason
    assert [entry.event for entry in RunFolder(tmp_path / "mine").entries()] == ["start", "failed"]
