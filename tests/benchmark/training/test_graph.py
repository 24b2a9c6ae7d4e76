"""Graphs without a GPU: which function is captured for which batch, and why none; what a warm-up leaves behind."""

from contextlib import nullcontext, suppress

import pytest
import torch
from mltbench.benchmark.experiments.recipe import Augmentation
from mltbench.benchmark.training import graph as graph_module
from mltbench.benchmark.training.graph import Graphs, NotRepeatableError, without_trace
from mltbench.benchmark.training.optimisation import FlatSGD
from mltbench.methods import loss as loss_module
from mltbench.methods.losses.equalization import EqualizationV2
from mltbench.methods.losses.map_surrogate import MapSurrogate
from mltbench.methods.losses.self_paced_correction import SelfPacedCorrection
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from trainings import make_training


class OnCuda:
    """A tensor that says that it lies on a GPU."""

    is_cuda = True

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


class Recorded:
    """Stands for a graph: calls its function at once."""

    def __init__(self, function, inputs, trace_free):
        with trace_free():
            function(*inputs)
        self.function, self.refused = function, ()

    def __call__(self, *inputs):
        return self.function(*inputs)


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(graph_module, "Graph", Recorded)


def refusing(message):
    def function(*inputs):
        raise RuntimeError(message)

    return function


def test_each_size_of_batch_has_a_graph_of_the_first_function_that_can_be_captured(recorded):
    graphs, asked = Graphs(), []

    def functions(size):
        asked.append(size)
        return [refusing("no fusing")] * (size == 8) + [lambda *inputs: [len(each) for each in inputs]]

    for size in (8, 2, 8, 2):
        assert graphs(functions, (OnCuda(size), OnCuda(5))) == [size, 5]
    assert asked == [8, 2], "captured once"
    assert graphs.slower_because(8) == {"not_fused": "RuntimeError: no fusing"}
    assert graphs.slower_because(2) == graphs.slower_because(3) == {}


def test_without_a_graph_the_last_reason_is_kept_and_nothing_is_tried_again(recorded):
    graphs, asked = Graphs(), []

    def functions(size):
        asked.append(size)
        return [refusing("no fusing"), refusing("no capture")]

    assert [graphs(functions, (OnCuda(4),)) for _ in range(2)] == [None, None]
    assert asked == [4]
    assert graphs.slower_because(4) == {"not_graphed": "RuntimeError: no capture"}


def test_on_a_cpu_there_is_none():
    graphs = Graphs()
    assert graphs(refusing("asked"), (torch.ones(3),)) is None
    assert graphs.by_size == {}


class Moves(nn.Module):
    """A loss with a buffer and weights that it changes, and what it does besides at its first call."""

    def __init__(self, besides=lambda loss: None):
        super().__init__()
        self.register_buffer("seen", torch.zeros(2))
        self.own = nn.Parameter(torch.tensor([3.0]))
        self.besides, self.names, self.inner = besides, ["a", ("b", 1)], nn.Module()
        self.inner.count, self.kinds = 0, {"a"}

    def forward(self, logits):
        self.seen += 1
        self.besides(self)
        return (logits * self.own).square().sum()


def warmed(loss, steps=2):
    """A linear layer and its optimiser before and after steps without a trace."""
    torch.manual_seed(0)
    network = nn.Linear(2, 1)
    training = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01, "clip_norm": 1.0}
    optimiser = FlatSGD(list(network.parameters()), list(loss.parameters()), training)
    state = [*network.state_dict().values(), *loss.state_dict().values()]

    def step():
        optimiser.clear_gradients()
        nn.functional.dropout(loss(network(torch.tensor([[1.0, 2.0]])))).backward()
        optimiser.clip_and_step()

    def now():
        kept = [*state, *(buffer for buffer in optimiser.momentum if buffer is not None), torch.get_rng_state()]
        return [value.tolist() for value in kept]

    return optimiser, state, step, now


@pytest.mark.parametrize("before", [0, 1])
def test_steps_without_a_trace_leave_weights_momentum_buffers_and_generators(before):
    loss = Moves()
    optimiser, state, step, now = warmed(loss)
    for _ in range(before):
        step()
    expected, buffers = now(), list(optimiser.momentum)
    with without_trace(optimiser, state, loss):
        step()
        step()
        assert now()[0] != expected[0]
    # Momentum of 0 before a first step is the same as none.
    found = now()
    if not before:
        assert [found.pop(-2), found.pop(-2)] == [[0.0], [0.0] * 3]
    assert found == expected
    if before:
        assert all(new is old for new, old in zip(optimiser.momentum, buffers, strict=True)), "graphs read these"
    with suppress(ZeroDivisionError), without_trace(optimiser, state, loss):
        step()
        raise ZeroDivisionError
    assert now()[: len(state)] == expected[: len(state)]


def set_inside(loss):
    loss.inner.count += 1


def replaces_a_list(loss):
    loss.names = ["a", ("b", 2)]


def grows(loss):
    loss.names.append("c")


def grows_without_order(loss):
    loss.kinds.add("b")


def new_name(loss):
    loss.fresh = 1


def same_again(loss):
    loss.names = ["a", ("b", 1)]
    loss.inner.count = 0


@pytest.mark.parametrize(
    ("besides", "changed"),
    [
        (set_inside, "count"),
        (replaces_a_list, "names"),
        (grows, "names"),
        (grows_without_order, "kinds"),
        (new_name, "fresh"),
        (same_again, None),
    ],
)
def test_what_a_loss_remembers_outside_of_its_tensors_is_noticed_and_put_back(besides, changed):
    loss = Moves(besides)
    optimiser, state, step, _ = warmed(loss)
    expected = pytest.raises(NotRepeatableError, match=f"changes its '{changed}'") if changed else nullcontext()
    with expected, without_trace(optimiser, state, loss):
        step()
    assert (loss.names, loss.kinds, loss.inner.count) == (["a", ("b", 1)], {"a"}, 0)
    assert not hasattr(loss, "fresh")


class Overwritten:
    """Stands for graphs: warms every function up, calls one of them, and gives the same tensor each time."""

    def __init__(self, which):
        self.which, self.offered, self.output = which, [], {}

    def __call__(self, functions, inputs, trace_free=nullcontext):
        made = functions(len(inputs[0]))
        self.offered.append(len(made))
        for function in made:
            with trace_free():
                function(*inputs)
        result = made[self.which](*inputs)
        return self.output.setdefault(result.shape, torch.empty_like(result)).copy_(result)


@pytest.mark.parametrize(("fused", "which"), [(False, 0), (True, 0), (True, -1)])
def test_what_is_captured_is_what_is_done_without_a_graph(fused, which, monkeypatch):
    """Fused for photographs in whole batches; a smaller last one is not worth compiling anew."""
    compiled, losses = [], []
    monkeypatch.setattr(torch, "compile", lambda function, *, dynamic: compiled.append(dynamic) or function)
    for graphed in (False, True):
        training = make_training("erm", batch_size=8, image_size=16, augmentation=Augmentation())
        learner, feed = training.learner, training.feed
        assert not learner.for_photographs
        assert not feed.for_photographs
        if graphed:
            learner.for_photographs = feed.for_photographs = fused
            learner.graphs, feed.graphs = Overwritten(which), Overwritten(which)
        torch.manual_seed(0)
        feed.begin_epoch(0)
        for batch in feed.batches():
            learner.learn(batch)
        losses.append([loss.item() for loss in learner.meter.state()])
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3
    assert learner.graphs.offered == feed.graphs.offered == ([2, 2, 1] if fused else [1, 1, 1])
    assert bool(compiled) == fused
    assert not any(compiled)


class Replayed:
    """Stands for graphs: what the first batch of a size does with its tensors is recorded, and done again with others.

    As in a graph, what Python was asked while recording has its answer of then for good.
    """

    def __init__(self):
        self.by_size = {}

    def __call__(self, functions, inputs, trace_free):
        size = len(inputs[0])
        if size not in self.by_size:
            (function,), own = functions(size), [tensor.clone() for tensor in inputs]
            for work in (function, make_fx(function)):
                with trace_free():
                    made = work(*own)
            self.by_size[size] = own, made
        own, replay = self.by_size[size]
        for tensor, given in zip(own, inputs, strict=True):
            tensor.copy_(given)
        with torch.no_grad():
            return replay(*own)


@pytest.mark.parametrize(
    "method",
    [
        {"loss": EqualizationV2()},
        {"loss": MapSurrogate()},
        {"loss": SelfPacedCorrection(threshold=0.45, correct_from=1 / 3)},
        {"name": "ldam-drw", "parameters": {"deferred_until": 2 / 3}},
    ],
    ids=["eql-v2", "map-surrogate", "splc", "ldam-drw"],
)
def test_what_a_loss_remembers_and_is_told_is_read_anew_at_every_replay(method, monkeypatch):
    """In three epochs, of which the later ones differ, by graphs of the first one's batches, of 5 and of 3 images."""
    # On the CPU alone a loss looks at its labels.
    monkeypatch.setattr(loss_module, "kinds_of", lambda labels: None)
    # Off CUDA the learning rate is no tensor: it is one for all steps.
    settings = {"epochs": 3, "batch_size": 5, "image_size": 16, "warmup_iterations": 0, **method}
    plain, graphed = make_training(**settings), make_training(**settings)
    graphed.learner.graphs, losses = Replayed(), []
    for training in (plain, graphed):
        torch.manual_seed(0)
        losses.append(training.all_epochs())
    assert losses[0] == losses[1]
    assert set(graphed.learner.graphs.by_size) == {5, 3}
    for part in ("network", "loss"):
        expected, found = (getattr(training.learner, part).state_dict() for training in (plain, graphed))
        assert all(torch.equal(value, found[name]) for name, value in expected.items()), part
