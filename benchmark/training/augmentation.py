"""Augmentation in batches on the device: every image with its own parameters.

Order as published: brightness; contrast here or after the hue step; saturation; hue; contrast; channel permutation; no
clipping to 0..255; then crop, resize (bilinear, no antialiasing, ratio not kept), normalise, flip.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..experiments.recipe import Augmentation
from ..networks.backbones import InputFormat

# Uniform numbers that one image needs: 2 per photometric step (whether, how much), contrast's place, 2 for the channel
# permutation, 4 for the crop, 1 for the flip.
DRAWS_PER_IMAGE = 16
PERMUTATIONS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


class Parameters(NamedTuple):
    """Augmentation of each image of a batch; all tensors have N rows."""

    brightness: Tensor  # shift in grey levels
    contrast: Tensor  # factor
    contrast_first: Tensor  # whether contrast comes before saturation and hue
    saturation: Tensor  # factor
    hue: Tensor  # turn in degrees
    channels: Tensor  # (N, 3), which channel comes where
    top: Tensor  # place of the crop, 0..1 of the rows that it leaves free
    left: Tensor  # place of the crop, 0..1 of the columns that it leaves free
    height: Tensor  # of the crop, in 0..1 of the image
    width: Tensor  # of the crop, in 0..1 of the image
    flip: Tensor  # whether to mirror


def parameters_from_draws(draws: Tensor, augmentation: Augmentation) -> Parameters:
    """Turn uniform numbers `(N, 16)` of 0..1 into parameters."""
    columns = draws.unbind(dim=1)

    def photometric(first: int, spread: float, neutral: float) -> Tensor:
        value = neutral + spread * (2 * columns[first + 1] - 1)
        return value.where(columns[first] < 0.5, torch.full_like(value, neutral))

    height, width = (1 - (1 - augmentation.smallest_crop) * columns[i] for i in (11, 12))
    permuted = (columns[9] < 0.5) & augmentation.channel_permutation
    permutation = torch.where(permuted, (columns[10] * len(PERMUTATIONS)).long(), 0)
    return Parameters(
        brightness=photometric(0, augmentation.brightness, 0.0),
        contrast=photometric(2, augmentation.contrast, 1.0),
        contrast_first=columns[4] < 0.5,
        saturation=photometric(5, augmentation.saturation, 1.0),
        hue=photometric(7, augmentation.hue, 0.0),
        channels=_permutations(draws.device)[permutation],
        top=columns[13],
        left=columns[14],
        height=height,
        width=width,
        flip=(columns[15] < 0.5) & augmentation.flip,
    )


@cache
def _permutations(device: torch.device) -> Tensor:
    # Kept per device: a copy from the host in every step would make the device wait.
    return torch.tensor(PERMUTATIONS, device=device)


class Normalisation(NamedTuple):
    """What the backbone expects of grey levels: (x - mean) / deviation; both `(3, 1, 1)`, in grey levels."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, expected: InputFormat, device: torch.device) -> Normalisation:
        """That of an input format, whose mean and deviation are of 0..1."""
        return cls(*(255 * torch.tensor(v, device=device)[:, None, None] for v in (expected.mean, expected.deviation)))


class Prepared(NamedTuple):
    """Parameters of N images worked out as far as they go without a pixel; all tensors have N rows."""

    parameters: Parameters
    rows: Tensor  # (N, size), where each row of the result lies in the image, as `grid_sample` counts
    columns: Tensor  # (N, size), likewise
    scale: Tensor  # (N, 3, 1, 1), of the last step, scale x + shift, which holds all that is linear
    shift: Tensor  # (N, 3, 1, 1)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in the order that `from_tensors` takes."""
        return (*self.parameters, *self[1:])

    @classmethod
    def from_tensors(cls, *tensors: Tensor) -> Prepared:
        """Put `tensors` together again."""
        *parameters, rows, columns, scale, shift = tensors
        return cls(Parameters(*parameters), rows, columns, scale, shift)

    def of(self, batch: slice) -> Prepared:
        """Those of some images."""
        return Prepared.from_tensors(*(value[batch] for value in self.tensors))


def grey_levels(device: torch.device) -> Normalisation:
    """The normalisation that changes nothing."""
    return Normalisation(torch.zeros(3, 1, 1, device=device), torch.ones(3, 1, 1, device=device))


def augment(images: Tensor, parameters: Parameters, augmentation: Augmentation, *, size: int) -> Tensor:
    """Augment a batch `(N, H, W, 3)` of uint8 to `(N, 3, size, size)` float32 in grey levels.

    The result is neither normalised nor clipped; steps that `augmentation` rules out cost nothing.
    """
    normalisation, shape = grey_levels(images.device), (images.shape[1], images.shape[2])
    prepared = prepare(parameters, augmentation, normalisation, shape=shape, size=size)
    return augment_prepared(images, prepared, augmentation)


def prepare(
    parameters: Parameters,
    augmentation: Augmentation,
    normalisation: Normalisation,
    *,
    shape: tuple[int, int],
    size: int,
) -> Prepared:
    """Work out what needs no pixel, for many batches at once: small tensors cost the CPU as much as large ones.

    `shape` are the rows and columns of the images, `size` is the side of the result.
    """
    columns = sampling_positions(parameters.left, parameters.width, length=shape[1], size=size)
    contrast, brightness = parameters.contrast[:, None, None, None], parameters.brightness[:, None, None, None]
    if _has_colour(augmentation):
        factor, offset = contrast.where(~parameters.contrast_first[:, None, None, None], 1.0), 0 * brightness
    else:
        factor, offset = contrast, brightness * contrast
    return Prepared(
        parameters=parameters,
        rows=sampling_positions(parameters.top, parameters.height, length=shape[0], size=size),
        columns=columns.flip(1).where(parameters.flip[:, None], columns),
        scale=factor / normalisation.deviation,
        shift=(offset - normalisation.mean) / normalisation.deviation,
    )


def augment_prepared(images: Tensor, prepared: Prepared, augmentation: Augmentation) -> Tensor:
    """Augment and normalise a batch `(N, H, W, 3)` of uint8 to `(N, 3, size, size)` float32.

    Everything linear commutes with a bilinear crop, whose weights sum to 1: one scale and one shift after the crop hold
    brightness and contrast (where no colour step stands behind them) and the normalisation.
    """
    pixels = images.float().permute(0, 3, 1, 2)
    if _has_colour(augmentation):
        pixels = _colour(pixels, prepared.parameters, augmentation)
    if augmentation.channel_permutation:
        pixels = pixels.gather(1, prepared.parameters.channels[:, :, None, None].expand_as(pixels))
    cropped = _sample(pixels, prepared.rows, prepared.columns)
    return torch.addcmul(prepared.shift, cropped, prepared.scale, out=cropped)


def _has_colour(augmentation: Augmentation) -> bool:
    return bool(augmentation.saturation or augmentation.hue)


def _colour(pixels: Tensor, parameters: Parameters, augmentation: Augmentation) -> Tensor:
    """Brightness, contrast where it comes first, saturation, hue; contrast that comes last is left to the last step."""
    brightness, contrast, first, saturation, hue = (value[:, None, None, None] for value in parameters[:5])
    if augmentation.contrast or augmentation.brightness:
        pixels = (pixels + brightness) * contrast.where(first, 1.0)
    if augmentation.saturation:
        pixels = saturate(pixels, saturation)
    return turn_hue(pixels, hue) if augmentation.hue else pixels


def saturate(pixels: Tensor, factor: Tensor) -> Tensor:
    """Scale HSV saturation at constant hue and value: V - factor (V - c), V the largest channel."""
    value = pixels.amax(dim=1, keepdim=True)
    return value - factor * (value - pixels)


def turn_hue(pixels: Tensor, degrees: Tensor) -> Tensor:
    """Turn HSV hue at constant saturation and value; colours `(N, 3, H, W)`, degrees `(N, 1, 1, 1)`."""
    red, green, blue = pixels.unbind(dim=1)
    value = pixels.amax(dim=1)
    chroma = value - pixels.amin(dim=1)
    safe = chroma.where(chroma > 0, 1.0)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sector = sector + degrees[:, 0] / 60
    shades = [(sector + offset).remainder(6) for offset in (5, 3, 1)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in shades], dim=1)


def crop_and_resize(pixels: Tensor, parameters: Parameters, *, size: int) -> Tensor:
    """Cut each image's crop out, resize it to `(size, size)` and mirror it where asked.

    Bilinear with half-pixel centres; beyond the crop its edge repeats, as if it had been cut out first.
    """
    rows = sampling_positions(parameters.top, parameters.height, length=pixels.shape[2], size=size)
    columns = sampling_positions(parameters.left, parameters.width, length=pixels.shape[3], size=size)
    return _sample(pixels, rows, columns.flip(1).where(parameters.flip[:, None], columns))


def sampling_positions(place: Tensor, extent: Tensor, *, length: int, size: int) -> Tensor:
    """Where the pixels of a resized crop lie along one side of the image `(N, size)`: -1..1 from edge to edge.

    `place` `(N,)` of 0..1, without 1, is that of the crop within the pixels that it leaves free, `extent` `(N,)` its
    share of the `length` pixels of the image along this side; the result has `size` pixels.
    """
    pixels = (extent * length).round().clamp(min=1)
    first = (place * (length - pixels + 1)).floor()
    centres = torch.arange(size, device=place.device, dtype=torch.float32) + 0.5
    position = centres[None, :] * (pixels / size)[:, None] - 0.5
    position = first[:, None] + torch.minimum(position.clamp(min=0), pixels[:, None] - 1)
    return (2 * position + 1) / length - 1


def _sample(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    # Two batched products with bilinear weights took 2.0 ms instead of 1.5 for 32 images of 48 x 48 (one thread), and
    # 146 ms instead of 32 for 32 images of 256 x 320 to 224.
    size = rows.shape[1]
    across, down = (v.expand(-1, size, size) for v in (columns[:, None, :], rows[:, :, None]))
    grid = torch.stack([across, down], dim=-1)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def whole_image(number: int, device: torch.device) -> Parameters:
    """Parameters that leave images as they are: resizing with them is what the test split gets."""
    zeros, ones = torch.zeros(number, device=device), torch.ones(number, device=device)
    no = torch.zeros(number, device=device, dtype=torch.bool)
    channels = torch.arange(3, device=device).expand(number, 3)
    return Parameters(zeros, ones, no, ones, zeros, channels, zeros, zeros, ones, ones, no)


def whole_images(images: Tensor, normalisation: Normalisation, *, size: int) -> Tensor:
    """Resize and normalise images `(N, H, W, 3)` of uint8 as the test split gets them: `(N, 3, size, size)`."""
    pixels = images.permute(0, 3, 1, 2).float()
    if images.shape[1:3] != (size, size):
        pixels = crop_and_resize(pixels, whole_image(len(images), images.device), size=size)
    # In place: 256 images at 224 pixels take 154 MB each time.
    return pixels.sub_(normalisation.mean).div_(normalisation.deviation)
