"""JSON Lines, and JSON in every orientation of pandas: the same cells, refused with the line."""

import gzip
import json

import pandas as pd
import pytest
from mltbench.datasets.importing.tables import read_tables
from mltbench.errors import InputError

CELLS = {"image": ["a.png", "b.png", "c.png"], "labels": [("cat", "dog"), (), ("dog",)]}
ROWS = [{"image": image, "labels": list(labels)} for image, labels in zip(*CELLS.values(), strict=True)]


def written(tmp_path, content, name):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path / name


def only(path):
    (table,) = read_tables(path)
    return table


def cells(table):
    return {name: list(column) for name, column in table.columns.items()}


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.jsonl", LINES),
        ("lines.ndjson", LINES.replace("\n", "\r\n")),
        ("mark.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
        ("wide.jsonl", LINES.encode("utf-16")),
        ("packed.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("list.json", json.dumps(ROWS, indent=2)),
        ("names.json", json.dumps({row["image"]: row["labels"] for row in ROWS})),
        ("columns.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]})),
        *((f"{way}.json", pd.DataFrame(ROWS).to_json(orient=way)) for way in ("records", "columns", "index")),
        ("by-image.json", pd.DataFrame(ROWS).set_index("image").to_json(orient="index")),
    ],
)
def test_every_way_round_gives_the_same_cells(tmp_path, name, content):
    assert cells(only(written(tmp_path, content, name))) == CELLS


def test_values_become_text_and_keys_columns(tmp_path):
    rows = [
        {"image": "a.png", "cat": 1, "dog": True, "age": 61.0, "w": 0.25, "who": None},
        {"image": "b.png", "cat": 0, "sex": "F", "w": float("nan"), "ids": [3, 5.0, None]},
    ]
    table = only(written(tmp_path, "\n\n".join(map(json.dumps, rows)) + "\n", "rows.jsonl"))
    assert cells(table) == {
        "image": ["a.png", "b.png"],
        "cat": ["1", "0"],
        "dog": ["True", ""],
        "age": ["61", ""],
        "w": ["0.25", ""],
        "who": ["", ""],
        "sex": ["", "F"],
        "ids": ["", ("3", "5")],
    }
    assert list(table.rows) == [1, 3]


def test_members_of_objects_are_columns_of_their_own(tmp_path):
    rows = [
        {"image": "a.png", "choice": {"choices": ["cat", "dog"]}, "objects": [{"n": "x", "box": [0, 1]}, {"n": "y"}]},
        {"image": "b.png", "choice": None, "objects": []},
    ]
    table = only(written(tmp_path, json.dumps(rows), "rows.json"))
    assert cells(table) == {
        "image": ["a.png", "b.png"],
        "choice.choices": [("cat", "dog"), ""],
        "objects.n": [("x", "y"), ""],
    }
    assert table.remarks == ["rows.json: no text, numbers or lists of names in objects.box: ignored"]


def test_lists_of_0_and_1_are_numbers_of_classes(tmp_path):
    rows = [{"image": f"{i}.png", "labels": flags} for i, flags in enumerate(([0, 1, 0], [1, 1, 0], [0, 0, 0]))]
    table = only(written(tmp_path, json.dumps(rows), "rows.json"))
    assert (cells(table)["labels"], table.classes) == ([("1",), ("0", "1"), ()], {"labels": ("0", "1", "2")})
    for other in ([[0], [1], [0, 1]], [[0, 2], [1, 0], [0, 1]]):  # these are numbers of classes already
        rows = [{"image": f"{i}.png", "labels": flags} for i, flags in enumerate(other)]
        table = only(written(tmp_path, json.dumps(rows), "rows.json"))
        assert cells(table)["labels"] == [tuple(map(str, flags)) for flags in other]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"image": "a"}\n{"image": \n', r"a.jsonl, line 2 is no JSON"),
        ("a.jsonl", '{"image": "a"}\n\n[1]\n', r"a.jsonl, line 3: \[1\] is no JSON object"),
        ("a.jsonl", "\n", "has no row with anything in it"),
        ("a.jsonl", '{"image": "caf\xe9"}\n'.encode("cp1252"), "line 1 has the byte 0xe9"),
        ("a.jsonl", '{"a": {"b": 1}, "a.b": 2}\n', "column 'a.b' is there twice in record 1"),
        ("a.json", "[]", "has no row with anything in it"),
        ("a.json", "[1, 2]", "entry 1: 1 is no JSON object"),
        ("a.json", '{"version": 1, "a": []}', "holds an object with 'version', 'a'; what is read is COCO instances"),
        ("a.json", "3", "holds 3; what is read"),
        ("a.json", "[" * 100_000, "is no JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, name, content, words):
    with pytest.raises(InputError, match=words):
        read_tables(written(tmp_path, content, name))


def test_other_kinds_of_files_are_refused_with_the_cure(tmp_path):
    for name, words in {
        "a.xlsx": "save the sheet as CSV UTF-8",
        "a.pkl": "reading it could run any code",
        "a.doc": "tables that can be read: .csv .tab .tsv .jsonl .ndjson .json .parquet",
    }.items():
        with pytest.raises(InputError, match=words):
            read_tables(written(tmp_path, "x", name))
    with pytest.raises(InputError, match="--delimiter ';' is for CSV"):
        read_tables(written(tmp_path, LINES, "a.jsonl"), delimiter=";")


def test_the_metadata_of_an_image_folder_name_files_from_where_they_lie(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        written(tmp_path / split, '{"file_name": "0.png", "labels": ["cat"]}\n', "metadata.jsonl")
    found = {table.split: cells(table)["file_name"] for table in read_tables(tmp_path)}
    assert found == {"train": ["train/0.png"], "test": ["test/0.png"]}


def test_tables_of_a_folder_without_splits_are_not_guessed(tmp_path):
    for name in ("labels.csv", "sizes.csv"):
        written(tmp_path, "image,labels\na.png,cat\n", name)
    with pytest.raises(InputError, match=r"holds several tables, labels.csv, sizes.csv; give the one of the labels"):
        read_tables(tmp_path)
    (tmp_path / "sizes.csv").unlink()
    assert only(tmp_path).source == tmp_path / "labels.csv"
