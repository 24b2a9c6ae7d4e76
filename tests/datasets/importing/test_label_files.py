"""Any label files as one set of labels: joined, renamed, in splits and groups; every setting used or refused."""

import json
import unicodedata

import numpy as np
import pytest
from mltbench.datasets.importing.label_files import read_labels, read_matrices
from mltbench.datasets.importing.label_matrix import read_label_matrix
from mltbench.datasets.importing.label_options import LabelOptions
from mltbench.errors import InputError

IDS = ["a.jpg", "b.jpg", "c.jpg"]
LABELS = [[1, 0], [1, 1], [0, 1]]
TABLE = "image,labels\na.jpg,cat\nb.jpg,cat|dog\nc.jpg,dog\n"
COCO = {
    "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    "images": [{"id": i, "file_name": name} for i, name in enumerate(IDS)],
    "annotations": [
        {"id": number, "image_id": i, "category_id": c}
        for number, (i, c) in enumerate([(0, 3), (1, 3), (1, 7), (2, 7)])
    ],
}
OBJECT = "<object><name>{}</name></object>"
VOC = "<annotation><filename>{}</filename>{}</annotation>"


@pytest.fixture
def written(tmp_path):
    def write(text, name="labels.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return str(path)

    return write


def held(annotations):
    return {image.file: set(image.classes) for image in annotations.images}


def in_voc(written):
    for name, row in zip(IDS, LABELS, strict=True):
        objects = "".join(OBJECT.format(c) for c, flag in zip(("cat", "dog"), row, strict=True) if flag)
        path = written(VOC.format(name, objects), f"Annotations/{name[0]}.xml")
    return path.rpartition("/")[0]


@pytest.mark.parametrize("kind", ["names", "flags", "lines", "npz", "coco", "voc", "json"])
def test_every_format_gives_the_same_labels(kind, written, tmp_path):
    np.savez(tmp_path / "labels.npz", ids=IDS, labels=LABELS, classes=["cat", "dog"])
    held_by = {"a.jpg": ["cat"], "b.jpg": ["cat", "dog"], "c.jpg": ["dog"]}
    lines = "".join(json.dumps({"image": name, "labels": names}) + "\n" for name, names in held_by.items())
    path = {
        "names": lambda: written(TABLE),
        "flags": lambda: written("image,cat,dog\na.jpg,1,0\nb.jpg,1,1\nc.jpg,0,1\n"),
        "lines": lambda: written(lines, "labels.jsonl"),
        "npz": lambda: str(tmp_path / "labels.npz"),
        "coco": lambda: written(COCO, "labels.json"),
        "voc": lambda: in_voc(written),
        "json": lambda: written(held_by, "labels.json"),
    }[kind]()
    assert held(read_labels([path], LabelOptions())) == {name: set(names) for name, names in held_by.items()}
    matrix = read_matrices([path], LabelOptions())[0]["train"]
    rows = [[class_name for class_name, x in zip(matrix.classes, row, strict=True) if x] for row in matrix.labels]
    assert {name: sorted(row) for name, row in zip(matrix.ids, rows, strict=True)} == held_by


@pytest.mark.parametrize("test", ["test.csv", "test.json"])
def test_a_file_for_each_split_is_joined_by_names_of_classes(test, written):
    other = {**COCO, "images": [{"id": i, "file_name": f"x{name}"} for i, name in enumerate(IDS)]}
    other = {**other, "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "hen"}, {"id": 7, "name": "dog"}]}
    files = {"test.json": other, "test.csv": "image,hen,dog,cat\nxa.jpg,0,0,1\nxb.jpg,0,1,1\nxc.jpg,0,1,0\n"}
    labels = [f"train={written(TABLE)}", f"val={written(files[test], test)}"]
    found = read_labels(labels, LabelOptions())
    assert found.classes[:2] == ("cat", "dog")
    assert held(found) == {
        p + n: s for p in ("", "x") for n, s in zip(IDS, ({"cat"}, {"cat", "dog"}, {"dog"}), strict=True)
    }
    assert [image.split for image in found.images] == ["train"] * 3 + ["validation"] * 3
    assert "classes that only some of the label files have: hen" in found.remarks


def test_a_file_that_was_given_for_a_split_may_not_say_another(written):
    table = written("image,labels,split\na.jpg,cat,train\nb.jpg,dog,test\n")
    with pytest.raises(InputError, match=r"given as train, and says that 'b.jpg' is in the split test"):
        read_labels([f"train={table}"], LabelOptions())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("coco", {"separator": ";"}),
        ("coco", {"image_column": "image"}),
        ("coco", {"uncertain": "zeros"}),
        ("coco", {"difficult": False}),
        ("names", {"difficult": False}),
        ("names", {"blank": "mask"}),
        ("names", {"uncertain": "ones"}),
        ("flags", {"separator": "|"}),
        ("voc", {"delimiter": ";"}),
        ("voc", {"labels_column": "labels"}),
        ("voc", {"group_column": "patient"}),
    ],
)
def test_settings_without_effect_are_refused(kind, options, written):
    path = {
        "coco": lambda: written(COCO, "labels.json"),
        "voc": lambda: in_voc(written),
        "names": lambda: written(TABLE),
        "flags": lambda: written("image,cat,dog\na.jpg,1,0\nb.jpg,1,1\n"),
    }[kind]()
    (name,) = options
    option = "--no-difficult" if name == "difficult" else f"--{name.replace('_', '-')}"
    with pytest.raises(InputError, match=f"{option}: without effect on labels like"):
        read_labels([path], LabelOptions(**options))


def test_class_names_are_renamed_and_two_of_one_name_are_one(written):
    names = written("/m/1,cat\n/m/2,dog\n/m/3,cat\nLabelName,DisplayName\n", "names.csv")
    table = written("image,labels\na.jpg,/m/1\nb.jpg,/m/3|/m/2\n")
    found = read_labels([table], LabelOptions(class_names=names))
    assert (found.classes, held(found)) == (("cat", "dog"), {"a.jpg": {"cat"}, "b.jpg": {"cat", "dog"}})
    with pytest.raises(InputError, match="has no name for /m/1, /m/2, /m/3"):
        read_labels([table], LabelOptions(class_names=written("x,y\n", "none.csv")))


def test_lists_of_images_are_splits(written):
    table = written("image,labels\nf/a.png,cat\nb.png,dog\nc.png,cat\nd.png,dog\n")
    lists = {"train": "a.png\n\nb\n", "test": "c.png\nnot-labelled.png\n"}
    given = tuple(f"{name}={written(text, f'{name}.txt')}" for name, text in lists.items())
    found = read_labels([table], LabelOptions(split_list=given))
    assert [(image.file, image.split) for image in found.images] == [
        ("f/a.png", "train"), ("b.png", "train"), ("c.png", "test")
    ]  # fmt: skip
    assert found.remarks == [
        "images in no list of a split, left out: 1",
        "names in the lists of splits without labels: 1",
    ]
    twice = (*given, f"val={written('b', 'val.txt')}")
    with pytest.raises(InputError, match="'b' is in the list of train too"):
        read_labels([table], LabelOptions(split_list=twice))
    with pytest.raises(InputError, match="no image of the labels is in the lists"):
        read_labels([table], LabelOptions(split_list=(f"test={written('x', 'x.txt')}",)))


def test_groups_are_what_a_pattern_finds(written):
    table = written("image,labels\np1_a.png,cat\np1_b.png,dog\np22_a.png,cat\nother.png,dog\n")
    found = read_labels([table], LabelOptions(group_pattern="p[0-9]+"))
    assert [image.group for image in found.images] == ["p1", "p1", "p22", None]
    assert [image.group for image in read_labels([table], LabelOptions(group_pattern="p([0-9]+)")).images][:3] == [
        "1",
        "1",
        "22",
    ]
    for pattern, words in (("q[0-9]+", "found in no name"), ("(", "no regular expression")):
        with pytest.raises(InputError, match=words):
            read_labels([table], LabelOptions(group_pattern=pattern))


def test_classes_without_a_training_image_are_dropped_if_asked(written):
    table = written("image,cat,hen,dog,split\na.jpg,1,0,0,train\nb.jpg,0,0,1,train\nc.jpg,1,1,0,test\n")
    found = read_labels([table], LabelOptions(drop_empty_classes=True))
    assert (found.classes, held(found)["c.jpg"]) == (("cat", "dog"), {"cat"})
    assert found.remarks[-1] == "classes without any training image, left out: hen"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_class_names_have_one_unicode_form_and_near_duplicates_are_named(form, written):
    mixed = unicodedata.normalize("NFD", "Kühe"), unicodedata.normalize("NFC", "Kühe")
    table = unicodedata.normalize(form, "image,labels\nä.jpg,Bär\n")
    found = read_labels(
        [written(f"{table}b.jpg,{mixed[0]}\nc.jpg,{mixed[1]}|traffic light\nd.jpg,Traffic-Light\n")], LabelOptions()
    )
    assert set(found.classes) == {"Bär", "Kühe", "traffic light", "Traffic-Light"}
    assert "classes of nearly one name: 'Traffic-Light' and 'traffic light'" in found.remarks[-1]


def test_npz_gives_the_same_matrix_with_and_without_class_names(tmp_path):
    np.savez(tmp_path / "named.npz", ids=IDS, labels=LABELS, classes=["cat", "dog"])
    np.savez(tmp_path / "plain.npz", ids=IDS, labels=LABELS)
    named, plain = (read_label_matrix(tmp_path / f"{name}.npz") for name in ("named", "plain"))
    assert (list(named.ids), named.labels.tolist(), named.classes) == (IDS, LABELS, ("cat", "dog"))
    assert (plain.labels.tolist(), plain.classes) == (LABELS, ("0", "1"))


def test_an_option_does_not_change_which_arrays_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", pool_ids=IDS, pool_labels=LABELS, train_ids=IDS[:2], train_labels=LABELS[:2])
    for options in (LabelOptions(), LabelOptions(drop_empty_classes=True)):
        assert len(read_matrices([str(tmp_path / "a.npz")], options, prefixes=("", "pool_"))[0]["train"].ids) == 3


def test_the_split_that_a_matrix_was_given_for_counts(tmp_path):
    np.savez(tmp_path / "a.npz", ids=IDS, labels=LABELS)
    with pytest.raises(InputError, match="no image is in the split train"):
        read_matrices([f"test={tmp_path / 'a.npz'}"], LabelOptions())


def test_bad_npz_files_are_refused(tmp_path, written):
    written("not an archive", "text.npz")
    np.savez(tmp_path / "short.npz", ids=IDS[:2], labels=LABELS)
    np.savez(tmp_path / "twice.npz", ids=["a", "b", "a"], labels=LABELS)
    np.savez(tmp_path / "nameless.npz", labels=LABELS)
    np.savez(tmp_path / "objects.npz", ids=np.array([{}, {}, {}], dtype=object), labels=LABELS)
    arrays = r"must be an \.npz with the arrays `ids`"
    for name, words in {
        "short": "2 ids",
        "twice": "image 'a' is there twice",
        "nameless": arrays,
        "objects": arrays,
        "gone": "no label file",
        "text": arrays,
    }.items():
        with pytest.raises(InputError, match=words):
            read_label_matrix(tmp_path / f"{name}.npz")


def test_the_command_rebuilds_voc_mlt_in_its_published_order(call, shared_folder, voc_facts, tmp_path):
    labels = shared_folder / "facts" / "voc_mlt.npz"
    status, shown, _ = call("data", "select", "--labels", labels, "--out", tmp_path / "ids.txt")
    assert (status, "1142 of 11540 images, 2.054 labels per image" in shown) == (0, True)
    assert "head 6, medium 6, tail 8; largest 775, smallest 4" in shown
    assert "6fa70d5b693700d97657acd03b18b4d198aa59795dc99828db2c21a2abf2133f" in shown
    assert (tmp_path / "ids.txt").read_text().split() == voc_facts["train_ids"].tolist()


def test_labels_alone_are_shown_without_any_image(call, tmp_path, coco_facts):
    np.savez(tmp_path / "coco.npz", ids=coco_facts["train_ids"], labels=coco_facts["train_labels"])
    picture = tmp_path / "coco.png"
    shown = json.loads(call("data", "show", "--labels", tmp_path / "coco.npz", "--json", "--out", picture)[1])
    assert (shown["name"], shown["images"], shown["labels_per_image"]) == ("coco", "train 1909", "train 4.356")
    assert shown["groups"] == "head 22, medium 33, tail 25"
    assert [row["train"] for row in shown["classes"]] == coco_facts["train_labels"].sum(axis=0).tolist()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_shows_and_selects_labels_reads_them_as_an_import_does(call, written, tmp_path):
    rows = [f"{i}.jpg;{'cat,dog' if i % 3 else 'cat'};{'test' if i % 2 else 'train'}" for i in range(12)]
    table = written("image;labels;split\n" + "\n".join(rows))
    more = "--separator", ",", "--labels", table
    shown = json.loads(call("data", "show", *more, "--json", "--out", tmp_path / "a.png")[1])
    assert shown["images"] == "train 6, test 6"
    status, out, _ = call("data", "select", *more, "--max", 2, "--out", tmp_path / "ids.txt")
    assert (status, "of 6 images" in out) == (0, True)
    assert {int(line.split(".")[0]) % 2 for line in (tmp_path / "ids.txt").read_text().split()} == {0}
    status, out, error = call("figures", "draw", *more, "--figure", "sampling-variance", "--to", tmp_path / "figures")
    assert (status, "1 figures in" in out) == (0, True), error


def test_what_cannot_be_selected_or_shown_is_said(call, written, tmp_path):
    labels = written("image,cat,dog\na,1,0\nb,1,0\n")
    select = "data", "select", "--labels", labels, "--out", tmp_path / "ids.txt"
    wrong = "data", "show", "digits-mlt", "--separator", ";"
    said = (
        "class 'dog' has no training image",
        "mltbench data list",
        "--separator: without effect on the dataset digits-mlt",
    )
    for words, expected in zip((select, ("data", "show"), wrong), said, strict=True):
        status, _, error = call(*words)
        assert (status, expected in error) == (2, True), error
