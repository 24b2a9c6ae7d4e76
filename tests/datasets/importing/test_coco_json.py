"""COCO files as exporters write them: ids and sizes of any type, boxes and areas that say nothing, LVIS."""

import copy
import json

import pytest
from mltbench.datasets.importing.coco_json import is_coco_json, read_coco_json
from mltbench.errors import InputError

COCO = {
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "hen"}],
    "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in (10, 11, 12)],
    "annotations": [
        {"id": 1, "image_id": 10, "category_id": 3, "bbox": [0, 0, 5, 5], "area": 25},
        {"id": 2, "image_id": 10, "category_id": 7, "bbox": [0, 0, 9, 9], "area": 81},
        {"id": 3, "image_id": 12, "category_id": 7, "bbox": [0, 0, 1, 5], "area": 5},
    ],
}
TRUTH = [{"cat", "dog"}, set(), {"dog"}]


def changed(**fields):
    """The file with other values in all entries: a value, or a function of the old one; `del` leaves the key out."""
    content = copy.deepcopy(COCO)
    for place, value in fields.items():
        kind, key = place.split("__")
        for entry in content[kind]:
            new = value(entry[key]) if callable(value) else value
            entry |= {key: new}
            if new is del_:
                del entry[key]
    return content


def del_(old):
    return del_


def read(tmp_path, content, name="labels.json"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_coco_json(path)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"images__id": str},
        {"images__id": float},
        {"annotations__image_id": str},
        {"annotations__image_id": lambda old: f" {old}.0 "},
        {"categories__id": str},
        {"categories__id": float},
        {"annotations__category_id": float},
        {"images__id": lambda old: f"img_{old}", "annotations__image_id": lambda old: f"img_{old}"},
        {"annotations__id": del_},
        {"annotations__area": del_},
        {"annotations__area": None},
        {"annotations__area": str},
        {"annotations__area": ""},
        {"annotations__bbox": del_},
        {"annotations__bbox": None},
        {"annotations__bbox": lambda old: []},
        {"annotations__bbox": lambda old: [str(value) for value in old]},
        {"annotations__bbox": del_, "annotations__area": 0},
        {"annotations__area": 0},
        {"annotations__area": 0.0},
        {"annotations__bbox": lambda old: [0, 0, 0, 0], "annotations__area": 0},
        {"annotations__bbox": lambda old: [value / 9 for value in old], "annotations__area": del_},
        {"categories__name": lambda old: f" {old}\n"},
    ],
)
def test_labels_do_not_depend_on_types_and_what_says_nothing(tmp_path, fields):
    found = read(tmp_path, changed(**fields))
    assert [image.classes for image in found.images] == TRUTH
    assert found.classes == ("cat", "dog", "hen")


@pytest.mark.parametrize(
    ("fields", "remarks"),
    [
        ({}, []),
        ({"annotations__area": None}, []),
        ({"annotations__area": 0}, ["labels.json: all areas are 0: boxes say which annotations count"]),
        (
            {"annotations__bbox": lambda old: [0.5, 0.5, 0.25, 1]},
            ["labels.json: no box has a side over 1 pixel: all annotations count"],
        ),
    ],
)
def test_what_was_not_followed_is_said(tmp_path, fields, remarks):
    assert read(tmp_path, changed(**fields)).remarks == remarks


def test_areas_of_0_leave_out_annotations_where_others_have_one(tmp_path):
    content = copy.deepcopy(COCO)
    content["annotations"][0]["area"] = 0
    content["annotations"][1]["area"] = None
    found = read(tmp_path, content)
    assert [image.classes for image in found.images] == [{"dog"}, set(), {"dog"}]
    assert found.remarks == ["labels.json: 1 annotations ignored: box without area, or with a side under 1 pixel"]


def test_a_small_box_is_left_out_where_areas_say_nothing(tmp_path):
    content = changed(annotations__area=0)
    content["annotations"][0]["bbox"] = [0, 0, 0.5, 5]
    assert [image.classes for image in read(tmp_path, content).images] == [{"dog"}, set(), {"dog"}]


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        (64, 48, (64, 48)),
        (64.0, 48.0, (64, 48)),
        ("64", "48.0", (64, 48)),
        (0, 0, None),
        (None, None, None),
        (64, None, None),
        ("", " ", None),
        (64.5, 48, None),
        (-1, 48, None),
        (float("nan"), 48, None),
        (del_, del_, None),
        (64, del_, None),
    ],
)
def test_sizes_are_whole_pixels_or_unknown(tmp_path, width, height, shape):
    found = read(tmp_path, changed(images__width=lambda old: width, images__height=lambda old: height))
    assert {image.shape for image in found.images} == {shape}


def test_names_of_files_stay_as_they_are(tmp_path):
    found = read(tmp_path, changed(images__file_name=lambda old: f"images\\sub\\{old}"))
    assert [image.file for image in found.images] == [f"images\\sub\\{i}.png" for i in (10, 11, 12)]


def test_a_file_without_annotations_has_images_without_labels(tmp_path):
    for content in ({key: COCO[key] for key in ("categories", "images")}, {**COCO, "annotations": None}):
        found = read(tmp_path, content)
        assert ([image.classes for image in found.images], len(found.classes)) == ([set()] * 3, 3)
        assert found.remarks == ["labels.json: no annotations: its 3 images have no label"]


def test_lvis_names_images_by_address_and_says_what_it_looked_for(tmp_path):
    content = changed(images__file_name=del_)
    for entry in content["images"]:
        entry |= {"coco_url": f"http://images.cocodataset.org/train2017/{entry['id']:012d}.jpg"}
        entry |= {"neg_category_ids": [9], "not_exhaustive_category_ids": []}
    found = read(tmp_path, content)
    assert [image.file for image in found.images] == [f"{i:012d}.jpg" for i in (10, 11, 12)]
    assert [image.classes for image in found.images] == TRUTH
    assert found.remarks == [
        "labels.json: categories that were not looked for in an image (LVIS: in none of its lists) count as absent"
    ]


def test_utf_16_is_read(tmp_path):
    assert len(read(tmp_path, json.dumps(COCO).encode("utf-16")).images) == 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"images__id": lambda old: 10}, "image number 1: image id 10 is there twice"),
        ({"categories__id": lambda old: 3.5}, r"category number 0: id=3.5 must be a whole number or a text"),
        ({"categories__id": lambda old: " "}, r"category number 0: id=' ' must be a whole number or a text"),
        ({"annotations__image_id": None}, r"annotation number 0 \(id 1\): image_id=None must be a whole number"),
        ({"annotations__image_id": "x"}, "belongs to image x, which `images` lacks"),
        ({"annotations__category_id": "03"}, "has category 03, which `categories` lacks"),
        ({"annotations__area": "big"}, "has the area 'big'"),
        ({"annotations__bbox": lambda old: ["a", 0, 1, 1]}, "a box is four finite numbers"),
        ({"annotations__bbox": lambda old: {"x": 1}}, "a box is four finite numbers"),
        ({"images__width": "wide"}, "image number 0: width='wide' is no number of pixels"),
        ({"images__width": True}, "image number 0: width=True is no number of pixels"),
        ({"images__file_name": del_}, "image number 0: file_name=None must be a text"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, fields, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, changed(**fields))


def test_one_id_in_two_types_is_there_twice(tmp_path):
    content = copy.deepcopy(COCO)
    for other in (10.0, "10", "10.0"):
        content["images"][1]["id"] = other
        with pytest.raises(InputError, match="image number 1: image id 10 is there twice"):
            read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        (json.dumps(COCO), True),
        (json.dumps(COCO, indent=4), True),
        (json.dumps({"info": {"x": "y" * 3_000_000}, **COCO}), True),
        ('{"images": [], "annotations": []}', True),
        ('\ufeff {"annotations": null}', True),
        (json.dumps([COCO]), False),
        ('{"a.jpg": ["cat", "dog"]}', False),
        ('{"images": ["a.jpg"], "labels": ["cat"]}', False),
        ('{"image": {"0": "a.jpg"}}', False),
        ("", False),
        ("3", False),
    ],
)
def test_coco_files_are_told_from_tables(tmp_path, content, holds):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert is_coco_json(tmp_path / "a.json") == holds


def test_other_json_is_refused_with_what_it_holds(tmp_path):
    for content, words in (
        ({"images": [], "labels": []}, r"no 'categories'; it holds the keys 'images', 'labels'$"),
        ([1, 2], r"no 'images'; it holds \[1, 2\]"),
        ({**COCO, "images": {}}, "no 'images'"),
        ({**COCO, "images": [3]}, "every entry of 'images' must be an object"),
        (b"{", "is no JSON"),
        ("caf\xe9".encode("cp1252"), "is no text in UTF-8"),
    ):
        with pytest.raises(InputError, match=words):
            read(tmp_path, content)
