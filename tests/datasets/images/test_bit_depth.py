"""Images of more than 8 bits, written by hand: their pixels by arithmetic, what is noted, and what is refused."""

import struct
import zlib

import numpy as np
import pytest
from mltbench.datasets.images.decode import BadImageError, decode_image
from PIL import Image

SIDE = 8


def png(values, colour, **chunks):
    """A PNG of 16 bits: colour 0 is grey, 2 RGB, 4 grey with alpha, 6 RGBA."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    more = b"".join(chunk(kind.encode(), data) for kind, data in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def tiff(values, photometric, kind="u2", order="<", **tags):
    """An uncompressed TIFF; photometric 0 is white at zero, 1 black at zero, 2 RGB; extra tags are `t<number>`."""
    data, samples = values.astype(order + kind).tobytes(), values.shape[2] if values.ndim == 3 else 1
    bits, sample_format = 8 * int(kind[1]), {"u": 1, "i": 2, "f": 3}[kind[0]]
    entries = {
        256: [values.shape[1]], 257: [values.shape[0]], 258: [bits] * samples, 259: [1], 262: [photometric], 273: [0],
        277: [samples], 278: [values.shape[0]], 279: [len(data)], 339: [sample_format] * samples,
    } | {int(name[1:]): [value] for name, value in tags.items()}  # fmt: skip
    packed = {tag: struct.pack(f"{order}{len(numbers)}H", *numbers) for tag, numbers in entries.items()}
    at = 8 + 2 + 12 * len(entries) + 4
    packed[273] = struct.pack(f"{order}H", at + sum(len(each) for each in packed.values() if len(each) > 4))
    directory, long = b"", b""
    for tag in sorted(entries):
        here = packed[tag]
        if len(here) > 4:
            here, long = struct.pack(f"{order}I", at + len(long)), long + here
        directory += struct.pack(f"{order}HHI", tag, 3, len(entries[tag])) + here.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    return head + directory + bytes(4) + long + data


def noise(bits, channels=0, seed=0):
    """Random values of so many bits, the largest among them."""
    shape = (SIDE, SIDE, channels) if channels else (SIDE, SIDE)
    values = np.random.default_rng(seed).integers(0, 1 << bits, shape)
    values.flat[0] = (1 << bits) - 1
    return values


def opaque(values, alpha=65535):
    return np.dstack([values, np.full((SIDE, SIDE), alpha)])


def grey(levels):
    return np.dstack([levels] * 3)


@pytest.fixture
def decode(tmp_path):
    def decoding(data, **options):
        (tmp_path / "image").write_bytes(data)
        return decode_image(tmp_path / "image", SIDE, **options)

    return decoding


ORDERS = ("<", ">")
G12, C12 = noise(12), noise(12, 3)
FILES = {
    "grey PNG": (png(G12, 0), grey(G12 >> 4)),
    "RGB PNG": (png(C12, 2), C12 >> 4),
    "grey PNG with alpha": (png(opaque(G12), 4), grey(G12 >> 4)),
    "RGBA PNG": (png(opaque(C12), 6), C12 >> 4),
    "RGBA PNG with alpha of 12 bits": (png(opaque(C12, 4095), 6), C12 >> 4),
    "clear PNG": (png(opaque(C12, 0), 6), np.full_like(C12, 255)),
    "sBIT, not scaled up": (png(G12, 0, sBIT=b"\x0c"), grey(G12 >> 4)),
    "PGM": (b"P5 8 8 65535\n" + G12.astype(">u2").tobytes(), grey(G12 >> 4)),
    **{f"TIFF {o}": (tiff(G12, 1, order=o), grey(G12 >> 4)) for o in ORDERS},
    **{f"RGB TIFF {o}": (tiff(C12, 2, order=o), C12 >> 4) for o in ORDERS},
    **{f"RGBA TIFF {o}": (tiff(opaque(C12), 2, order=o, t338=2), C12 >> 4) for o in ORDERS},
    "white at zero": (tiff(G12, 0), grey(255 - (G12 >> 4))),
    **{f"signed TIFF of positive values {o}": (tiff(G12, 1, "i2", o), grey(G12 >> 4)) for o in ORDERS},
    **{f"signed 32 bits {o}": (tiff(G12, 1, "i4", o), grey(G12 >> 4)) for o in ORDERS},
    "unsigned 32 bits": (tiff(G12, 1, "u4"), grey(G12 >> 4)),
    **{f"floating point of integers {o}": (tiff(G12, 1, "f4", o), grey(G12 >> 4)) for o in ORDERS},
}


@pytest.mark.parametrize("name", FILES)
def test_of_12_bits_the_upper_8_are_kept_in_every_kind_of_file(name, decode):
    data, expected = FILES[name]
    decoded = decode(data)
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert decoded.note.startswith("16 bits, of which 12 are used: the upper 8 of 12 are kept")
    assert decoded.bits == 12
    assert decoded.file_digest[64:].startswith("/12")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [0, 3])
def test_values_are_scaled_by_the_bits_that_they_use(bits, channels, decode):
    values = noise(bits, channels)
    levels = values >> bits - 8
    decoded = decode(png(values, 2 if channels else 0))
    np.testing.assert_array_equal(decoded.pixels, levels if channels else grey(levels))
    # One bit more is the next of these depths.
    values.flat[0] = 1 << min(bits, 15)
    wider = min(bits + 2, 16)
    np.testing.assert_array_equal(decode(png(values, 2 if channels else 0)).pixels[..., 0].ravel()[1:],
                                  (values[..., 0] if channels else values).ravel()[1:] >> wider - 8)  # fmt: skip


def test_what_uses_16_bits_is_as_it_ever_was_and_has_no_mark(decode):
    for data, levels in ((png(noise(16), 0), grey(noise(16) >> 8)), (png(noise(16, 3), 2), noise(16, 3) >> 8)):
        decoded = decode(data)
        np.testing.assert_array_equal(decoded.pixels, levels)
        assert (decoded.note, len(decoded.file_digest)) == ("16 bits per channel: the upper 8 are kept", 64)


def test_a_dark_image_of_a_set_stays_dark(decode):
    dark = noise(9)
    np.testing.assert_array_equal(decode(png(dark, 0)).pixels, grey(dark >> 2))
    alike = decode(png(dark, 0), bits=12)
    np.testing.assert_array_equal(alike.pixels, grey(dark >> 4))
    assert alike.note == "16 bits, of which 10 are used: the upper 8 of 12 are kept as of others of its set"
    assert (alike.bits, alike.file_digest[64:]) == (10, "/12")


@pytest.mark.parametrize(
    ("data", "levels"),
    [
        (png(G12 << 4, 0, sBIT=b"\x0c"), G12 >> 4),
        (png(noise(8) << 4, 0, sBIT=b"\x0c"), noise(8) >> 4),  # dark, and scaled up as the format asks
        (tiff(noise(9), 1, t281=4095), noise(9) >> 4),  # MaxSampleValue
        (tiff(noise(9), 1, t281=65535), noise(9) >> 2),
        (b"P5 8 8 4095\n" + noise(9).astype(">u2").tobytes(), np.round(noise(9) / 4095 * 65535).astype(int) >> 8),
    ],
)
def test_a_file_that_says_its_range_is_scaled_by_that(data, levels, decode):
    np.testing.assert_array_equal(decode(data).pixels, grey(levels))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("photometric", [0, 1])
def test_floating_point_from_0_to_1_is_scaled_to_8_bits(order, photometric, decode):
    values = np.random.default_rng(1).random((SIDE, SIDE)).astype(np.float32)
    decoded = decode(tiff(values, photometric, "f4", order))
    shown = values if photometric else 1 - values.astype(np.float64)
    assert np.abs(decoded.pixels - 255.0 * grey(shown)).max() <= 0.5 + 1e-4
    assert decoded.note == "floating point from 0 to 1: scaled to 8 bits"


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        (G12 - 1000, "i2", "integers from -[0-9]+ to 3095"),
        (G12 * 100, "i4", "integers from [0-9]+ to 409500"),
        (G12 / 100, "f4", "floating point from [0-9.]+ to 40.95"),
        (G12 - 0.5, "f4", "floating point from [0-9.-]+ to 4094.5"),
        (G12 * np.nan, "f4", "floating point from nan"),
    ],
)
def test_a_range_that_is_not_known_is_refused_with_the_cure(values, kind, says, decode):
    with pytest.raises(BadImageError, match=rf"pixels of {says}.* no fixed range; save it with 8 or 16 bits"):
        decode(tiff(values, 1, kind))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tiff(G12 / 4095, 1, "f8"), "a TIFF of a kind that cannot be read; save it with 8 or 16 unsigned bits"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "an HEIC or AVIF file: save it as JPEG"),
        (bytes(128) + b"DICM" + bytes(99), "a DICOM file: save it as PNG"),
    ],
)
def test_formats_that_are_not_read_are_named_with_the_cure(data, says, decode):
    with pytest.raises(BadImageError, match=says):
        decode(data)


SMALL = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(SMALL), SMALL),
        (Image.fromarray(SMALL > 127), np.where(SMALL > 127, 255, 0)),
        (Image.fromarray(SMALL).convert("P"), SMALL),
        (Image.merge("LA", [Image.fromarray(SMALL), Image.new("L", (SIDE, SIDE), 255)]), SMALL),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_8_bits_and_fewer_are_as_they_are(image, expected, kind, decode, tmp_path):
    image.save(tmp_path / "small", kind)
    decoded = decode((tmp_path / "small").read_bytes())
    np.testing.assert_array_equal(decoded.pixels, grey(expected))
    assert (decoded.bits, len(decoded.file_digest), "16" in decoded.note) == (0, 64, False)


def test_white_at_zero_of_8_bits_is_inverted_once(decode):
    np.testing.assert_array_equal(decode(tiff(SMALL, 0, "u1")).pixels, grey(255 - SMALL))
