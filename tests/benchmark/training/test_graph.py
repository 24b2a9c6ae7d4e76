import numpy as np
import pytest
import torch
from mltbench.benchmark.training.augmentation import DRAWS_PER_IMAGE
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.graph import warm_up_without_trace
from mltbench.methods.catalogue import get_method
from trainings import Training


def test_warming_up_leaves_no_trace():
    fresh, warmed = (Training(tiny_experiment(get_method("db-focal")), tiny_dataset()) for _ in range(2))
    indices, draws = torch.arange(8), torch.rand(8, DRAWS_PER_IMAGE)
    features, targets = fresh.feed.features(indices, fresh.feed.prepare(draws)), fresh.feed.data.targets(indices)
    losses = []
    for training in (fresh, warmed):
        torch.manual_seed(0)
        learner = training.learner
        if training is warmed:
            state = [*learner.network.state_dict().values(), *learner.loss.state_dict().values()]
            warm_up_without_trace(learner.step, learner.optimiser, state, features, targets)
        losses.append([training.step(indices, draws).item() for _ in range(3)])
    assert losses[0] == losses[1]
    theirs = warmed.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in fresh.network.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("method", ["erm", "db-focal"])
def test_graphed_steps_are_the_eager_ones(method):
    experiment = tiny_experiment(get_method(method), learning_rate=0.002, dropout=0.0)
    eager, graphed = (
        Training(experiment, tiny_dataset(), Execution(device="cuda", graphed=graphed)) for graphed in (False, True)
    )
    for epoch in range(25):
        for training in (eager, graphed):
            training.epoch(epoch)
    assert eager.learner.steps == graphed.learner.steps >= 50
    assert graphed.learner.graph is not None
    expected, found = (training.learner.logits("test") for training in (eager, graphed))
    assert np.abs(expected - found).max() < 1e-3 * np.abs(expected).max()
