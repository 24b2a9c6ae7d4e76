"""Which weights, pixels and padding a choice means, and which of it is a setting and not the dataset's own."""

import hashlib
import os

import pytest
import torch
from mltbench.benchmark.networks.backbones import IMAGENET, InputFormat, get_backbone
from mltbench.benchmark.networks.initial_weights import (
    BackboneChoice,
    InitialWeights,
    choose_weights,
    find_weights,
    random_weights,
    remembered,
)
from mltbench.benchmark.networks.weight_files import file_digest, published_digest
from mltbench.datasets.prepared.dataset_folder import StartingWeights
from mltbench.errors import InputError

SMALL, PUBLISHED = "digits-resnet", published_digest(get_backbone("digits-resnet"))
OWN = get_backbone(SMALL).input
MINUS = InputFormat(mean=(0.5,) * 3, deviation=(0.5,) * 3)
ZERO = InputFormat(mean=(0.0,) * 3, deviation=(1.0,) * 3)


def padded(pixels, padding="same"):
    return InputFormat(mean=pixels.mean, deviation=pixels.deviation, padding=padding)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files for the small network, the second with a classifier as TensorFlow has it; gives path and digest."""
    folder, made = tmp_path_factory.mktemp("files"), {}
    for name, outputs in (("mine.pth", 1000), ("tensor flow.pth", 1001)):
        torch.manual_seed(outputs)
        trunk, upper = get_backbone(SMALL).build()
        parts = {"trunk": trunk, "upper": upper}
        state = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
        torch.save({**state, "fc.weight": torch.ones(outputs, 2), "fc.bias": torch.ones(outputs)}, folder / name)
        made[name.partition(".")[0]] = folder / name, hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return made


def digest_of(which, files):
    return files[which][1] if which in files else {"published": PUBLISHED, "random": "random"}[which]


def place_of(which, files):
    return str(files[which][0]) if which in files else which


CHOICES = {
    # Choice; digest, pixels, settings of the dataset's own backbone.
    "nothing": ({}, "published", OWN, ""),
    "its own backbone": ({"backbone": SMALL}, "published", OWN, ""),
    "random": ({"weights": "random"}, "random", OWN, "--weights random"),
    "a file": ({"weights": "mine"}, "mine", OWN, "--weights mine.pth"),
    "a file of TensorFlow": ({"weights": "tensor flow"}, "tensor flow", padded(MINUS), "--weights 'tensor flow.pth'"),
    "pixels": ({"input": "-1..1"}, "published", MINUS, "--weights-input -1..1"),
    "other pixels": ({"input": "0..1"}, "published", ZERO, "--weights-input 0..1"),
    "padding": ({"padding": "same"}, "published", padded(OWN), "--weights-padding same"),
    "the same padding": ({"padding": "symmetric"}, "published", OWN, ""),
    "both": (
        {"input": "imagenet", "padding": "same"}, "published", padded(IMAGENET),
        "--weights-input imagenet --weights-padding same",
    ),
    "all": (
        {"weights": "mine", "input": "0..1", "padding": "same"}, "mine", padded(ZERO),
        "--weights mine.pth --weights-input 0..1 --weights-padding same",
    ),
    "what the file says": (
        {"weights": "tensor flow", "input": "-1..1", "padding": "same"}, "tensor flow", padded(MINUS),
        "--weights 'tensor flow.pth'",
    ),
    "pixels alone keep the file's padding": (
        {"weights": "tensor flow", "input": "imagenet"}, "tensor flow", padded(IMAGENET),
        "--weights 'tensor flow.pth' --weights-input imagenet",
    ),
    "padding alone keeps the file's pixels": (
        {"weights": "tensor flow", "padding": "symmetric"}, "tensor flow", MINUS,
        "--weights 'tensor flow.pth' --weights-padding symmetric",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHOICES)
def test_a_choice_is_these_weights_and_settings(what, files):
    choice, which, pixels, options = CHOICES[what]
    given = {**choice, "weights": place_of(choice["weights"], files)} if "weights" in choice else choice
    found = choose_weights(BackboneChoice(**given), default=SMALL)
    assert (found.backbone, found.digest, found.input) == (SMALL, digest_of(which, files), pixels)
    assert found.options.replace(f"{files['mine'][0].parent}/", "") == options
    assert found.file == (files[which][0] if which in files else None)
    assert found.name == {"published": "digits_resnet.npz", "random": "random"}.get(which, f"{which}.pth")
    assert found.label == ", ".join(
        word.replace(" ", "=", 1).replace("'", "") for word in options.replace("--", "|").split("|")[1:]
    ).replace(" ,", ",")
    # For another dataset's backbone the backbone is a setting too.
    if which in files:
        other = choose_weights(BackboneChoice(backbone=SMALL, **given), default="resnet50")
        assert (other.digest, other.input) == (found.digest, found.input)
        assert other.settings == {"backbone": SMALL, **found.settings}


OWN_WEIGHTS = {
    # The dataset's weights, pixels and padding; choice; digest, pixels, names of settings.
    "its own": ((("mine", None, None), {}), "mine", OWN, []),
    "its own, with pixels": ((("mine", "0..1", "same"), {}), "mine", padded(ZERO), []),
    "its own, named": ((("mine", "0..1", "same"), {"weights": "mine"}), "mine", padded(ZERO), []),
    "other pixels": ((("mine", "0..1", "same"), {"input": "imagenet"}), "mine", padded(IMAGENET), ["weights-input"]),
    "other padding": ((("mine", "0..1", "same"), {"padding": "symmetric"}), "mine", ZERO, ["weights-padding"]),
    "another file": ((("mine", "0..1", "same"), {"weights": "tensor flow"}), "tensor flow", padded(MINUS), ["weights"]),
    "random instead": ((("mine", "0..1", None), {"weights": "random"}), "random", OWN, ["weights"]),
    "its own random": ((("random", "0..1", None), {}), "random", ZERO, []),
    "published": ((("", None, "same"), {}), "published", padded(OWN), []),
    "another backbone": ((("mine", "0..1", "same"), {"backbone": "resnet18"}), "f37072fd", IMAGENET, ["backbone"]),
}


@pytest.mark.parametrize("what", OWN_WEIGHTS)
def test_what_is_the_datasets_own_is_no_setting(what, files):
    ((which, pixels, padding), choice), digest, expected, settings = OWN_WEIGHTS[what]
    starting = StartingWeights(
        weights=place_of(which, files), digest=digest_of(which or "published", files), input=pixels, padding=padding
    )
    given = {**choice, "weights": place_of(choice["weights"], files)} if "weights" in choice else choice
    found = choose_weights(BackboneChoice(**given), default=SMALL, starting=starting)
    known = digest if digest == "f37072fd" else digest_of(digest, files)
    assert (found.digest, found.input, list(found.settings)) == (known, expected, settings)


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        ({"weights": "mine"}, ("mine", None, None)),
        ({"weights": "random", "padding": "same"}, ("random", None, "same")),
        ({"backbone": SMALL, "input": "0..1"}, ("published", "0..1", None)),
        ({"backbone": SMALL, "padding": "same"}, ("published", None, "same")),
        ({"backbone": SMALL}, None),
    ],
)
def test_a_dataset_keeps_a_choice_unless_it_is_the_published_weights(choice, kept, files):
    given = {"backbone": SMALL, **choice}
    if "weights" in given:
        given["weights"] = place_of(given["weights"], files)
    found = remembered(BackboneChoice(**given))
    if kept is None:
        assert found is None
        return
    which, pixels, padding = kept
    weights = place_of(which, files) if which != "published" else ""
    assert found == StartingWeights(
        weights=weights, digest=digest_of(which, files), input=pixels, padding=padding
    )  # fmt: skip
    again = choose_weights(BackboneChoice(), default=SMALL, starting=found)
    assert again.settings == {}
    assert again.digest == digest_of(which, files)


def test_a_file_of_the_dataset_that_was_moved_or_changed_is_refused_unless_another_is_named(files, tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(files["mine"][0].read_bytes())
    starting = StartingWeights(weights=str(path), digest=files["mine"][1], input=None, padding=None)
    path.write_bytes(files["tensor flow"][0].read_bytes())
    with pytest.raises(InputError, match=r"mine\.pth, the weights .*, was changed: put it back"):
        choose_weights(BackboneChoice(), default=SMALL, starting=starting)
    path.unlink()
    with pytest.raises(InputError, match=r"mine\.pth, the weights .*, is not there any more: put it back"):
        choose_weights(BackboneChoice(input="0..1"), default=SMALL, starting=starting)
    named = BackboneChoice(weights=str(files["mine"][0]))
    assert choose_weights(named, default=SMALL, starting=starting).settings == {}


def test_files_are_found_by_digest_and_none_is_needed_for_random_or_shipped_weights(files, tmp_path):
    path, digest = files["mine"]
    assert find_weights(SMALL, PUBLISHED, path, tmp_path) is None
    assert find_weights(SMALL, "random", path, tmp_path) is None
    assert find_weights(SMALL, digest, path, tmp_path) == path
    with pytest.raises(InputError, match="are not at any path"):
        find_weights(SMALL, digest, None, tmp_path)
    with pytest.raises(InputError, match="was changed"):
        find_weights(SMALL, "0" * 64, path, tmp_path)
    (tmp_path / "weights" / "a folder").mkdir(parents=True)
    for name, which in (("a.pth", "tensor flow"), ("b.pth", "mine"), ("c.pth", "mine")):
        (tmp_path / "weights" / name).write_bytes(files[which][0].read_bytes())
    assert find_weights(SMALL, digest, files["tensor flow"][0], tmp_path) == tmp_path / "weights" / "b.pth"
    assert random_weights() == InitialWeights(
        backbone=SMALL, digest="random", input=OWN, settings={"weights": "random"}
    )  # fmt: skip
    assert random_weights("resnet18").input == IMAGENET


def test_a_digest_is_that_of_the_content_of_now(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two", b"longer"):
        path.write_bytes(content)
        os.utime(path, ns=(len(content), content[0]))
        assert file_digest(path) == hashlib.sha256(content).hexdigest()
    # Of the same size in the same nanosecond it is not read again.
    path.write_bytes(b"others")
    os.utime(path, ns=(6, ord("l")))
    assert file_digest(path) == hashlib.sha256(b"longer").hexdigest()
    assert published_digest(get_backbone("resnet18")) == "f37072fd"
