import numpy as np
import pytest
import torch
from distinct_losses import OF_CELLS
from mltbench import ClassStatistics, Context, InputError, create_loss, get_method
from mltbench.methods.weights import effective_number_weights

# For the losses that ask for it; others take no notice.
CONTEXT = Context(epoch=9, epochs=10)
# What a part keeps of the training set, one array unless said; what is not named keeps nothing.
KEPT = dict.fromkeys((
    "inverse-square-root", "effective-number", "deferred-effective-number", "prevalence", "rebalanced",
    "negative-tolerant", "symmetric-tolerant", "prior-log-odds", "label-margin", "largest-margin", "multi-grained",
), 1) | {"mfm": 2}  # fmt: skip


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    # The paper has no image without labels; a training set of one's own may.
    labels = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 1, 0]])
    return torch.randn(5, 4, generator=generator) * 3, labels


def build(name, statistics, **parameters):
    return create_loss(name, statistics, dataset="voc-mlt", **parameters)


@pytest.fixture(params=OF_CELLS)
def loss(request, small_statistics):
    return build(request.param, small_statistics)


def test_mean_runs_over_images_and_classes_and_inputs_are_never_edited(loss, batch):
    logits, labels = batch[0].clone(), batch[1].float()
    buffers = {key: value.clone() for key, value in loss.state_dict().items()}
    cells = loss.elementwise(logits, labels, CONTEXT)
    assert cells.shape == (5, 4)
    assert (cells >= 0).all()
    assert loss(logits, labels, CONTEXT).item() == pytest.approx(cells.sum().item() / 20, rel=1e-6)
    assert torch.equal(logits, batch[0])
    assert torch.equal(labels, batch[1].float())
    assert all(torch.equal(value, buffers[key]) for key, value in loss.state_dict().items())


# A blocked focus has a gradient of its own, see `losses/test_equations.py`.
BLOCKED = {f"{rs}{name}" for rs in ("", "rs-") for name in ("asl", "apl", "multi-grained", "mfm")}


@pytest.mark.parametrize("name", [name for name in OF_CELLS if name not in BLOCKED])
def test_gradient_is_that_of_the_loss(name, small_statistics, batch):
    loss, logits = build(name, small_statistics).double(), batch[0].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss.elementwise(z, batch[1], CONTEXT), (logits,))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_labels_of_any_type_give_the_same(loss, dtype, batch):
    cells = loss.elementwise(batch[0], batch[1].to(dtype), CONTEXT)
    assert torch.equal(cells, loss.elementwise(batch[0], batch[1].float(), CONTEXT))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_scored_in_single(loss, dtype, batch):
    half = batch[0].to(dtype).requires_grad_()
    cells = loss.elementwise(half, batch[1], CONTEXT)
    assert cells.dtype == torch.float32
    assert torch.equal(cells, loss.elementwise(half.float(), batch[1], CONTEXT))
    cells.mean().backward()
    assert half.grad.dtype == dtype


def test_buffers_follow_the_module(loss, batch):
    assert all(buffer.dtype == torch.float32 for buffer in loss.buffers())
    assert all(buffer.dtype == torch.float64 for buffer in loss.to(torch.float64).buffers())
    # The meta device computes shapes alone and takes no tensor of another device: nothing was left behind.
    loss.to("meta")
    assert loss(batch[0].to("meta"), batch[1].to("meta"), CONTEXT).device.type == "meta"


@pytest.mark.parametrize("name", OF_CELLS)
def test_state_carries_the_constants(name, small_statistics, batch):
    rows = [[1, 0, 0, 1], [0, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0]]
    loss, other = build(name, small_statistics), build(name, ClassStatistics.from_labels(rows))
    expected = sum(KEPT.get(part.kind, 0) for part in get_method(name).parts.values())
    assert len(loss.state_dict()) == expected
    results = [each(*batch, CONTEXT) for each in (loss, other)]
    assert torch.equal(*results) == (expected == 0)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(results[0], other(*batch, CONTEXT))


def test_large_logits_stay_finite(loss, batch):
    logits = (200 * batch[0].sign()).requires_grad_()
    cells = loss.elementwise(logits, batch[1], CONTEXT)
    cells.mean().backward()
    assert cells.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2.5])
def test_well_scored_cells_keep_a_finite_gradient(gamma, small_statistics):
    # exp(-L) rounds to 1 there, and a power below 1 is steepest at 0.
    logits = torch.tensor([[30.0, -30.0, -200.0, 200.0]], requires_grad=True)
    build("focal", small_statistics, gamma=gamma)(logits, torch.tensor([[1, 0, 0, 1]])).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() < 1e-6
    if gamma == 0.5:
        # As if the smallest normal float were wrong with it: s tiny^gamma sigmoid(-30), in the mean of four cells.
        expected = 2 * np.finfo(np.float32).tiny ** 0.5 * np.exp(-30.0) / 4
        assert logits.grad[0, 1].item() == pytest.approx(expected, rel=0.02)


def test_without_a_slope_every_weight_is_the_same_in_single_precision_too(small_statistics):
    # Of the image without labels the ratio is infinite, and 0 times infinity is no number.
    loss = build("r-bce", small_statistics, beta=0)
    cells = loss.elementwise(torch.zeros(2, 4), torch.tensor([[0, 0, 0, 0], [1, 0, 1, 0]]))
    np.testing.assert_allclose(cells.numpy(), np.full((2, 4), 0.6 * np.log(2)), rtol=1e-6)


def test_effective_numbers_are_rounded_as_published(small_statistics):
    # 1 - beta is that of the given beta; beta^n is rounded to single precision before it leaves 1.
    weights = effective_number_weights(np.array([1, 6, 50, 5000]), cb_beta=0.999)
    np.testing.assert_allclose(weights, [1.00001287, 0.167085454, 0.0204944368, 0.00100676704], rtol=1e-7)
    np.testing.assert_allclose(weights, 0.001 / (1 - 0.999 ** np.array([1, 6, 50, 5000])), rtol=5e-5)
    assert weights.dtype == np.float32
    assert effective_number_weights(np.array([1, 6]), cb_beta=0).tolist() == [1, 1]


def test_weights_by_image_keep_the_published_rounding_and_others_have_sum_of_classes(small_statistics):
    published = effective_number_weights(small_statistics.counts, cb_beta=0.999)
    kept = build("cb-focal", small_statistics, cb_beta=0.999).get_buffer("weights_class_weights")
    assert torch.equal(kept, torch.from_numpy(published))
    kept = build("cb-focal-sum", small_statistics).get_buffer("weights_class_weights")
    assert kept.sum().item() == pytest.approx(4, rel=1e-6)


def test_a_class_in_every_image_has_no_bias():
    statistics = ClassStatistics.from_labels([[1, 0], [1, 1], [1, 0]])
    with pytest.raises(InputError, match=r"class 0 is in all 3 training images.*kappa=0"):
        build("db", statistics)
    with pytest.raises(InputError, match=r"class 0 is in all 3 training images: .*set tau=0"):
        build("logit-adjusted", statistics)
    with pytest.raises(InputError, match=r"class 0 is in all 2 training images where it is known: "):
        build("logit-adjusted", ClassStatistics.from_labels([[1, 0], [1, 1], [-1, 0]]))
    assert build("db", statistics, kappa=0)(torch.zeros(1, 2), torch.tensor([[1, 0]])).isfinite()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (
            torch.zeros(2, 4),
            torch.tensor([[0, 1, 2, 0], [0, 0, 0, 0]]),
            r"labels must be in 0..1.*found 2\. .*`labels > 0`",
        ),
        (torch.zeros(1, 4), torch.tensor([[0, 1, -2, 0]]), r"found -2\. .*-1 that this is unknown"),
        (torch.zeros(1, 4), torch.tensor([[0, 255, 1, 0]]), r"found 255\. Unknown labels are -1"),
        (torch.zeros(1, 4), torch.tensor([[0, 1, float("nan"), 0.5]]), "found nan. Fill what is missing"),
        (torch.zeros(1, 4), torch.tensor([[0, 1, 1.5, 0]]), r"found 1.5\. In this order: loss\(logits, labels\)"),
        (torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4), r"floating; got torch.int64.*loss\(logits, labels\)"),
        (torch.zeros(0, 4), torch.zeros(0, 4), "the batch is empty"),
        (torch.zeros(2, 4), torch.zeros(2), r"got \(2, 4\) and \(2,\)\. .*one_hot\(labels, 4\)"),
        (torch.zeros(2, 4), torch.zeros(3), r"got \(2, 4\) and \(3,\)$"),
        (np.zeros((1, 4)), torch.zeros(1, 4), "got ndarray and Tensor"),
        (torch.zeros(()), torch.zeros(()), r"got \(\) and \(\)"),
        (torch.zeros(1, 4), np.zeros((1, 4)), "got Tensor and ndarray.*as_tensor"),
        (torch.zeros(2, 4), torch.zeros(1, 4), r"got \(2, 4\) and \(1, 4\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3), r"must both be \(images, 4\); got \(2, 3\)"),
        (torch.zeros(4), torch.zeros(4), r"got \(4,\)"),
        (torch.zeros(2, 1, 4), torch.zeros(2, 1, 4), r"got \(2, 1, 4\)"),
    ],
)
@pytest.mark.parametrize("name", ["db-focal", "asl", "zlpr"])
def test_what_is_no_batch_is_refused(name, small_statistics, logits, labels, message):
    with pytest.raises(InputError, match=message):
        build(name, small_statistics)(logits, labels)


def test_representation_names_the_parts(small_statistics):
    shown = repr(build("db-focal", small_statistics, nu="paper"))
    assert all(part in shown for part in ("nu='paper'", "negative_scale=5.0", "gamma=2.0", "mu=0.3"))
    assert "cross-entropy" in repr(build("erm", small_statistics))
