"""Splits of a dataset that are decoded together: scaled alike, if there is room; opened without their table."""

import json
import tracemalloc
from collections import Counter, namedtuple

import numpy as np
import pytest
from mltbench.datasets.images import cache as cache_module
from mltbench.datasets.images.cache import ImageFile, find_cache, open_pixels
from mltbench.datasets.images.reports import ImageReport, ReportWriter
from mltbench.datasets.prepared import dataset_folder
from mltbench.datasets.prepared.dataset_folder import (
    SIDES,
    SplitLabels,
    decode_splits,
    describe_reports,
    describe_splits,
    open_prepared,
    write_prepared,
)  # fmt: skip
from mltbench.errors import InputError
from PIL import Image

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def files(tmp_path):
    """Images of each split, all one grey: by default of values below 4096 in 16 bits, dark ones in `test`."""
    folder = tmp_path / "images"
    folder.mkdir()

    def making(**values):
        made = {}
        for split, greys in values.items():
            made[split] = [ImageFile(id=f"{split}{i}", path=str(folder / f"{split}{i}.png")) for i in range(len(greys))]
            for file, value in zip(made[split], greys, strict=True):
                Image.fromarray(np.full((4, 4), value, np.uint16)).save(file.path)
        return made

    return making


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "x").mkdir(parents=True)
    return tmp_path / "data" / "x"


def decode(folder, files, **options):
    return decode_splits(folder, files, cure="mend them", **options)


def levels(folder, name):
    return open_pixels(folder / f"{name}.npy")[:, 0, 0, 0].tolist()


def test_16_bits_are_scaled_alike_in_all_splits(files, folder):
    some = files(train=[4095, 800], validation=[300], test=[200, 100])
    caches = decode(folder, some)
    assert [levels(folder, name) for name in SIDES] == [[255, 50], [18], [12, 6]]
    assert [cache.scales for cache in caches.values()] == [{12}] * 3
    (_, alike) = describe_reports(folder, caches)
    names = [file.path for split in some.values() for file in split]
    assert alike == (
        "images of 16 bits are scaled alike, by the 12 that the deepest use: "
        f"1 of 12 bits keep 256 grey levels (such as {names[0]}), 2 of 10 bits keep 64 grey levels "
        f"(such as {names[1]}), 2 of 8 bits keep 16 grey levels (such as {names[3]}). If those are wrong, save them "
        "with 8 bits and import again"
    )
    # One image of 16 bits moves all of them.
    decode(folder, files(train=[4095, 800], validation=[300], test=[200, 65535]))
    assert [levels(folder, name) for name in SIDES] == [[15, 3], [1], [0, 255]]
    decode(folder, some | files(test=[200, 100]))
    assert [levels(folder, name) for name in SIDES] == [[255, 50], [18], [12, 6]]


@pytest.mark.parametrize(("sample", "times"), [(32, 1), (1, 2)])
def test_images_are_decoded_twice_only_if_those_that_are_seen_first_use_fewer_bits(
    sample, times, files, folder, monkeypatch
):
    decoded, whole = Counter(), cache_module.decode_chunk

    def counting(size, some, **more):
        decoded.update(file.id for file in some)
        return whole(size, some, **more)

    monkeypatch.setattr(cache_module, "decode_chunk", counting)
    monkeypatch.setattr(dataset_folder, "SAMPLE", sample)
    some = files(train=[300, 4095], validation=[300], test=[200, 100])
    decode(folder, some)
    assert decoded == {file.id: times for split in some.values() for file in split}
    assert [levels(folder, name) for name in SIDES] == [[18, 255], [18], [12, 6]]
    decode(folder, some)
    assert max(decoded.values()) == times


@pytest.mark.parametrize("greys", [[4095, 4000], [4095, 200]])
def test_what_is_there_is_not_decoded_again(greys, files, folder, monkeypatch):
    some = files(train=greys, validation=[4000], test=[4000])
    before = decode(folder, some)
    monkeypatch.setattr(cache_module, "decode_chunk", None)
    assert decode(folder, some) == before


def made_up(folder, number):
    """A dataset of one split, `number` images of one pixel, as decoding would leave it."""
    ids = [f"images_001/images/{i:08d}_000.png" for i in range(number)]
    with (folder / "train.npy.jsonl").open("wb") as file:
        reports = ReportWriter(file)
        reports.write(
            ImageReport(id=one, path=f"/data/nih/{one}", file_digest=f"{i:064d}") for i, one in enumerate(ids)
        )
    np.save(folder / "train.npy", np.zeros((number, 1, 1, 3), np.uint8))
    status = (folder / "train.npy").stat()
    record = {"key": "", "digest": "", "stamp": [status.st_size, status.st_mtime_ns], "bits": 8, **reports.summary()}
    (folder / "train.npy.json").write_text(json.dumps(record))
    return opened(folder, {"train": find_cache(folder / "train.npy")})


def test_a_start_of_training_holds_nothing_in_python_for_an_image(folder):
    peaks = []
    for number in (10_000, 40_000):
        dataset = made_up(folder, number)
        tracemalloc.start()
        assert len(dataset.split("train")) == number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Hashes of the ids, twice, are 16 bytes an image; a report took 1,000.
    assert peaks[1] - peaks[0] < 30_000 * 50


def opened(folder, caches):
    labels = {}
    for name, cache in caches.items():
        _, ids, digests = cache.kept()
        labels[name] = SplitLabels(ids=ids, labels=np.ones((len(ids), 2), np.uint8), file_digests=digests)
    about = {"name": "x", "summary": "", "source": "", "recipe": "", "backbone": "", "classes": ("a", "b")}
    manifest = describe_splits(labels, **about, options={})
    write_prepared(folder, manifest, labels)
    return open_prepared(folder, manifest)


def test_the_digest_of_a_dataset_says_by_how_many_bits_it_was_scaled(files, folder):
    everything = {}
    for name, last in (("16", 65535), ("12", 4095)):
        some = files(train=[4000, last], validation=[300], test=[200])
        dataset = opened(folder, decode(folder, some))
        everything[name] = dataset.digests["test"]
        assert [dataset.split(split).bits for split in SIDES] == [int(name)] * 3
    assert everything["16"] != everything["12"], "the same files with other pixels"


def test_a_start_of_training_does_not_read_the_table(files, folder):
    dataset = opened(folder, decode(folder, files(train=[4095, 1], validation=[2], test=[3])))
    for table in folder.glob("*.jsonl"):
        table.unlink()
    assert [dataset.split(name).ids.tolist() for name in SIDES] == [["train0", "train1"], ["validation0"], ["test0"]]


def test_a_cache_of_other_images_is_refused(files, folder):
    dataset = opened(folder, decode(folder, files(train=[4095, 1], validation=[2], test=[3])))
    record = json.loads((folder / "train.npy.json").read_text())
    (folder / "train.npy.json").write_text(json.dumps(record | {"ids": "0" * 64}))
    with pytest.raises(InputError, match="holds other images than labels"):
        dataset.split("train")


def test_the_room_that_decoding_takes_is_said_first_and_must_be_there(files, folder, monkeypatch, capsys):
    some = files(train=[4095] * 3, validation=[1], test=[2])
    needed = 3 * (3 * 280**2 + 2 * 224**2)
    monkeypatch.setattr(dataset_folder.shutil, "disk_usage", lambda path: Usage(0, 0, needed - 1))
    monkeypatch.setattr(cache_module, "decode_chunk", None)
    with pytest.raises(InputError) as refused:
        decode(folder, some)
    assert str(refused.value).startswith(f"5 images take 1.0 MB when decoded, and {folder.parent} has 1.0 MB free; ")
    assert "--data-root" in str(refused.value)
    assert not list(folder.iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(dataset_folder.shutil, "disk_usage", lambda path: Usage(0, 0, 5_000_000_000))
    decode(folder, some)
    assert capsys.readouterr().out == f"decoding 5 images: 1.0 MB under {folder.parent} (5.0 GB free)\n"
    # What is there takes no more room, and what a killed command left is overwritten.
    (folder / "test.npy").rename(folder / ".test.npy.new")
    left = (folder / ".test.npy.new").stat().st_size
    monkeypatch.setattr(dataset_folder.shutil, "disk_usage", lambda path: Usage(0, 0, 3 * 224**2 - left))
    decode(folder, some)
    assert capsys.readouterr().out.startswith("decoding 1 images: 150.5 kB under")
    decode(folder, some)
    assert capsys.readouterr().out == ""
