import hashlib

import numpy as np
import pytest
import torch
from mltbench.datasets.dataset import Split
from mltbench.datasets.prepared.array_files import write_split
from mltbench.datasets.registry import load_dataset
from mltbench.datasets.sources.digit_scenes import INKS, enlarge_glyph, render_scene, split_digits
from mltbench.datasets.sources.digits_mlt import CLASSES, DIGESTS, RATIOS, SEED, long_tailed_labels, variant_name
from mltbench.errors import InputError
from numpy.random import RandomState
from sklearn.datasets import load_digits

# Of a pixel, at most.
NOISE = 22


@pytest.fixture(scope="module")
def digits(data_root):
    dataset = load_dataset("digits-mlt", data_root=data_root)
    for name in DIGESTS:
        dataset.split(name)
    return dataset


@pytest.mark.parametrize(("name", "images"), [("train", 847), ("validation", 1000), ("test", 2000)])
def test_splits_have_their_pinned_digest_and_size(digits, name, images):
    split = digits.split(name)
    assert split.digest == DIGESTS[name]
    assert (split.images.shape, split.labels.shape) == ((images, 48, 48, 3), (images, 20))
    assert split.labels.any(axis=1).all()


# Images, largest and smallest class of each training set.
VARIANTS = {
    7: (2828, 1221, 159), 12: (1826, 999, 80), 20: (1308, 817, 40), 42: (989, 674, 16), 74: (884, 596, 8),
    147: (847, 588, 4),
}  # fmt: skip


def test_variants_have_the_ratio_of_their_name_and_share_all_but_the_training_images(digits, data_root):
    smallest = {ratio: smallest for ratio, (smallest, _) in RATIOS.items()} | {147: 1}
    assert list(smallest) == list(VARIANTS)
    for ratio, (images, most, fewest) in VARIANTS.items():
        labels = long_tailed_labels(smallest=smallest[ratio])
        counts = labels.sum(axis=0)
        assert (labels.shape, counts.max(), counts.min(), most // fewest) == ((images, 20), most, fewest, ratio)
    for ratio, (_, digest) in RATIOS.items():
        variant = load_dataset(variant_name(ratio), data_root=data_root)
        assert (variant.name, variant.classes) == (f"digits-mlt-{ratio}to1", CLASSES)
        assert variant.digests == {**digits.digests, "train": digest}
    assert len(variant.split("train")) == 884
    assert (variant.split("test").images == digits.split("test").images).all()


def test_splits_share_no_digit_image():
    parts = split_digits(SEED)
    seen = {name: {glyph.tobytes() for glyph in glyphs} for name, (glyphs, _) in parts.items()}
    assert [len(seen[name]) for name in parts] == [len(values) for _, values in parts.values()]
    everything, truth = load_digits(return_X_y=True)
    known = {row.astype(np.uint8).tobytes(): int(value) for row, value in zip(everything, truth, strict=True)}
    assert set.union(*seen.values()) == set(known)
    assert sum(map(len, seen.values())) == len(known) == 1797
    for glyphs, values in parts.values():
        assert [known[glyph.tobytes()] for glyph in glyphs] == values.tolist()
        assert set(values.tolist()) == set(range(10))


@pytest.mark.parametrize(("name", "scene_seed"), [("train", SEED + 20), ("validation", SEED + 30), ("test", SEED + 40)])
def test_scenes_are_rendered_from_their_class_names(digits, name, scene_seed):
    split, generator = digits.split(name), RandomState(scene_seed)
    for image, row in zip(split.images[:25], split.labels, strict=False):
        drawn = [(int(digit), ink) for ink, digit in (CLASSES[c].split() for c in range(20) if row[c])]
        assert np.array_equal(image, render_scene(drawn, *split_digits(SEED)[name], generator))


@pytest.mark.parametrize("ink", INKS)
def test_a_scene_shows_the_digits_that_it_was_given_in_their_ink(ink):
    # Sevens are solid and every other digit is empty, so that a square shows that a seven was drawn, and in which ink.
    values, glyphs = np.arange(10), np.zeros((10, 8, 8), np.uint8)
    glyphs[7] = 16
    for seed in range(5):
        drawn = [], [(7, ink)], [(3, ink)]
        empty, scene, other = (render_scene(d, glyphs, values, RandomState(seed)).astype(int) for d in drawn)
        assert scene.shape == (48, 48, 3)
        assert abs(other - empty).max() <= 2 * NOISE
        bounds, rows, columns = np.array(INKS[ink]), *np.nonzero((abs(scene - empty) > 2 * NOISE).any(axis=2))
        square = scene[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert ((square >= bounds[:, 0] - NOISE) & (square < bounds[:, 1] + NOISE)).all()
        assert max(square.shape) <= 24


def test_scenes_in_every_ink_are_the_same_bytes_on_every_machine():
    rendered, (glyphs, values) = hashlib.sha256(), split_digits(SEED)["train"]
    for seed in range(20):
        scene = render_scene(list(enumerate(INKS)), glyphs, values, RandomState(seed))
        rendered.update(scene.tobytes())
    # As they were when the pretext task was trained on them.
    assert rendered.hexdigest() == "2b1f7e7dcd37bef7b6a1ee919fc935fac9d0033ae3ab1a52dc1c195f5f83c9b7"


@pytest.mark.parametrize("size", [8, 15, 20, 24])
def test_enlarged_glyphs_are_bilinear(size):
    glyph = np.random.default_rng(size).integers(0, 17, (8, 8))
    enlarged = enlarge_glyph(glyph.astype(np.uint8), size)
    wide = torch.from_numpy(glyph * 255 / 16)[None, None]
    expected = torch.nn.functional.interpolate(wide, size=(size, size), mode="bilinear", align_corners=False)
    # Places are cut to 1/256 of a pixel in two directions (each under 1 of 255), the two divisions cut under 1 each.
    assert abs(enlarged - expected[0, 0].numpy()).max() < 4
    for ink, colour in ((0, 0), (16, 255)):
        assert (enlarge_glyph(np.full((8, 8), ink, np.uint8), size) == colour).all()


def test_a_changed_file_is_refused(digits, tmp_path):
    # Another pixel, in a file that is otherwise whole: that it is noticed shows that the file is what was opened.
    split = digits.split("train")
    images = split.images.copy()
    images[3, 2, 1, 0] ^= 1
    write_split(Split(images=images, labels=split.labels, ids=split.ids), tmp_path / "digits-mlt" / "train.npz")
    with pytest.raises(InputError, match=f"expected {DIGESTS['train'][:12]}"):
        load_dataset("digits-mlt", data_root=tmp_path).split("train")
