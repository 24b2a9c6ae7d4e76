"""Your own images become a dataset that every command takes by name."""

import io
import json
from unittest import mock

import numpy as np
import pytest
import torch
from hugging_face import IMAGE, a_list, class_label, save_splits
from mltbench.benchmark.commands import import_dataset
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.networks.backbones import get_backbone
from mltbench.benchmark.networks.initial_weights import BackboneChoice
from mltbench.datasets.dataset import SPLITS
from mltbench.datasets.registry import load_dataset
from mltbench.errors import InputError
from PIL import Image

CLASSES = ("dining table", "éléphant", "=cmd", "<b>bold</b>")


@pytest.fixture
def photos(tmp_path):
    """Sixty small JPEGs with one or two of four classes, and their CSV without splits."""
    folder = tmp_path / "photos" / "images"
    (folder / "sub folder").mkdir(parents=True)
    rows = ["image,labels"]
    for i in range(60):
        name = f"sub folder/ü {i:02d}.jpg" if i % 2 else f"{i:02d}.jpg"
        pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, quality=95)
        rows.append(f"{name},{CLASSES[i % 4]}" + (f"|{CLASSES[0]}" if i % 3 == 0 and i % 4 else ""))
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path / "photos"


@pytest.fixture
def import_photos(call, own_folder, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("MLTBENCH_DATA", str(tmp_path / "data"))
    # No step of a large network is timed.
    monkeypatch.setattr(import_dataset, "estimate", lambda *given, **more: None)

    def importing(*arguments, name="my-photos", labels="labels.csv"):
        words = ["--images", photos / "images", "--labels", photos / labels, "--workers", 1, *arguments]
        return call("data", "import", name, *words)

    return importing


@pytest.fixture
def refused(import_photos):
    def importing(*arguments, **chosen):
        status, _, error = import_photos(*arguments, **chosen)
        assert status == 2
        return error

    return importing


@pytest.fixture
def opened(tmp_path):
    return lambda name="my-photos": load_dataset(name, data_root=tmp_path / "data")


def test_an_imported_dataset_is_found_by_name_and_holds_what_was_imported(
    import_photos, call, photos, opened, tmp_path
):
    status, _, error = import_photos()
    assert (status, error) == (0, "")
    dataset = opened()
    assert set(dataset.classes) == set(CLASSES)
    # 30 % test of 60; then 15 % validation of the remaining 42, and of no class more than that: 1 of 11.
    assert [len(dataset.split(name)) for name in SPLITS] == [37, 5, 18]
    assert dataset.split("train").images.shape[1:] == (280, 280, 3)
    assert dataset.split("test").images.shape[1:] == (224, 224, 3)
    listed = json.loads(call("data", "list", "--json")[1])
    assert "my-photos" in [entry["name"] for entry in listed]
    # Labels and pixels are those of the files.
    truth = dict(line.split(",") for line in (photos / "labels.csv").read_text(encoding="utf-8").splitlines()[1:])
    for name in SPLITS:
        split = dataset.split(name)
        for image_id, row, pixels in zip(split.ids.tolist(), split.labels, split.images, strict=True):
            assert {dataset.classes[c] for c in np.flatnonzero(row)} == set(truth.pop(image_id).split("|"))
            with Image.open(photos / "images" / image_id) as image:
                original = np.asarray(image).astype(float)
            # Enlarged by bilinear interpolation, the mean stays.
            assert pixels.mean() == pytest.approx(original.mean(), abs=2)
    assert truth == {}
    # Statistics need no image.
    for cache in (tmp_path / "data" / "my-photos").glob("*.npy"):
        cache.unlink()
    assert opened().statistics.num_images == 37
    with pytest.raises(ValueError, match=r"the test images of my-photos are not under .*; import my-photos again"):
        opened().split("test")


def test_every_command_takes_the_name_and_a_report_needs_no_data_root(import_photos, call, tmp_path, monkeypatch):
    import_photos("--backbone", "digits-resnet", "--recipe", "digits-smoke")
    status, out, _ = call("data", "show", "my-photos", "--out", tmp_path / "my.png")
    assert (status, "dining table" in out) == (0, True)
    monkeypatch.delenv("MLTBENCH_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    small = ("--override", "recipe.image_size=48", "--override", "recipe.batch_size=8")
    words = ["--dataset", "my-photos", "--method", "db", *small, "--workers", 1, "--data-root", tmp_path / "data"]
    status, out, error = call("run", *words, "--out", tmp_path / "results")
    assert status == 0, out + error
    monkeypatch.setattr("mltbench.datasets.registry._IMPORTED", {})
    status, out, error = call("report", "--out", tmp_path / "results", "--no-figures")
    assert (status, error, "DB" in out) == (0, "", True)


@pytest.mark.parametrize("name", ["../up", "My", "digits-mlt", "downloads"])
def test_names_that_cannot_be_used_are_refused(refused, name, tmp_path):
    assert ("one of mltbench's own" if name.startswith("d") else "must be of small letters") in refused(name=name)
    assert not (tmp_path / "data").exists()


def test_a_long_tail_is_cut_from_the_training_images_alone(import_photos, opened):
    import_photos("--long-tail", "max=8,min=2")
    assert len(opened().split("train")) < 36
    assert [len(opened().split(name)) for name in ("validation", "test")] == [6, 18]
    assert opened().statistics.counts.min() >= 2


def test_the_same_content_has_the_same_digest_and_another_replaces_it_if_asked(import_photos, opened):
    import_photos()
    import_photos(name="again")
    before = opened().digest
    assert opened("again").digest == before
    assert import_photos("--seed", 5, "--replace")[0] == 0
    assert opened().digest != before
    assert opened().split("test").ids.size == 18


@pytest.mark.parametrize("words", [(), ("--replace",)])
def test_a_folder_that_is_no_dataset_is_never_replaced(refused, photos, tmp_path, words):
    """Images may lie in the data root, under the very name of the dataset."""
    before = sorted(photos.rglob("*"))
    error = refused(*words, "--data-root", tmp_path, name="photos")
    assert "is there and is no dataset of mltbench; choose another name" in error
    assert sorted(photos.rglob("*")) == before


def test_nothing_is_decoded_for_what_is_there_or_will_be_refused(import_photos, refused, photos, opened, monkeypatch):
    import_photos()
    before = opened()
    monkeypatch.setattr("mltbench.datasets.images.cache.decode_chunk", None)
    assert import_photos()[0] == 0
    assert opened().digest == before.digest
    assert (opened().split("test").images == before.split("test").images).all()
    assert "--replace" in refused("--seed", 5)
    with (photos / "labels.csv").open("a", encoding="utf-8") as file:
        file.write("\nanother.jpg,dining table")
    assert "--replace" in refused()


@pytest.mark.parametrize("name", ["..", ".", "../data/my-photos", "my-photos/", "", "a/b", "\u0000"])
@pytest.mark.parametrize("command", ["verify", "show"])
def test_a_name_is_no_path(import_photos, call, name, command):
    import_photos()
    status, _, error = call("data", command, name)
    assert (status, f"unknown dataset {name!r}" in error) == (2, True)


def test_verify_takes_every_dataset(import_photos, call, tmp_path, data_root):
    import_photos()
    assert call("data", "verify", "my-photos")[1].splitlines()[-1] == "test: 18 images and labels are as recorded"
    status, out, _ = call("data", "verify", "digits-mlt", "--data-root", data_root)
    assert (status, out.splitlines()[0]) == (0, "train: 847 images and labels are as recorded")
    cache = tmp_path / "data" / "my-photos" / "test.npy"
    data = cache.read_bytes()
    cache.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    status, _, error = call("data", "verify", "my-photos")
    assert status == 2
    assert "test.npy was changed or damaged since it was made; delete it and" in error
    assert import_photos()[0] == 0
    assert cache.read_bytes() == data


BARE = "classes 'b', 'c' have no training image (2 of 3 classes)"


@pytest.mark.parametrize(
    ("table", "words", "reason"),
    [
        ("image,labels\n00.jpg,a|b\n./00.jpg,b\n", [], "image './00.jpg' is there twice"),
        ("image,labels\n00.jpg,a\n02.jpg,a\n", [], "names a; at least 2 classes are needed"),
        ("image,labels\n00.jpg,a|b\n", [], "no test split can be set aside with --test-share 0.3"),
        ("image,labels,split\n00.jpg,a,test\n02.jpg,b,test\n", [], "no image is in the split train"),
        ("image,labels,split\n00.jpg,,train\n02.jpg,a|b,test\n04.jpg,,val\n", [], "of the split train has a label"),
        ("image,labels,split\n00.jpg,a,train\n02.jpg,b|c,test\n04.jpg,c,val\n", ["--long-tail", "max=2"], BARE),
    ],
)
def test_tables_that_make_no_dataset_say_why(refused, photos, tmp_path, table, words, reason):
    (photos / "own.csv").write_text(table)
    assert reason in refused(*words, labels="own.csv")
    assert not list((tmp_path / "data").rglob("dataset.json"))


def test_a_wrong_separator_is_asked_about(import_photos, call, photos, tmp_path):
    asked = "look joined by '|' out of others"
    words = ["--labels", photos / "labels.csv", "--separator", ";", "--out", tmp_path / "ids.txt"]
    for out in (import_photos("--separator", ";")[1], call("data", "select", *words, "--max", 2)[1]):
        assert asked in out
        assert "is ';' what separates names? --separator gives another" in out
    assert asked not in import_photos("--replace")[1]


def test_pictures_in_the_label_files_need_no_folder_and_leave_none(call, own_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MLTBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(import_dataset, "estimate", lambda *given, **more: None)
    features = {"image": IMAGE, "labels": a_list(class_label("cat", "dog", "hen"))}
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 50, 3)).astype(np.uint8)
    files = []
    for one in pixels:
        Image.fromarray(one).save(file := io.BytesIO(), "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    columns = {"image": files, "labels": [[i % 2] for i in range(30)]}
    save_splits(tmp_path / "hf", {"train": columns, "test": {k: v[:6] for k, v in columns.items()}}, features)
    words = ["--labels", tmp_path / "hf", "--workers", 1, "--drop-empty-classes"]
    status, out, error = call("data", "import", "hf", *words)
    assert (status, error) == (0, "")
    assert "classes without any training image, left out: hen" in out
    dataset = load_dataset("hf", data_root=tmp_path / "data")
    assert (dataset.classes, len(dataset.split("test"))) == (("cat", "dog"), 6)
    assert [len(dataset.split(name)) for name in ("train", "validation")] == [26, 4]
    before = dataset.digest
    assert sorted(path.name for path in (tmp_path / "data").glob(".hf.*")) == [".hf.lock"]
    monkeypatch.setattr("mltbench.datasets.images.cache.decode_chunk", None)
    assert call("data", "import", "hf", *words)[0] == 0
    assert load_dataset("hf", data_root=tmp_path / "data").digest == before
    status, _, error = call("data", "import", "hf", *words, "--images", tmp_path)
    assert (status, "hold their pictures themselves: leave --images out" in error) == (2, True)


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        ((), "hold no pictures: give --images FOLDER"),
        (("{0}", "{0}"), "--images is given 2 times"),
        (("train={0}", "train={0}"), "--images is given 2 times"),
        (("train={0}", "{0}"), "--images is given 2 times"),
        (("test={0}/nowhere",), "is no folder"),
    ],
)
def test_folders_of_images_are_one_or_one_for_each_split(call, photos, tmp_path, monkeypatch, folders, reason):
    monkeypatch.setenv("MLTBENCH_DATA", str(tmp_path / "data"))
    words = [word for text in folders for word in ("--images", text.format(photos / "images"))]
    status, _, error = call("data", "import", "mine", "--labels", photos / "labels.csv", *words)
    assert (status, reason in error) == (2, True), error


def test_likely_groups_that_a_drawn_split_divides_are_reported_with_the_cure(import_photos, photos):
    lines = (photos / "labels.csv").read_text(encoding="utf-8").splitlines()
    rows = [f"{line},{i // 4}" for i, line in enumerate(lines[1:])]
    (photos / "own.csv").write_text("\n".join(["image,labels,Patient ID", *rows]), encoding="utf-8")
    said = "images seem to be in groups: "
    assert "--group-column 'Patient ID' keeps each in one split" in import_photos(labels="own.csv")[1]
    out = import_photos("--group-column", "Patient ID", "--replace", labels="own.csv")[1]
    assert (said in out, " groups set aside from train" in out) == (False, True)


def test_files_without_label_and_in_two_splits_are_reported_and_what_comes_next(import_photos, photos):
    (photos / "images" / "02.jpg").write_bytes((photos / "images" / "00.jpg").read_bytes())
    (photos / "images" / "unlabelled.PNG").write_bytes(b"")
    table = "image,labels,split\n00.jpg,a|b,train\n02.jpg,b,test\n04.jpg,a,val\n06.jpg,a,train\n"
    (photos / "own.csv").write_text(table)
    out = import_photos(labels="own.csv")[1]
    # 30 files lie in that folder and one more; four of them have labels.
    assert "not taken, no label names them: 27 image files, such as" in out
    assert "the same bytes in two splits, which makes scores too good: 1 image file, such as 00.jpg (train)" in out
    (photos / "images" / "unlabelled.PNG").unlink()
    out = import_photos("--data-root", photos.parent / "my data", name="whole")[1]
    assert "not taken" not in out
    # What comes next names the data root.
    assert f"mltbench run --dataset whole --method db --data-root '{photos.parent / 'my data'}'" in out


@pytest.fixture
def mobile(tmp_path):
    """A file of weights of MobileNetV2."""
    state = {}
    for part in get_backbone("mobilenet_v2").build():
        state |= part.state_dict()
    torch.save(state, tmp_path / "mobile.pt")
    return tmp_path / "mobile.pt"


def test_recipe_backbone_and_weights_of_an_import_are_its_runs_own(
    import_photos, refused, opened, call, photos, mobile, tmp_path
):
    options = ("--recipe", "photos-short", "--backbone", "mobilenet_v2", "--weights", mobile)
    status, printed, _ = import_photos(*options, name="with-weights")
    assert status == 0
    assert "mltbench run --dataset with-weights --method db\n" in printed
    assert import_photos(name="without")[0] == 0
    remembered, spelt = (
        build_plan(opened(name), ["db"], seeds=[0], **choice).experiments[0]
        for name, choice in (
            ("with-weights", {}),
            (
                "without",
                {"recipe": "photos-short", "backbone": BackboneChoice(backbone="mobilenet_v2", weights=str(mobile))},
            ),
        )
    )
    assert remembered.experiment.id == spelt.experiment.id, "they are the same images"
    assert (remembered.label, remembered.recipe, spelt.label) == (
        "DB", "photos-short", "DB (backbone=mobilenet_v2, weights=mobile.pt)"
    )  # fmt: skip
    assert "--weights" not in remembered.command
    assert remembered.weights.file == mobile
    # What a run names goes before.
    (other,) = build_plan(
        opened("with-weights"), ["db"], seeds=[0], backbone=BackboneChoice(weights="random")
    ).experiments
    assert (other.label, other.experiment.weights_digest) == ("DB (weights=random)", "random")
    (other,) = build_plan(
        opened("with-weights"), ["db"], seeds=[0], backbone=BackboneChoice(backbone="resnet18")
    ).experiments
    assert (other.label, other.experiment.weights_digest) == ("DB (backbone=resnet18)", "f37072fd")
    # The same bytes at another place are the same experiment, once they are named.
    moved = mobile.rename(tmp_path / "moved.pt")
    with pytest.raises(InputError, match=r"mobile\.pt.* is not there any more: put it back, or name .* --weights FILE"):
        build_plan(opened("with-weights"), ["db"], seeds=[0])
    (again,) = build_plan(
        opened("with-weights"), ["db"], seeds=[0], backbone=BackboneChoice(weights=str(moved))
    ).experiments
    assert (again.experiment.id, again.label) == (remembered.experiment.id, "DB")
    mobile.write_bytes(moved.read_bytes() + b"x")
    with pytest.raises(InputError, match="was changed"):
        build_plan(opened("with-weights"), ["db"], seeds=[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--recipe", "photo-short"), "unknown recipe 'photo-short'; did you mean 'photos-short'"),
        (("--backbone", "mobilenet"), "unknown backbone 'mobilenet'"),
        (("--weights", "absent.pt"), "no file of weights at absent.pt"),
    ],
)
def test_what_its_runs_cannot_take_is_refused_before_an_image_is_read(options, says, refused, tmp_path):
    assert says in refused(*options)
    assert not (tmp_path / "data").exists()


def test_a_dataset_that_was_imported_before_takes_published_weights(import_photos, opened, tmp_path):
    import_photos()
    manifest = tmp_path / "data" / "my-photos" / "dataset.json"
    content = json.loads(manifest.read_text())
    assert content.pop("weights") is None
    (now,) = build_plan(opened(), ["db"], seeds=[0]).experiments
    manifest.write_text(json.dumps(content))
    (before,) = build_plan(opened(), ["db"], seeds=[0]).experiments
    assert now.experiment.id == before.experiment.id
    assert now.experiment.weights_digest == "0676ba61"


@pytest.mark.parametrize(
    ("seconds", "options"),
    [
        ([400], ""),
        ([7200, 400], " --recipe photos-short --backbone mobilenet_v2"),
        ([7200, 3600, 400], " --recipe photos-short --backbone mobilenet_v2 --override recipe.resampled.epochs=1"),
        ([7200, 3600, 900], " --recipe photos-short --backbone mobilenet_v2 --override recipe.resampled.epochs=1"),
    ],
)
def test_the_next_command_is_one_that_ends_in_minutes(seconds, options, import_photos, monkeypatch):
    left = [mock.Mock(seconds=value, __str__=lambda own: f"about {own.seconds} seconds") for value in seconds]
    monkeypatch.setattr(import_dataset, "estimate", lambda *given, **more: left.pop(0))
    _, printed, _ = import_photos()
    assert f"  mltbench run --dataset my-photos --method db{options}\n" in printed
    assert f"The run takes about {seconds[-1]} seconds." in printed
    assert not left
