import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
from mltbench.datasets import dataset as dataset_module
from mltbench.datasets.commands.show import describe
from mltbench.datasets.dataset import SPLITS, Dataset, Split
from mltbench.datasets.registry import get_dataset_entry, list_datasets, load_dataset, register_dataset
from mltbench.datasets.registry import resolve_data_root as resolve
from mltbench.errors import InputError

CLASSES = ("person", "dog", "sofa", "dining table")


def make_dataset(split, opened=None, **changes):
    splits = {name: replace(split, images=split.images ^ i) for i, name in enumerate(SPLITS)}
    opened = [] if opened is None else opened
    openers = {name: (lambda name=name: opened.append(name) or splits[name]) for name in splits}
    digests = {name: split.digest for name, split in splits.items()}
    return Dataset(**{"name": "toy", "classes": CLASSES, "digests": digests, "openers": openers, **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((7, 5, 4, 3))}, r"uint8 \(N, H, W, 3\); got float64"),
        ({"images": np.zeros((7, 5, 4), np.uint8)}, r"got uint8 \(7, 5, 4\)"),
        ({"images": np.zeros((7, 3, 5, 4), np.uint8)}, r"got uint8 \(7, 3, 5, 4\)"),
        ({"images": np.zeros((6, 5, 4, 3), np.uint8)}, "6 images, 7 label rows, 7 ids"),
        ({"ids": np.array(list("abcdef"))}, "7 images, 7 label rows, 6 ids"),
        ({"ids": np.array(list("abcdeff"))}, "not unique"),
        ({"labels": np.full((7, 4), 2)}, "labels must be 0, 1 or -1"),
        ({"labels": np.eye(7, 4, dtype=np.int8)}, r"labels must be uint8 and ids strings; got int8 and <U1\."),
        ({"ids": np.arange(7)}, "got uint8 and int64"),
        ({"images": np.zeros((8, 5, 4, 3), np.uint8)}, "8 images, 7 label rows, 7 ids"),
        ({"labels": np.eye(8, 4, dtype=np.uint8)}, "7 images, 8 label rows, 7 ids"),
    ],
)
def test_what_is_no_split_is_refused(split, change, message):
    parts = {"images": split.images, "labels": split.labels, "ids": np.array(list("abcdefg"))}
    assert len(Split(**parts)) == 7
    with pytest.raises(InputError, match=message):
        Split(**{**parts, **change})


@pytest.mark.parametrize("hashed", [hash, lambda one: len(one), lambda one: 0])
def test_two_equal_ids_are_found_wherever_they_lie(split, hashed, monkeypatch):
    """In pieces of three, and also where different ids have the same hash."""
    monkeypatch.setattr(dataset_module, "IDS_AT_ONCE", 3)
    monkeypatch.setattr(dataset_module, "hash", hashed, raising=False)
    for first, second in itertools.combinations(range(7), 2):
        ids = np.array(["a", "b", "cc", "d", "ee", "f", "ggg"])
        assert len(Split(images=split.images, labels=split.labels, ids=ids)) == 7
        ids[second] = ids[first]
        with pytest.raises(InputError, match="not unique"):
            Split(images=split.images, labels=split.labels, ids=ids)


def test_digest_follows_every_part(split, small_labels):
    def digest(**change):
        return Split(**{"images": split.images, "labels": split.labels, "ids": split.ids, **change}).digest

    images, labels, ids = split.images.copy(), small_labels.copy(), split.ids.copy()
    images[6, 4, 3, 2] ^= 1
    labels[6, 3] ^= 1
    ids[6] = "image-9"
    changes = [{}, {"images": images}, {"labels": labels}, {"ids": ids}, {"ids": split.ids[::-1]}]
    changes += [{"images": split.images.reshape(7, 4, 5, 3)}]
    assert len({digest(**change) for change in changes}) == len(changes)
    # Where an array lies in memory is no part of what it holds.
    assert digest(images=np.asfortranarray(split.images), labels=np.asfortranarray(small_labels)) == digest()


def test_a_split_is_known_by_the_bytes_of_all_that_it_holds(split, monkeypatch):
    expected = hashlib.sha256(b"(7, 5, 4, 3) (7, 4)\nimage-0\nimage-1\nimage-2\nimage-3\nimage-4\nimage-5\nimage-6")
    expected.update(split.labels.tobytes() + split.images.tobytes())
    for ids_at_once in (2, 3, 7, 4096):
        monkeypatch.setattr(dataset_module, "IDS_AT_ONCE", ids_at_once)
        assert replace(split).digest == expected.hexdigest()
    assert replace(split, recorded_digest="as recorded").digest == "as recorded"


def test_splits_that_are_open_already_make_a_dataset(split):
    test = replace(split, images=split.images ^ 1)
    dataset = Dataset.in_memory("toy", iter(CLASSES), {"test": test, "train": split})
    assert (dataset.name, dataset.classes, dataset.splits) == ("toy", CLASSES, ("train", "test"))
    assert (dataset.split("train"), dataset.split("test")) == (split, test)
    lines = [*CLASSES, f"test {test.digest}", f"train {split.digest}"]
    assert dataset.digest == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with pytest.raises(InputError, match="toy has no validation split, which it scores"):
        dataset.require_validation("it")
    make_dataset(split).require_validation("it")


def test_labels_that_are_stored_apart_are_read_without_the_images(split):
    opened, other = [], split.labels[:, ::-1].copy()
    dataset = make_dataset(split, opened, label_openers={"train": lambda: other})
    assert dataset.labels("train") is other
    assert dataset.statistics.counts.tolist() == [1, 2, 3, 6]
    assert opened == []
    assert dataset.labels("test") is dataset.split("test").labels
    assert opened == ["test"]


def test_splits_open_once_and_only_when_asked(split, small_labels):
    opened = []
    dataset = make_dataset(split, opened)
    assert (len(dataset.digest), opened) == (64, [])
    assert dataset.split("test") is dataset.split("test")
    assert opened == ["test"]
    assert dataset.statistics.counts.tolist() == [6, 3, 2, 1]
    assert opened == ["test", "train"]
    small_labels[:, 3] = 0
    with pytest.raises(InputError, match="'dining table' has no training image"):
        _ = make_dataset(split).statistics


def test_an_unknown_split_and_one_of_other_content_are_refused(split):
    with pytest.raises(InputError, match=r"unknown split of toy 'tset'; did you mean 'test'.* train, validation, test"):
        make_dataset(split).split("tset")
    digests = {**make_dataset(split).digests, "train": "0" * 64}
    dataset = make_dataset(split, digests=digests)
    with pytest.raises(InputError, match=r"toy: the train split has digest .*, expected 000000000000"):
        dataset.split("train")
    assert len(dataset.split("test")) == 7


def test_identity_follows_class_names_and_digests(split):
    digests = make_dataset(split).digests
    changes = [{}, {"classes": ("person", "dog", "sofa", "table")}, {"classes": ("dog", "person", "sofa", CLASSES[3])}]
    changes.append({"digests": {**digests, "validation": digests["test"]}})
    identities = [make_dataset(split, **change).digest for change in changes]
    assert len(set(identities)) == 4
    assert make_dataset(split, digests=dict(reversed(digests.items()))).digest == identities[0]


def test_description_counts_the_classes(split):
    description = describe(make_dataset(split))
    assert description["labels_per_image"].startswith("train 1.714,")
    shown = description["images"], description["groups"]
    assert shown == ("train 7, validation 7, test 7", "head 0, medium 0, tail 4")
    assert [row["train"] for row in description["classes"]] == [6, 3, 2, 1]
    # Eq. 1 by hand: the mean of p(0|0), p(0|1), p(0|2), p(0|3) = 1, 2/3, 1, 1.
    assert description["classes"][0]["expected_frequency_class_aware"] == round(11 / 12, 6)


def test_unknown_labels_are_in_no_sum_of_a_description(split):
    assert "known_labels" not in describe(make_dataset(split))
    split.labels[[0, 1, 2], [1, 3, 0]] = 255
    description = describe(make_dataset(split))
    assert description["labels_per_image"].startswith("train 1.429,")
    assert description["labels_per_image_by_group"] == "head 0.000, medium 0.000, tail 1.429"
    assert description["known_labels"] == "train 89.3%, validation 89.3%, test 89.3%"
    for key, values in {"train": [5, 2, 2, 1], "test": [5, 2, 2, 1], "train_known": [6, 6, 7, 6]}.items():
        assert [row[key] for row in description["classes"]] == values


def test_a_registered_dataset_is_found(own_registrations, split, tmp_path):
    digits = get_dataset_entry("digits-mlt")
    entry = replace(digits, name="toy", open=lambda root: make_dataset(split, name=str(root)))
    assert register_dataset(entry) is entry
    assert get_dataset_entry("toy") is entry
    names = [entry.name for entry in list_datasets()]
    assert names == sorted({*names, "toy", "digits-mlt"})
    assert load_dataset("toy", data_root=tmp_path).name == str(tmp_path)
    with pytest.raises(InputError, match="'toy' is registered already"):
        register_dataset(entry)
    with pytest.raises(InputError, match="unknown dataset 'toyy'; did you mean 'toy'"):
        load_dataset("toyy")


def test_data_root_is_given_or_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("MLTBENCH_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for variable, below in (
        ("MLTBENCH_DATA", ""),
        ("XDG_CACHE_HOME", "mltbench/data"),
        ("HOME", ".cache/mltbench/data"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert resolve(tmp_path / "given") == tmp_path / "given"
        assert resolve() == tmp_path / variable / below
        monkeypatch.delenv(variable)
