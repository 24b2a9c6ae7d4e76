"""Small sets in the official layouts prepared end to end: VOC from archives and folders, COCO image by image."""

import contextlib
import functools
import hashlib
import io
import json
import multiprocessing
import random
import shutil
import tarfile
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from file_server import serving
from mltbench.datasets.dataset import SPLITS
from mltbench.datasets.download import fetching
from mltbench.datasets.long_tail.selection import ids_digest
from mltbench.datasets.prepared.dataset_folder import SplitLabels, open_prepared, read_manifest
from mltbench.datasets.published.coco_mlt import prepare_coco
from mltbench.datasets.published.published_set import Place, PublishedSet, labels_of, open_published, rebuild
from mltbench.datasets.published.voc_mlt import IMAGE_SETS, prepare_voc, read_year
from mltbench.errors import InputError
from PIL import Image

CLASSES = ("person", "dog", "sofa")
FORK = multiprocessing.get_context("fork")
PATHS = {"VOC2012": "voc2012/trainval.tar", "VOC2007": "voc2007/test.tar"}


def make_year(devkit, year, number, seed):
    random_state, folder = np.random.default_rng(seed), devkit / year
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


def small_set(name, classes, validation, labels):
    small = PublishedSet(
        name=name, classes=classes, largest=30, generator=functools.partial(random.Random, 0), validation=validation,
        list_digest="", digests={}, list_path="img_id", list_file_digest="",
    )  # fmt: skip
    return replace(small, list_digest=ids_digest(rebuild(small, labels)))


@pytest.fixture(scope="session")
def published(devkit):
    train = labels_of(read_year(devkit / "VOC2012", "trainval", CLASSES), CLASSES)
    return small_set("voc-mlt", CLASSES, 12, train)


@contextlib.contextmanager
def serve(folder, site, monkeypatch):
    with serving(folder) as server:
        for name in (site, "LISTS"):
            monkeypatch.setenv(f"MLTBENCH_ADDRESS_{name}", server.address)
        yield server


@pytest.fixture
def server(devkit, tmp_path, monkeypatch):
    """A server on 127.0.0.1 of the folder `site`, which holds the archives."""
    for year, path in PATHS.items():
        (tmp_path / "site" / path).parent.mkdir(parents=True)
        with tarfile.open(tmp_path / "site" / path, "w") as tar:
            tar.add(devkit / year, arcname=f"VOCdevkit/{year}")
    with serve(tmp_path / "site", "VOC", monkeypatch) as server:
        yield server


@pytest.fixture
def site(server, tmp_path):
    return tmp_path / "site"


def archives(site):
    return {year: (path, hashlib.md5((site / path).read_bytes()).hexdigest()) for year, path in PATHS.items()}


def prepare(published, data_root, *, root=None, splits=SPLITS, **arguments):
    return prepare_voc(published, Place(data_root=data_root, root=root, splits=splits), **arguments)


def quarantined(data_root):
    return json.loads((data_root / "voc-mlt" / "quarantine.json").read_text())


def opened(data_root, name="voc-mlt"):
    return open_prepared(data_root / name, read_manifest(data_root / name))


def test_archives_and_folders_become_the_same_dataset(site, devkit, published, tmp_path):
    _, remarks = prepare(published, tmp_path / "data", archives=archives(site))
    assert any("without the published list" in remark for remark in remarks)
    dataset = opened(tmp_path / "data")
    assert ids_digest(dataset.split("train").ids.tolist()) == published.list_digest
    assert [dataset.split(name).images.shape[1] for name in SPLITS] == [280, 224, 224]
    assert [len(dataset.split(name)) for name in ("validation", "test")] == [12, 40]
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


def test_an_archive_with_another_digest_is_refused(site, published, tmp_path):
    right = archives(site)
    with (site / PATHS["VOC2012"]).open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"has md5 .*, published is .*give the same command again"):
        prepare(published, tmp_path / "data", archives=right)
    assert not list((tmp_path / "data").rglob("*.jpg"))


def member(name, kind=tarfile.REGTYPE, data=b"x", target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, target
    return info, io.BytesIO(data)


IMAGES = "VOCdevkit/VOC2012/JPEGImages"
HOSTILE = (
    (member(f"{IMAGES}/../../../../evil.jpg"), "lies outside the target"),
    (member("/evil.jpg"), "lies outside the target"),
    (member(f"{IMAGES}/a.jpg", tarfile.SYMTYPE, target="/etc/passwd"), "is a link"),
    (member(f"{IMAGES}/a.jpg", tarfile.LNKTYPE, target="../../../x"), "is a link"),
    (member(f"{IMAGES}/null", tarfile.CHRTYPE), "is a device"),
    (member(f"{IMAGES}/pipe", tarfile.FIFOTYPE), "is a device"),
)


@pytest.mark.parametrize(("entry", "reason"), HOSTILE)
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


@pytest.fixture
def victim(devkit, tmp_path):
    """An image of a copy of the devkit in the folder `kit`."""
    shutil.copytree(devkit, tmp_path / "kit")
    return tmp_path / "kit" / "VOC2007" / "JPEGImages" / "2007_000003.jpg"


def test_a_missing_image_of_the_release_is_named(devkit, victim, published, tmp_path):
    victim.write_bytes(victim.read_bytes()[:300])
    message = r"1 of 67 images cannot be used(.|\n)*2007_000003.jpg: corrupt(.|\n)*official release: replace"
    with pytest.raises(InputError, match=message):
        prepare(published, tmp_path / "data", root=tmp_path / "kit")
    assert [entry["image"] for entry in quarantined(tmp_path / "data")["unusable"]] == ["2007_000003"]
    shutil.copy(devkit / "VOC2007" / "JPEGImages" / "2007_000003.jpg", victim)
    prepare(published, tmp_path / "data", root=tmp_path / "kit")
    assert len(opened(tmp_path / "data").split("test")) == 40
    assert quarantined(tmp_path / "data") == {"unusable": [], "converted": []}


def test_the_quarantine_reports_splits_that_were_decoded_earlier_too(victim, published, tmp_path):
    Image.new("CMYK", (50, 40)).save(victim)
    _, remarks = prepare(published, tmp_path / "data", root=tmp_path / "kit", splits=("test",))
    assert [remark for remark in remarks if remark.startswith("converted: 1 image, such as ")]
    prepare(published, tmp_path / "data", root=tmp_path / "kit", splits=("train",))
    converted = quarantined(tmp_path / "data")["converted"]
    assert [(entry["split"], entry["image"]) for entry in converted] == [("test", "2007_000003")]


def test_processes_that_prepare_at_once_share_the_work(server, site, published, tmp_path):
    """Two of one set and one of its variant: one download, one extraction, and each set is whole."""
    given = published, tmp_path / "data"
    variants = [{"archives": archives(site), "difficult": difficult} for difficult in (True, True, False)]
    processes = [FORK.Process(target=prepare, args=given, kwargs=variant) for variant in variants]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    for name in ("voc-mlt", "voc-mlt-nodifficult"):
        assert [len(opened(tmp_path / "data", name).split(split)) for split in ("validation", "test")] == [12, 40]
    assert [server.asked.count(f"/{path}") for path in PATHS.values()] == [1, 1]


def test_a_root_without_the_devkit_is_answered_with_the_layout(published, tmp_path):
    with pytest.raises(InputError, match=r"holds no VOC2012 and no VOC2007; expected .*VOCdevkit/VOC2012"):
        prepare(published, tmp_path / "data", root=tmp_path)


COCO_CLASSES = ("person", "hair drier", "toaster")
COCO_SIZES = {"train2017": 90, "val2017": 30}


def held(i):
    """Classes of image i: everyone's person, every third a hair drier, every seventh a toaster."""
    return [c for c, every in enumerate((1, 3, 7)) if i % every == 0]


def size(i):
    return (20 if i == 5 else 50 + i % 4, 40)


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    for folder, number in COCO_SIZES.items():
        (root / folder).mkdir()
        categories = [{"id": c + 1, "name": name} for c, name in enumerate(COCO_CLASSES)]
        content = {"images": [], "annotations": [], "categories": categories}
        for i in range(1, number + 1):
            (width, height), name = size(i), f"{i:012d}.jpg"
            content["images"].append({"id": i, "file_name": name, "width": width, "height": height})
            box = {"image_id": i, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
            content["annotations"] += [{"id": 10 * i + c, "category_id": c + 1, **box} for c in held(i)]
            pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / name)
        (root / "annotations" / f"instances_{folder}.json").write_text(json.dumps(content))
    with zipfile.ZipFile(root / "annotations" / "annotations_trainval2017.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (f"annotations/instances_{folder}.json" for folder in COCO_SIZES):
            archive.write(root / name, name)
    return root


@pytest.fixture(scope="session")
def coco():
    # Image 5 has a side under 32 pixels, and is none that the construction chooses from.
    rows = [i for i in range(1, 91) if i != 5]
    labels = np.array([[c in held(i) for c in range(3)] for i in rows], np.uint8)
    return small_set("coco-mlt", COCO_CLASSES, 10, SplitLabels(ids=np.array([str(i) for i in rows]), labels=labels))


@pytest.fixture
def coco_site(tree, monkeypatch):
    with serve(tree, "COCO", monkeypatch) as server:
        yield server


def prepare_small_coco(coco, data_root, **place):
    return prepare_coco(coco, Place(data_root=data_root, **place))


def images_asked(coco_site):
    return [path for path in coco_site.asked if path.endswith(".jpg")]


def test_only_needed_images_are_fetched_and_validation_later(coco_site, coco, tmp_path):
    prepare_small_coco(coco, tmp_path, splits=("train", "test"))
    dataset = opened(tmp_path, "coco-mlt")
    train = dataset.split("train")
    assert ids_digest(train.ids.tolist()) == coco.list_digest
    assert [set(np.flatnonzero(row)) for row in train.labels] == [set(held(int(i))) for i in train.ids]
    assert len(images_asked(coco_site)) == len(train) + 30
    cure = r"; `mltbench data prepare coco-mlt --splits validation` puts them there"
    with pytest.raises(InputError, match=f"the validation images of coco-mlt are not under .*{cure}"):
        open_published("coco-mlt", tmp_path).split("validation")
    assert dataset.labels("validation").shape == (10, 3)
    coco_site.asked.clear()
    prepare_small_coco(coco, tmp_path, splits=("validation",))
    assert len(images_asked(coco_site)) == 10
    assert len(opened(tmp_path, "coco-mlt").split("validation")) == 10


def test_images_that_fail_are_named_and_the_others_kept(coco_site, coco, tmp_path):
    coco_site.failing.add(f"/val2017/{7:012d}.jpg")
    with pytest.raises(InputError, match=r"1 of 30 images could not be downloaded(.|\n)*000000000007.jpg(.|\n)*kept"):
        prepare_small_coco(coco, tmp_path, splits=("train", "test"))
    coco_site.failing.clear()
    coco_site.asked.clear()
    prepare_small_coco(coco, tmp_path, splits=("train", "test"))
    assert images_asked(coco_site) == [f"/val2017/{7:012d}.jpg"]


def test_killed_in_the_middle_of_the_downloads_it_resumes(coco_site, tree, coco, tmp_path):
    prepare_small_coco(coco, tmp_path / "whole", root=tree)
    coco_site.seconds = 0.03
    for kill_at in (1, 12, 25, 38, 51, 60):
        process = FORK.Process(target=prepare_small_coco, args=(coco, tmp_path / "killed"))
        process.start()
        while process.is_alive() and len(images_asked(coco_site)) < kill_at:
            time.sleep(0.001)
        assert process.is_alive(), "it was to be killed at work"
        process.kill()
        process.join()
        for path in (tmp_path / "killed" / "downloads" / "coco").rglob("*.jpg"):
            assert path.read_bytes() == (tree / path.parent.name / path.name).read_bytes()
    prepare_small_coco(coco, tmp_path / "killed")
    whole, killed = opened(tmp_path / "whole", "coco-mlt"), opened(tmp_path / "killed", "coco-mlt")
    assert whole.digest == killed.digest
    assert all((whole.split(name).images == killed.split(name).images).all() for name in SPLITS)
    # What was whole was kept: only what was under way at a kill was asked for again.
    assert len(images_asked(coco_site)) <= sum(len(whole.labels(name)) for name in SPLITS) + 6 * fetching.CONNECTIONS
    assert not list((tmp_path / "killed").rglob("*.part"))


def test_an_image_of_another_shape_is_refused(tree, coco, tmp_path):
    shutil.copytree(tree, tmp_path / "tree")
    Image.new("RGB", (9, 9)).save(tmp_path / "tree" / "val2017" / f"{3:012d}.jpg")
    with pytest.raises(InputError, match=r"000000000003.jpg: 9 x 9 pixels, its annotation says 53 x 40"):
        prepare_small_coco(coco, tmp_path / "data", splits=("test",), root=tmp_path / "tree")


def test_a_damaged_annotation_archive_is_refused(coco_site, coco, tmp_path):
    (folder := tmp_path / "downloads" / "coco").mkdir(parents=True)
    (folder / "annotations_trainval2017.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match=r"is damaged.*delete it, it will be downloaded again"):
        prepare_small_coco(coco, tmp_path, splits=("train",))
