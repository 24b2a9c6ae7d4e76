import random

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.streams import (
    as_arrays,
    as_tensors,
    numpy_stream,
    stream_seed,
    torch_stream,
)

# Every experiment that was ever trained drew from these: if one moves, so do all numbers.
RECORDED = {
    "sampling": (1196928559710480898, 2280906596017200615),
    "augmentation": (7033547830291986484, 8585009762524136171),
    "initialisation": (1952974914541233639, 2979248378023282234),
    "dropout": (7938499265082287326, 1103483478693192707),
    "loss": (1341830460052521335, 1968074583934437908),
}


def test_the_seeds_of_streams_never_move():
    assert {name: (stream_seed(0, name), stream_seed(1, name)) for name in RECORDED} == RECORDED


def test_the_numbers_of_streams_never_move():
    assert numpy_stream(0, "sampling").integers(0, 1000, 4).tolist() == [88, 836, 640, 248]
    assert numpy_stream(1, "sampling").integers(0, 1000, 4).tolist() == [146, 714, 828, 218]
    drawn = [torch.rand(3, generator=torch_stream(seed, "augmentation")).tolist() for seed in (0, 1)]
    assert drawn[0] == pytest.approx([0.91182804, 0.54915875, 0.58584547], abs=1e-8)
    assert drawn[1] == pytest.approx([0.91152745, 0.66233188, 0.88629925], abs=1e-8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed, name: numpy_stream(seed, name).random(8).tolist(),
        lambda seed, name: torch.rand(8, generator=torch_stream(seed, name)).tolist(),
    ],
    ids=["numpy", "torch"],
)
def test_every_stream_of_every_seed_draws_numbers_of_its_own(draw):
    pairs = [(seed, name) for seed in range(20) for name in (*RECORDED, "x")]
    drawn = {tuple(draw(*pair)) for pair in pairs}
    assert len(drawn) == len(pairs)
    assert all(draw(*pair) == draw(*pair) for pair in pairs[:3])


def test_a_stream_neither_reads_nor_moves_the_global_generators():
    drawn, outside = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        drawn.append((numpy_stream(3, "a").random(), torch.rand((), generator=torch_stream(3, "a")).item()))
        outside.append((torch.initial_seed(), random.random(), np.random.random()))
    assert drawn[0] == drawn[1]
    assert [seed for seed, *_ in outside] == [1, 2]
    assert torch_stream(3, "a").device == torch.device("cpu")


def test_a_state_becomes_tensors_and_comes_back_whatever_lies_in_it():
    state = {"order": [np.array([3, 1]), (np.array([2.5]), "name")], "inner": {"bits": np.array([7], np.uint8)}, "n": 4}
    tensors = as_tensors(state)
    assert torch.equal(tensors["order"][0], torch.tensor([3, 1]))
    assert torch.equal(tensors["order"][1][0], torch.tensor([2.5], dtype=torch.float64))
    assert (tensors["order"][1][1], tensors["n"]) == ("name", 4)
    assert torch.equal(tensors["inner"]["bits"], torch.tensor([7], dtype=torch.uint8))
    again = as_arrays(tensors)
    assert isinstance(again["order"][0], np.ndarray)
    assert isinstance(again["order"][1][0], np.ndarray)
    assert again["inner"]["bits"].tolist() == [7]
    assert str(again) == str({**state, "order": [state["order"][0], list(state["order"][1])]})
