import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.experiments.recipe import DIGITS_AUGMENTATION, Augmentation
from mltbench.benchmark.networks.backbones import InputFormat
from mltbench.benchmark.training.augmentation import (
    DRAWS_PER_IMAGE,
    Normalisation,
    Parameters,
    augment,
    crop_and_resize,
    grey_levels,
    parameters_from_draws,
    saturate,
    turn_hue,
    whole_image,
    whole_images,
)
from torchvision.transforms.v2.functional import resize, resized_crop

PUBLISHED = Augmentation()
NOTHING = Augmentation(
    brightness=0, contrast=0, saturation=0, hue=0, channel_permutation=False, smallest_crop=1.0, flip=False
)


def random_images(number, height=20, width=24, seed=0):
    return torch.randint(0, 256, (number, height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def draws(number, seed=0):
    return torch.rand(number, DRAWS_PER_IMAGE, generator=torch.Generator().manual_seed(seed))


def one(parameters, i):
    return Parameters(*(value[i : i + 1] for value in parameters))


def plain(images):
    return images.permute(0, 3, 1, 2).float()


def test_the_order_of_all_steps_is_the_published_one():
    images, parameters = random_images(30, seed=3), parameters_from_draws(draws(30, seed=4), PUBLISHED)
    result = augment(images, parameters, PUBLISHED, size=17)
    assert (result.shape, result.dtype) == ((30, 3, 17, 17), torch.float32)
    assert result.min() < 0, "brightness and contrast are not clipped"
    assert result.max() > 255
    for i in range(30):
        p = {name: value[i] for name, value in parameters._asdict().items()}
        pixels = plain(images[i : i + 1]) + p["brightness"]
        pixels = pixels * p["contrast"] if p["contrast_first"] else pixels
        pixels = saturate(pixels, p["saturation"].reshape(1, 1, 1, 1))
        pixels = turn_hue(pixels, p["hue"].reshape(1, 1, 1, 1))
        pixels = pixels if p["contrast_first"] else pixels * p["contrast"]
        pixels = pixels[:, p["channels"]]
        pixels = crop_and_resize(pixels, one(parameters, i)._replace(flip=torch.tensor([False])), size=17)
        pixels = pixels.flip(3) if p["flip"] else pixels
        torch.testing.assert_close(result[i : i + 1], pixels, rtol=1e-5, atol=1e-3)
    assert parameters.contrast_first.any()
    assert not parameters.contrast_first.all()


@pytest.mark.parametrize("degrees", [-180.0, -18.0, -5.0, 0.0, 7.5, 18.0, 120.0, 360.0])
def test_hue_is_that_of_colorsys(degrees):
    pixels = plain(random_images(4, seed=1))
    turned = turn_hue(pixels, torch.full((4, 1, 1, 1), degrees))
    for before, after in zip(_colours(pixels), _colours(turned), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        expected = colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value)
        assert after / 255 == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.2, 1.5])
def test_saturation_is_that_of_colorsys(factor):
    pixels = plain(random_images(4, seed=2)) * 0.5 + 60  # weak colours: their saturation stays below 1
    changed = saturate(pixels, torch.full((4, 1, 1, 1), factor))
    for before, after in zip(_colours(pixels), _colours(changed), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        if saturation * factor <= 1:
            assert after / 255 == pytest.approx(colorsys.hsv_to_rgb(hue, saturation * factor, value), abs=2e-6)


@pytest.mark.parametrize("level", [0.0, 128.0, 255.0])
def test_grey_stays_grey(level):
    pixels = torch.full((1, 3, 2, 2), level)
    assert torch.equal(turn_hue(pixels, torch.full((1, 1, 1, 1), 18.0)), pixels)
    assert torch.equal(saturate(pixels, torch.full((1, 1, 1, 1), 1.5)), pixels)


def _colours(pixels):
    return pixels.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()


@pytest.mark.parametrize("size", [7, 20, 31, 48])
@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_those_of_torchvision(size, flip):
    images, chosen = random_images(60, 37, 41, seed=5), parameters_from_draws(draws(60, seed=6), PUBLISHED)
    chosen = chosen._replace(flip=torch.full((60,), flip))
    result = crop_and_resize(plain(images), chosen, size=size)
    for i in range(60):
        height, width = round(37 * chosen.height[i].item()), round(41 * chosen.width[i].item())
        top = int(chosen.top[i].item() * (37 - height + 1))
        left = int(chosen.left[i].item() * (41 - width + 1))
        whole = plain(images[i : i + 1])
        expected = resized_crop(whole, top, left, height, width, [size, size], antialias=False)
        torch.testing.assert_close(result[i : i + 1], expected.flip(3) if flip else expected, rtol=1e-4, atol=5e-3)


@pytest.mark.parametrize("side", [9, 48, 224])
def test_the_whole_image_at_its_own_size_is_the_image(side):
    images = random_images(2, side, side)
    result = crop_and_resize(plain(images), whole_image(2, torch.device("cpu")), size=side)
    torch.testing.assert_close(result, plain(images), rtol=0, atol=5e-3)  # of 255
    assert torch.equal(whole_images(images, grey_levels(images.device), size=side), plain(images))
    assert torch.equal(
        augment(images, whole_image(2, torch.device("cpu")), PUBLISHED, size=side).round(), plain(images)
    )


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


@pytest.mark.parametrize(
    "steps",
    [
        *(NOTHING, DIGITS_AUGMENTATION, replace(NOTHING, hue=18), replace(NOTHING, saturation=0.5)),
        *(replace(NOTHING, hue=18, brightness=32), replace(NOTHING, saturation=0.5, contrast=0.5)),
    ],
)
def test_steps_that_are_left_out_give_what_neutral_ones_give(steps):
    images, parameters = random_images(50, 16, 16), parameters_from_draws(draws(50), steps)
    # The published augmentation does every step, here with these parameters, some of them neutral.
    found, expected = (augment(images, parameters, augmentation, size=16) for augmentation in (steps, PUBLISHED))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)
    assert (steps == NOTHING) == torch.equal(found, plain(images))


SOME = Augmentation(
    brightness=10, contrast=0.4, saturation=0.2, hue=30, channel_permutation=True, smallest_crop=0.5, flip=True
)
# Whether and how much: brightness, contrast; contrast first; saturation, hue; channels; height, width; top, left; flip.
ALL_HAPPEN = (0.1, 0.75, 0.2, 0.25, 0.49, 0.3, 1.0, 0.4, 0.125, 0.35, 0.4, 0.2, 0.6, 0.15, 0.85, 0.45)
# A draw of 1/2 is no more "happens".
NONE_HAPPENS = (0.5, 0.75, 0.5, 0.25, 0.5, 0.5, 1.0, 0.5, 0.125, 0.5, 0.4, 0.0, 1.0, 0.9, 0.3, 0.5)


def test_parameters_of_given_draws_are_those_computed_by_hand():
    found = parameters_from_draws(torch.tensor([ALL_HAPPEN, NONE_HAPPENS]), SOME)
    expected = {
        "brightness": [5, 0], "contrast": [0.8, 1], "contrast_first": [1, 0], "saturation": [1.2, 1],
        "hue": [-22.5, 0], "channels": [[1, 0, 2], [0, 1, 2]], "top": [0.15, 0.9], "left": [0.85, 0.3],
        "height": [0.9, 1], "width": [0.7, 0.5], "flip": [1, 0],
    }  # fmt: skip
    assert {name: value.tolist() for name, value in found._asdict().items()} == {
        name: pytest.approx(value, abs=1e-6) if name != "channels" else value for name, value in expected.items()
    }
    never = parameters_from_draws(torch.tensor([ALL_HAPPEN]), NOTHING)
    neutral = {"brightness": [0], "contrast": [1], "saturation": [1], "hue": [0], "height": [1], "width": [1]}
    assert {name: getattr(never, name).tolist() for name in neutral} == neutral
    assert (never.channels.tolist(), never.flip.tolist()) == ([[0, 1, 2]], [False])


def test_each_order_of_the_channels_has_its_sixth():
    draws = torch.full((12, DRAWS_PER_IMAGE), 0.25)
    draws[:, 10] = (torch.arange(12) + 0.25) / 12
    orders = ["012", "021", "102", "120", "201", "210"]
    found = ["".join(map(str, channels)) for channels in parameters_from_draws(draws, PUBLISHED).channels.tolist()]
    assert found == [order for order in orders for _ in range(2)]


def cropped(picture, size, *, top=0.0, left=0.0, height, width, flip=False):
    """What is shown of a picture, as rows of numbers."""
    values = torch.tensor(picture, dtype=torch.float32)
    parts = {"top": top, "left": left, "height": height, "width": width}
    parameters = whole_image(1, torch.device("cpu"))._replace(
        **{name: torch.tensor([value], dtype=torch.float32) for name, value in parts.items()},
        flip=torch.tensor([flip]),
    )
    return crop_and_resize(values.expand(1, 3, *values.shape), parameters, size=size)[0, 1].tolist()


# Tens are rows, ones are columns.
PICTURE = [[10 * row + column for column in range(5)] for row in range(4)]
CROPS = {
    "the upper left corner": ({"height": 0.5, "width": 0.4}, 2, [[0, 1], [10, 11]]),
    "places are shares of the rows and columns that are free": (
        {"top": 0.4, "left": 0.8, "height": 0.5, "width": 0.4}, 2, [[13, 14], [23, 24]],
    ),
    "the last place": ({"top": 0.99, "left": 0.99, "height": 0.5, "width": 0.4}, 2, [[23, 24], [33, 34]]),
    "mirrored from left to right alone": (
        {"top": 0.4, "left": 0.3, "height": 0.5, "width": 0.4, "flip": True}, 2, [[12, 11], [22, 21]],
    ),
    # 2 of 4 rows, 3 of 5 columns, to 4 by 4: rows at -1/4, 1/4, 3/4, 5/4, columns at -1/8, 5/8, 11/8, 17/8.
    "between pixels, and beyond the crop its own edge": (
        {"top": 0.4, "left": 0.4, "height": 0.5, "width": 0.6},
        4,
        [
            [11, 11.625, 12.375, 13],
            [13.5, 14.125, 14.875, 15.5],
            [18.5, 19.125, 19.875, 20.5],
            [21, 21.625, 22.375, 23],
        ],
    ),
    # 4 of 4 rows at 1/2 and 5/2; 5 of 5 columns at 3/4 and 13/4: no mean over more than two pixels.
    "made smaller without antialiasing": ({"height": 1, "width": 1}, 2, [[5.75, 8.25], [25.75, 28.25]]),
    "less than a pixel is one": ({"top": 0.6, "left": 0.3, "height": 0.01, "width": 0.09}, 2, [[21] * 2] * 2),
    "two and a half pixels are two": ({"top": 0.99, "height": 0.625, "width": 0.4}, 2, [[20, 21], [30, 31]]),
}  # fmt: skip


@pytest.mark.parametrize("what", CROPS)
def test_crops_of_a_small_picture_are_those_computed_by_hand(what):
    crop, size, expected = CROPS[what]
    assert cropped(PICTURE, size, **crop) == [pytest.approx(row, abs=1e-4) for row in expected]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 9, 224])
@pytest.mark.parametrize("share", [0.01, 0.34, 0.5, 0.8, 1.0])
def test_crops_of_the_smallest_and_the_largest_draw_are_at_the_ends_of_the_image(share, length):
    # Of a picture of its columns' numbers.
    picture, pixels = [list(range(length))] * 2, max(round(share * length), 1)
    for draw, first in ((0.0, 0), (1 - 2**-24, length - pixels)):
        shown = cropped(picture, pixels, left=draw, height=1, width=share)
        assert shown[0] == pytest.approx([*range(first, first + pixels)], abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (4, 6), (6, 4), (5, 3)])
def test_a_whole_image_is_resized_as_torchvision_does_and_normalised_by_channel(height, width):
    images = random_images(3, height, width, seed=11)
    normal = Normalisation.of(InputFormat(mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.25, 0.5)), torch.device("cpu"))
    assert [part.flatten().tolist() for part in normal] == [
        pytest.approx([127.5, 102, 76.5]), pytest.approx([51, 63.75, 127.5])
    ]  # fmt: skip
    assert normal.mean.shape == normal.deviation.shape == (3, 1, 1)
    resized = resize(plain(images), [4, 4], antialias=False) / 255
    expected = (resized - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.25, 0.5])[:, None, None]
    torch.testing.assert_close(whole_images(images, normal, size=4), expected, rtol=1e-4, atol=1e-4)


def test_brightness_contrast_and_channels_of_one_pixel_by_hand():
    image = torch.tensor([10, 100, 200]).byte().reshape(1, 1, 1, 3)
    made = whole_image(1, torch.device("cpu"))._replace(
        brightness=torch.tensor([-20.0]), contrast=torch.tensor([1.5]), channels=torch.tensor([[2, 0, 1]])
    )
    # Neither clipped nor rounded; without a colour step the place of the contrast does not matter.
    for first in (False, True):
        shown = augment(image, made._replace(contrast_first=torch.tensor([first])), PUBLISHED, size=1)
        assert shown.flatten().tolist() == pytest.approx([270, -15, 120], abs=1e-3)
        plainer = replace(PUBLISHED, saturation=0, hue=0)
        shown = augment(image, made._replace(contrast_first=torch.tensor([first])), plainer, size=1)
        assert shown.flatten().tolist() == pytest.approx([270, -15, 120], abs=1e-3)
