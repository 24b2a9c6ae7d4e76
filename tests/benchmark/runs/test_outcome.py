import json
import resource
import sys

import numpy as np
import pytest
import torch
from mltbench.benchmark.runs import outcome
from mltbench.benchmark.runs.outcome import peak_memory_mib, write_outcome
from mltbench.benchmark.training.metrics import Scores
from mltbench.datasets.dataset import Dataset, Split

CLASSES = ["cat", "dog", "bird"]
LABELS = {
    "train": [[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1]],
    "validation": [[0, 1, 1], [1, 0, 1]],
    "test": [[1, 0, 0], [0, 1, 0], [1, 1, 0]],
}
VALIDATION = Scores(per_class=np.array([0.125, 0.25, 0.5]), total=0.3, groups={}, excluded=())
TEST = Scores(per_class=np.array([0.75, 0.875, np.nan]), total=0.8, groups={}, excluded=(2,))


@pytest.fixture
def dataset():
    """Three splits of other lengths, classes of other sizes, images of 12 bits."""

    def split(name, labels):
        ids = np.array([f"{name}-{i}" for i in range(len(labels))])
        images = np.zeros((len(labels), 4, 4, 3), np.uint8)
        return Split(images=images, labels=np.array(labels, np.uint8), ids=ids, bits=12)

    return Dataset.in_memory("small", CLASSES, {name: split(name, labels) for name, labels in LABELS.items()})


def test_each_split_keeps_its_own_precision_and_the_report_the_sizes_of_the_training_split(dataset, tmp_path):
    logits = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9.5]], np.float32)
    network = torch.nn.Linear(2, 1)
    write_outcome(tmp_path, dataset, network, validation=VALIDATION, test=TEST, test_scores=logits)
    assert json.loads((tmp_path / "per_class.json").read_text()) == {
        "average_precision": {
            "test": {"cat": 0.75, "dog": 0.875, "bird": None},
            "validation": {"cat": 0.125, "dog": 0.25, "bird": 0.5},
        },
        "classes_without_positives": {"test": ["bird"], "validation": []},
        "training_images_per_class": {"cat": 4, "dog": 2, "bird": 1},
        "training_images": 4,
        "image_bits": 12,
    }
    with np.load(tmp_path / "test_scores.npz", allow_pickle=False) as arrays:
        assert arrays["scores"].tolist() == logits.tolist()
        assert arrays["scores"].dtype == np.float32
        assert arrays["labels"].tolist() == LABELS["test"]
        assert arrays["ids"].tolist() == ["test-0", "test-1", "test-2"]
        assert arrays["classes"].tolist() == CLASSES
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert weights.keys() == network.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("scored", ["test", "validation"])
def test_what_was_not_scored_is_not_in_it(scored, dataset, tmp_path):
    scores = {"test": None, "validation": None, scored: TEST}
    write_outcome(tmp_path, dataset, torch.nn.Linear(1, 1), **scores, test_scores=None)
    report = json.loads((tmp_path / "per_class.json").read_text())
    assert list(report["average_precision"]) == list(report["classes_without_positives"]) == [scored]
    assert not (tmp_path / "test_scores.npz").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="has no such number")
def test_peak_memory_is_in_mebibytes(monkeypatch):
    class Used:
        ru_maxrss = 3 * 2**20

    monkeypatch.setattr(resource, "getrusage", lambda whose: Used)
    for platform, expected in (("linux", 3 * 2**10), ("darwin", 3)):
        monkeypatch.setattr(outcome.sys, "platform", platform)
        assert peak_memory_mib(torch.device("cpu")) == expected
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * 2**20)
    assert peak_memory_mib(torch.device("cuda")) == 5
    monkeypatch.setattr(outcome.sys, "platform", "win32")
    assert peak_memory_mib(torch.device("cpu")) is None
