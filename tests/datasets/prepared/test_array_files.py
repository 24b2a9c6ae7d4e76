import contextlib
import hashlib
import io
import json
import re

import numpy as np
import pytest
from mltbench.datasets import dataset as dataset_module
from mltbench.datasets.dataset import Split
from mltbench.datasets.images.decode import DECODER_VERSION
from mltbench.datasets.prepared.array_files import DAMAGE, map_array, read_split, write_split
from mltbench.datasets.prepared.dataset_folder import Manifest, SplitLabels, read_split_labels, write_prepared
from mltbench.errors import InputError


def test_a_split_is_read_as_it_was_written_last(split, tmp_path):
    path = tmp_path / "new" / "folder" / "train.npz"
    write_split(Split(images=split.images[:3], labels=split.labels[:3], ids=split.ids[:3]), path)
    write_split(split, path)
    assert read_split(path).digest == split.digest
    assert [file.name for file in path.parent.iterdir()] == ["train.npz"]


def test_a_folder_that_cannot_be_written_is_named(split, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"cannot write the dataset to .*MLTBENCH_DATA"):
        write_split(split, tmp_path / "file" / "train.npz")


def archive(**arrays):
    np.savez(file := io.BytesIO(), **arrays)
    return file.getvalue()


def test_what_is_no_split_file_is_refused(split, tmp_path):
    arrays = {"images": split.images, "labels": split.labels}
    pickled = archive(**arrays, ids=np.array(split.ids.tolist(), dtype=object))
    for content in (b"", b"no archive", b"PK\x03\x04 cut off", archive(**arrays), pickled):
        (tmp_path / "train.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"train\.npz is damaged .*delete it"):
            read_split(tmp_path / "train.npz")


def damages(path):
    """Cut a file everywhere, flip a bit of each of its bytes; give what was done to it."""
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        yield f"cut to {length}"
    for at, byte in enumerate(whole):
        path.write_bytes(whole[:at] + bytes([byte ^ 1 << at % 8]) + whole[at + 1 :])
        yield f"byte {at}"


@pytest.mark.filterwarnings("ignore")  # NumPy warns of odd headers, and leaves files of odd archives open
def test_a_damaged_split_is_refused_or_is_the_same(split, tmp_path):
    write_split(split, tmp_path / "split.npz")
    for damage in damages(tmp_path / "split.npz"):
        with contextlib.suppress(InputError):
            assert read_split(tmp_path / "split.npz").digest == split.digest, damage


ARRAYS = {
    "ids": np.array(["a", "snowman \u2603", "", "ccc"]),
    "labels": np.arange(12, dtype=np.uint8).reshape(4, 3),
    "by_columns": np.arange(12, dtype=np.uint8).reshape(3, 4).T,
    "nothing": np.empty(0, dtype="U64"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_mapped_array_is_the_one_that_is_read(name, tmp_path):
    np.savez(tmp_path / "arrays.npz", **ARRAYS)
    found = map_array(tmp_path / "arrays.npz", name)
    assert isinstance(found, np.memmap) == (name != "nothing")
    assert (found.dtype, found.tolist()) == (ARRAYS[name].dtype, ARRAYS[name].tolist())


@pytest.mark.parametrize("name", ["missing", "objects", "packed"])
def test_what_cannot_be_mapped_is_an_error(name, tmp_path):
    np.savez(tmp_path / "arrays.npz", objects=np.array([{}], dtype=object))
    if name == "packed":
        np.savez_compressed(tmp_path / "arrays.npz", packed=np.zeros(9))
    with pytest.raises(DAMAGE):
        map_array(tmp_path / "arrays.npz", name)


@pytest.mark.parametrize("files", [[], ["ab" * 32] * 7])
def test_the_digest_of_prepared_labels_in_pieces_is_that_of_the_whole(files, monkeypatch):
    monkeypatch.setattr(dataset_module, "IDS_AT_ONCE", 3)
    ids, labels = [f"{i} \u2603" for i in range(7)], np.eye(7, 2, dtype=np.uint8)
    head = {"decoder": DECODER_VERSION, "side": 224, "shape": [7, 2], "ids": ids}
    expected = hashlib.sha256(json.dumps(head).encode() + labels.tobytes() + "".join(files).encode()).hexdigest()
    split = SplitLabels(ids=np.array(ids), labels=labels, file_digests=np.array(files, dtype="U64"))
    assert split.digest(224) == expected


def test_damaged_prepared_labels_are_refused_or_are_the_same(tmp_path):
    labels = SplitLabels(ids=np.array(["a", "b"]), labels=np.eye(2, dtype=np.uint8))
    values = {"name": "x", "summary": "", "source": "", "recipe": "", "backbone": "", "classes": ("c", "d")}
    manifest = Manifest(**values, digests={"test": labels.digest(224)}, images={"test": 2}, options={})
    write_prepared(tmp_path, manifest, {"test": labels})
    errors = []
    for damage in damages(tmp_path / "labels.npz"):
        try:
            found = read_split_labels(tmp_path, manifest, "test")
            assert (found.ids.tolist(), found.labels.tolist()) == (["a", "b"], [[1, 0], [0, 1]]), damage
        except InputError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert all(re.search("is damaged|are not those of", text) for text in errors)
