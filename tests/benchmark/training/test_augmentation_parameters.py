from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.recipe import DIGITS_AUGMENTATION, Augmentation
from mltbench.benchmark.training.augmentation import (
    DRAWS_PER_IMAGE,
    augment,
    crop_and_resize,
    parameters_from_draws,
    whole_image,
)

PUBLISHED = Augmentation()
NOTHING = Augmentation(
    brightness=0, contrast=0, saturation=0, hue=0, channel_permutation=False, smallest_crop=1.0, flip=False
)


def random_images(number, side):
    return torch.randint(0, 256, (number, side, side, 3), generator=torch.Generator().manual_seed(0)).byte()


def draws(number, seed=0):
    return torch.rand(number, DRAWS_PER_IMAGE, generator=torch.Generator().manual_seed(seed))


def plain(images):
    return images.permute(0, 3, 1, 2).float()


def test_every_place_of_a_crop_is_equally_likely_and_inside():
    # A crop of 8 of 10 pixels leaves 3 places; its first pixel is what a picture of its columns' numbers shows.
    picture = torch.arange(10.0).expand(3000, 3, 10, 10)
    share = torch.full((3000,), 0.8)
    whole = whole_image(3000, torch.device("cpu"))
    parameters = whole._replace(width=share, height=share, left=draws(3000, seed=8)[:, 0])
    shown = crop_and_resize(picture, parameters, size=8)
    firsts, lasts = shown[:, 0, 0, 0].round(), shown[:, 0, 0, -1].round()
    assert torch.equal(lasts - firsts, torch.full((3000,), 7.0))
    assert np.bincount(firsts.int().numpy()).tolist() == pytest.approx([1000] * 3, rel=0.15)


def test_parameters_have_the_published_ranges_and_probabilities():
    number = 40000
    parameters = parameters_from_draws(draws(number, seed=7), PUBLISHED)
    for values, neutral, spread in (
        (parameters.brightness, 0.0, 32.0),
        (parameters.contrast, 1.0, 0.5),
        (parameters.saturation, 1.0, 0.5),
        (parameters.hue, 0.0, 18.0),
    ):
        happened = values != neutral
        drawn = values[happened]
        assert happened.float().mean().item() == pytest.approx(0.5, abs=0.01)
        assert (drawn - neutral).abs().max().item() <= spread
        assert drawn.mean().item() == pytest.approx(neutral, abs=0.03 * spread)
        assert drawn.std().item() == pytest.approx(spread / 3**0.5, rel=0.02)
    for crop in (parameters.height, parameters.width):
        assert 0.8 <= crop.min().item() <= 0.801
        assert 0.999 <= crop.max().item() <= 1
        assert crop.mean().item() == pytest.approx(0.9, abs=0.002)
    for coin in (parameters.contrast_first, parameters.flip):
        assert coin.float().mean().item() == pytest.approx(0.5, abs=0.01)
    codes = (parameters.channels * torch.tensor([9, 3, 1])).sum(1)
    found, counts = codes.unique(return_counts=True)
    assert sorted(found.tolist()) == sorted(
        9 * a + 3 * b + c for a, b, c in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    )
    shares = dict(zip(found.tolist(), (counts / number).tolist(), strict=True))
    # With probability .5 one of six, the order as it is among them.
    assert shares.pop(0 * 9 + 1 * 3 + 2) == pytest.approx(0.5 + 0.5 / 6, abs=0.01)
    assert list(shares.values()) == pytest.approx([0.5 / 6] * 5, abs=0.01)


def test_parameters_are_independent_of_each_other():
    parameters = parameters_from_draws(draws(20000, seed=9), PUBLISHED)
    columns = [value.float() for name, value in parameters._asdict().items() if name != "channels"]
    correlations = torch.corrcoef(torch.stack([*columns, parameters.channels[:, 0].float()]))
    assert (correlations - torch.eye(len(correlations))).abs().max().item() < 0.04


def test_steps_that_are_ruled_out_do_nothing():
    images, parameters = random_images(50, 16), parameters_from_draws(draws(50), NOTHING)
    assert torch.equal(augment(images, parameters, NOTHING, size=16), plain(images))


@pytest.mark.parametrize("steps", [DIGITS_AUGMENTATION, replace(NOTHING, hue=18), replace(NOTHING, saturation=0.5)])
def test_steps_that_are_left_out_give_what_neutral_ones_give(steps):
    images, parameters = random_images(50, 16), parameters_from_draws(draws(50), steps)
    # The published augmentation does every step, here with these parameters, some of them neutral.
    torch.testing.assert_close(
        augment(images, parameters, steps, size=16),
        augment(images, parameters, PUBLISHED, size=16),
        rtol=1e-5,
        atol=1e-3,
    )


@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-24])
def test_extreme_draws_stay_inside_the_image(extreme):
    parameters = parameters_from_draws(
        torch.full((1, DRAWS_PER_IMAGE), extreme), replace(PUBLISHED, smallest_crop=0.01)
    )
    result = crop_and_resize(torch.ones(1, 3, 10, 13), parameters, size=16)
    torch.testing.assert_close(result, torch.ones(1, 3, 16, 16))
