"""Learning rates by hand; steps are those of `torch.optim.SGD` after `clip_grad_norm_`."""

import pytest
import torch
from mltbench.benchmark.training.optimisation import FlatSGD, LossMeter, learning_rate
from torch import nn

TRAINING = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "clip_norm": 0.5}


@pytest.mark.parametrize(
    ("warmup", "rates"),
    [
        (6, [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, *[0.09] * 6, *[0.009] * 3]),
        # Longer than the epochs before the first decay: both factors.
        (8, [0.3, 0.375, 0.45, 0.525, 0.6, 0.675, 0.075, 0.0825, *[0.09] * 4, *[0.009] * 3]),
        (0, [*[0.9] * 6, *[0.09] * 6, *[0.009] * 3]),
    ],
)  # fmt: skip
def test_learning_rates_are_those_computed_by_hand(warmup, rates):
    training = {
        "learning_rate": 0.9, "warmup_iterations": warmup, "warmup_ratio": 1 / 3, "decay_factor": 0.1,
        "schedule": {"epochs": 5, "decay_after": (2, 4)},
    }  # fmt: skip
    assert [learning_rate(step, step // 3, training) for step in range(15)] == pytest.approx(rates, rel=1e-12)


def test_the_loss_meter_keeps_mean_and_first_bad_step_also_in_another_process():
    meter = LossMeter()
    # In float32 their sum would be 2^24.
    for loss in (2.0**24, 1.0):
        meter.add(torch.tensor(loss))
    assert meter.read() == (2.0**23 + 0.5, None)
    for loss in (float("inf"), float("nan"), 1.0):
        meter.add(torch.tensor(loss))
    resumed = LossMeter()
    resumed.load_state(meter.state(), torch.device("cpu"))
    meter.add(torch.tensor(5.0))
    assert [len(each.state()) for each in (meter, resumed)] == [6, 5]
    assert meter.read()[1] == resumed.read()[1] == 2
    bad = LossMeter()
    bad.add(torch.tensor(float("nan")))
    assert bad.read()[1] == 0


def small_network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(4 * 36, 5)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def small_loss():
    """Two weights of a loss; the second gets no gradient in the first step."""
    return [nn.Parameter(torch.tensor(value)) for value in ([2.0, -1.0], [0.5])]


def loss_of(network, own, step):
    """From a few images; the gradients of the loss's own weights are far larger than any norm that clips."""
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
    total = network(images).square().mean() + 100 * (step + 1) * own[0].square().sum()
    return total + 30 * own[1].pow(4).sum() if step else total


class Reference:
    """torch's own optimiser; the loss's weights are stepped, but not clipped."""

    def __init__(self, training):
        self.network, self.own, self.clip_norm = small_network(), small_loss(), training["clip_norm"]
        settings = {"lr": 0.1, "momentum": training["momentum"], "weight_decay": training["weight_decay"]}
        self.sgd = torch.optim.SGD([*self.network.parameters(), *self.own], **settings, foreach=False)

    def step(self, step, rate):
        self.sgd.param_groups[0]["lr"] = rate
        self.sgd.zero_grad()
        loss_of(self.network, self.own, step).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.sgd.step()

    def parameters(self):
        return [*self.network.parameters(), *self.own]


class Flat:
    """The same with the flat optimiser."""

    def __init__(self, training):
        self.network, self.own = small_network(), small_loss()
        self.optimiser = FlatSGD(list(self.network.parameters()), self.own, training)

    def step(self, step, rate):
        self.optimiser.learning_rate = rate
        loss = loss_of(self.network, self.own, step)
        self.optimiser.clear_gradients()
        loss.backward()
        self.optimiser.clip_and_step()

    def parameters(self):
        return [*self.network.parameters(), *self.own]


RATES = (0.001, 0.0005, 0.002, 0.001, 0.0001)


@pytest.mark.parametrize("changes", [{"clip_norm": 1e-3}, {"clip_norm": 0.5}, {"clip_norm": 1e9}, {"momentum": 0.0}])
@pytest.mark.parametrize("resumed_after", [None, 0, 1, 3])
def test_the_flat_optimiser_steps_as_torch_does_also_from_a_saved_state(changes, resumed_after):
    training = TRAINING | changes
    reference, flat = Reference(training), Flat(training)
    for step, rate in enumerate(RATES):
        if step == resumed_after:
            state, weights = flat.optimiser.state(), [value.detach().clone() for value in flat.parameters()]
            state |= {"momentum": [None if buffer is None else buffer.clone() for buffer in state["momentum"]]}
            flat = Flat(training)
            with torch.no_grad():
                for new, kept in zip(flat.parameters(), weights, strict=True):
                    new.copy_(kept)
            flat.optimiser.load_state(state)
            assert flat.optimiser.learning_rate == (RATES[step - 1] if step else 0.1)
        for one in (reference, flat):
            one.step(step, rate)
    for expected, found in zip(reference.parameters(), flat.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_a_state_of_torchs_own_optimiser_is_continued():
    """As version 0.1.0 saved it: the momentum of the flat buffer, and of the loss's weights that have stepped."""
    kept, flat = Flat(TRAINING), Flat(TRAINING)
    theirs = torch.optim.SGD([kept.optimiser.flat, *kept.own], lr=0.1, momentum=0.9, weight_decay=1e-3)
    kept.step(0, 0.1)
    flat.step(0, 0.1)
    state = theirs.state_dict()
    first, second, third = kept.optimiser.momentum
    assert third is None
    state["state"] = {0: {"momentum_buffer": first}, 1: {"momentum_buffer": second}, 2: {"momentum_buffer": None}}
    state["param_groups"][0]["lr"] = 0.03
    flat.optimiser.load_state(state)
    assert flat.optimiser.learning_rate == 0.03
    assert flat.optimiser.momentum == [first, second, None]
    del state["state"][2]
    flat.optimiser.load_state(state)
    assert flat.optimiser.momentum[2] is None


def test_clipping_by_hand():
    """A norm of 5e-6 to 6e-7: the published guard against a norm of zero, 1e-6, is a sixth of what divides."""
    weights = nn.Parameter(torch.zeros(2))
    training = {"learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 6e-7}
    optimiser = FlatSGD([weights], [], training)
    (weights * torch.tensor([3e-6, -4e-6])).sum().backward()
    optimiser.clip_and_step()
    torch.testing.assert_close(weights.detach(), torch.tensor([-3e-7, 4e-7]), rtol=1e-5, atol=0)


def test_parameters_and_gradients_are_views_of_the_buffer_that_lie_as_they_lay():
    network, reference = small_network(), small_network()
    parameters = list(network.parameters())
    optimiser = FlatSGD(parameters, [], TRAINING)
    for found, expected in zip(parameters, reference.parameters(), strict=True):
        assert torch.equal(found, expected)
        assert found.stride() == found.grad.stride() == expected.stride()
        for view, whole in ((found, optimiser.flat), (found.grad, optimiser.gradient)):
            assert view.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
    assert [p.storage_offset() for p in parameters] == [0, 216, 224, 256, 260, 980]
    assert [p.grad.storage_offset() for p in parameters] == [0, 216, 224, 256, 260, 980]
    assert optimiser.flat.numel() == 985
    other = small_network(1)
    network.load_state_dict(other.state_dict())
    assert torch.equal(optimiser.flat[980:], list(other.parameters())[-1])


def test_cleared_gradients_are_zero_in_the_buffer_and_none_of_the_loss():
    flat = Flat(TRAINING)
    flat.step(1, 0.1)
    assert flat.optimiser.gradient.abs().sum() > 0
    flat.optimiser.clear_gradients()
    assert flat.optimiser.gradient.abs().sum() == 0
    assert [own.grad for own in flat.own] == [None, None]
