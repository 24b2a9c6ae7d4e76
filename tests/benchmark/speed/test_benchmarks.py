"""What `mltbench bench` measures (breakdown, metrics, scale) is what it says; no test looks at a time."""

import hashlib
import json

import numpy as np
import pytest
from mltbench.benchmark.speed import metrics_benchmark, scale_benchmark
from mltbench.benchmark.speed.scale_benchmark import growth, measure_in_child
from mltbench.benchmark.training import metrics
from mltbench.benchmark.training.device_data import DeviceData
from mltbench.datasets import dataset as dataset_module
from mltbench.datasets.dataset import Split
from mltbench.datasets.long_tail import statistics
from mltbench.datasets.long_tail.statistics import ClassStatistics
from mltbench.errors import InputError
from scipy.sparse import coo_array, csr_array, issparse
from sklearn.metrics import average_precision_score


def test_the_breakdown_names_every_part_and_its_shares_are_one(call, own_folder, tmp_path):
    file = tmp_path / "breakdown.json"
    status, printed, said = call("bench", "breakdown", "--steps", "2", "--device", "cpu", "--json", file)
    assert status == 0, said
    found = json.loads(file.read_text())
    names = ["data", "augmentation", "frozen forward", "learning forward", "loss", "optimiser", "backward"]
    assert set(found["milliseconds"]) == {*names, "metrics", "tracking"}
    assert all(name in printed for name in found["milliseconds"])
    assert all(value > 0 for value in found["milliseconds"].values())
    # Digits-MLT: 800 images of the largest class x 20 classes / 4 draws in batches of 32, times 8 epochs.
    assert found["steps"] % 8 == 0
    assert found["machine"]["device"] == "cpu"


def test_metrics_are_those_of_scikit_learn_with_ties(call, own_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(metrics_benchmark, "SIZES", ((300, 7),))
    file = tmp_path / "metrics.json"
    status, _, said = call("bench", "metrics", "--json", file)
    assert status == 0, said
    scorers = {scorer["name"]: scorer for scorer in json.loads(file.read_text())["scorers"]}
    assert scorers["mltbench"]["difference"] < 1e-12
    assert scorers["torchmetrics"]["difference"] < 1e-6
    scores, _ = metrics_benchmark.scores_with_ties(300, 7, seed=0)
    assert len(np.unique(scores[:, 0])) < 250


@pytest.mark.parametrize("cells", [1, 500, 10**9])
def test_average_precision_in_pieces_is_that_of_all_classes_at_once(cells, monkeypatch):
    scores, labels = metrics_benchmark.scores_with_ties(200, 9, seed=1)
    monkeypatch.setattr(metrics, "CELLS_AT_ONCE", cells)
    expected = [average_precision_score(labels[:, i], scores[:, i]) for i in range(9)]
    np.testing.assert_allclose(metrics.average_precision(scores, labels), expected, rtol=0, atol=1e-12)


def test_the_exponent_is_that_of_a_power_law():
    assert growth([10, 100, 1000], [3, 300, 30000]) == pytest.approx(2)
    assert growth([10, 100], [5, 5]) == pytest.approx(0, abs=1e-12)


def test_scale_measures_in_processes_of_their_own(call, own_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(scale_benchmark, "IMAGES", (200, 2000))
    monkeypatch.setattr(scale_benchmark, "CLASSES", (20, 40))
    monkeypatch.setattr(scale_benchmark, "IMAGES_OF_MANY_CLASSES", 500)
    file = tmp_path / "scale.json"
    status, printed, said = call("bench", "scale", "--json", file)
    assert status == 0, said
    assert printed.count("exponent") >= 2
    found = json.loads(file.read_text())
    assert [size["images"] for size in found["by_images"]] == [200, 2000]
    assert all(seconds > 0 for size in found["by_images"] for seconds in size["seconds"].values())


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="measuring 0 images of 20 classes failed"):
        measure_in_child(0, 20, sparse=False)


@pytest.mark.parametrize("form", [csr_array, coo_array, lambda labels: csr_array(labels.astype(bool))])
def test_sparse_labels_are_counted_without_a_dense_copy(form, monkeypatch):
    labels = (np.random.RandomState(0).random_sample((300, 12)) < 0.2).astype(np.uint8)
    expected = ClassStatistics.from_labels(labels)
    monkeypatch.setattr(statistics, "as_label_matrix", None)
    found = ClassStatistics.from_labels(form(labels))
    assert (found.joint_counts == labels.astype(int).T @ labels.astype(int)).all()
    assert issparse(found.co_occurrence)
    assert (found.joint_counts == expected.joint_counts).all()
    assert (found.conditional == expected.conditional).all()
    np.testing.assert_allclose(found.expected_frequencies, expected.expected_frequencies, rtol=1e-14)
    assert (found.counts == labels.sum(axis=0)).all()
    assert found.num_images == 300


def test_sparse_labels_are_checked_and_never_edited():
    twice = csr_array((np.array([1, 1]), np.array([1, 1]), np.array([0, 2, 2])), shape=(2, 2))
    with pytest.raises(InputError, match="row 0, column 1 holds 2"):
        ClassStatistics.from_labels(twice)
    assert twice.nnz == 2
    with pytest.raises(InputError, match="0 or 1"):
        ClassStatistics.from_labels(csr_array(np.array([[0.5, 1], [1, 0]])))


@pytest.mark.parametrize(("cells", "rows"), [(1, 7), (1, 64), (10**6, 1)])
def test_counts_in_pieces_are_those_of_the_whole(cells, rows, monkeypatch):
    labels = (np.random.RandomState(1).random_sample((200, 5)) < 0.4).astype(np.uint8)
    monkeypatch.setattr(statistics, "CELLS_AT_ONCE", cells)
    monkeypatch.setattr(statistics, "ROWS_AT_LEAST", rows)
    assert (ClassStatistics.from_labels(labels).joint_counts == labels.astype(int).T @ labels.astype(int)).all()


def test_the_digest_in_pieces_is_that_of_the_whole(monkeypatch):
    images, labels = np.arange(10 * 12, dtype=np.uint8).reshape(10, 2, 2, 3), np.ones((10, 2), dtype=np.uint8)
    ids = np.array([f"image {i}" for i in range(10)])
    monkeypatch.setattr(dataset_module, "IDS_AT_ONCE", 3)
    expected = hashlib.sha256(f"{images.shape} {labels.shape}\n".encode())
    expected.update("\n".join(ids.tolist()).encode() + labels.tobytes() + images.tobytes())
    assert Split(images=images, labels=labels, ids=ids).digest == expected.hexdigest()


def test_labels_stay_bytes_on_the_device(small_labels):
    import torch

    split = Split(images=np.zeros((7, 2, 2, 3), np.uint8), labels=small_labels, ids=np.array(list("abcdefg")))
    data = DeviceData(split, torch.device("cpu"))
    assert data.labels.dtype == torch.uint8
    assert torch.equal(data.targets(torch.tensor([2, 0])), torch.tensor(small_labels[[2, 0]]).float())
