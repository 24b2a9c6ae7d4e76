"""Every reader of labels, given anything: it reads it, or refuses it with an `InputError`."""

import contextlib
import json

import hugging_face as hf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mltbench.datasets.importing.coco_json import is_coco_json, read_coco_json
from mltbench.datasets.importing.tables import read_tables
from mltbench.datasets.importing.voc_xml import read_voc_folder
from mltbench.errors import InputError

ODD = ["a.jpg", "../x", "", "0", "1.0", "\x00", "train", "image", "_type", "names"]
NAMES = st.text(max_size=12) | st.sampled_from(ODD)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
KEYS = ["id", "name", "file_name", "image_id", "category_id", "bbox", "area", "width", "height", "coco_url"]
ENTRIES = st.lists(st.fixed_dictionaries(dict.fromkeys(KEYS, VALUES)), max_size=3) | VALUES
COCO = st.fixed_dictionaries(dict.fromkeys(("images", "annotations", "categories"), ENTRIES))
FEATURES = st.recursive(
    st.sampled_from([hf.IMAGE, hf.TEXT, hf.class_label("a", "b"), {"_type": "ClassLabel"}]) | VALUES,
    lambda inner: inner.map(hf.a_list) | st.dictionaries(NAMES, inner, max_size=2) | inner.map(lambda one: [one]),
    max_leaves=4,
)
ELEMENTS = ["annotation", "object", "name", "difficult", "size", "width", "filename"]
TAGS = [f"<{slash}{name}>" for name in ELEMENTS for slash in ("", "/")]
MARKS = ["1", "0", "dog", "&x;", "<!DOCTYPE a>", "<?xml version='1.0' encoding='gbk'?>", "\x01"]
XML = st.lists(st.sampled_from([*TAGS, *MARKS]) | st.text(max_size=5), max_size=14).map("".join)
ANYTHING = st.binary(max_size=200) | st.text(max_size=200)
CELLS = NAMES | st.sampled_from(['"', ",", ";", "\t", "sep=;", "\n"])
TABLE = st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6).map("\n".join)
CONTENTS = {
    "a.csv": ANYTHING | TABLE,
    "a.tsv": ANYTHING | TABLE,
    "a.csv.gz": ANYTHING,
    "a.jsonl": ANYTHING | st.lists(VALUES.map(json.dumps), max_size=4).map("\n".join),
    "a.json": ANYTHING | VALUES.map(json.dumps),
    "a.parquet": ANYTHING,
    "a.arrow": ANYTHING,
    "state.json": ANYTHING | VALUES.map(json.dumps),
    "dataset_dict.json": ANYTHING | VALUES.map(json.dumps),
    "coco.json": ANYTHING | COCO.map(json.dumps) | VALUES.map(json.dumps),
    "a.xml": ANYTHING | XML,
}


@pytest.mark.parametrize("name", CONTENTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_anything_is_read_or_refused(name, data, tmp_path_factory):
    folder, content = tmp_path_factory.getbasetemp() / f"any-{name}", data.draw(CONTENTS[name])
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    with contextlib.suppress(InputError):
        if name == "coco.json":
            is_coco_json(folder / name)
            read_coco_json(folder / name)
        elif name == "a.xml":
            read_voc_folder(folder)
        else:
            read_tables(folder if name in ("state.json", "dataset_dict.json") else folder / name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(features=st.dictionaries(st.sampled_from(["labels", "n", "objects"]), FEATURES), info=VALUES)
def test_any_features_are_followed_or_refused(features, info, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "any-features"
    folder.mkdir(exist_ok=True)
    right = {"labels": hf.a_list(hf.WHOLE), "n": hf.WHOLE, "objects": {"name": hf.a_list(hf.WHOLE)}}
    table = hf.table_of({"labels": [[0], [1, -1]], "n": [0, 1], "objects": [{"name": [1]}, None]}, right)
    for metadata in ({"info": {"features": features}}, info):
        hf.write_stream(folder / "a.arrow", table.replace_schema_metadata({"huggingface": json.dumps(metadata)}))
        with contextlib.suppress(InputError):
            read_tables(folder / "a.arrow")
