"""VOC-MLT and COCO-MLT are exactly the published sets, from labels alone."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mltbench.datasets.long_tail.drawing import choose_like
from mltbench.datasets.long_tail.selection import ids_digest, pareto_targets, select_head_to_tail
from mltbench.datasets.prepared.dataset_folder import SplitLabels
from mltbench.datasets.published import coco_mlt, voc_mlt
from mltbench.datasets.published.coco_mlt import COCO_MLT, generator_after_voc, prepare_coco
from mltbench.datasets.published.published_set import Place, PublishedSet, define_splits, read_labels, rebuild
from mltbench.datasets.published.voc_mlt import ARCHIVES, VOC_MLT, prepare_voc
from mltbench.datasets.registry import get_dataset_entry
from mltbench.errors import InputError
from torchvision.datasets.voc import DATASET_YEAR_DICT
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights

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


def test_classes_and_archives_are_those_of_torchvision():
    assert [*VOC_MLT.classes] == FCN_ResNet50_Weights.DEFAULT.meta["categories"][1:]
    names = FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"][1:]
    assert [*COCO_MLT.classes] == [name for name in names if name != "N/A"]
    for year, entry in (("VOC2012", "2012"), ("VOC2007", "2007-test")):
        path, md5 = ARCHIVES[year]
        assert md5 == DATASET_YEAR_DICT[entry]["md5"]
        assert DATASET_YEAR_DICT[entry]["url"].endswith(path)


def test_the_sets_are_those_of_sec_4_1():
    assert (VOC_MLT.largest, COCO_MLT.largest) == (800, 1200)
    assert (VOC_MLT.list_digest, COCO_MLT.list_digest) == (VOC_DIGEST, COCO_DIGEST)
    # As large as the test splits in part: of VOC2007 there are 4,952 images, of val2017 5,000.
    assert (VOC_MLT.validation, COCO_MLT.validation) == (2000, 5000)
    assert VOC_MLT.generator().random() == random.Random(0).random()
    # The number that follows those that VOC-MLT takes.
    assert COCO_MLT.generator().getrandbits(32) == 1134584260
    for name in ("voc-mlt", "voc-mlt-nodifficult", "coco-mlt"):
        entry = get_dataset_entry(name)
        assert (entry.recipe, entry.backbone) == ("paper", "resnet50")


def small_set(train, *, listed=None, largest=9, validation=12):
    small = PublishedSet(
        name="small", classes=("cat", "dog", "cow"), largest=largest, generator=lambda: random.Random(0),
        validation=validation, list_digest="", digests={}, list_path="list", list_file_digest="",
    )  # fmt: skip
    return replace(small, list_digest=ids_digest(listed or rebuild(small, train)))


def small_labels(number, prefix, seed):
    generator = np.random.default_rng(seed)
    labels = (generator.random((number, 3)) < [0.6, 0.3, 0.15]).astype(np.uint8)
    # No split has the order of its ids.
    return SplitLabels(ids=np.array([f"{prefix}{i}" for i in generator.permutation(number)]), labels=labels)


def rows_by_id(split):
    return dict(zip(split.ids.tolist(), split.labels.tolist(), strict=True))


def test_a_set_is_its_construction_a_validation_from_the_rest_and_the_test_split():
    train, test = small_labels(90, "a", 0), small_labels(40, "b", 1)
    published = small_set(train)
    rows = select_head_to_tail(train.labels, pareto_targets(3, largest=9), random.Random(0))
    splits, remarks = define_splits(published, train, test)
    assert list(splits) == ["train", "validation", "test"]
    assert splits["train"].ids.tolist() == sorted(train.ids[rows].tolist())
    pool = [i for i in range(90) if i not in rows]
    drawn = choose_like(train.labels[pool], test.labels, 12, seed=0)
    assert splits["validation"].ids.tolist() == sorted(train.ids[pool][drawn].tolist())
    assert splits["test"].ids.tolist() == sorted(test.ids.tolist())
    for split, whole in (("train", train), ("validation", train), ("test", test)):
        assert rows_by_id(splits[split]).items() <= rows_by_id(whole).items()
    assert len(remarks) == 1

    # The published list counts where it is another; of the chosen images alone there is no validation split.
    listed = train.ids[:5].tolist()
    of_list, remarks = define_splits(small_set(train, listed=listed), train, test, listed)
    assert of_list["train"].ids.tolist() == sorted(listed)
    assert not set(of_list["validation"].ids.tolist()) & set(listed)
    assert f"differs in {len(set(train.ids[rows].tolist()) ^ set(listed))} images" in remarks[0]
    chosen = SplitLabels(ids=train.ids[rows], labels=train.labels[rows])
    alone, remarks = define_splits(published, chosen, test)
    assert list(alone) == ["train", "test"]
    assert rows_by_id(alone["train"]) == rows_by_id(splits["train"])
    assert remarks[-1] == "no validation split: it needs the labels of all training images"
    with pytest.raises(InputError, match="the labels lack 1 of its images, such as 'a99'"):
        define_splits(small_set(train, listed=[*listed, "a99"]), train, test, [*listed, "a99"])

    # Each split is checked as it is decoded: training images at 280 pixels, the others at 224.
    digests = {name: splits[name].digest(side) for name, side in (("train", 280), ("validation", 224), ("test", 224))}
    define_splits(replace(published, digests=digests), train, test)
    for name, digest in digests.items():
        with pytest.raises(InputError, match=f"the {name} labels have digest {digest}, expected {'0' * 64}"):
            define_splits(replace(published, digests={**digests, name: "0" * 64}), train, test)


def asked(monkeypatch, module, prepare, *given, **more):
    """What `prepare_images` is asked for, which would decode."""
    found = []
    monkeypatch.setattr(module, "prepare_images", lambda *parts, **named: found.append((parts, named)) or (Path(), []))
    prepare(*given, **more)
    (((_, train, test, _), named),) = found
    return train, test, named


def write_voc(root, year, image_set, images):
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / year / part).mkdir(parents=True)
    for name, objects in images.items():
        body = "".join(f"<object><name>{c}</name><difficult>{d}</difficult></object>" for c, d in objects)
        (root / year / "Annotations" / f"{name}.xml").write_text(f"<annotation>{body}</annotation>")
    (root / year / "ImageSets" / "Main" / f"{image_set}.txt").write_text("\n".join(images))


def test_voc_mlt_is_of_two_years_and_without_difficult_objects_another_set(tmp_path, monkeypatch):
    cat, dog, hard_dog = ("cat", 0), ("dog", 0), ("dog", 1)
    write_voc(tmp_path, "VOC2012", "trainval", {"a2": [cat, hard_dog], "a1": [hard_dog], "a3": [dog, hard_dog]})
    write_voc(tmp_path, "VOC2007", "test", {"b1": [hard_dog], "b2": [cat]})
    published = replace(VOC_MLT, classes=("cat", "dog"))
    place = Place(data_root=tmp_path / "data", root=tmp_path)
    train, test, named = asked(monkeypatch, voc_mlt, prepare_voc, published, place)
    assert (list(train), list(test), named["name"]) == (["a2", "a1", "a3"], ["b1", "b2"], "voc-mlt")
    assert [sorted(image.classes) for image in train.values()] == [["cat", "dog"], ["dog"], ["dog"]]
    years = {"train": "VOC2012", "validation": "VOC2012", "test": "VOC2007"}
    for split, year in years.items():
        assert named["path"](split, "x") == tmp_path / year / "JPEGImages" / "x.jpg"
    ids = {"train": ["a1", "a2", "a3"], "validation": ["a1", "a2"], "test": ["b1", "b2"]}
    labels = {name: SplitLabels(ids=np.array(of_split), labels=np.zeros((3, 2))) for name, of_split in ids.items()}
    assert named["change"](labels) is labels
    _, _, named = asked(monkeypatch, voc_mlt, prepare_voc, published, place, difficult=False)
    changed = named["change"](labels)
    assert named["name"] == "voc-mlt-nodifficult"
    # A training image without a label left is left out; a class counts that has an object that is not difficult.
    assert {name: rows_by_id(split) for name, split in changed.items()} == {
        "train": {"a2": [1, 0], "a3": [0, 1]},
        "validation": {"a1": [0, 0], "a2": [1, 0]},
        "test": {"b1": [0, 0], "b2": [1, 0]},
    }
    with pytest.raises(InputError, match="names 'dog', which is no class of VOC"):
        prepare_voc(replace(published, classes=("cat",)), place)


def test_coco_mlt_is_called_by_numbers_and_leaves_small_training_images_out(tmp_path, monkeypatch):
    (tmp_path / "annotations").mkdir()
    sides = {1: (31, 90), 20: (32, 90), 3: (90, 31), 400: (90, 32)}
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": w, "height": h} for i, (w, h) in sides.items()]
    box = {"bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    content = {
        "images": images,
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 7 + 2 * (i > 3), **box} for i in sides],
    }
    for folder in ("train2017", "val2017"):
        (tmp_path / "annotations" / f"instances_{folder}.json").write_text(json.dumps(content))
    published, place = replace(COCO_MLT, classes=("cat", "dog")), Place(data_root=tmp_path / "data", root=tmp_path)
    train, test, named = asked(monkeypatch, coco_mlt, prepare_coco, published, place)
    assert {key: [*image.classes] for key, image in train.items()} == {"20": ["dog"], "400": ["dog"]}
    assert {key: [*image.classes] for key, image in test.items()} == {
        "1": ["cat"], "20": ["dog"], "3": ["cat"], "400": ["dog"],
    }  # fmt: skip
    assert named["name"] == "coco-mlt"
    for split, folder in {"train": "train2017", "validation": "train2017", "test": "val2017"}.items():
        assert named["path"](split, "17") == tmp_path / folder / "000000000017.jpg"
    with pytest.raises(InputError, match="has other categories than COCO's 2"):
        prepare_coco(replace(published, classes=("dog", "cat")), place)
