"""VOC-MLT and COCO-MLT are exactly the published sets, from labels alone."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from mltbench.datasets.long_tail.selection import ids_digest, pareto_targets, select_head_to_tail
from mltbench.datasets.prepared.dataset_folder import SplitLabels
from mltbench.datasets.published.coco_mlt import COCO_MLT, generator_after_voc
from mltbench.datasets.published.published_set import define_splits, read_labels
from mltbench.datasets.published.voc_mlt import VOC_MLT
from mltbench.errors import InputError

VOC_DIGEST = "6fa70d5b693700d97657acd03b18b4d198aa59795dc99828db2c21a2abf2133f"
COCO_DIGEST = "b2fec8ea5085da2dc305e2f1224eed7365151058a34d26f2ca340f582ff55f4c"


@pytest.fixture
def voc_labels(shared_folder):
    """Training and test labels."""
    return read_labels(VOC_MLT, shared_folder / "facts" / "voc_mlt.npz")


@pytest.fixture
def voc_splits(voc_labels):
    return define_splits(VOC_MLT, *voc_labels)[0]


def test_voc_mlt_has_the_published_images_and_labels(voc_splits, voc_facts):
    train = voc_splits["train"]
    assert ids_digest(train.ids.tolist()) == VOC_DIGEST
    row = dict(zip(voc_facts["train_ids"].tolist(), voc_facts["train_labels"], strict=True))
    assert all((row[i] == labels).all() for i, labels in zip(train.ids.tolist(), train.labels, strict=True))
    assert voc_splits["test"].labels.sum() == 7632


def test_coco_mlt_has_the_published_images(coco_facts, shared_folder):
    splits, remarks = define_splits(COCO_MLT, *read_labels(COCO_MLT, shared_folder / "facts" / "coco_mlt.npz"))
    assert ids_digest(splits["train"].ids.tolist()) == COCO_DIGEST
    assert ids_digest(map(str, coco_facts["published_order_ids"].tolist())) == COCO_DIGEST
    assert int((splits["test"].labels.sum(1) == 0).sum()) == 48
    assert any("no validation split" in remark for remark in remarks)


def test_coco_mlt_is_drawn_from_the_generator_where_voc_mlt_left_it(voc_facts):
    generator = random.Random(0)
    select_head_to_tail(voc_facts["trainval2012_labels"], pareto_targets(20, largest=800), generator)
    assert generator.getstate() == generator_after_voc().getstate()


def test_validation_is_disjoint_and_distributed_as_test(voc_splits):
    train, validation, test = (voc_splits[name] for name in ("train", "validation", "test"))
    assert len(validation.ids) == 2000
    assert not set(validation.ids.tolist()) & (set(train.ids.tolist()) | set(test.ids.tolist()))
    assert np.abs(validation.labels.mean(0) - test.labels.mean(0)).max() < 0.001


def test_a_published_list_wins_over_a_rebuilt_one_and_other_labels_are_refused(voc_labels, voc_facts):
    (train, test), listed = voc_labels, voc_facts["train_ids"].tolist()
    other = SplitLabels(ids=train.ids, labels=train.labels.copy())
    other.labels[:500, 0] = 1
    with pytest.raises(InputError, match=r"have digest .* the published ones 6fa70d5b6937.*--list FILE"):
        define_splits(VOC_MLT, other, test)
    splits, remarks = define_splits(replace(VOC_MLT, digests={}), other, test, listed)
    assert ids_digest(splits["train"].ids.tolist()) == VOC_DIGEST
    assert any("the rebuilt list differs in" in remark for remark in remarks)
    with pytest.raises(InputError, match="not those of the official release"):
        define_splits(VOC_MLT, other, test, listed)
    with pytest.raises(InputError, match="does not have digest"):
        define_splits(VOC_MLT, train, test, listed[:-1])
    test.labels[7, 3] ^= 1
    with pytest.raises(InputError, match="the test labels have digest"):
        define_splits(VOC_MLT, train, test)


PUBLISHED = {
    "voc-mlt": ("train 1142", "train 2.054", "head 6, medium 6, tail 8", 775, 4),
    "coco-mlt": ("train 1909", "train 4.356", "head 22, medium 33, tail 25", 1128, 6),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_labels_alone_show_the_published_numbers(name, call, own_folder, shared_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MLTBENCH_DATA", str(tmp_path / "data"))
    status, _, error = call("data", "show", name)
    assert (status, f"mltbench data prepare {name}" in error) == (2, True)
    file = shared_folder / "facts" / f"{name.replace('-', '_')}.npz"
    assert call("data", "prepare", name, "--labels", file)[0] == 0
    status, out, error = call("data", "show", name, "--json", "--out", tmp_path / "picture.png")
    assert (status, error) == (0, "")
    shown = json.loads(out)
    first = [shown[key].split(", ")[0] for key in ("images", "labels_per_image")]
    sizes = [row["train"] for row in shown["classes"]]
    assert (*first, shown["groups"], max(sizes), min(sizes)) == PUBLISHED[name]
    assert (tmp_path / "picture.png").stat().st_size > 10_000
