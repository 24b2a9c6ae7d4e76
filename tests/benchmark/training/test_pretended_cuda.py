"""Steps of every loss and head on a GPU that is not there: its tensors have shape and device, but no values to read."""

from functools import cache
from operator import attrgetter

import pytest
import torch
from distinct_losses import METHODS
from mltbench.benchmark.experiments.recipe import Augmentation
from mltbench.benchmark.speed.harness import paper_cohort
from mltbench.benchmark.training import feed as feed_module
from mltbench.benchmark.training import learner as learner_module
from mltbench.benchmark.training import optimisation
from mltbench.benchmark.training.augmentation import Normalisation, _permutations
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.benchmark.training.execution import Execution
from mltbench.methods.catalogue import create_loss, get_method
from mltbench.methods.context import Context
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from trainings import OwnLoss, make_training

pytestmark = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch is built without CUDA")

COPIES = (torch.ops.aten._to_copy, torch.ops.aten.copy_)

each_precision = pytest.mark.parametrize("precision", ["float32", "bfloat16"])
each_place = pytest.mark.parametrize("place", ["resident", "host"], indirect=True)


class PretendedCuda(FakeTensorMode):
    """Refuses copies to the host, too; whatever else needs a value there, such as `item`, is refused anyway."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = super().__torch_dispatch__(func, types, args, kwargs)
        to_host = func.overloadpacket in COPIES and made.device.type == "cpu"
        if to_host and any(isinstance(given, torch.Tensor) and given.is_cuda for given in args):
            raise RuntimeError(f"{func} reads from the device")
        return made


def convert_one_by_one(module, convert, recurse=True):
    """Stands for `Module._apply`, which cannot give a pretended parameter another device in place."""
    for part in module.modules():
        for name, value in part._parameters.items():
            with torch.no_grad():
                converted = value if value is None else convert(value)
            if converted is not value:
                part._parameters[name] = nn.Parameter(converted, requires_grad=value.requires_grad)
        part._buffers.update({name: convert(value) for name, value in part._buffers.items() if value is not None})
    return module


def no_stream(device):
    raise RuntimeError("a pretended device captures no graph")


@pytest.fixture(autouse=True, scope="module")
def pretended_cuda():
    """Within, `cuda` is a device. What needs a driver is left out: the backward pass, and SGD in one kernel."""
    sgd = optimisation.sgd
    stand_ins = (
        (torch.cuda, "mem_get_info", lambda device: (2**30, 2**30)),
        (torch.cuda, "is_bf16_supported", lambda: True),
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        (torch, "set_float32_matmul_precision", lambda precision: None),
        (nn.Module, "_apply", convert_one_by_one),
        # The copy of a trunk would ask where its weights lie in memory.
        (FakeTensor, "__deepcopy__", lambda tensor, memo: tensor.detach().clone()),
        (torch.Tensor, "backward", lambda loss: None),
        (
            optimisation,
            "sgd",
            lambda *given, fused, lr, **more: sgd(*given, lr=0.1, fused=False, foreach=False, **more),
        ),
        (torch.cuda, "Stream", no_stream),
        # Scores up to the copy to the host.
        (learner_module, "in_batches", lambda score, images: [score(torch.arange(images))]),
        (learner_module, "gather_scores", lambda pieces, shape, folder: torch.cat(pieces)),
    )
    # The first backward pass of a process starts a thread per device, and none may fork after that, as other tests do;
    # the pretended device would count.
    torch.ones((), requires_grad=True).backward()
    _permutations.cache_clear()
    with pytest.MonkeyPatch.context() as patch, PretendedCuda(allow_non_fake_inputs=True):
        for owner, name, stand_in in stand_ins:
            patch.setattr(owner, name, stand_in)
        yield
    _permutations.cache_clear()


@pytest.fixture
def place(request, monkeypatch):
    """Where the images of a test lie."""
    if request.param == "host":
        monkeypatch.setattr(feed_module, "RESIDENT_SHARE", 0)
    return request.param


def on_cuda(name, **more):
    # Images of another size than the network's, so that those of the test split are resized too.
    settings = {"batch_size": 8, "image_size": 40, "augmentation": Augmentation(), **more}
    return make_training(name, execution=Execution(device="cuda"), **settings)


def batches_of(feed):
    feed.begin_epoch(0)
    return list(feed.batches())


@pytest.fixture(scope="module")
def learner(pretended_cuda):
    """A method's learner, made once and then set to the precision of each test."""
    made = cache(lambda name: on_cuda(name).learner)

    def learner(name, precision):
        made(name).training["precision"] = precision
        return made(name)

    return learner


@pytest.fixture(scope="module")
def batches(pretended_cuda):
    """Two batches or three of a cohort, by its first method, precision and place; made once."""

    @cache
    def batches(first, precision, place):
        feed = on_cuda(first, precision=precision).feed
        assert feed.data.images.is_cuda == (place == "resident")
        made = batches_of(feed)
        assert {batch.features.dtype for batch in made} == {getattr(torch, precision)}
        assert {value.device.type for batch in made for value in (batch.features, batch.targets)} == {"cuda"}
        return made

    return batches


def assert_all_learn(learners, batches):
    for batch in batches:
        for learner in learners:
            learner.learn(batch)
    for learner in learners:
        losses, parts = learner.meter.state(), (learner.network, learner.loss)
        kept = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
        assert {tensor.device.type for tensor in (*losses, *kept, *learner.optimiser.momentum)} == {"cuda"}
        assert {loss.dtype for loss in losses} == {torch.float32}


# Where the images lie makes no difference to the batch that a method is given: both places once, as both precisions.
@pytest.mark.parametrize(("precision", "place"), [("float32", "resident"), ("bfloat16", "host")], indirect=["place"])
@pytest.mark.parametrize("method", [*METHODS, get_method("ml-gcn")], ids=attrgetter("name"))
def test_a_method_steps_and_scores_on_the_device_alone(method, precision, place, learner, batches):
    first = "erm" if method.sampler == get_method("erm").sampler else "db-focal"
    alone = learner(method.name, precision)
    assert_all_learn([alone], batches(first, precision, place))
    logits = alone.logits("test")
    assert (logits.device.type, logits.shape, logits.dtype) == ("cuda", (18, 6), torch.float32)


@each_precision
@pytest.mark.parametrize("method", METHODS, ids=attrgetter("name"))
def test_a_loss_alone_needs_no_host_whatever_its_labels_are(method, precision):
    """In a loop of one's own, where labels may be of any type, soft and unknown, and epochs are counted in Python."""
    loss = create_loss(method.name, tiny_dataset().statistics, dataset="voc-mlt").to("cuda")
    logits, rows = torch.randn(5, 6, device="cuda", dtype=getattr(torch, precision)), torch.arange(5, device="cuda")
    beside = [Context(epoch=3, epochs=4, indices=rows)] if loss.takes_context else []
    for dtype in (torch.uint8, torch.int64, torch.float32):
        value = loss(logits, torch.ones(5, 6, device="cuda", dtype=dtype), *beside)
        assert (value.device.type, value.dtype, value.shape) == ("cuda", torch.float32, ())


@each_place
@each_precision
@pytest.mark.parametrize("first", ["erm", "db-focal"])
def test_a_cohort_learns_on_the_device_alone(first, precision, place, learner, batches):
    cohort = paper_cohort(tiny_experiment(get_method(first)), presets="digits-mlt")
    assert len(cohort) >= 6
    learners = [learner(member.method.name, precision) for member in cohort]
    assert_all_learn(learners, batches(first, precision, place))


class Faulty(nn.Module):
    """A loss with weights that `to` does not move."""

    def __init__(self, weigh):
        super().__init__()
        self.weigh, self.weights = weigh, torch.ones(6)

    def forward(self, logits, targets):
        return (logits * self.weigh(self.weights, targets)).mean()


FAULTS = {
    "weights on the CPU": (lambda weights, targets: weights, "device"),
    "item": (lambda weights, targets: targets.sum().item(), "_local_scalar_dense"),
    "shape": (lambda weights, targets: len(targets.nonzero()), "nonzero"),
    "there and back": (lambda weights, targets: (weights * targets.cpu()).to(targets.device), "_to_copy.* reads"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_loss_that_needs_the_host_is_noticed(fault, batches):
    weigh, message = FAULTS[fault]
    learner = on_cuda("erm", loss=OwnLoss(lambda: Faulty(weigh))).learner
    batch, *_ = batches("erm", "float32", "resident")
    with pytest.raises(RuntimeError, match=message):
        learner.learn(batch)


def test_a_normalisation_on_the_cpu_is_noticed():
    training = on_cuda("erm")
    training.feed.normalisation = training.learner.normalisation = Normalisation(*torch.ones(2, 3, 1, 1))
    with pytest.raises(RuntimeError, match="device"):
        batches_of(training.feed)
    with pytest.raises(RuntimeError, match="device"):
        training.learner.logits("test")
