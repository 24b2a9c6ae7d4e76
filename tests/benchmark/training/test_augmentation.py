import colorsys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from mltbench.benchmark.experiments.recipe import Augmentation
from mltbench.benchmark.training.augmentation import (
    DRAWS_PER_IMAGE,
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
from torchvision.transforms.v2.functional import resized_crop

PUBLISHED = Augmentation()
NOTHING = Augmentation(
    brightness=0, contrast=0, saturation=0, hue=0, channel_permutation=False, smallest_crop=1.0, flip=False
)


def random_images(number, height=20, width=24, seed=0):
    return torch.randint(0, 256, (number, height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def draws(number, seed=0):
    return torch.rand(number, DRAWS_PER_IMAGE, generator=torch.Generator().manual_seed(seed))


def untouched(number, **changes):
    """Parameters that do nothing, but for the changed ones."""
    tensors = {name: torch.as_tensor(value) for name, value in changes.items()}
    return whole_image(number, torch.device("cpu"))._replace(**tensors)


def one(parameters, i):
    return Parameters(*(value[i : i + 1] for value in parameters))


def plain(images):
    return images.permute(0, 3, 1, 2).float()


def test_a_batch_is_its_images_one_by_one():
    images, parameters = random_images(40), parameters_from_draws(draws(40), PUBLISHED)
    batch = augment(images, parameters, PUBLISHED, size=16)
    alone = [augment(images[i : i + 1], one(parameters, i), PUBLISHED, size=16) for i in range(40)]
    assert batch.shape == (40, 3, 16, 16)
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch, torch.cat(alone), rtol=1e-5, atol=1e-3)


def test_the_order_of_all_steps_is_the_published_one():
    images, parameters = random_images(30, seed=3), parameters_from_draws(draws(30, seed=4), PUBLISHED)
    result = augment(images, parameters, PUBLISHED, size=17)
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


def test_brightness_and_contrast_are_not_clipped():
    images = random_images(2)
    parameters = untouched(2, brightness=[-32.0, 30.0], contrast=[1.5, 0.5])
    result = augment(images, parameters, replace(NOTHING, brightness=32, contrast=0.5), size=20)[:, :, :, :20]
    expected = torch.stack([(plain(images)[0] - 32) * 1.5, (plain(images)[1] + 30) * 0.5])
    expected = crop_and_resize(expected, whole_image(2, torch.device("cpu")), size=20)
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-3)
    assert result.min() < 0
    assert result.max() > 255


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


def test_channels_are_permuted_as_told():
    images = random_images(2, 16, 16)
    parameters = untouched(2, channels=[[2, 0, 1], [0, 1, 2]])
    result = augment(images, parameters, replace(NOTHING, channel_permutation=True), size=16)
    assert torch.equal(result[0], plain(images)[0][[2, 0, 1]])
    assert torch.equal(result[1], plain(images)[1])


@pytest.mark.parametrize("size", [7, 20, 31, 48])
@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_those_that_torch_resizes_once_cut_out(size, flip):
    images, chosen = random_images(60, 37, 41, seed=5), parameters_from_draws(draws(60, seed=6), PUBLISHED)
    chosen = chosen._replace(flip=torch.full((60,), flip))
    result = crop_and_resize(plain(images), chosen, size=size)
    for i in range(60):
        height, width = round(37 * chosen.height[i].item()), round(41 * chosen.width[i].item())
        top = int(chosen.top[i].item() * (37 - height + 1))
        left = int(chosen.left[i].item() * (41 - width + 1))
        whole = plain(images[i : i + 1])
        cut = whole[:, :, top : top + height, left : left + width]
        assert cut.shape[2:] == (height, width)
        expected = F.interpolate(cut, (size, size), mode="bilinear", align_corners=False, antialias=False)
        other = resized_crop(whole, top, left, height, width, [size, size], antialias=False)
        expected, other = (picture.flip(3) if flip else picture for picture in (expected, other))
        torch.testing.assert_close(result[i : i + 1], expected, rtol=1e-4, atol=5e-3)
        torch.testing.assert_close(result[i : i + 1], other, rtol=1e-4, atol=5e-3)


@pytest.mark.parametrize("side", [9, 48, 224])
def test_the_whole_image_at_its_own_size_is_the_image(side):
    images = random_images(2, side, side)
    result = crop_and_resize(plain(images), whole_image(2, torch.device("cpu")), size=side)
    torch.testing.assert_close(result, plain(images), rtol=0, atol=5e-3)  # of 255
    assert torch.equal(whole_images(images, grey_levels(images.device), size=side), plain(images))
    assert torch.equal(
        augment(images, whole_image(2, torch.device("cpu")), PUBLISHED, size=side).round(), plain(images)
    )


def test_flipping_twice_is_nothing():
    images = random_images(3, 16, 16)
    parameters = untouched(3, flip=[True, True, True])
    once = augment(images, parameters, replace(NOTHING, flip=True), size=16)
    assert torch.equal(once, plain(images).flip(3))
