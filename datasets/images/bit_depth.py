"""Pixels of more than 8 bits: how many bits their values use, and the upper 8 of these.

Detectors of 10, 12 or 14 bits write files of 16: the upper 8 bits of such a file hold few of its grey levels. The bits
that are used are the fewest of 8, 10, 12, 14 and 16 that hold the largest value.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
FULL = 2**16 - 1
PHOTOMETRIC, MAX_SAMPLE_VALUE = 262, 281  # TIFF tags
# What Pillow reads as 8 bits, and how it reads their lower bytes: as if the byte order were the other.
LOWER_BYTES = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX", "CMYK")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
UPPER_8_OF_16 = "16 bits per channel: the upper 8 are kept"
GREY_WITH_ALPHA = "LA;16B"  # four bytes a pixel, as RGBA of 8 bits


class DepthError(Exception):
    """Pixels whose range is not known; the message says what they are."""


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """An image of 8 bits per channel that had more."""

    image: Image.Image
    note: str  # what was done
    bits: int = 0  # that its own values use; 0 where they are no integers
    mark: str = ""  # of pixels that are not the upper 8 of 16 bits; empty where they are


def raw_mode(image: Image.Image) -> str:
    """How the pixels lie in the file, such as `RGB;16B`; to be asked before they are loaded."""
    found = {str(tile[3] if isinstance(tile[3], str) else (tile[3] or [""])[0]) for tile in getattr(image, "tile", ())}
    return found.pop() if len(found) == 1 else ", ".join(sorted(found))


def reduce_to_8_bits(
    image: Image.Image,  # loaded
    raw: str,  # its `raw_mode`
    reread: Callable[[str], Image.Image],  # loads the file in another raw mode
    *,
    significant: int = 0,  # bits by a PNG's chunk sBIT; 0 where there is none
    least: int = 8,  # bits to scale by, unless the values use more
) -> Reduced | None:
    """The image with 8 bits per channel, or None where it has no more.

    Raises `DepthError` for negative values, integers above 65535, and floating point beyond 0 to 1.
    """
    tags = getattr(image, "tag_v2", {})
    # Pillow inverts images of 8 bits itself.
    inverted = tags.get(PHOTOMETRIC) == 0 and image.mode.startswith(("I", "F"))
    if image.mode == "F":
        grey = np.asarray(image).astype(np.float64)
        low, high = float(grey.min()), float(grey.max())
        if low >= 0 and high <= 1:
            levels = np.floor(np.abs(inverted - grey) * 255 + 0.5).astype(np.uint8)
            return Reduced(image=Image.fromarray(levels), note="floating point from 0 to 1: scaled to 8 bits")
        if not (low >= 0 and high <= FULL and (grey == np.floor(grey)).all()):
            raise DepthError(f"floating point from {low:.6g} to {high:.6g}")
        values = grey.astype(np.int64)
    elif image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > FULL:
            raise DepthError(f"integers from {values.min()} to {values.max()}")
    elif raw in LOWER_BYTES:
        values = np.asarray(image).astype(np.int64) << 8 | np.asarray(reread(LOWER_BYTES[raw]))
    elif raw == GREY_WITH_ALPHA:
        pairs = np.asarray(reread("RGBA")).astype(np.int64)
        values = (pairs[..., 0::2] << 8 | pairs[..., 1::2])[..., [0, 0, 0, 1]]
    elif ";16" in raw:
        return Reduced(image=image, note=UPPER_8_OF_16, bits=16)
    else:
        return None
    colours, alpha = (values[..., :3], values[..., 3:]) if image.mode == "RGBA" else (values, None)
    promised = _promised(tags.get(MAX_SAMPLE_VALUE), raw, significant, colours)
    bits = used_bits(max(int(colours.max()), promised))
    scale = max(bits, least)
    pixels = np.abs(255 * inverted - (colours >> scale - 8))
    if alpha is not None:
        pixels = np.concatenate([pixels, alpha >> max(used_bits(int(alpha.max())), scale) - 8], axis=-1)
    # Colours of which the upper 8 of 16 bits are kept are as Pillow read them.
    read = scale == 16 and values.ndim == 3
    reduced = image if read else Image.fromarray(pixels.astype(np.uint8), image.mode if values.ndim == 3 else "L")
    mark = (f"/{scale}" if scale < 16 else "") + "/inverted" * inverted
    return Reduced(image=reduced, note=_note(bits, scale), bits=bits, mark=mark)


def used_bits(largest: int) -> int:
    """The fewest of the usual bits that hold a value from 0 to 65535.

    >>> [used_bits(value) for value in (0, 255, 256, 4095, 4096, 65535)]
    [8, 8, 10, 12, 14, 16]
    """
    return next(bits for bits in DEPTHS if largest < 1 << bits)


def _promised(tag: object, raw: str, significant: int, values: NDArray[np.int64]) -> int:
    """The largest value that the file says its values may have; 0 where it says nothing.

    A PNG with sBIT has values that were scaled up to 16 bits, and then the lower bits are zero in dark pixels; some
    programs write sBIT and do not scale.
    """
    largest = tag[0] if isinstance(tag, tuple) and tag else tag
    if isinstance(largest, int) and 0 < largest < FULL:  # FULL is what any file of 16 bits says
        return largest
    if raw == "I;12":
        return 2**12 - 1
    if raw == "L":  # a PPM, whose values Pillow scales to 16 bits
        return FULL
    if 8 <= significant < 16:
        scaled = not (values & (1 << 16 - significant) - 1).any()
        return FULL if scaled else (1 << significant) - 1
    return 0


def _note(bits: int, scale: int) -> str:
    if bits == 16:
        return UPPER_8_OF_16
    others = " as of others of its set" if scale > bits else ""
    return f"16 bits, of which {bits} are used: the upper 8 of {scale} are kept{others}"
