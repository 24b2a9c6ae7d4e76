"""The published implementation's numbers on real label rows: 22 cases of values, means and gradients."""

import numpy as np
import pytest
import torch
from mltbench import ClassStatistics, create_loss

# How the published configurations are called here.
METHODS = {
    "ERM": ("erm", {}),
    "RW": ("rw", {}),
    "Focal": ("focal", {}),
    "RW-Focal": ("rs+rw-focal", {}),
    "CB": ("cb-focal", {"gamma": 0, "focal_scale": 1}),
    "CB-Focal": ("cb-focal", {}),
    "CB-Focal-byclass": ("cb-focal", {"cb_mode": "by_class", "cb_beta": 0.999}),
    "R-BCE": ("r-bce", {}),
    "R-BCE-Focal": ("r-bce-focal", {}),
    "DB": ("db", {}),
    "DB-Focal": ("db-focal", {}),
}
DATASETS = {"VOC": "voc-mlt", "COCO": "coco-mlt"}


@pytest.fixture(scope="module")
def golden(shared_folder):
    with np.load(shared_folder / "golden" / "losses.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def case(golden, request):
    prefix = f"{request.param}/"
    return {key.removeprefix(prefix): array for key, array in golden.items() if key.startswith(prefix)}


def relative_difference(ours, golden):
    assert ours.shape == golden.shape
    return np.abs(ours.detach().numpy() - golden).max() / np.abs(golden).max()


def test_every_golden_case_is_compared(golden):
    assert {key.rpartition("/")[0] for key in golden} == {
        f"{dataset}/{name}" for dataset in DATASETS for name in METHODS
    }


@pytest.mark.parametrize(
    ("case", "method", "dataset"),
    [(f"{prefix}/{name}", name, dataset) for prefix, dataset in DATASETS.items() for name in METHODS],
    indirect=["case"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_matches_the_published_code(case, method, dataset, dtype):
    name, parameters = METHODS[method]
    statistics = ClassStatistics.from_counts(case["class_freq"], int(case["num_images"]))
    loss = create_loss(name, statistics, dataset=dataset, **parameters)
    logits = torch.from_numpy(case["logits"]).to(dtype).requires_grad_()
    labels = torch.from_numpy(case["labels"])
    mean = loss(logits, labels)
    mean.backward()
    assert relative_difference(loss.elementwise(logits, labels), case["elementwise"]) <= 1e-5
    assert relative_difference(mean, case["mean"]) <= 1e-5
    assert relative_difference(logits.grad, case["grad_of_mean"]) <= 1e-5


@pytest.mark.parametrize("case", ["VOC/DB", "COCO/DB"], indirect=True)
def test_the_bias_as_printed_is_another_loss(case):
    # Without the division by lambda the published numbers are missed: the switch does something.
    statistics = ClassStatistics.from_counts(case["class_freq"], int(case["num_images"]))
    dataset = "voc-mlt" if statistics.num_classes == 20 else "coco-mlt"
    loss = create_loss("db", statistics, dataset=dataset, nu="paper")
    ours = loss.elementwise(torch.from_numpy(case["logits"]), torch.from_numpy(case["labels"]))
    assert relative_difference(ours, case["elementwise"]) > 1e-4
