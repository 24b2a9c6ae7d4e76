"""The fast path of training means what the plain one means; levers may move last bits and no more."""

import copy
import gc
import weakref
from dataclasses import replace

import pytest
import torch
from mltbench.benchmark.experiments.recipe import Augmentation
from mltbench.benchmark.experiments.streams import torch_stream
from mltbench.benchmark.networks.backbones import BACKBONES
from mltbench.benchmark.networks.network import fold_normalisation
from mltbench.benchmark.training import feed as feed_module
from mltbench.benchmark.training.augmentation import DRAWS_PER_IMAGE, Normalisation, augment, parameters_from_draws
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.benchmark.training.feed import DeviceData
from mltbench.benchmark.training.graph import NotRepeatableError, fused, without_trace
from mltbench.methods import loss as loss_module
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from trainings import Counts, OwnLoss, Remembers, Replaces, make_training, settled

WAITS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.item, torch.ops.aten.nonzero)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_frozen_trunk_is_the_same_with_its_normalisation_folded(name):
    torch.manual_seed(0)
    with torch.device("meta"):
        trunk = BACKBONES[name].build()[0]
    for parameter in trunk.to_empty(device="cpu").parameters():
        nn.init.normal_(parameter, std=0.1)
    settled(trunk)
    folded, images = fold_normalisation(trunk), torch.randn(2, 3, 64, 64)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in trunk.modules())
    with torch.no_grad():
        expected, found = trunk(images.clone()), folded(images.clone())
    assert (expected - found).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("changes", [{}, {"saturation": 0, "hue": 0}, {"channel_permutation": False, "hue": 0}])
def test_normalisation_within_the_last_step_is_normalisation_after_it(changes):
    augmentation = replace(Augmentation(), **changes)
    training = make_training("erm", augmentation=augmentation)
    feed = training.feed
    mean, deviation = torch.tensor([100.0, 120, 140])[:, None, None], torch.tensor([50.0, 60, 70])[:, None, None]
    feed.normalisation = Normalisation(mean, deviation)
    shown = []
    training.network.folded_trunk = lambda: shown.append
    draws, indices = torch.rand(18, DRAWS_PER_IMAGE, generator=torch.Generator().manual_seed(0)), torch.arange(18)
    feed.features(indices, feed.prepare(draws))
    parameters = parameters_from_draws(draws, augmentation)
    grey = augment(feed.data.batch(indices), parameters, augmentation, size=feed.training["image_size"])
    torch.testing.assert_close(shown[0], (grey - mean) / deviation, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("method", "batch_size", "sizes"), [("erm", 4, [4, 4, 4, 4, 2]), ("rs", 7, [7, 7])])
@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_batches_drawn_and_prepared_in_pieces_are_those_of_the_whole_epoch(
    method, batch_size, sizes, at_once, monkeypatch
):
    """Of the re-sampled epoch of 15 draws one is left out: its numbers are drawn all the same."""
    monkeypatch.setattr(feed_module, "PREPARED_AT_ONCE", at_once)
    feed = make_training(method, batch_size=batch_size).feed
    feed.begin_epoch(0)
    crops = torch_stream(0, "augmentation")
    whole = torch.rand(len(feed.order), DRAWS_PER_IMAGE, generator=crops)
    batches = list(feed.prepared_batches())
    assert [batch.stop - batch.start for batch, _ in batches] == sizes
    for batch, prepared in batches:
        alone = feed.prepare(whole[batch])
        assert all(torch.equal(a, b) for a, b in zip(prepared[1:], alone[1:], strict=True))
    assert torch.equal(feed.crops.get_state(), crops.get_state())


def test_images_and_labels_are_gathered_by_rows_and_stay_bytes_on_the_device():
    split = tiny_dataset().split("train")
    data, indices = DeviceData(split, torch.device("cpu")), torch.tensor([3, 0, 3, 17])
    assert data.labels.dtype == torch.int8
    assert torch.equal(data.batch(indices), torch.from_numpy(split.images[[3, 0, 3, 17]]))
    assert torch.equal(data.targets(indices), torch.from_numpy(split.labels[[3, 0, 3, 17]]).float())


class _Asks(TorchDispatchMode):
    """Names of the operations that would make the host wait for a device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in WAITS:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["erm", "ldam", "cb-focal", "db-focal"])
def test_a_step_never_asks_the_device(method, monkeypatch):
    # On the CPU alone, where looking is free, a loss looks at its labels.
    monkeypatch.setattr(loss_module, "kinds_of", lambda labels: None)
    training = make_training(method, augmentation=Augmentation())
    training.feed.begin_epoch(0)
    with _Asks() as asked:
        for batch in training.feed.batches():
            training.learner.learn(batch)
    assert training.learner.steps >= 2
    assert asked.found == []
    with _Asks() as asked:
        assert torch.ones(2).sum().item() == len(torch.ones(2).nonzero())
    assert asked.found == ["aten._local_scalar_dense.default", "aten.nonzero.default"]


def test_warming_up_leaves_no_trace():
    fresh, warmed = (make_training("db-focal") for _ in range(2))
    indices, draws = torch.arange(8), torch.rand(8, DRAWS_PER_IMAGE)
    features, targets = fresh.feed.features(indices, fresh.feed.prepare(draws)), fresh.feed.data.targets(indices)
    losses = []
    for training in (fresh, warmed):
        torch.manual_seed(0)
        learner = training.learner
        if training is warmed:
            state = [*learner.network.state_dict().values(), *learner.loss.state_dict().values()]
            with without_trace(learner.optimiser, state, learner.loss):
                for _ in range(3):
                    learner.step(features, targets)
        losses.append([training.step(indices, draws).item() for _ in range(3)])
    assert losses[0] == losses[1]
    theirs = warmed.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in fresh.network.state_dict().items())


@pytest.mark.parametrize(("loss", "name"), [(Counts, "calls"), (Replaces, "mean"), (Remembers, "state")])
def test_a_loss_that_a_graph_would_not_repeat_is_refused_and_as_it_was(loss, name):
    learner = make_training("erm", loss=OwnLoss(loss)).learner
    before = copy.copy(getattr(learner.loss, name)) if name == "state" else getattr(learner.loss, name)
    refused = pytest.raises(NotRepeatableError, match=f"the loss changes its '{name}'")
    with refused, without_trace(learner.optimiser, [], learner.loss):
        learner.loss(torch.zeros(2, 6), torch.ones(2, 6))
    after = getattr(learner.loss, name)
    assert after is before or after == before == {"calls": 0, "last": None}
    assert {key: value is before for key, value in learner.loss.named_buffers()} == (
        {"mean": True} if name == "mean" else {}
    )


def test_a_loss_that_only_reads_what_it_keeps_is_no_reason_against_a_graph():
    learner = make_training("db-focal").learner
    learner.loss.kept = {"names": ["a", "b"], "weight": torch.ones(6), "number": float("1.5")}
    with without_trace(learner.optimiser, [], learner.loss):
        learner.loss(torch.zeros(2, 6), torch.ones(2, 6))
    assert learner.loss.kept["names"] == ["a", "b"]


def test_what_has_trained_is_free_without_a_garbage_collection():
    """A cohort of photographs holds gigabytes; the next one begins when it has ended."""
    training = make_training("db-focal")
    training.epoch()
    training.learner.evaluate("test")
    held = [weakref.ref(part) for part in (training.learner, training.feed, training.network)]
    gc.collect()
    gc.disable()
    try:
        del training
        assert [part() for part in held] == [None, None, None]
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::torch")
def test_fused_blocks_learn_what_plain_ones_learn(monkeypatch):
    """With all of `torch.compile` but the code that it would make, which takes half a minute here."""
    compiled, compile_it = [], torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, **named: compiled.append(f) or compile_it(f, backend="eager", **named)
    )
    plain, traced = (make_training("erm", backbone="resnet18", batch_size=8, image_size=32) for _ in range(2))
    indices, draws = torch.arange(8), torch.rand(8, DRAWS_PER_IMAGE)
    features, targets = plain.feed.features(indices, plain.feed.prepare(draws)), plain.feed.data.targets(indices)
    losses = []
    for training, module in ((plain, nn.Module()), (traced, traced.network.upper.layer2)):
        torch.manual_seed(0)
        with fused(module):
            losses.append([training.learner.step(features, targets).item() for _ in range(3)])
    assert losses[0] == losses[1]
    assert [type(method.__self__).__name__ for method in compiled] == ["BasicBlock"] * 2


class Rows(nn.Sequential):
    """A module of its own, such as torchvision's convolution with norm and activation."""


@pytest.mark.parametrize("different", [8, 9])
def test_blocks_are_fused_one_by_one_however_nested_unless_too_many_differ(different, monkeypatch):
    called = []

    def compiled(forward, *, dynamic):
        assert not dynamic
        return lambda *inputs: called.append(forward.__self__) or forward(*inputs)

    monkeypatch.setattr(torch, "compile", compiled)
    layers = [nn.Linear(2, 2, bias=i % 2 == 0) if i < 3 else nn.Dropout(i / 100) for i in range(different)]
    own = Rows(nn.Linear(2, 2), nn.ReLU())
    layers[0] = own
    # Equal ones count once.
    layers.append(nn.Linear(2, 2, bias=False))
    network = nn.Sequential(layers[0], nn.Sequential(nn.Sequential(layers[1]), *layers[2:])).eval()
    with fused(network):
        found = network(torch.ones(1, 2))
    assert called == (layers if different == 8 else [network])
    assert torch.equal(network(torch.ones(1, 2)), found)
    assert len(called) == len(layers if different == 8 else [network])
    assert not any("forward" in vars(module) for module in network.modules())
