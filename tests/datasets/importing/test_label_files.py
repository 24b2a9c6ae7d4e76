import json

import numpy as np
import pytest
from mltbench.datasets.importing.label_files import read_label_file
from mltbench.errors import InputError

IDS = ["a.jpg", "b.jpg", "c.jpg"]
LABELS = [[1, 0], [1, 1], [0, 1]]


def written(tmp_path, text, name="labels.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize(
    "text",
    [
        "image,cat,dog\na.jpg,1,0\nb.jpg,1,1\nc.jpg,0,1\n",
        "image,split,labels\na.jpg,train,cat\nb.jpg,test,dog|cat\nc.jpg,train,dog\n",
        "\ufeffimage,labels\r\na.jpg,cat\r\nb.jpg, cat | dog \r\nc.jpg,dog\r\n",
    ],
)
def test_both_shapes_of_csv_give_the_same_matrix(tmp_path, text):
    found = read_label_file(written(tmp_path, text))
    assert (list(found.ids), found.labels.tolist(), found.classes) == (IDS, LABELS, ("cat", "dog"))


def test_npz_gives_the_same_matrix_with_and_without_class_names(tmp_path):
    np.savez(tmp_path / "named.npz", ids=IDS, labels=LABELS, classes=["cat", "dog"])
    np.savez(tmp_path / "plain.npz", ids=IDS, labels=LABELS)
    named, plain = read_label_file(tmp_path / "named.npz"), read_label_file(tmp_path / "plain.npz")
    assert (list(named.ids), named.labels.tolist(), named.classes) == (IDS, LABELS, ("cat", "dog"))
    assert (plain.labels.tolist(), plain.classes) == (LABELS, ("0", "1"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "needs a header of at least two columns; its first row is"),
        ("image;labels\n00.jpg;a\n", "separates its cells"),
        ("image,cat\n", "nothing below it"),
        ("image,cat,dog\na,1\n", r"row 2: 2 cells, the header has 3"),
        ("image,cat,dog\na,1,2\n", "row 2, column 'dog': '2' is not 0 or 1"),
        ("image,cat\na,1\na,0\n", "image 'a' is there twice"),
        ("image,labels\na,\nb,\n", "no empty side"),
    ],
)
def test_a_bad_csv_is_refused_with_its_place(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_label_file(written(tmp_path, text))


def test_bad_npz_files_are_refused(tmp_path):
    written(tmp_path, "not an archive", "text.npz")
    np.savez(tmp_path / "short.npz", ids=IDS[:2], labels=LABELS)
    np.savez(tmp_path / "nameless.npz", labels=LABELS)
    np.savez(tmp_path / "objects.npz", ids=np.array([{}, {}, {}], dtype=object), labels=LABELS)
    arrays = r"must be an \.npz with the arrays `ids`"
    for name, words in {
        "short": "2 ids",
        "nameless": arrays,
        "objects": arrays,
        "gone": "no label file",
        "text": arrays,
    }.items():
        with pytest.raises(InputError, match=words):
            read_label_file(tmp_path / f"{name}.npz")


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


def test_what_cannot_be_selected_or_shown_is_said(call, tmp_path):
    labels = written(tmp_path, "image,cat,dog\na,1,0\nb,1,0\n")
    select = "data", "select", "--labels", labels, "--out", tmp_path / "ids.txt"
    for words, said in ((select, "class 'dog' has no training image"), (("data", "show"), "mltbench data list")):
        status, _, error = call(*words)
        assert (status, said in error) == (2, True)
