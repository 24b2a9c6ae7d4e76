"""Losses of batches in which labels are unknown (-1), against a loop over the known cells; and of soft labels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distinct_losses import LOSSES, OF_CELLS
from mltbench import ClassStatistics, Context, InputError, create_loss, get_method
from mltbench.methods import loss as loss_module
from mltbench.methods.catalogue import PAPER

# What refuses soft labels, and the part that does.
BY_IMAGE = {
    **dict.fromkeys(("cb-focal", "rs+cb-focal", "cb-focal-sum"), "EffectiveNumber"),
    **dict.fromkeys(("r-bce", "r-bce-focal", "db", "db-focal", "db-symmetric", "db-focal-alpha"), "Rebalanced"),
    **dict.fromkeys(("mfm", "rs-mfm"), "MultiFocalModifier"),
}
BY_BATCH = {
    **dict.fromkeys(("two-way", "rs-two-way"), "TwoWay"),
    **dict.fromkeys(("bal", "rs-bal"), "BalancedAsymmetric"),
    "eql-v2": "EqualizationV2",
    "map-surrogate": "MapSurrogate",
}
IMAGES, CLASSES = 10, 6
# For the losses that ask for it; others take no notice.
CONTEXT = Context(epoch=9, epochs=10, indices=torch.arange(IMAGES))


def incomplete_batch(seed):
    """Logits and labels: of the last images, one cell is known, no label, no known label, and no cell."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((IMAGES, CLASSES)) < 0.4).astype(np.float64)
    labels[generator.random(labels.shape) < 0.3] = -1
    labels[-4], labels[-2] = (np.where(known, 0, -1) for known in (np.arange(CLASSES) == 5, np.arange(CLASSES) < 2))
    labels[-3], labels[-1] = 0, -1
    return torch.from_numpy(generator.normal(0, 3, labels.shape)), torch.from_numpy(labels)


def statistics_of(seed=0):
    generator = np.random.default_rng(seed)
    labels = (generator.random((400, CLASSES)) < np.linspace(0.5, 0.03, CLASSES)).astype(np.int8)
    labels[:CLASSES] = np.eye(CLASSES)
    labels[CLASSES:][generator.random((400 - CLASSES, CLASSES)) < 0.2] = -1
    return ClassStatistics.from_labels(labels)


def build(name, **parameters):
    return create_loss(name, statistics_of(), dataset="voc-mlt", **parameters).double()


def cross_entropy(z, y):
    return max(z, 0.0) - z * y + math.log1p(math.exp(-abs(z)))


def loss_of_known_cells(loss, logits, labels):
    """The mean over the known cells, one by one, from the constants that the loss keeps."""
    constants = {name: tensor.tolist() for name, tensor in loss.state_dict().items()}
    images = [
        [(i, z, y) for i, (z, y) in enumerate(zip(*rows, strict=True)) if y != -1]
        for rows in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    images = [cells for cells in images if cells]
    means, found = [], []
    if loss.weights is not None and loss.weights.kind == "effective-number":
        for cells in images:
            counted = [i for i, _, y in cells if y == 1] or [i for i, _, _ in cells]
            means.append(sum(constants["weights_class_weights"][i] for i in counted) / len(counted))
    for number, cells in enumerate(images):
        for i, z, y in cells:
            scale = 1.0
            kind = loss.adjustment.kind if loss.adjustment is not None else None
            if kind == "label-margin":
                z -= y * constants["adjustment_margins"][i]
            elif kind is not None:
                slope = loss.adjustment.negative_scale if not y or kind == "symmetric-tolerant" else 1.0
                z, scale = slope * (z - constants["adjustment_bias"][i]), 1 / slope
            cost = cross_entropy(z, y)
            if loss.focal is not None:
                cost *= loss.focal.focal_scale * (1 - math.exp(-cost)) ** loss.focal.gamma
            kind = loss.weights.kind if loss.weights is not None else None
            if kind == "inverse-square-root":
                cost *= constants["weights_class_weights"][i]
            elif kind == "effective-number":
                cost *= means[number] / max(means)
            elif kind == "rebalanced":
                labelled = sum(constants["weights_inverse_counts"][j] for j, _, held in cells if held)
                ratio = constants["weights_inverse_counts"][i] / labelled if labelled else math.inf
                cost *= loss.weights.alpha + 1 / (1 + math.exp(-loss.weights.beta * (ratio - loss.weights.mu)))
            found.append(cost * scale)
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(3))
# Those since 2020 are compared in `losses/test_equations.py`, unknown cells included.
@pytest.mark.parametrize("name", [method.name for method in PAPER])
def test_a_loss_is_that_of_the_known_cells_alone(name, seed):
    loss, (logits, labels) = build(name), incomplete_batch(seed)
    expected = loss_of_known_cells(loss, logits, labels)
    assert loss(logits, labels).item() == pytest.approx(expected, rel=1e-12)
    complete = labels.clamp(min=0)
    assert loss(logits, complete).item() == pytest.approx(loss_of_known_cells(loss, logits, complete), rel=1e-12)


@pytest.mark.parametrize("logit", [1e4, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", LOSSES)
def test_what_a_network_says_of_unknown_cells_changes_nothing(name, logit):
    logits, labels = incomplete_batch(0)
    results = []
    for given in (logits, torch.where(labels == -1, logit, logits)):
        loss, z = build(name), given.clone().requires_grad_()
        mean = loss(z, labels, CONTEXT)
        mean.backward()
        assert (z.grad[labels == -1] == 0).all()
        assert (z.grad[labels != -1] != 0).any()
        if name in OF_CELLS:
            assert (loss.elementwise(z, labels, CONTEXT)[labels == -1] == 0).all()
        # What is remembered, too.
        results.append((mean, z.grad, *loss.buffers()))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_which_nothing_is_known_costs_nothing(name):
    loss, z = build(name), torch.randn(IMAGES, CLASSES, dtype=torch.float64, requires_grad=True)
    before = [buffer.clone() for buffer in loss.buffers()]
    mean = loss(z, torch.full((IMAGES, CLASSES), -1), CONTEXT)
    mean.backward()
    assert mean.item() == 0
    assert (z.grad == 0).all()
    assert all(torch.equal(buffer, old) for buffer, old in zip(loss.buffers(), before, strict=True))


def test_unknown_is_minus_one_of_any_signed_type_and_255_in_bytes():
    loss, (logits, labels) = build("db-focal"), incomplete_batch(0)
    forms = [labels.to(dtype) for dtype in (torch.int8, torch.int64, torch.float16, torch.float32)]
    for form in [*forms, labels.to(torch.int8).view(torch.uint8)]:
        assert torch.equal(loss(logits, form), loss(logits, labels))


@pytest.mark.parametrize("name", [method.name for method in PAPER])
def test_gradients_are_those_of_the_loss_with_unknown_and_soft_labels(name):
    loss, (logits, labels) = build(name), incomplete_batch(1)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_())
    if name not in BY_IMAGE:
        soft = torch.where(labels == -1, -1.0, 0.1 + 0.8 * labels)
        assert torch.autograd.gradcheck(lambda z: loss(z, soft), logits)


@pytest.mark.parametrize("name", sorted(set(OF_CELLS) - BY_IMAGE.keys()))
def test_a_soft_label_costs_the_expectation_over_hard_ones(name):
    loss, (logits, labels) = build(name), incomplete_batch(2)
    one, other = labels.clamp(min=0), labels.clamp(min=0).flip(0)
    mixed = 0.7 * loss(logits, one, CONTEXT) + 0.3 * loss(logits, other, CONTEXT)
    assert loss(logits, 0.7 * one + 0.3 * other, CONTEXT).item() == pytest.approx(mixed.item(), rel=1e-12)
    smooth = torch.where(labels == -1, -1.0, 0.05 + 0.9 * labels)
    cells = smooth * loss.elementwise(logits, torch.ones_like(labels), CONTEXT)
    cells += (1 - smooth) * loss.elementwise(logits, torch.zeros_like(labels), CONTEXT)
    found = loss.elementwise(logits, smooth, CONTEXT)
    np.testing.assert_allclose(found, cells.where(labels != -1, 0), rtol=1e-12, atol=1e-15)


def test_soft_cross_entropy_is_that_of_torch():
    logits, labels = incomplete_batch(2)
    soft = torch.rand_like(labels)
    expected = F.binary_cross_entropy_with_logits(logits, soft)
    assert build("erm")(logits, soft).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(("name", "part"), (BY_IMAGE | BY_BATCH).items())
def test_losses_of_whole_images_and_batches_refuse_soft_labels_and_are_named(name, part):
    logits, labels = incomplete_batch(0)
    with pytest.raises(InputError, match=rf"^{part}\(.*asks which labels an image has.*mix the losses"):
        build(name)(logits, torch.where(labels == -1, -1.0, 0.9 * labels), CONTEXT)
    # One is enough.
    labels[0, 0] = 0.5
    with pytest.raises(InputError, match=part):
        build(name)(logits, labels, CONTEXT)


def test_effective_numbers_by_class_take_soft_labels():
    logits, labels = incomplete_batch(0)
    for mode in ("by_class", "positives"):
        assert build("cb-focal", cb_mode=mode)(logits, 0.9 * labels.clamp(min=0)).isfinite()


@pytest.mark.parametrize("name", LOSSES)
def test_where_labels_are_not_looked_at_losses_are_the_same(name, monkeypatch):
    # As on a GPU, which is never asked, or while `torch.compile` reads the code.
    logits, labels = incomplete_batch(0)
    complete = labels.clamp(min=0)
    given = [complete, labels, 0.1 + 0.8 * complete, torch.where(labels == -1, math.nan, labels)]
    refuses = name in BY_IMAGE | BY_BATCH
    # Each by one of its own: some remember.
    checked = [build(name)(logits, some, CONTEXT) for some in given[: 2 if refuses else 3]]
    monkeypatch.setattr(loss_module, "kinds_of", lambda labels: None)
    unchecked = [build(name)(logits, some, CONTEXT) for some in given]
    assert [one.item() for one in unchecked[: len(checked)]] == pytest.approx(
        [one.item() for one in checked], rel=1e-14
    )
    assert all(one.isnan() for one in unchecked[len(checked) :])


@pytest.mark.parametrize("name", LOSSES)
def test_labels_that_were_counted_are_hard_and_unknown_only_if_some_were(name, monkeypatch):
    logits, labels = incomplete_batch(0)
    complete = ClassStatistics.from_labels(np.vstack([np.eye(CLASSES), np.zeros((5, CLASSES))]))
    for statistics, given, unknown in ((complete, labels.clamp(min=0), False), (statistics_of(), labels, True)):
        expected = create_loss(name, statistics, dataset="voc-mlt").double()
        assert expected.unchecked == (True, True)
        with monkeypatch.context() as patch:
            patch.setattr(loss_module, "kinds_of", lambda labels: None)
            loss = get_method(name).build_loss(statistics, counted=True).double()
            assert loss.unchecked == (False, unknown)
            mean = loss(logits, given, CONTEXT).item()
        assert mean == pytest.approx(expected(logits, given, CONTEXT).item(), rel=1e-14)


@pytest.mark.parametrize("name", OF_CELLS)
def test_of_one_known_cell_the_mean_is_its_loss(name):
    loss, logits, labels = build(name), incomplete_batch(0)[0], torch.full((IMAGES, CLASSES), -1)
    labels[2, 3] = 1
    cell = loss.elementwise(logits, labels, CONTEXT)[2, 3].item()
    assert loss(logits, labels, CONTEXT).item() == pytest.approx(cell, rel=1e-14)
    assert cell > 0


@pytest.mark.parametrize("given", [[5, 3, 2], np.eye(3), torch.eye(3), None])
def test_what_are_no_statistics_is_refused(given):
    with pytest.raises(InputError, match=r"must be ClassStatistics; got .*from_labels"):
        create_loss("db", given)
