"""A small devkit in the official layout, as archives behind a local server and as folders, prepared end to end."""

import functools
import hashlib
import io
import json
import pickle
import random
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from file_server import serving
from mltbench.datasets.dataset import SPLITS
from mltbench.datasets.download import fetching
from mltbench.datasets.long_tail.selection import ids_digest
from mltbench.datasets.prepared.dataset_folder import open_prepared, read_manifest
from mltbench.datasets.published.published_set import Place, PublishedSet, rebuild
from mltbench.datasets.published.voc_mlt import IMAGE_SETS, prepare_voc, read_year
from mltbench.errors import InputError
from PIL import Image

CLASSES = ("person", "dog", "sofa")
PATHS = {"VOC2012": "voc2012/trainval.tar", "VOC2007": "voc2007/test.tar"}


def make_year(devkit, year, number, seed):
    random_state = np.random.default_rng(seed)
    folder = devkit / year
    for part in ("JPEGImages", "Annotations", "ImageSets/Main", "SegmentationClass"):
        (folder / part).mkdir(parents=True)
    names = [f"{year[3:]}_{i:06d}" for i in range(number)]
    for i, name in enumerate(names):
        size = 50 + i % 3, 40
        pixels = random_state.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg")
        objects = [(CLASSES[0], 0)] if i % 2 == 0 else [(CLASSES[1], 0), (CLASSES[0], 1)]
        objects += [(CLASSES[2], 0)] if i % 5 == 0 else []
        body = "".join(f"<object><name>{c}</name><difficult>{d}</difficult></object>" for c, d in objects)
        body += f"<size><width>{size[0]}</width><height>{size[1]}</height></size><filename>{name}.jpg</filename>"
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{body}</annotation>")
    (folder / "ImageSets" / "Main" / f"{IMAGE_SETS[year]}.txt").write_text("\n".join(names))
    (folder / "SegmentationClass" / "left_out.png").write_bytes(b"not needed")


@pytest.fixture(scope="session")
def devkit(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc") / "VOCdevkit"
    make_year(root, "VOC2012", 80, 0)
    make_year(root, "VOC2007", 40, 1)
    return root


@pytest.fixture(scope="session")
def published(devkit):
    small = PublishedSet(
        name="voc-mlt", classes=CLASSES, largest=30, generator=functools.partial(random.Random, 0), validation=12,
        list_digest="", digests={}, list_path="voc/img_id.txt", list_file_digest="",
    )  # fmt: skip
    year = read_year(devkit / "VOC2012", "trainval", CLASSES)
    return replace(small, list_digest=ids_digest(rebuild(small, year.labels)))


@pytest.fixture
def server(devkit, tmp_path, monkeypatch):
    """A server on 127.0.0.1 of the folder `site`, which holds the archives."""
    for year, path in PATHS.items():
        (tmp_path / "site" / path).parent.mkdir(parents=True)
        with tarfile.open(tmp_path / "site" / path, "w") as tar:
            tar.add(devkit / year, arcname=f"VOCdevkit/{year}")
    with serving(tmp_path / "site") as server:
        for name in ("VOC", "LISTS"):
            monkeypatch.setenv(f"MLTBENCH_ADDRESS_{name}", server.address)
        monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.01)
        yield server


@pytest.fixture
def site(server, tmp_path):
    return tmp_path / "site"


def archives(site):
    return {year: (path, hashlib.md5((site / path).read_bytes()).hexdigest()) for year, path in PATHS.items()}


def prepare(published, data_root, **arguments):
    chosen = {key: arguments.pop(key) for key in ("root", "splits") if key in arguments}
    place = Place(data_root=data_root, **chosen)
    return prepare_voc(published, place, on_progress=lambda *report: None, **arguments)


def opened(data_root, name="voc-mlt"):
    return open_prepared(data_root / name, read_manifest(data_root / name))


def test_archives_and_folders_become_the_same_dataset(site, devkit, published, tmp_path):
    _, remarks = prepare(published, tmp_path / "data", archives=archives(site))
    assert any("without the published list" in remark for remark in remarks)
    dataset = opened(tmp_path / "data")
    assert ids_digest(dataset.split("train").ids.tolist()) == published.list_digest
    assert [dataset.split(name).images.shape[1] for name in SPLITS] == [280, 224, 224]
    assert len(dataset.split("validation")) == 12
    assert len(dataset.split("test")) == 40
    # Person stands in every image, as a difficult object in the odd ones.
    assert dataset.labels("test")[:, 0].sum() == 40
    assert not list((tmp_path / "data").rglob("SegmentationClass"))
    for place, root in (("parent", devkit.parent), ("devkit", devkit)):
        prepare(published, tmp_path / place, root=root)
        same = opened(tmp_path / place)
        assert same.digest == dataset.digest
        assert all((same.split(name).images == dataset.split(name).images).all() for name in SPLITS)


def test_without_difficult_objects_it_is_another_dataset(devkit, published, tmp_path):
    prepare(published, tmp_path, root=devkit)
    prepare(published, tmp_path, root=devkit, difficult=False)
    both, sure = opened(tmp_path), opened(tmp_path, "voc-mlt-nodifficult")
    assert both.digest != sure.digest
    assert sure.labels("test")[:, 0].sum() == 20
    assert both.split("train").ids.tolist() == sure.split("train").ids.tolist()


def test_a_download_that_breaks_off_is_resumed_and_counts_no_byte_twice(server, site, tmp_path):
    size, reports = (site / PATHS["VOC2012"]).stat().st_size, []
    server.break_after = size // 3
    wanted = fetching.Download(url=f"{server.address}/{PATHS['VOC2012']}", path=tmp_path / "kept.tar")
    fetching.fetch(wanted, on_progress=lambda more, whole: reports.append((more, whole)))
    assert sum(more for more, _ in reports) == size == reports[-1][1]
    assert wanted.path.read_bytes() == (site / PATHS["VOC2012"]).read_bytes()


def test_a_server_that_never_gets_far_keeps_what_was_sent(server, site, published, tmp_path, monkeypatch):
    server.break_after = 1000
    with pytest.raises(InputError, match=r"cut off after 4,000 .* 4,000 bytes are kept, the same command resumes"):
        prepare(published, tmp_path / "data", archives=archives(site))
    server.break_after = None
    monkeypatch.setattr(fetching, "TRIES", 1)
    prepare(published, tmp_path / "data", archives=archives(site))


def test_one_flipped_byte_is_found(site, published, tmp_path):
    right = archives(site)
    data = bytearray((site / PATHS["VOC2012"]).read_bytes())
    data[len(data) // 2] ^= 1
    (site / PATHS["VOC2012"]).write_bytes(data)
    with pytest.raises(InputError, match=r"has md5 .*, published is .*give the same command again"):
        prepare(published, tmp_path / "data", archives=right)
    assert not list((tmp_path / "data").rglob("*.jpg"))


def member(name, kind=tarfile.REGTYPE, data=b"x", target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, target
    return info, io.BytesIO(data)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (member("VOCdevkit/VOC2012/JPEGImages/../../../../evil.jpg"), "lies outside the target"),
        (member("/evil.jpg"), "lies outside the target"),
        (member("VOCdevkit/VOC2012/JPEGImages/a.jpg", tarfile.SYMTYPE, target="/etc/passwd"), "is a link"),
        (member("VOCdevkit/VOC2012/JPEGImages/a.jpg", tarfile.LNKTYPE, target="../../../x"), "is a link"),
        (member("VOCdevkit/VOC2012/JPEGImages/null", tarfile.CHRTYPE), "is a device"),
        (member("VOCdevkit/VOC2012/JPEGImages/pipe", tarfile.FIFOTYPE), "is a device"),
    ],
)
def test_hostile_members_are_refused_and_nothing_is_written(site, published, tmp_path, entry, reason):
    with tarfile.open(site / PATHS["VOC2012"], "a") as tar:
        tar.addfile(*entry)
    with pytest.raises(InputError, match=reason):
        prepare(published, tmp_path / "data", archives=archives(site))
    assert not list(tmp_path.rglob("*evil*"))
    assert not list((tmp_path / "data").rglob("*.jpg"))


def test_archives_that_unpack_too_far_or_were_cut_are_refused(site, published, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("mltbench.datasets.download.archives.MOST_BYTES", 10_000)
        with pytest.raises(InputError, match="unpacks to more than"):
            prepare(published, tmp_path / "data", archives=archives(site))
    data = (site / PATHS["VOC2012"]).read_bytes()
    (site / PATHS["VOC2012"]).write_bytes(data[: len(data) // 2 + 100])
    with pytest.raises(InputError, match="is damaged"):
        prepare(published, tmp_path / "cut", archives=archives(site))


def test_a_missing_image_of_the_release_is_named(devkit, published, tmp_path):
    shutil.copytree(devkit, tmp_path / "kit")
    victim = tmp_path / "kit" / "VOC2007" / "JPEGImages" / "2007_000003.jpg"
    victim.write_bytes(victim.read_bytes()[:300])
    message = r"1 of 67 images cannot be used(.|\n)*2007_000003.jpg: corrupt(.|\n)*official release: replace"
    with pytest.raises(InputError, match=message):
        prepare(published, tmp_path / "data", root=tmp_path / "kit")
    assert [entry["image"] for entry in quarantined(tmp_path / "data")["unusable"]] == ["2007_000003"]
    shutil.copy(devkit / "VOC2007" / "JPEGImages" / "2007_000003.jpg", victim)
    prepare(published, tmp_path / "data", root=tmp_path / "kit")
    assert len(opened(tmp_path / "data").split("test")) == 40
    assert quarantined(tmp_path / "data") == {"unusable": [], "converted": []}


def quarantined(data_root):
    return json.loads((data_root / "voc-mlt" / "quarantine.json").read_text())


def test_the_quarantine_reports_splits_that_were_decoded_earlier_too(devkit, published, tmp_path):
    shutil.copytree(devkit, tmp_path / "kit")
    unusual = tmp_path / "kit" / "VOC2007" / "JPEGImages" / "2007_000003.jpg"
    with Image.open(unusual) as image:
        converted = image.convert("CMYK")
    converted.save(unusual)
    _, remarks = prepare(published, tmp_path / "data", root=tmp_path / "kit", splits=("test",))
    assert [remark for remark in remarks if remark.startswith("converted: 1 image, such as ")]
    prepare(published, tmp_path / "data", root=tmp_path / "kit", splits=("train",))
    converted = quarantined(tmp_path / "data")["converted"]
    assert [(entry["split"], entry["image"]) for entry in converted] == [("test", "2007_000003")]


PREPARING = """
import pickle, sys
from pathlib import Path
from mltbench.datasets.published.published_set import Place
from mltbench.datasets.published.voc_mlt import prepare_voc

published, archives, place = pickle.loads(Path(sys.argv[1]).read_bytes())
prepare_voc(published, place, archives=archives, difficult=sys.argv[2] == "True", on_progress=lambda *report: None)
"""


def test_processes_that_prepare_at_once_share_the_work(server, site, published, tmp_path):
    """Two of one set and one of its variant: one download, one extraction, and each set is whole."""
    given = published, archives(site), Place(data_root=tmp_path / "data")
    (tmp_path / "given.pickle").write_bytes(pickle.dumps(given))
    words = [sys.executable, "-c", PREPARING, str(tmp_path / "given.pickle")]
    processes = [subprocess.Popen([*words, difficult]) for difficult in ("True", "True", "False")]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    for name in ("voc-mlt", "voc-mlt-nodifficult"):
        assert [len(opened(tmp_path / "data", name).split(split)) for split in ("validation", "test")] == [12, 40]
    assert [server.asked.count(f"/{path}") for path in PATHS.values()] == [1, 1]


def test_a_root_without_the_devkit_is_answered_with_the_layout(published, tmp_path):
    with pytest.raises(InputError, match=r"holds no VOC2012 and no VOC2007; expected .*VOCdevkit/VOC2012"):
        prepare(published, tmp_path / "data", root=tmp_path)
