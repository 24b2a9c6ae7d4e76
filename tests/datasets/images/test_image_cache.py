"""Decoding once: what is converted, what is refused, and that a cache is whole or not there."""

import hashlib
import io
import json
import multiprocessing
import resource
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from mltbench.datasets.images import cache as cache_module
from mltbench.datasets.images.cache import BadImagesError, ImageFile, build_cache, find_cache, open_pixels, verify_cache
from mltbench.datasets.images.decode import BadImageError, decode_image
from mltbench.datasets.images.reports import ids_digest, read_reports
from mltbench.errors import InputError
from PIL import Image

RED = np.full((30, 40, 3), (200, 0, 0), np.uint8)


def noise(seed, size=(40, 30)):
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)


def saved(image, kind, **options):
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


# A GIF of 28 bytes whose header promises 65,535 x 65,535 pixels.
BOMB = b"GIF89a" + b"\xff\xff" * 2 + bytes(3) + b"," + bytes(4) + b"\xff\xff" * 2 + b"\0\2\0;"
NOISE = Image.fromarray(noise(1))
JPEG = saved(NOISE, "JPEG")
GOOD = {
    "cmyk.jpg": (saved(Image.fromarray(RED).convert("CMYK"), "JPEG"), "CMYK"),
    "grey16.png": (saved(Image.fromarray(np.full((30, 40), 0x8040, np.uint16)), "PNG"), "16 bits"),
    "moving.gif": (saved(Image.fromarray(RED), "GIF", save_all=True, append_images=[NOISE]), "animated"),
    "clear.png": (saved(Image.new("RGBA", (40, 30), (0, 0, 0, 0)), "PNG"), "transparent"),
    "grey.jpg": (saved(Image.new("L", (40, 30), 90), "JPEG"), ""),
}
BAD = {
    "empty.jpg": (b"", "empty file"),
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "corrupt or truncated"),
    "text.jpg": (b"no image at all", "no image in a known format"),
    "bomb.gif": (BOMB, "decompression bomb"),
    "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "no image in a known format"),
    "float.tiff": (saved(Image.fromarray(np.full((30, 40), 1.5, np.float32)), "TIFF"), "no fixed range"),
}


@pytest.mark.parametrize("name", GOOD)
def test_unusual_images_are_converted_and_noted(name, tmp_path):
    data, note = GOOD[name]
    (tmp_path / name).write_bytes(data)
    decoded = decode_image(tmp_path / name, 224)
    assert (decoded.pixels.shape, decoded.note.startswith(note)) == ((224, 224, 3), True)
    middle = decoded.pixels[112, 112].astype(int)
    expected = {"grey16.png": [128] * 3, "clear.png": [255] * 3, "grey.jpg": [90] * 3}.get(name, [200, 0, 0])
    assert np.abs(middle - expected).max() <= 12


@pytest.mark.parametrize("name", BAD)
def test_unusable_images_say_why(name, tmp_path):
    data, reason = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadImageError, match=reason):
        decode_image(tmp_path / name, 224)


def test_scaling_is_bilinear_without_antialiasing(tmp_path):
    pixels = noise(3, size=(500, 333))
    Image.fromarray(pixels).save(tmp_path / "image.png")
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, size=(224, 224), mode="bilinear", align_corners=False)
    found = decode_image(tmp_path / "image.png", 224).pixels.astype(float)
    assert np.abs(found - expected[0].permute(1, 2, 0).numpy()).max() < 1.1


def test_images_are_turned_upright(tmp_path):
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    found = decode_image(tmp_path / "turned.png", 40).pixels
    assert (found[:20].max(), found[20:].min()) == (0, 255)


@pytest.fixture
def files(tmp_path):
    files = [ImageFile(id=f"{i:03d}", path=str(tmp_path / f"{i:03d}.jpg")) for i in range(100)]
    for i, file in enumerate(files):
        Image.fromarray(noise(i)).save(file.path)
    return files


def test_bad_images_are_named_after_all_were_tried_and_may_be_left_out(files, tmp_path):
    whole = build_cache(files, tmp_path / "whole.npy", 32)
    assert (open_pixels(whole.path) == [decode_image(Path(file.path), 32).pixels for file in files]).all()
    kept = {path: path.read_bytes() for path in (tmp_path / "003.jpg", tmp_path / "070.jpg")}
    for path, data in kept.items():
        path.write_bytes(data[:100])
    with pytest.raises(BadImagesError, match="2 of 100 images cannot be used") as error:
        build_cache(files, tmp_path / "images.npy", 32)
    assert [image.id for image in error.value.bad] == ["003", "070"]
    # Nothing but its lock and the table of what became of each image.
    assert {path.name for path in tmp_path.glob("*images.npy*")} == {"images.npy.lock", "images.npy.jsonl"}
    without = build_cache(files, tmp_path / "images.npy", 32, leave_out=True)
    rows = [i for i in range(100) if i not in (3, 70)]
    assert (open_pixels(without.path) == open_pixels(whole.path)[rows]).all()
    # A cache without some images is not taken for a whole one.
    with pytest.raises(BadImagesError, match="2 of 100 images"):
        build_cache(files, tmp_path / "images.npy", 32)
    for path, data in kept.items():
        path.write_bytes(data)
    # Two processes give the same cache as one.
    assert build_cache(files, tmp_path / "images.npy", 32, workers=2).digest == whole.digest


def test_a_finished_cache_is_not_decoded_again_and_hashed_once_after_it_was_copied(files, tmp_path, monkeypatch):
    cache = build_cache(files[:4], tmp_path / "images.npy", 8)
    for name in ("images.npy", "images.npy.json", "images.npy.jsonl"):
        shutil.copy(tmp_path / name, tmp_path / f"copied-{name}")
    monkeypatch.setattr(cache_module, "decode_chunk", None)
    assert find_cache(tmp_path / "copied-images.npy").digest == cache.digest
    monkeypatch.setattr(cache_module, "verify_cache", None)
    assert find_cache(tmp_path / "copied-images.npy").digest == cache.digest
    assert build_cache(files[:4], tmp_path / "images.npy", 8) == cache


def test_every_flipped_byte_is_found_and_a_damaged_cache_is_made_again(files, tmp_path):
    cache = build_cache(files[:4], tmp_path / "images.npy", 8)
    data = cache.path.read_bytes()
    for position in range(4096, len(data), 41):
        cache.path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        for check in (lambda: find_cache(cache.path), lambda: verify_cache(cache)):
            with pytest.raises(InputError, match="was changed or damaged"):
                check()
    for length in range(0, len(data), 499):
        cache.path.write_bytes(data[:length])
        with pytest.raises(InputError, match="damaged"):
            find_cache(cache.path)
    assert build_cache(files[:4], tmp_path / "images.npy", 8).digest == cache.digest
    assert cache.path.read_bytes() == data


def test_the_table_says_what_became_of_each_image(files, tmp_path):
    Path(files[2].path).write_bytes(JPEG[:100])
    Path(files[1].path).write_bytes(GOOD["cmyk.jpg"][0])
    cache = build_cache(files[:4], tmp_path / "images.npy", 8, leave_out=True)
    found = list(cache.reports())
    assert [(report.id, report.path) for report in found] == [(file.id, file.path) for file in files[:4]]
    for report, file in zip(found, files[:4], strict=True):
        digest = hashlib.sha256(Path(file.path).read_bytes()).hexdigest()
        assert report.file_digest == ("" if file.id == "002" else digest)
    assert [bool(report.problem) for report in found] == [False, False, True, False]
    assert [report.note for report in found] == ["", "CMYK: converted without colour profile", "", ""]
    rows, ids, digests = cache.kept()
    assert (rows.tolist(), ids.tolist()) == ([0, 1, 3], ["000", "001", "003"])
    assert digests.tolist() == [found[i].file_digest for i in (0, 1, 3)]
    assert (cache.images, cache.usable, cache.ids) == (4, 3, ids_digest(["000", "001", "003"]))
    assert cache.ids != ids_digest(["00", "0001", "003"])


def test_a_table_that_was_changed_or_cut_is_found_when_it_is_read_and_made_again(files, tmp_path, monkeypatch):
    cache = build_cache(files[:4], tmp_path / "images.npy", 8)
    table = tmp_path / "images.npy.jsonl"
    data = table.read_bytes()
    changed = [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data))]
    for damaged in (*changed, *(data[:length] for length in range(0, len(data), 7)), data + b"{}\n"):
        table.write_bytes(damaged)
        with pytest.raises(InputError, match=r"images\.npy\.jsonl was changed or damaged"):
            list(find_cache(cache.path).reports())
    table.unlink()
    with pytest.raises(InputError, match="was changed or damaged"):
        list(find_cache(cache.path).reports())
    assert build_cache(files[:4], tmp_path / "images.npy", 8) == cache
    assert table.read_bytes() == data
    # With a record that was cut there is no cache.
    record = (tmp_path / "images.npy.json").read_bytes()
    for length in range(0, len(record), 9):
        (tmp_path / "images.npy.json").write_bytes(record[:length])
        assert find_cache(cache.path) is None


def as_earlier_versions_wrote(path):
    """Give a cache the record that held everything."""
    record = json.loads(Path(f"{path}.json").read_text())
    names = ("id", "path", "file_digest", "note", "problem")
    images = [{name: getattr(report, name) for name in names} for report in read_reports(path)]
    earlier = {"key": record["key"], "digest": record["digest"], "stamp": record["stamp"], "images": images}
    Path(f"{path}.json").write_text(json.dumps(earlier, indent=1))
    Path(f"{path}.jsonl").unlink()


def test_a_cache_of_an_earlier_version_is_read_and_its_reports_become_a_table(files, tmp_path, monkeypatch, caplog):
    cache = build_cache(files[:4], tmp_path / "images.npy", 8)
    table = (tmp_path / "images.npy.jsonl").read_bytes()
    as_earlier_versions_wrote(cache.path)
    monkeypatch.setattr(cache_module, "decode_chunk", None)
    found = find_cache(cache.path)
    assert (found.digest, found.ids, found.usable, found.table) == (cache.digest, cache.ids, 4, cache.table)
    assert (tmp_path / "images.npy.jsonl").read_bytes() == table
    assert find_cache(cache.path) == found == build_cache(files[:4], cache.path, 8)
    # Where nothing can be written, it is read each time.
    as_earlier_versions_wrote(cache.path)
    record = (tmp_path / "images.npy.json").read_bytes()

    def unwritable(path):
        raise PermissionError(path)

    monkeypatch.setattr(cache_module, "replacing", unwritable)
    for _ in range(2):
        assert find_cache(cache.path) == found
    assert (tmp_path / "images.npy.json").read_bytes() == record
    assert not caplog.records


def test_a_cache_of_an_earlier_version_of_16_bits_is_opened_but_not_taken_for_the_new_one(tmp_path, caplog):
    files = [ImageFile(id=str(i), path=str(tmp_path / f"{i}.png")) for i in range(3)]
    for i, file in enumerate(files):
        Image.fromarray(np.random.default_rng(i).integers(0, 4096, (8, 8)).astype(np.uint16)).save(file.path)
    cache = build_cache(files, tmp_path / "images.npy", 8, bits=16)
    as_earlier_versions_wrote(cache.path)
    record = json.loads((tmp_path / "images.npy.json").read_text())
    for image in record["images"]:
        image |= {"note": "16 bits per channel: the upper 8 are kept", "file_digest": image["file_digest"][:64]}
    (tmp_path / "images.npy.json").write_text(json.dumps(record))
    assert (open_pixels(cache.path).max(), find_cache(cache.path).scales) == (15, {16})
    assert ["import it again with --replace" in record.getMessage() for record in caplog.records] == [True]
    assert find_cache(cache.path).digest == cache.digest
    assert len(caplog.records) == 1, "it is said once"
    again = build_cache(files, tmp_path / "images.npy", 8)
    assert (again.scales, open_pixels(again.path).max()) == ({12}, 255)
    assert again.digest != cache.digest


def test_if_two_need_a_cache_one_decodes_and_the_other_waits(files, tmp_path, monkeypatch, caplog):
    decoded, decode = [], cache_module.decode_chunk

    def decode_slowly(size, some, **more):
        time.sleep(0.2)
        decoded.append(some)
        return decode(size, some, **more)

    monkeypatch.setattr(cache_module, "decode_chunk", decode_slowly)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: build_cache(files, tmp_path / "images.npy", 32), range(2))
    assert (one, len(decoded)) == (other, 4)
    assert [record.getMessage().split(" into ")[0] for record in caplog.records] == ["another process is decoding"]


def test_killed_at_any_time_it_begins_anew_and_gives_the_same(files, tmp_path):
    whole = build_cache(files, tmp_path / "whole.npy", 32)
    slowly = {"on_progress": lambda more, total: time.sleep(0.02)}
    for i in range(8):
        words = {"target": build_cache, "args": (files, tmp_path / "killed.npy", 32), "kwargs": slowly}
        process = multiprocessing.get_context("fork").Process(**words)
        process.start()
        time.sleep(0.01 + 0.015 * i)
        process.kill()
        process.join()
        found = find_cache(tmp_path / "killed.npy")
        assert found is None or found.digest == whole.digest
    assert build_cache(files, tmp_path / "killed.npy", 32).digest == whole.digest
    assert {path.name for path in tmp_path.glob("*killed*")} == {
        f"killed.npy{ending}" for ending in ("", ".json", ".jsonl", ".lock")
    }


def test_a_full_disk_is_an_error_and_nothing_half_written_is_taken(files, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match=r"cannot write the image cache .* needs 307,200 bytes"):
            build_cache(files, tmp_path / "images.npy", 32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert find_cache(tmp_path / "images.npy") is None
    assert len(open_pixels(build_cache(files, tmp_path / "images.npy", 32).path)) == 100
