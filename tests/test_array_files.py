import numpy as np
import pytest
from mltbench.datasets.array_files import read_split, write_split
from mltbench.datasets.dataset import Split
from mltbench.datasets.errors import InputError


@pytest.fixture
def split(small_labels):
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)
    return Split(images=images, labels=small_labels, ids=np.array([f"image-{i}" for i in range(7)]))


def test_a_split_is_read_as_it_was_written(split, tmp_path):
    path = tmp_path / "new" / "folder" / "train.npz"
    write_split(split, path)
    read = read_split(path)
    assert read.digest == split.digest
    assert read.ids.tolist() == split.ids.tolist()
    assert [file.name for file in path.parent.iterdir()] == ["train.npz"]


def test_a_split_replaces_an_older_one(split, tmp_path):
    write_split(Split(images=split.images[:3], labels=split.labels[:3], ids=split.ids[:3]), tmp_path / "train.npz")
    write_split(split, tmp_path / "train.npz")
    assert read_split(tmp_path / "train.npz").digest == split.digest


def test_a_folder_that_cannot_be_written_is_named(split, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"cannot write the dataset to .*MLTBENCH_DATA"):
        write_split(split, tmp_path / "file" / "train.npz")


def test_pickled_arrays_are_refused(split, tmp_path):
    ids = np.array(split.ids.tolist(), dtype=object)
    np.savez(tmp_path / "train.npz", images=split.images, labels=split.labels, ids=ids)
    with pytest.raises(InputError, match="damaged"):
        read_split(tmp_path / "train.npz")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_what_is_no_split_file_is_refused(content, tmp_path):
    (tmp_path / "train.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"train\.npz is damaged .*delete it"):
        read_split(tmp_path / "train.npz")


def test_a_file_without_ids_is_refused(split, tmp_path):
    np.savez(tmp_path / "train.npz", images=split.images, labels=split.labels)
    with pytest.raises(InputError, match=r"damaged .*ids"):
        read_split(tmp_path / "train.npz")


@pytest.mark.filterwarnings("ignore")  # NumPy warns of odd headers, and leaves files of odd archives open
def test_a_flipped_bit_is_refused_or_changes_nothing(split, tmp_path):
    write_split(split, tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    flipped = tmp_path / "flipped.npz"
    escaped = []
    for position in range(len(whole)):
        flipped.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            assert read_split(flipped).digest == split.digest
        except InputError:
            pass
        except Exception as error:
            escaped.append(f"{type(error).__name__} at byte {position}")
    assert escaped == []
