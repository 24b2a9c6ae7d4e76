"""Every method's loss on batches that break losses: nothing and everything labelled, logits far out, no autograd."""

import itertools
import math

import numpy as np
import pytest
import torch
from distinct_losses import LOSSES
from mltbench import ClassStatistics, Context, InputError, create_loss, get_method
from mltbench.methods.catalogue import PAPER
from mltbench.methods.loss import WholeLoss

IMAGES, CLASSES = 6, 4
CONTEXT = Context(epoch=9, epochs=10, indices=torch.arange(IMAGES))
TRAINING = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]
LABELS = {
    "an image without labels, one with all": [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0], [1, 0, 0, 1]],
    "a class without a positive, one in every image": [[1, 0, 1, 0], [1, 0, 0, 0], [1, 0, 1, 1], [1, 0, 0, 0]],
    "a label that stands alone in training, beside others": [[0, 0, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]],
    "all positive": [[1, 1, 1, 1]],
    "all negative": [[0, 0, 0, 0]],
}


def build(name):
    return create_loss(name, ClassStatistics.from_labels(TRAINING), dataset="voc-mlt")


def labels_of(kind):
    return torch.tensor((LABELS[kind] * IMAGES)[:IMAGES])


def far_out(labels):
    """Logits that are right, wrong, of both signs by turns, one or all but one far out, and all the same."""
    signs, cells = 2.0 * labels - 1, torch.arange(labels.numel()).reshape(labels.shape)
    for size in (30, 100):
        yield from (size * signs, -size * signs, size * torch.where(cells % 3 == 0, 1.0, -1.0))
        yield torch.where(cells == 5, float(size), 0.1 * signs)
        yield torch.where(cells == 5, 0.1, -float(size))
    yield from (torch.full(labels.shape, size) for size in (100.0, -100.0, 1e-3))


REMEMBERING = ("eql-v2", "map-surrogate")


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_are_finite_or_an_error_says_why(name, kind):
    labels = torch.tensor((LABELS[kind] * IMAGES)[:IMAGES])
    statistics = ClassStatistics.from_labels(TRAINING)
    for given, dtype in itertools.product(far_out(labels), (torch.float32, torch.bfloat16)):
        logits, loss = given.to(dtype, copy=True).requires_grad_(), create_loss(name, statistics, dataset="voc-mlt")
        if name == "bal" and not (logits > 0).any():
            with pytest.raises(InputError, match=r"largest of the batch, which is -.*take asl"):
                loss(logits, labels, CONTEXT)
            continue
        for _ in range(2 if name in REMEMBERING else 1):
            value = loss(logits, labels, CONTEXT)
            value.backward()
            assert (value.shape, value.dtype) == ((), torch.float32)
            assert value.isfinite()
            assert logits.grad.isfinite().all()
        assert torch.equal(logits.detach(), given.to(dtype))
        assert all(buffer.isfinite().all() for buffer in loss.buffers())


def random_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(IMAGES, CLASSES, generator=generator) < 0.4).long()
    labels[0], labels[1] = 1, 0
    return torch.randn(IMAGES, CLASSES, generator=generator) * 3, labels


@pytest.mark.parametrize("name", LOSSES)
def test_autograd_is_left_as_it_was_and_decides_no_value(name):
    logits, labels = random_batch()
    values = []
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            value = build(name)(logits.clone().requires_grad_(), labels, CONTEXT)
            assert torch.is_grad_enabled() == grad
            assert value.requires_grad == grad
            values.append(value.item())
    with torch.inference_mode():
        values.append(build(name)(logits, labels, CONTEXT).item())
        assert torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    assert values == [values[0]] * 3
    assert build(name)(logits, labels, CONTEXT).requires_grad is False


@pytest.mark.parametrize("name", LOSSES)
def test_inputs_are_never_edited_and_the_order_of_images_decides_nothing(name):
    logits, labels = random_batch()
    given = [logits.clone(), labels.float()]
    value = build(name)(*given, CONTEXT)
    assert torch.equal(given[0], logits)
    assert torch.equal(given[1], labels.float())
    assert torch.equal(CONTEXT.indices, torch.arange(IMAGES))
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    context = Context(epoch=9, epochs=10, indices=order)
    assert build(name)(logits[order], labels[order], context).item() == pytest.approx(value.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_labels_of_any_type_are_the_same_and_255_in_bytes_is_unknown(name):
    logits, labels = random_batch()
    labels[2, 1], labels[1, :3], labels[5] = -1, -1, -1
    expected = build(name)(logits, labels, CONTEXT)
    forms = [labels.to(dtype) for dtype in (torch.int8, torch.int32, torch.bfloat16, torch.float64)]
    for form in (*forms, labels.to(torch.int8).view(torch.uint8)):
        assert torch.equal(build(name)(logits, form, CONTEXT), expected)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in [method.name for method in PAPER]])
def test_a_compiled_loss_is_the_same(name):
    logits, labels = random_batch()
    unknown = torch.where(torch.arange(labels.numel()).reshape(labels.shape) % 5 == 0, -1, labels)
    torch.compiler.reset()
    plain, compiled = build(name), torch.compile(build(name), backend="eager", fullgraph=True)
    for given in (labels, unknown):
        expected, found = (each(logits, given, CONTEXT) for each in (plain, compiled))
        assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_only_some_losses_remember_and_none_after_eval(name):
    logits, labels = random_batch()
    loss = build(name)
    first = {key: buffer.clone() for key, buffer in loss.state_dict().items()}
    loss.eval()
    values = [loss(logits, labels, CONTEXT).item() for _ in range(2)]
    assert values[0] == values[1]
    assert all(torch.equal(buffer, first[key]) for key, buffer in loss.state_dict().items())
    loss.train()
    # The value of a batch is the same in training, before anything of it is remembered.
    assert loss(logits, labels, CONTEXT).item() == values[0]
    moved = [key for key, buffer in loss.state_dict().items() if not torch.equal(buffer, first[key])]
    assert bool(moved) == (name in REMEMBERING)
    again = loss(logits, labels, CONTEXT).item()
    assert (again != values[0]) == (name in REMEMBERING)


@pytest.mark.parametrize("name", REMEMBERING)
def test_what_is_remembered_is_carried_by_the_state(name):
    loss, other = build(name), build(name)
    for seed in range(3):
        loss(*random_batch(seed), CONTEXT)
    other.load_state_dict(loss.state_dict())
    z, again = (random_batch(4)[0].requires_grad_() for _ in range(2))
    for each, logits in ((loss, z), (other, again)):
        each(logits, random_batch(4)[1], CONTEXT).backward()
    assert torch.equal(z.grad, again.grad)
    assert not any(buffer.requires_grad for buffer in loss.buffers())


@pytest.mark.parametrize("name", [name for name in LOSSES if isinstance(get_method(name).loss, WholeLoss)])
def test_a_loss_of_batches_names_itself_and_moves_with_its_buffers(name):
    loss, (logits, labels) = build(name), random_batch()
    assert repr(get_method(name).loss) in repr(loss)
    assert loss.takes_context == (name == "map-surrogate")
    assert all(buffer.dtype == torch.float32 for buffer in loss.buffers())
    with pytest.raises(InputError, match=r"labels must be in 0..1.*found 2\."):
        loss(logits, labels + 1, CONTEXT)
    # The meta device takes no tensor of another device: nothing was left behind.
    context = Context(indices=CONTEXT.indices.to("meta"))
    assert loss.to("meta")(logits.to("meta"), labels.to("meta"), context).device.type == "meta"


@pytest.mark.parametrize("name", ["zlpr", "rs-zlpr"])
def test_soft_labels_weigh_the_terms_of_zlpr(name):
    logits, labels = random_batch()
    soft = 0.1 + 0.8 * labels.double()
    soft[3], soft[2, 1], soft[4] = labels[3].double(), -1, -1
    expected = []
    for z_of, y_of in zip(logits.double().tolist(), soft.tolist(), strict=True):
        known = [(z, y) for z, y in zip(z_of, y_of, strict=True) if y != -1]
        sums = sum((1 - y) * math.exp(z) for z, y in known), sum(y * math.exp(-z) for z, y in known)
        expected += [sum(map(math.log1p, sums))] if known else []
    assert build(name)(logits.double(), soft).item() == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("name", ["splc", "ldam-drw", "map-surrogate"])
def test_a_loss_that_lacks_its_context_says_how_to_give_it(name):
    logits, labels = random_batch()
    for context in ((), (Context(),)):
        with pytest.raises(InputError, match=r"loss\(logits, labels, mltbench.Context\("):
            build(name)(logits, labels, *context)


def test_no_other_loss_needs_a_context():
    asking = {name for name in LOSSES if build(name).takes_context}
    assert asking == {"splc", "ldam-drw", "map-surrogate"}
    for name in set(LOSSES) - asking:
        assert build(name)(*random_batch()).item() == build(name)(*random_batch(), CONTEXT).item()


@pytest.mark.parametrize("name", ["bal", "rs-bal"])
def test_bal_of_no_positive_logit_is_an_error_and_nan_where_nobody_looks(name):
    logits, labels = -1 - random_batch()[0].abs(), random_batch()[1]
    for largest in (-0.5, 0):
        logits[3, 2] = largest
        with pytest.raises(InputError, match=rf"which is {largest:g}: that would turn the order of scores around"):
            build(name)(logits, labels)
        assert torch.compile(build(name), backend="eager", fullgraph=True)(logits, labels).isnan()
    # A positive logit of an unknown cell does not count; the smallest one of a known cell does.
    logits[0, 0], labels[0, 0] = 5, -1
    with pytest.raises(InputError, match="which is 0"):
        build(name)(logits, labels)
    logits[3, 2] = 1e-6
    assert build(name)(logits, labels).isfinite()
