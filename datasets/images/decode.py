"""One image file to one square of pixels, the same way for every dataset."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .bit_depth import DepthError, Reduced, raw_mode, reduce_to_8_bits

# Common formats whose decoders run no outside program (EPS, for one, runs Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
# What is common elsewhere, by ending, and what to do about it.
FOREIGN = {
    **dict.fromkeys((".heic", ".heif", ".avif"), "save it as JPEG, such as with `magick a.heic a.jpg`"),
    ".dcm": "save it as PNG of 16 bits, such as with `dcmj2pnm +on2 a.dcm a.png`",
}
# Pillow's own warning level: an image of more pixels is taken for a decompression bomb.
MOST_PIXELS = 89_478_485
# Of the files that are taken for images in a folder.
ENDINGS = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"),
}
MOST_BYTES = 256 * 2**20
# Raised whenever the code below gives other pixels for the same file, unless they are marked (`Decoded.file_digest`).
DECODER_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A decoded image, `(size, size, 3)` uint8 RGB."""

    pixels: NDArray[np.uint8]
    # SHA-256 of the file; with a mark, such as `/12`, where 12 of 16 bits are used: version 1 kept the upper 8 of 16.
    file_digest: str
    note: str  # what had to be converted, such as `CMYK`; empty for ordinary images
    bits: int = 0  # that the values of an image of more than 8 bits use; 0 for all others


class BadImageError(Exception):
    """The file is no image that can be used; the message says why."""


def decode_image(path: Path, size: int, *, shape: tuple[int, int] | None = None, bits: int = 8) -> Decoded:
    """Decode a file to a square; its aspect ratio is not kept.

    Scaled straight to `size` x `size` with bilinear interpolation between the four neighbours and no antialiasing, as
    the published code does (OpenCV's INTER_LINEAR). Turned upright by its EXIF orientation, as OpenCV does. The first
    frame of an animation is taken; CMYK is converted without colour profile, transparent pixels are laid on white. Of
    16 bits, the upper 8 of those that are used are kept, of `bits` at least, so that images of a set are scaled alike.

    Raises `BadImageError` if it cannot be decoded whole, is a decompression bomb, or has another `shape` (width and
    height, upright or as stored) than its annotation promises.
    """
    data = _read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(data, size, shape, bits)
    except BadImageError:
        raise
    except DepthError as error:
        cure = "save it with 8 or 16 bits per channel, or as floating point from 0 to 1"
        raise BadImageError(f"pixels of {error} have no fixed range; {cure}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImageError(f"decompression bomb: more than {MOST_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise BadImageError(_foreign(data)) from error
    except Exception as error:  # decoders raise anything on foreign bytes, and one bad file must not end the others
        raise BadImageError(f"corrupt or truncated: {error}") from error


def _read(path: Path) -> bytes:
    try:
        length = path.stat().st_size
        if length > MOST_BYTES:
            raise BadImageError(f"file of {length:,} bytes; at most {MOST_BYTES:,} are read")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BadImageError("no such file") from error
    except (OSError, ValueError) as error:
        raise BadImageError(f"cannot be read: {error}") from error
    if not data:
        raise BadImageError("empty file (0 bytes)")
    return data


def _foreign(data: bytes) -> str:
    """Why bytes are no image that is decoded here, with a cure for formats that are common elsewhere."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"):
        return f"an HEIC or AVIF file: {FOREIGN['.heic']}"
    if data[128:132] == b"DICM":
        return f"a DICOM file: {FOREIGN['.dcm']}"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF of a kind that cannot be read; save it with 8 or 16 unsigned bits per channel"
    return f"no image in a known format ({', '.join(FORMATS)})"


def _decode(data: bytes, size: int, shape: tuple[int, int] | None, bits: int) -> Decoded:
    with _opened(data) as image:
        if image.width * image.height > MOST_PIXELS:
            raise BadImageError(f"decompression bomb: {image.width} x {image.height} pixels")
        if shape is not None and image.size not in (shape, shape[::-1]):
            says = f"its annotation says {shape[0]} x {shape[1]}: another or a resized image"
            raise BadImageError(f"{image.width} x {image.height} pixels, {says}")
        notes, raw = _notes(image), raw_mode(image)
        _load_upright(image)
        reread, significant = partial(_reread, data), _significant_bits(data)
        reduced = reduce_to_8_bits(image, raw, reread, significant=significant, least=bits)
        reduced = reduced or Reduced(image=image, note="")
        rgb = _as_rgb(reduced.image)
        box = (0, 0, rgb.width, rgb.height)
        # Not `resize`, which antialiases: `transform` reads the four neighbours of each target pixel's centre.
        square = rgb.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
        return Decoded(
            pixels=np.asarray(square), file_digest=hashlib.sha256(data).hexdigest() + reduced.mark,
            note=", ".join([reduced.note] * bool(reduced.note) + notes), bits=reduced.bits,
        )  # fmt: skip


def _opened(data: bytes) -> Image.Image:
    Image.init()  # `formats` knows only plugins that are loaded
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _load_upright(image: Image.Image) -> None:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)


def _reread(data: bytes, raw: str) -> Image.Image:
    """The image as if its pixels lay in the file in another way."""
    with _opened(data) as image:
        tiles: Any = getattr(image, "tile", ())
        image.tile = [  # type: ignore[attr-defined]
            tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:])) for tile in tiles
        ]
        _load_upright(image)
        return image


def _significant_bits(data: bytes) -> int:
    """Most bits per channel by the chunk sBIT of a PNG; 0 where there is none."""
    at = data.find(b"sBIT", 0, data.find(b"IDAT")) if data.startswith(b"\x89PNG") else -1
    return max(data[at + 4 : at + 4 + data[at - 1]], default=0) if at > 0 else 0


def _notes(image: Image.Image) -> list[str]:
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"animated or of several pictures ({getattr(image, 'n_frames', 1)}): the first is taken")
    if image.mode == "CMYK":
        notes.append("CMYK: converted without colour profile")
    if "A" in image.getbands() or "transparency" in image.info:
        notes.append("transparent: laid on white")
    return notes


def _as_rgb(image: Image.Image) -> Image.Image:
    if "A" in image.getbands() or "transparency" in image.info:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
