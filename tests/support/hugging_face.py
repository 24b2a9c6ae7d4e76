"""Folders and files of the exact shape that Hugging Face's `datasets` writes, which is not installed here."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

IMAGE = {"_type": "Image"}
IMAGE_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
TEXT = {"dtype": "string", "_type": "Value"}
WHOLE = {"dtype": "int64", "_type": "Value"}


def class_label(*names):
    return {"names": list(names), "_type": "ClassLabel"}


def a_list(feature, kind="List"):
    """A list of one feature; `Sequence` until version 4 of the package, `old` is a JSON list."""
    if kind == "old":
        return [feature]
    return {"feature": feature, "_type": kind} | ({"length": -1} if kind == "Sequence" else {})


def arrow_type(feature):
    if isinstance(feature, list):
        return pa.list_(arrow_type(feature[0]))
    kind = feature.get("_type")
    if kind is None:
        return pa.struct({name: arrow_type(member) for name, member in feature.items()})
    if kind in ("Sequence", "List", "LargeList"):
        inner = feature["feature"]
        if kind == "Sequence" and "_type" not in inner:  # a sequence of objects is kept as an object of lists
            return pa.struct({name: pa.list_(arrow_type(member)) for name, member in inner.items()})
        return (pa.large_list if kind == "LargeList" else pa.list_)(arrow_type(inner))
    kinds = {"Image": IMAGE_TYPE, "Audio": IMAGE_TYPE, "ClassLabel": pa.int64()}
    return kinds[kind] if kind in kinds else pa.type_for_alias(feature["dtype"])


def table_of(columns, features):
    """An Arrow table with the features in its metadata."""
    schema = pa.schema({name: arrow_type(features[name]) for name in columns})
    info = {"info": {"features": features}, "fingerprint": "0123456789abcdef"}
    return pa.table(columns, schema=schema.with_metadata({"huggingface": json.dumps(info)}))


def write_stream(path, table, rows=1000):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def save_split(folder, columns, features, *, split=None, shards=1, **state):
    """`Dataset.save_to_disk`: streams in shards, and what they are."""
    folder.mkdir(parents=True)
    table = table_of(columns, features)
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    size = -(-table.num_rows // shards)
    for i, name in enumerate(names):
        write_stream(folder / name, table.slice(i * size, size), rows=2)
    about = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "0123456789abcdef",
        **{"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False},
        **{"_split": split, **state},
    }
    (folder / "state.json").write_text(json.dumps(about, indent=2, sort_keys=True))
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))


def save_splits(folder, splits, features, **options):
    """`DatasetDict.save_to_disk`."""
    for name, columns in splits.items():
        save_split(folder / name, columns, features, split=name, **options)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))


def write_parquet(path, columns, features):
    """`to_parquet` and `push_to_hub`: small groups of rows where there are images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(columns, features), path, row_group_size=2)
