"""COCO JSON, VOC XML and CSV: read exactly, refused with row and cure; fuzzed, no traceback and no file elsewhere."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest
from command_line import call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mltbench.datasets.importing.coco_json import read_coco_json
from mltbench.datasets.importing.importer import read_annotations
from mltbench.datasets.importing.label_files import CsvOptions
from mltbench.datasets.importing.voc_xml import read_voc_folder
from mltbench.errors import InputError
from pycocotools import coco

COCO = {
    "categories": [{"id": 3, "name": "dining table"}, {"id": 7, "name": "a|b"}],
    "images": [{"id": 10, "file_name": "a.jpg", "width": 40, "height": 30}, {"id": 11, "file_name": "b.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 10, "category_id": 3, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 1},
        {"id": 2, "image_id": 11, "category_id": 7, "bbox": [0, 0, 0.5, 5], "area": 2.5, "iscrowd": 0},
        {"id": 3, "image_id": 11, "category_id": 3, "bbox": [0, 0, 5, 5], "area": 0, "iscrowd": 0},
        {"id": 4, "image_id": 11, "category_id": 7, "bbox": [0, 0, 1, 5], "area": 5, "iscrowd": 0},
    ],
}


def test_crowds_count_and_boxes_without_area_do_not(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(COCO))
    found = read_coco_json(tmp_path / "labels.json")
    assert [image.classes for image in found.images] == [{"dining table"}, {"a|b"}]
    assert found.images[0].shape == (40, 30)
    assert found.remarks == ["labels.json: 2 annotations ignored: box without area, or with a side under 1 pixel"]


def test_labels_are_those_that_pycocotools_gives(tmp_path):
    random = np.random.default_rng(0)
    drawn = {"image_id": (1, 30), "category_id": (1, 6), "area": (0, 30), "iscrowd": (0, 2)}
    annotations = [{key: int(random.integers(*ends)) for key, ends in drawn.items()} for _ in range(119)]
    for i, annotation in enumerate(annotations):
        annotation |= {"id": i + 1, "bbox": [0, 0, *random.uniform(0.5, 9, 2).round(1).tolist()]}
    categories = [{"id": c, "name": f"class {c}"} for c in range(1, 6)]
    images = [{"id": i, "file_name": f"{i:03d}.jpg"} for i in range(1, 30)]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"categories": categories, "images": images, "annotations": annotations}))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(str(path))
    found = read_coco_json(path)
    for image in found.images:
        entries = truth.loadAnns(truth.getAnnIds(imgIds=[int(image.file[:3])]))
        kept = [a for a in entries if a["area"] > 0 and min(a["bbox"][2:]) >= 1]
        assert image.classes == {truth.cats[a["category_id"]]["name"] for a in kept}


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("annotations__0__image_id", 99, r"annotation number 0 \(id 1\) belongs to image 99, which `images` lacks"),
        ("annotations__1__category_id", 99, "has category 99, which `categories` lacks"),
        ("annotations__2__bbox", [0, 0, float("nan"), 5], r"has the box .*nan.*four finite numbers"),
        ("annotations__2__area", float("inf"), "has the area inf"),
        ("annotations__2__bbox", "0 0 1 1", "four finite numbers"),
        ("images__1__id", 10, "image id 10 is there twice"),
        ("images__1__file_name", "a.jpg", "image 'a.jpg' is there twice"),
        ("images__1__file_name", "../../etc/passwd", "lies outside the image folder"),
        ("images__1__file_name", "/etc/passwd", "lies outside the image folder"),
        ("images__1__file_name", "\ud800.jpg", "control characters"),
        ("images__1__file_name", 5, "file_name=5 must be a text"),
        ("categories__1__name", "dining table", "names the class 'dining table' twice"),
        ("categories__1__name", "a\nb", "control characters or line ends"),
        ("categories__1__id", 3, "id 3 is there twice"),
        ("categories__1__id", True, "id=True must be a whole number"),
    ],
)
def test_hostile_json_is_refused_with_its_place(place, value, reason, tmp_path):
    content, (key, index, field) = json.loads(json.dumps(COCO)), place.split("__")
    content[key][int(index)][field] = value
    (tmp_path / "labels.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=reason):
        read_annotations([str(tmp_path / "labels.json")], CsvOptions())


def voc(tmp_path, **files):
    (folder := tmp_path / "VOC" / "Annotations").mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.xml").write_text(text)
    return folder


def objects(*names, difficult=()):
    body = "".join(f"<object><name>{n}</name><difficult>{int(n in difficult)}</difficult></object>" for n in names)
    return f"<annotation><filename>x{len(names)}.jpg</filename>{body}</annotation>"


def test_splits_of_a_voc_folder_are_those_of_its_image_sets(tmp_path):
    both = objects("dog", "cat", difficult=("cat",))
    folder = voc(tmp_path, a=objects("dog"), b=both, c=objects("cat", "dog", "hen"))
    (sets := tmp_path / "VOC" / "ImageSets" / "Main").mkdir(parents=True)
    (sets / "trainval.txt").write_text("a\nb\n")
    (sets / "test.txt").write_text("c\n")
    found = read_voc_folder(folder)
    assert [image.split for image in found.images] == ["train", "train", "test"]
    assert [set(image.classes) for image in found.images] == [{"dog"}, {"dog", "cat"}, {"cat", "dog", "hen"}]
    assert [set(i.classes) for i in read_voc_folder(folder, difficult=False).images][1] == {"dog"}


def test_entities_are_refused(tmp_path):
    attack = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + objects("&x;")
    with pytest.raises(InputError, match="declares a document type or entities"):
        read_voc_folder(voc(tmp_path, a=attack))


NAMES = st.text(max_size=12) | st.sampled_from(["a.jpg", "../x", "/x", "", "=1+1", "a|b", "\x00", "train"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
HEADER = st.lists(NAMES | st.sampled_from(["image", "labels", "split"]), max_size=5)
ROWS = st.lists(st.lists(NAMES, max_size=5), max_size=8)


def entries(**fields):
    return st.lists(st.fixed_dictionaries({key: value | VALUES for key, value in fields.items()}) | VALUES, max_size=4)


ID = st.integers(0, 3)
JSON_PARTS = {
    "images": entries(id=ID, file_name=NAMES) | VALUES,
    "categories": entries(id=ID, name=NAMES) | VALUES,
    "annotations": entries(image_id=ID, category_id=ID, bbox=VALUES) | VALUES,
}
XML_PARTS = (
    *("<annotation>", "</annotation>", "<object>", "</object>", "<name>", "</name>", "dog", "&amp;", "&x;", "<!--"),
    *("<!DOCTYPE a>", "<filename>../x.jpg</filename>", "<size><width>x</width><height>1</height></size>", "\x01"),
    *("<object><name>cat</name></object>", "<?xml version='1.0' encoding='no-such'?>", "]]>"),
)


def table(rows):
    with contextlib.suppress(csv.Error):
        csv.writer(file := io.StringIO(newline="")).writerows(rows)
    return file.getvalue()


BYTES = st.binary(max_size=300) | st.text(max_size=300)
CONTENTS = {
    "bytes.csv": BYTES,
    "bytes.json": BYTES,
    "bytes.npz": BYTES,
    "table.csv": st.builds(lambda header, rows: table([header, *rows]), HEADER, ROWS),
    "coco.json": (st.fixed_dictionaries(JSON_PARTS) | VALUES).map(json.dumps),
    "Annotations/a.xml": st.lists(st.sampled_from(XML_PARTS) | st.text(max_size=5), max_size=12).map("".join),
}


@pytest.mark.parametrize("name", CONTENTS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_labels_are_refused_in_one_paragraph_and_leave_nothing_elsewhere(name, data, tmp_path_factory):
    folder, content = tmp_path_factory.getbasetemp() / "fuzz", data.draw(CONTENTS[name])
    for path in (folder / "images", (folder / name).parent):
        path.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    labels = folder / name.removesuffix("/a.xml")
    words = ["--images", folder / "images", "--labels", labels, "--workers", 1, "--data-root", folder / "data"]
    before = sorted(folder.rglob("*"))
    status, _, error = call("data", "import", "fuzz", *words)
    assert status in (1, 2), error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    left = {path for path in folder.rglob("*") if path not in before}
    assert {path for path in left if (folder / "data") not in (path, *path.parents)} == set()
    assert not (folder / "data" / "fuzz").exists()
