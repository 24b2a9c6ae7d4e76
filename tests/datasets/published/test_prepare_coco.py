"""A small COCO tree behind a local server: annotations in an archive, only the needed images fetched."""

import functools
import json
import pickle
import random
import shutil
import subprocess
import sys
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
from mltbench.datasets.published.published_set import Place, PublishedSet, rebuild
from mltbench.errors import InputError
from PIL import Image

CLASSES = ("person", "hair drier", "toaster")
NUMBERS = {"train2017": 90, "val2017": 30}


def held(i):
    """Classes of image i: everyone's person, every third a hair drier, every seventh a toaster."""
    return [c for c, every in enumerate((1, 3, 7)) if i % every == 0]


def size(i):
    return (20 if i == 5 else 50 + i % 4, 40)


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    for folder, number in NUMBERS.items():
        (root / folder).mkdir()
        images = [
            {"id": i, "file_name": f"{i:012d}.jpg", "width": size(i)[0], "height": size(i)[1]}
            for i in range(1, number + 1)
        ]
        annotations = [
            {"id": 10 * i + c, "image_id": i, "category_id": c + 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
            for i in range(1, number + 1)
            for c in held(i)
        ]
        categories = [{"id": c + 1, "name": name} for c, name in enumerate(CLASSES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{folder}.json").write_text(json.dumps(content))
        for i in range(1, number + 1):
            pixels = np.random.default_rng(i).integers(0, 256, (size(i)[1], size(i)[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i:012d}.jpg")
    with zipfile.ZipFile(root / "annotations" / "annotations_trainval2017.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in NUMBERS:
            name = f"annotations/instances_{folder}.json"
            archive.write(root / name, name)
    return root


@pytest.fixture(scope="session")
def published():
    # Image 5 has a side under 32 pixels, and is none that the construction chooses from.
    rows = [i for i in range(1, 91) if i != 5]
    labels = np.zeros((len(rows), 3), np.uint8)
    for row, i in zip(labels, rows, strict=True):
        row[held(i)] = 1
    small = PublishedSet(
        name="coco-mlt", classes=CLASSES, largest=30, generator=functools.partial(random.Random, 3), validation=10,
        list_digest="", digests={}, list_path="coco/img_id.pkl", list_file_digest="",
    )  # fmt: skip
    sides = SplitLabels(ids=np.array([str(i) for i in rows]), labels=labels)
    return replace(small, list_digest=ids_digest(rebuild(small, sides)))


@pytest.fixture
def site(tree, monkeypatch):
    with serving(tree) as site:
        for name in ("COCO", "LISTS"):
            monkeypatch.setenv(f"MLTBENCH_ADDRESS_{name}", site.address)
        monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.01)
        yield site


def prepare(published, data_root, **place):
    return prepare_coco(published, Place(data_root=data_root, **place), on_progress=lambda *report: None)


def opened(data_root):
    return open_prepared(data_root / "coco-mlt", read_manifest(data_root / "coco-mlt"))


def images_asked(site):
    return [path for path in site.asked if path.endswith(".jpg")]


def test_only_needed_images_are_fetched_and_validation_later(site, published, tmp_path):
    prepare(published, tmp_path, splits=("train", "test"))
    dataset = opened(tmp_path)
    train = dataset.split("train")
    assert ids_digest(train.ids.tolist()) == published.list_digest
    assert [set(np.flatnonzero(row)) for row in train.labels] == [set(held(int(i))) for i in train.ids]
    assert len(images_asked(site)) == len(train) + 30
    with pytest.raises(InputError, match="the validation images of coco-mlt are not under"):
        dataset.split("validation")
    assert dataset.labels("validation").shape == (10, 3)
    site.asked.clear()
    prepare(published, tmp_path, splits=("validation",))
    assert len(images_asked(site)) == 10
    assert len(opened(tmp_path).split("validation")) == 10


def test_a_tree_on_disk_gives_the_same(site, tree, published, tmp_path):
    prepare(published, tmp_path / "a")
    prepare(published, tmp_path / "b", root=tree)
    a, b = opened(tmp_path / "a"), opened(tmp_path / "b")
    assert a.digest == b.digest
    assert all((a.split(name).images == b.split(name).images).all() for name in SPLITS)


def test_images_that_fail_are_named_and_the_others_kept(site, published, tmp_path):
    site.failing.add(f"/val2017/{7:012d}.jpg")
    with pytest.raises(InputError, match=r"1 of 30 images could not be downloaded(.|\n)*000000000007.jpg(.|\n)*kept"):
        prepare(published, tmp_path, splits=("train", "test"))
    site.failing.clear()
    site.asked.clear()
    prepare(published, tmp_path, splits=("train", "test"))
    assert images_asked(site) == [f"/val2017/{7:012d}.jpg"]


PREPARING = """
import pickle, sys
from pathlib import Path
from mltbench.datasets.published.coco_mlt import prepare_coco
from mltbench.datasets.published.published_set import Place

published, data_root = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
prepare_coco(published, Place(data_root=data_root), on_progress=lambda *report: None)
"""


def test_killed_in_the_middle_of_the_downloads_it_resumes(site, tree, published, tmp_path):
    prepare(published, tmp_path / "whole", root=tree)
    site.seconds = 0.03
    (tmp_path / "published.pickle").write_bytes(pickle.dumps(published))
    words = [sys.executable, "-c", PREPARING, str(tmp_path / "published.pickle"), str(tmp_path / "killed")]
    for kill_at in (1, 12, 25, 38, 51, 60):
        process = subprocess.Popen(words)
        while process.poll() is None and len(images_asked(site)) < kill_at:
            time.sleep(0.001)
        assert process.poll() is None, "it was to be killed at work"
        process.kill()
        process.wait()
        for path in (tmp_path / "killed" / "downloads" / "coco").rglob("*.jpg"):
            assert path.read_bytes() == (tree / path.parent.name / path.name).read_bytes()
    subprocess.run(words, check=True, timeout=60)
    whole, killed = opened(tmp_path / "whole"), opened(tmp_path / "killed")
    assert whole.digest == killed.digest
    for name in SPLITS:
        assert (whole.split(name).images == killed.split(name).images).all()
    # What was whole was kept: only what was under way at a kill was asked for again.
    assert len(images_asked(site)) <= sum(len(whole.labels(name)) for name in SPLITS) + 6 * fetching.CONNECTIONS
    assert not list((tmp_path / "killed").rglob("*.part"))


def test_an_image_of_another_shape_is_refused(tree, published, tmp_path):
    shutil.copytree(tree, tmp_path / "tree")
    Image.new("RGB", (9, 9)).save(tmp_path / "tree" / "val2017" / f"{3:012d}.jpg")
    with pytest.raises(InputError, match=r"000000000003.jpg: 9 x 9 pixels, its annotation says 53 x 40"):
        prepare(published, tmp_path / "data", splits=("test",), root=tmp_path / "tree")


def test_a_damaged_annotation_archive_is_refused(site, published, tmp_path):
    folder = tmp_path / "downloads" / "coco"
    folder.mkdir(parents=True)
    (folder / "annotations_trainval2017.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match=r"is damaged.*delete it, it will be downloaded again"):
        prepare(published, tmp_path, splits=("train",))
