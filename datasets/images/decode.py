"""One image file to one square of pixels, the same way for every dataset."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# Common formats whose decoders run no outside program (EPS, for one, runs Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
# Names of files in these formats end so.
ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
# Pillow's own warning level: an image of more pixels is taken for a decompression bomb.
MOST_PIXELS = 89_478_485
MOST_BYTES = 256 * 2**20
# Raised whenever the code below gives other pixels for the same file.
DECODER_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A decoded image, `(size, size, 3)` uint8 RGB."""

    pixels: NDArray[np.uint8]
    file_digest: str  # SHA-256 of the file
    note: str  # what had to be converted, such as `CMYK`; empty for ordinary images


class BadImageError(Exception):
    """The file is no image that can be used; the message says why."""


def decode_image(path: Path, size: int, *, shape: tuple[int, int] | None = None) -> Decoded:
    """Decode a file to a square; its aspect ratio is not kept.

    Scaled straight to `size` x `size` with bilinear interpolation between the four neighbours and no antialiasing, as
    the published code does (OpenCV's INTER_LINEAR). Turned upright by its EXIF orientation, as OpenCV does. The first
    frame of an animation is taken; CMYK is converted without colour profile, 16 bits keep their upper 8, transparent
    pixels are laid on white.

    Raises `BadImageError` if it cannot be decoded whole, is a decompression bomb, or has another `shape` (width and
    height, upright or as stored) than its annotation promises.
    """
    data = _read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            pixels, note = _decode(data, size, shape)
    except BadImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImageError(f"decompression bomb: more than {MOST_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise BadImageError(f"no image in a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # decoders raise anything on foreign bytes, and one bad file must not end the others
        raise BadImageError(f"corrupt or truncated: {error}") from error
    return Decoded(pixels=pixels, file_digest=hashlib.sha256(data).hexdigest(), note=note)


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


def _decode(data: bytes, size: int, shape: tuple[int, int] | None) -> tuple[NDArray[np.uint8], str]:
    Image.init()  # `formats` knows only plugins that are loaded
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise BadImageError(f"decompression bomb: {image.width} x {image.height} pixels")
        if shape is not None and image.size not in (shape, shape[::-1]):
            says = f"its annotation says {shape[0]} x {shape[1]}: another or a resized image"
            raise BadImageError(f"{image.width} x {image.height} pixels, {says}")
        notes = _notes(image)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        rgb = _as_rgb(image)
        box = (0, 0, rgb.width, rgb.height)
        # Not `resize`, which antialiases: `transform` reads the four neighbours of each target pixel's centre.
        square = rgb.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
        return np.asarray(square), ", ".join(notes)


def _notes(image: Image.Image) -> list[str]:
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"animated or of several pictures ({getattr(image, 'n_frames', 1)}): the first is taken")
    if image.mode == "CMYK":
        notes.append("CMYK: converted without colour profile")
    if image.mode.startswith("I;16") or any("16" in str(tile[3]) for tile in getattr(image, "tile", [])):
        notes.append("16 bits per channel: the upper 8 are kept")
    if "A" in image.getbands() or "transparency" in image.info:
        notes.append("transparent: laid on white")
    return notes


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise BadImageError(f"pixels of mode {image.mode} have no fixed range; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
