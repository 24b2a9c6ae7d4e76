"""Trainings in turn draw what each would draw alone, and leave the generators outside as they were."""

import random

import numpy as np
import pytest
import torch
from mltbench.benchmark.training.generators import (
    GeneratorTurns,
    equal_on_host,
    generator_states,
    set_generator_states,
)

CPU = torch.device("cpu")
# Above 2^32, which NumPy's seed cannot be: for it, it is 71.
SEEDS = {"first": 2**40 + 2**32 + 71, "second": 5, "third": 7}


def draw():
    return random.random(), np.random.random(), torch.rand(()).item()


def alone(seed, number):
    """What Python, NumPy and torch give from a seed on."""
    python, numpy = random.Random(seed), np.random.RandomState(seed % 2**32)
    torchs = torch.Generator().manual_seed(seed)
    return [(python.random(), numpy.random_sample(), torch.rand((), generator=torchs).item()) for _ in range(number)]


def test_each_training_draws_from_its_own_seed_whoevers_turn_it_is():
    random.seed(3)
    np.random.seed(4)
    torch.manual_seed(5)
    outside = generator_states(CPU)
    drawn = {name: [] for name in SEEDS}
    with (turns := GeneratorTurns(CPU)):
        for name, seed in SEEDS.items():
            turns.begin(name, seed)
        assert str(generator_states(CPU)) == str(outside), "to begin draws nothing from those of others"
        for name in ("first", "first", "second", "first", "third", "second", "second", "third"):
            with turns.of(name):
                drawn[name].append(draw())
    assert str(generator_states(CPU)) == str(outside)
    assert drawn == {name: alone(seed, len(drawn[name])) for name, seed in SEEDS.items()}


def test_a_state_is_that_of_now_and_can_be_given_to_another_training():
    with (turns := GeneratorTurns(CPU)):
        for name, seed in SEEDS.items():
            turns.begin(name, seed)
        with turns.of("first"):
            draw()
            kept = turns.state("first")
            turns.load("second", kept)
            later = [draw(), draw()]
            # In its own turn it counts at once.
            turns.load("first", kept)
            assert [draw(), draw()] == later == alone(SEEDS["first"], 3)[1:]
        with turns.of("second"):
            assert [draw(), draw()] == later
        turns.begin("second", 9)
        with turns.of("second"):
            assert draw() == alone(9, 1)[0]
        with turns.of("third"):
            assert draw() == alone(SEEDS["third"], 1)[0]
        assert str(turns.state("second")) != str(turns.state("third"))


def test_states_are_plain_values_that_put_everything_back(tmp_path):
    draw()
    np.random.standard_normal()  # NumPy keeps the second of a pair
    torch.save(generator_states(CPU), tmp_path / "states")
    expected = [draw(), np.random.standard_normal()]
    set_generator_states(torch.load(tmp_path / "states", weights_only=True), CPU)
    assert [draw(), np.random.standard_normal()] == expected


@pytest.mark.parametrize(
    "step", [random.random, np.random.rand, np.random.standard_normal, lambda: torch.rand(()), torch.get_rng_state]
)
def test_a_draw_on_the_host_is_noticed(step):
    np.random.seed(0)
    before = generator_states(CPU)
    step()
    assert equal_on_host(before, generator_states(CPU)) == (step is torch.get_rng_state)
    # The generator of NumPy comes back to its place after 624 numbers, or 312 of 53 bits.
    np.random.seed(0)
    before = generator_states(CPU)
    np.random.random_sample(312)
    assert not equal_on_host(before, generator_states(CPU))
    np.random.set_state((*np.random.get_state()[:2], 624, 1, 0.5))
    before = generator_states(CPU)
    np.random.standard_normal()
    assert not equal_on_host(before, generator_states(CPU)), "only the kept second number of a pair is gone"
