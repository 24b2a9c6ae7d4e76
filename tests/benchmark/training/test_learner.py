from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.streams import numpy_stream
from mltbench.benchmark.training.check import tiny_experiment
from mltbench.benchmark.training.execution import DivergedError
from mltbench.datasets.dataset import Dataset, Split
from mltbench.errors import InputError
from mltbench.methods.catalogue import get_method
from sklearn.metrics import average_precision_score
from torch import nn
from torchvision.transforms.v2.functional import resize
from trainings import OwnLoss, Training, make_training

SMALL = {"image_size": 16, "learning_rate": 0.1}


class NotFiniteAt(nn.Module):
    def __init__(self, step, value):
        super().__init__()
        self.step, self.value, self.calls = step, value, 0

    def forward(self, logits, labels):
        factor = self.value if self.calls == self.step else 1.0
        self.calls += 1
        return nn.functional.binary_cross_entropy_with_logits(logits, labels) * factor


def test_every_step_is_taken_at_its_learning_rate():
    training = make_training(epochs=3, decay_after=(2,), image_size=16, learning_rate=0.3, warmup_iterations=3)
    optimiser, used = training.learner.optimiser, []
    step = optimiser.clip_and_step
    optimiser.clip_and_step = lambda: (used.append(optimiser.learning_rate), step())
    training.all_epochs()
    assert used == pytest.approx([0.1, 0.1 + 0.2 / 3, 0.1 + 0.4 / 3, *[0.3] * 3, *[0.03] * 3], rel=1e-12)


@pytest.mark.parametrize("backbone", ["digits-resnet", "resnet18"])
def test_what_is_frozen_stays_and_the_rest_learns(backbone):
    training = make_training("rs-focal", backbone=backbone, image_size=64, learning_rate=0.1, weight_decay=0.0)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    training.all_epochs()
    after = training.network.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    expected = {name for name in before if name.startswith("trunk.")}
    expected |= {name for name in before if name.startswith("upper.") and name.endswith(statistics)}
    assert same == expected
    assert {"neck.1.running_mean", "neck.0.bias", "head.weight"} <= set(before) - same


def test_evaluation_leaves_the_network_in_training_mode_but_its_backbone():
    training = make_training(**SMALL)
    training.learner.evaluate("test")
    modes = {name: module.training for name, module in training.network.named_modules() if name}
    assert all(mode == name.startswith(("neck", "head")) for name, mode in modes.items())


def logits_by_plain_torch(training, split):
    """Of images resized by torchvision and normalised as the small network's format says."""
    images = torch.from_numpy(training.dataset.split(split).images).permute(0, 3, 1, 2).float()
    size = [training.learner.training["image_size"]] * 2
    with torch.no_grad():
        return training.network.eval()((resize(images, size, antialias=False) / 255 - 0.45) / 0.225).numpy()


@pytest.mark.parametrize("size", [48, 20])
def test_scores_are_the_raw_logits_of_plainly_normalised_images(size):
    training = make_training(image_size=size)
    _, scores = training.learner.evaluate("test")
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, logits_by_plain_torch(training, "test"), rtol=1e-3, atol=1e-4)


def of_classes(counts, name):
    """A split with so many images of each class, one class each, filled with that class's noise."""
    classes = np.repeat(np.arange(len(counts)), counts)
    draws = np.random.default_rng(len(name))
    images = draws.integers(0, 256, (len(classes), 48, 40, 3)).astype(np.uint8)
    ids = np.array([f"{name}-{i}" for i in range(len(classes))])
    return Split(images=images, labels=np.eye(len(counts), dtype=np.uint8)[classes], ids=ids)


def test_each_split_is_scored_on_its_own_images_and_labels_by_groups_of_the_training_set():
    # Head, medium and tail by training images; rarest first in the test split; no class 4 in validation.
    counts = {"train": [101, 100, 20, 19, 2, 1], "validation": [2, 3, 1, 4, 0, 2], "test": [1, 2, 3, 4, 5, 120]}
    splits = {name: of_classes(numbers, name) for name, numbers in counts.items()}
    dataset = Dataset.in_memory("counted", [f"class {i}" for i in range(6)], splits)
    experiment = replace(tiny_experiment(get_method("erm"), image_size=16, neck_width=8), weights_digest="random")
    training = Training(experiment, dataset)
    for name in ("train", "test", "validation"):
        scores, logits = training.learner.evaluate(name)
        expected, labels = logits_by_plain_torch(training, name), splits[name].labels
        np.testing.assert_allclose(logits, expected, rtol=1e-2, atol=1e-3)
        per_class = [average_precision_score(labels[:, c], logits[:, c]) for c in range(6) if labels[:, c].any()]
        found = [ap for ap in scores.per_class if not np.isnan(ap)]
        assert found == pytest.approx(per_class, abs=1e-12)
        assert scores.total == pytest.approx(np.mean(per_class), abs=1e-12)
        groups = {"head": per_class[:2], "medium": per_class[2:3], "tail": per_class[3:]}
        assert scores.groups == {group: pytest.approx(np.mean(aps), abs=1e-12) for group, aps in groups.items()}


class Sees(nn.Module):
    """A loss that keeps the type of what it is given."""

    def forward(self, logits, labels):
        self.seen = logits.dtype, labels.dtype
        return nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_steps_and_scores_are_of_the_recipes_precision(precision):
    training = make_training(precision=precision, loss=OwnLoss(Sees), image_size=16)
    training.epoch()
    kind = getattr(torch, precision)
    assert training.learner.loss.seen == (kind, torch.float32)
    assert {p.dtype for p in training.learner.parameters} == {torch.float32}
    training.feed.begin_epoch(1)
    assert next(training.feed.batches()).features.dtype == kind
    scores = training.learner.logits("test")
    assert scores.dtype == np.float32
    # Every score is a number of that type.
    assert np.array_equal(torch.from_numpy(scores).to(kind).float().numpy(), scores)


@pytest.mark.parametrize(("step", "value"), [(0, float("nan")), (4, float("inf")), (5, float("nan"))])
def test_a_loss_that_is_not_finite_names_its_step_and_images(step, value):
    training = make_training(loss=OwnLoss(lambda: NotFiniteAt(step, value)), epochs=3, **SMALL)
    split = training.dataset.split("train")
    draws = get_method("erm").sampler.open(split.labels, numpy_stream(0, "sampling"))
    order = np.concatenate([draws.next_epoch() for _ in range(3)])
    with pytest.raises(DivergedError) as caught:
        training.all_epochs()
    assert caught.value.step == step
    assert f"step {step} (epoch {step // 3 + 1})" in str(caught.value)
    first = split.ids[order[6 * step : 6 * step + 3]]
    assert f"its images: {', '.join(first)} and 3 more. " in str(caught.value)
    assert training.feed.epoch == step // 3


@pytest.mark.parametrize(
    ("name", "length", "sizes"),
    [
        *(("erm", 18, [6, 6, 6]), ("erm", 20, [6, 6, 6, 2]), ("erm", 19, [6, 6, 6]), ("erm", 5, [5])),
        *(("rs", 18, [6, 6, 6]), ("rs", 20, [6, 6, 6]), ("rs", 6, [6])),
    ],
)
def test_last_batches(name, length, sizes):
    slices = list(make_training(name).feed.slices(length))
    assert [s.stop - s.start for s in slices] == sizes
    assert np.concatenate([np.arange(length)[s] for s in slices]).tolist() == list(range(sum(sizes)))


@pytest.mark.parametrize(("name", "length"), [("erm", 1), ("rs", 5), ("rs", 0)])
def test_an_epoch_without_a_batch_is_an_error(name, length):
    training = make_training(name)
    training.feed.sampling.next_epoch = lambda: np.arange(length)
    with pytest.raises(InputError, match=rf"an epoch of {length} draws .* lower recipe\.batch_size"):
        training.epoch()
