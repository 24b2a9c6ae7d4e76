"""Parquet, Arrow and `datasets` folders: the same rows as the CSV; class numbers by name; pictures byte for byte."""

import io
import json

import hugging_face as hf
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mltbench.datasets.importing.tables import read_tables
from mltbench.errors import InputError
from PIL import Image

NAMES = ("cat", "dog", "old bird")
LABELS = [[0], [2, 0], [], [-1, 1], [1, 2, 0]]
TRUTH = [tuple(NAMES[i] for i in row if i >= 0) for row in LABELS]


def picture(color, kind="PNG"):
    Image.new("RGB", (4, 3), color).save(file := io.BytesIO(), kind)
    return file.getvalue()


PICTURES = [picture((i, 0, 0), kind) for i, kind in enumerate(("PNG", "JPEG", "GIF", "BMP", "WEBP"))]
ENDINGS = (".png", ".jpg", ".gif", ".bmp", ".webp")
UNNAMED = [{"bytes": data, "path": None} for data in PICTURES]
FEATURES = {"image": hf.IMAGE, "labels": hf.a_list(hf.class_label(*NAMES)), "n": hf.WHOLE}


def columns(rows=slice(None), images=UNNAMED):
    return {"image": images[rows], "labels": LABELS[rows], "n": list(range(len(LABELS)))[rows]}


def only(path):
    (table,) = read_tables(path)
    return table


@pytest.mark.parametrize("kind", ["List", "Sequence", "LargeList", "old"])
@pytest.mark.parametrize("shards", [1, 2])
def test_numbers_of_classes_become_names_in_every_spelling_of_a_list(tmp_path, kind, shards):
    features = {**FEATURES, "labels": hf.a_list(hf.class_label(*NAMES), kind)}
    hf.save_split(tmp_path / "saved", columns(), features, shards=shards)
    hf.write_parquet(tmp_path / "one.parquet", columns(), features)
    for path in (tmp_path / "saved", tmp_path / "one.parquet"):
        table = only(path)
        assert list(table.columns) == ["image", "labels", "n"]
        assert (list(table.columns["labels"]), table.classes) == (TRUTH, {"labels": NAMES})
        assert (list(table.columns["n"]), table.rows) == (["0", "1", "2", "3", "4"], range(1, 6))


def test_features_in_the_file_beside_the_data_count_where_the_data_have_none(tmp_path):
    hf.save_split(tmp_path / "saved", columns(), FEATURES)
    file = tmp_path / "saved" / "data-00000-of-00001.arrow"
    table = hf.table_of(columns(), FEATURES)
    hf.write_stream(file, table.replace_schema_metadata(None))
    assert list(only(tmp_path / "saved").columns["labels"]) == TRUTH


def test_splits_of_a_saved_folder_are_tables(tmp_path):
    parts = {"train": slice(0, 3), "validation": slice(3, 4), "test": slice(4, 5)}
    hf.save_splits(tmp_path / "all", {name: columns(rows) for name, rows in parts.items()}, FEATURES)
    found = {table.split: table for table in read_tables(tmp_path / "all")}
    assert list(found) == ["train", "validation", "test"]
    assert all(list(found[name].columns["labels"]) == TRUTH[rows] for name, rows in parts.items())


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (
            [
                "data/train-00000-of-00002.parquet",
                "data/train-00001-of-00002.parquet",
                "data/test-00000-of-00001.parquet",
            ],
            ["test", "train"],
        ),
        (["default/train/0000.parquet", "default/validation/0000.parquet"], ["train", "validation"]),
        (["beans-train.arrow", "beans-test.arrow"], ["test", "train"]),
        (["train.parquet", "val.parquet", "TEST.parquet"], ["test", "train", "validation"]),
        (["part-0.parquet", "part-1.parquet"], [None]),
    ],
)
def test_names_of_files_and_folders_say_the_split(tmp_path, files, splits):
    for i, name in enumerate(files):
        rows = columns(slice(i, i + 1))
        hf.write_parquet(tmp_path / name, rows, FEATURES)
        if name.endswith(".arrow"):
            hf.write_stream(tmp_path / name, hf.table_of(rows, FEATURES))
    (tmp_path / "README.md").write_text("about")
    found = read_tables(tmp_path)
    assert sorted((table.split for table in found), key=str) == splits
    assert sorted(number for table in found for number in table.columns["n"]) == [str(i) for i in range(len(files))]


def test_pictures_are_written_byte_for_byte_under_their_cells(tmp_path):
    hf.save_splits(tmp_path / "all", {"train": columns(slice(0, 3)), "test": columns(slice(3, 5))}, FEATURES)
    train, test = read_tables(tmp_path / "all")
    assert train.columns["image"] == [f"train/00000{i + 1}{ENDINGS[i]}" for i in range(3)]
    assert test.columns["image"] == [f"test/00000{i - 2}{ENDINGS[i]}" for i in (3, 4)]
    for table in (train, test):
        table.save_images(tmp_path / "out")
    written = [(tmp_path / "out" / name).read_bytes() for table in (train, test) for name in table.columns["image"]]
    assert written == PICTURES
    first = tmp_path / "out" / train.columns["image"][0]
    for damaged in (b"cut", PICTURES[0][::-1]):
        first.write_bytes(damaged)
        train.save_images(tmp_path / "out")
        assert first.read_bytes() == PICTURES[0]
    assert len(list((tmp_path / "out").rglob("*.*"))) == 5


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.png", "b.png"], ["one/a.png", "one/b.png"]),
        (["C:\\x\\a.png", "/data/x/b.png"], ["one/a.png", "one/b.png"]),
        (["x/1.png", "y/1.PNG"], ["one/000001-1.png", "one/000002-1.PNG"]),
        (["000007", "../.."], ["one/000007.png", "one/000002.jpg"]),
    ],
)
def test_pictures_are_called_by_their_paths(tmp_path, paths, names):
    images = [{"bytes": data, "path": path} for data, path in zip(PICTURES, paths, strict=False)]
    hf.write_parquet(tmp_path / "one.parquet", {"image": images, "n": [1, 2]}, FEATURES)
    table = only(tmp_path / "one.parquet")
    assert list(table.columns["image"]) == names
    table.save_images(tmp_path / "out")
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == PICTURES[:2]


def test_pictures_that_lie_elsewhere_are_named_alone(tmp_path):
    images = [{"bytes": None, "path": "/data/x/1.png"}, {"bytes": None, "path": "/data/y/2.png"}, None]
    hf.write_parquet(tmp_path / "one.parquet", {"image": images, "n": [1, 2, 3]}, FEATURES)
    table = only(tmp_path / "one.parquet")
    assert (list(table.columns["image"]), table.save_images) == (["1.png", "2.png", ""], None)
    images[1]["path"] = "/data/y/1.png"
    hf.write_parquet(tmp_path / "one.parquet", {"image": images, "n": [1, 2, 3]}, FEATURES)
    assert list(only(tmp_path / "one.parquet").columns["image"]) == ["/data/x/1.png", "/data/y/1.png", ""]


def test_a_row_without_a_picture_has_no_name(tmp_path):
    images = [{"bytes": PICTURES[0], "path": "a/1.png"}, None, {"bytes": PICTURES[1], "path": "b/1.png"}]
    sound = [{"bytes": b"RIFFxxxx", "path": "1.wav"}] * 3
    features = {**FEATURES, "audio": {"_type": "Audio"}}
    hf.write_parquet(tmp_path / "one.parquet", {"audio": sound, "image": images, "n": [1, 2, 3]}, features)
    table = only(tmp_path / "one.parquet")
    assert list(table.columns["image"]) == ["one/000001-1.png", "", "one/000003-1.png"]
    assert table.remarks == ["one.parquet: no text, numbers or lists of names in audio: ignored"]
    table.save_images(tmp_path / "out")
    assert (tmp_path / "out" / "one" / "000003-1.png").read_bytes() == PICTURES[1]


def test_bare_bytes_are_pictures_if_they_look_like_some(tmp_path):
    pq.write_table(pa.table({"jpg": PICTURES[:2], "mask": [b"\0\1", b"\2\3"], "n": [1, 2]}), tmp_path / "a.parquet")
    table = only(tmp_path / "a.parquet")
    assert dict(table.columns) == {"jpg": ["a/000001.png", "a/000002.jpg"], "n": ["1", "2"]}
    pq.write_table(pa.table({"mask": [b"\0\1", b"\2\3"], "n": [1, 2]}), tmp_path / "b.parquet")
    table = only(tmp_path / "b.parquet")
    assert (dict(table.columns), table.save_images) == ({"n": ["1", "2"]}, None)
    assert table.remarks == ["b.parquet: no text, numbers or lists of names in mask: ignored"]


FRAME = pd.DataFrame(
    {
        "image": ["a.png", "b.png", "c.png"],
        "cat": [1, 0, 1],
        "dog": [True, False, True],
        "age": [1.0, None, 2.5],
        "kind": pd.Categorical(["x", None, "y"]),
        "count": pd.array([3, None, 4], dtype="Int64"),
        "day": pd.to_datetime(["2020-01-02"] * 3).date,
        "labels": [["cat", "dog"], [], None],
    }
)
CELLS = {
    "image": ["a.png", "b.png", "c.png"],
    "cat": ["1", "0", "1"],
    "dog": ["True", "False", "True"],
    "age": ["1", "", "2.5"],
    "kind": ["x", "", "y"],
    "count": ["3", "", "4"],
    "day": ["2020-01-02"] * 3,
    "labels": [("cat", "dog"), (), ""],
}


def test_frames_of_pandas_are_read_from_every_file_that_it_writes(tmp_path):
    FRAME.to_parquet(tmp_path / "plain.parquet", index=False)
    FRAME.to_feather(tmp_path / "plain.feather")
    FRAME.set_index(pd.Index([5, 3, 9])).to_parquet(tmp_path / "filtered.parquet")
    FRAME.to_parquet(tmp_path / "packed.pq", compression="gzip")
    for path in sorted(tmp_path.iterdir()):
        assert {name: list(cells) for name, cells in only(path).columns.items()} == CELLS
    (folder := tmp_path / "parts").mkdir()
    FRAME[:2].to_parquet(folder / "0.parquet")
    FRAME[2:].to_parquet(folder / "1.parquet")
    assert list(only(folder).columns["labels"]) == CELLS["labels"]


@pytest.mark.parametrize("kind", ["Sequence", "List"])
def test_labels_of_boxes_are_a_column_of_their_own(tmp_path, kind):
    box = {"bbox": hf.a_list({"dtype": "float32", "_type": "Value"}), "category": hf.class_label(*NAMES)}
    boxes = [{"bbox": [[0, 0, 1, 1], [0, 0, 2, 2]], "category": [0, 2]}, {"bbox": [[1, 1, 1, 1]], "category": [1]}]
    if kind == "List":
        boxes = [[{"bbox": b, "category": c} for b, c in zip(*row.values(), strict=True)] for row in boxes]
    path = tmp_path / "boxes.parquet"
    hf.write_parquet(path, {"n": [7, 8], "objects": boxes}, {"n": hf.WHOLE, "objects": hf.a_list(box, kind)})
    table = only(path)
    assert dict(table.columns) == {"n": ["7", "8"], "objects.category": [("cat", "old bird"), ("dog",)]}
    assert table.classes == {"objects.category": NAMES}
    assert table.remarks == ["boxes.parquet: no text, numbers or lists of names in objects.bbox: ignored"]


def test_single_labels_and_lists_of_0_and_1_are_read(tmp_path):
    features = {"label": hf.class_label(*NAMES), "vector": hf.a_list(hf.WHOLE)}
    values = {"label": [2, -1, None], "vector": [[0, 1, 1], [0, 0, 0], [1, 0, 0]]}
    hf.write_parquet(tmp_path / "one.parquet", values, features)
    table = only(tmp_path / "one.parquet")
    assert dict(table.columns) == {"label": ["old bird", "", ""], "vector": [("1", "2"), (), ("0",)]}
    assert table.classes == {"label": NAMES, "vector": ("0", "1", "2")}
    assert table.remarks == ["one.parquet: vector has 0/1 for each of 3 classes, which are numbered from 0"]


def test_what_cannot_be_read_is_refused_with_its_place(tmp_path):
    hf.write_parquet(tmp_path / "number.parquet", {**columns(), "labels": [[3], [], [], [], []]}, FEATURES)
    (tmp_path / "text.parquet").write_text("image,labels\n")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "number.parquet").read_bytes()[:-200])
    (tmp_path / "text.arrow").write_text("image,labels\n")
    (tmp_path / "old.feather").write_bytes(b"FEA1" + bytes(60))
    pq.write_table(pa.table({"image": ["a"]}).slice(0, 0), tmp_path / "empty.parquet")
    hf.save_split(tmp_path / "selected", columns(), FEATURES, _indices_data_files=[{"filename": "indices.arrow"}])
    hf.save_split(tmp_path / "lacking", columns(), FEATURES, shards=2)
    (tmp_path / "lacking" / "data-00001-of-00002.arrow").unlink()
    hf.save_splits(tmp_path / "odd", {"unsupervised": columns()}, FEATURES)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.json").write_text(json.dumps({"_data_files": 3}))
    for folder, files in {"mixed": "train.parquet other.parquet", "other": "train-0.parquet train-1.parquet"}.items():
        for i, name in enumerate(files.split()):
            features = dict.fromkeys(("n", "m", "mm"), hf.WHOLE)
            hf.write_parquet(tmp_path / folder / name, {"n": [1], "m" * (i + 1): [1]}, features)
    (tmp_path / "nothing").mkdir()
    for name, words in {
        "number.parquet": "column 'labels': 3 is no number of its 3 classes",
        "text.parquet": "text.parquet is no Parquet or Arrow file that can be read",
        "cut.parquet": "cut.parquet is no Parquet or Arrow file that can be read",
        "text.arrow": "text.arrow is no Parquet or Arrow file that can be read",
        "old.feather": "old.feather is no Parquet or Arrow file that can be read",
        "empty.parquet": "has no row with anything in it",
        "selected": "a selection of rows as old versions",
        "lacking": "lacks data-00001-of-00002.arrow, which its state.json lists",
        "odd": "unknown split .*dataset_dict.json.* 'unsupervised'",
        "broken": "state.json lists no files of data",
        "mixed": "train.parquet is of a split, other.parquet is not; give the files one by one",
        "other": r"train-1.parquet has the columns \['n', 'mm'\], but .*train-0.parquet has \['n', 'm'\]",
        "nothing": "holds no labels",
    }.items():
        with pytest.raises(InputError, match=words):
            read_tables(tmp_path / name)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_memory_does_not_grow_with_the_pictures(tmp_path, ending):
    noise = np.random.default_rng(0).bytes(20_000_000)
    images = [{"bytes": PICTURES[0] + noise[i : i + 20_000], "path": None} for i in range(0, len(noise), 20_000)]
    table = hf.table_of({"image": images, "n": list(range(len(images)))}, FEATURES)
    path = tmp_path / f"one.{ending}"
    pq.write_table(table, path, row_group_size=5) if ending == "parquet" else hf.write_stream(path, table)
    before = pa.default_memory_pool()
    pa.set_memory_pool(counted := pa.proxy_memory_pool(before))
    try:
        only(path).save_images(tmp_path / "out")
    finally:
        pa.set_memory_pool(before)
    assert sum(file.stat().st_size for file in (tmp_path / "out").rglob("*.png")) > len(noise)
    assert counted.max_memory() < len(noise) / 4


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_damaged_files_are_read_or_refused_and_never_end_the_process(tmp_path, ending):
    whole, damaged = tmp_path / f"whole.{ending}", tmp_path / f"damaged.{ending}"
    table = hf.table_of(columns(), FEATURES)
    pq.write_table(table, whole) if ending == "parquet" else hf.write_stream(whole, table)
    draws, data = np.random.default_rng(0), np.frombuffer(whole.read_bytes(), np.uint8)
    refused = 0
    for _ in range(150):
        changed = data.copy()
        changed[draws.integers(len(data), size=4)] = draws.integers(256, size=4)
        damaged.write_bytes(changed[: draws.integers(len(data)) if draws.random() < 0.2 else None].tobytes())
        try:
            only(damaged)
        except InputError:
            refused += 1
    assert refused > 50
