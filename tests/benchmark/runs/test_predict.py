import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from mltbench.benchmark.runs import predict
from mltbench.benchmark.runs.outcome import write_outcome
from mltbench.benchmark.runs.predict import Predictor
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.benchmark.training.metrics import score
from mltbench.datasets.dataset import Dataset
from mltbench.datasets.images.decode import decode_image
from mltbench.errors import InputError
from PIL import Image
from trainings import make_training

CLASSES = tiny_dataset().classes


def finished_run(folder, method="erm", *, trained=True, **settings):
    """A run folder with a network that took two steps; also its training. What it began with is nowhere any more."""
    training = make_training(method, **settings)
    if trained:
        training.epoch()
    folder.mkdir()
    (folder / "experiment.json").write_text(replace(training.experiment, weights_digest="ab" * 32).to_json())
    report = {"average_precision": {"validation": dict.fromkeys(CLASSES, 0.5)}}
    (folder / "per_class.json").write_text(json.dumps(report))
    torch.save(training.network.state_dict(), folder / "weights.pt")
    return training


def write_images(folder, images):
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.mark.parametrize("method", ["erm", "ml-gcn"])
def test_a_file_gets_the_scores_that_the_test_split_got(method, tmp_path):
    training = finished_run(tmp_path / "run", method)
    paths = write_images(tmp_path, training.dataset.split("test").images)
    _, logits = training.learner.evaluate("test")
    found = list(Predictor(tmp_path / "run").predict([*map(str, paths)]))
    assert [each.image for each in found] == [*map(str, paths)]
    scores = np.array([[dict(each.scores)[name] for name in CLASSES] for each in found])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-4)
    assert all([*each.scores] == sorted(each.scores, key=lambda pair: -pair[1]) for each in found)


def test_many_files_are_taken_in_batches_and_those_that_cannot_be_used_keep_their_places(monkeypatch, tmp_path):
    training = finished_run(tmp_path / "run")
    good = write_images(tmp_path, training.dataset.split("test").images[:5])
    files = [str(path) for path in (good[0], tmp_path / "a.jpg", *good[1:4], tmp_path / "b.jpg", good[4], good[0])]
    predictor = Predictor(tmp_path / "run")
    whole = list(predictor.predict(files))
    assert [each.image for each in whole] == files
    assert [bool(each.problem) for each in whole] == [not (tmp_path / name).exists() for name in files]
    assert [len(each.scores) for each in whole] == [0 if each.problem else 6 for each in whole]
    assert whole[-1].scores == whole[0].scores != whole[2].scores
    for size in (1, 2, 3):
        monkeypatch.setattr(predict, "BATCH", size)
        for one, other in zip(predictor.predict(files), whole, strict=True):
            assert (one.image, one.problem) == (other.image, other.problem)
            assert dict(one.scores) == pytest.approx(dict(other.scores), abs=1e-6)


def test_scores_that_are_almost_one_are_still_told_apart(tmp_path):
    """In float32, the sigmoid of 17 and of all above it is 1."""
    training = finished_run(tmp_path / "run")
    with torch.no_grad():
        training.network.head.weight.zero_()
        training.network.head.bias.copy_(torch.tensor([20.0, 30.0, -30.0, 0.0, 25.0, -1.0]))
    torch.save(training.network.state_dict(), tmp_path / "run" / "weights.pt")
    (path,) = write_images(tmp_path, training.dataset.split("test").images[:1])
    (found,) = Predictor(tmp_path / "run").predict([str(path)])
    assert [name for name, _ in found.scores] == [CLASSES[c] for c in (1, 4, 0, 3, 5, 2)]
    assert [score for _, score in found.scores] == pytest.approx(
        [1 - 9.357623e-14, 1 - 1.388794e-11, 1 - 2.061154e-9, 0.5, 0.2689414214, 9.357623e-14], rel=1e-13, abs=1e-9
    )
    assert 1 > found.scores[0][1] > found.scores[1][1] > found.scores[2][1]


def test_photographs_are_decoded_as_a_test_split_is(tmp_path):
    training = finished_run(tmp_path / "run", backbone="resnet18", image_size=32, trained=False)
    photograph = np.random.RandomState(0).randint(0, 256, (90, 150, 3)).astype(np.uint8)
    (path,) = write_images(tmp_path, [photograph])
    (found,) = Predictor(tmp_path / "run").predict([str(path)])
    decoded = torch.from_numpy(decode_image(path, 224).pixels.copy()).permute(2, 0, 1)[None].float()
    # A resize by a whole factor of 7 with half-pixel centres and no antialiasing takes every seventh pixel.
    inputs = (decoded[:, :, 3::7, 3::7] / 255 - torch.tensor((0.45,) * 3)[:, None, None]) / 0.225
    with torch.no_grad():
        expected = training.network.eval()(inputs).sigmoid()[0]
    assert [dict(found.scores)[name] for name in CLASSES] == pytest.approx(expected.tolist(), rel=1e-3)


def test_bad_images_are_told_one_by_one(tmp_path, call):
    training = finished_run(tmp_path / "run")
    (good,) = write_images(tmp_path, training.dataset.split("test").images[:1])
    (tmp_path / "text.jpg").write_text("no image")
    bad = tmp_path / "text.jpg", tmp_path / "absent.jpg"
    status, shown, told = call("predict", tmp_path / "run", good, *bad, "--json")
    rows = json.loads(shown)
    assert status == 1
    assert len(rows[0]["labels"]) == 5
    assert [row["image"] for row in rows if "problem" in row] == list(map(str, bad))
    assert told.count("cannot use") == 2


def test_top_and_threshold(tmp_path, call):
    training = finished_run(tmp_path / "run")
    (good,) = write_images(tmp_path, training.dataset.split("test").images[:1])
    _, everything, _ = call("predict", tmp_path / "run", good, "--json", "--threshold", "0")
    labels = json.loads(everything)[0]["labels"]
    assert {label["label"] for label in labels} == set(CLASSES)
    _, first, _ = call("predict", tmp_path / "run", good, "--json", "--top", "2")
    assert json.loads(first)[0]["labels"] == labels[:2]
    middle = (labels[2]["score"] + labels[3]["score"]) / 2
    _, above, _ = call("predict", tmp_path / "run", good, "--json", "--threshold", str(middle))
    assert json.loads(above)[0]["labels"] == labels[:3]
    status, table, _ = call("predict", tmp_path / "run", good)
    assert status == 0
    rows = [line.rsplit(maxsplit=1) for line in table.splitlines()[2:]]
    assert [float(score) for _, score in rows] == [pytest.approx(label["score"], abs=0.005) for label in labels[:5]]
    assert all(row.endswith(label["label"]) for (row, _), label in zip(rows, labels[:5], strict=True))


@pytest.mark.parametrize(
    ("missing", "message"), [("weights.pt", "no file of weights"), ("per_class.json", "finished run")]
)
def test_a_run_without_its_files_is_an_error(missing, message, tmp_path):
    finished_run(tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(InputError, match=message):
        Predictor(tmp_path / "run")


def test_weights_of_another_run_are_refused(tmp_path):
    finished_run(tmp_path / "run")
    finished_run(tmp_path / "other", neck_width=16)
    (tmp_path / "other" / "weights.pt").replace(tmp_path / "run" / "weights.pt")
    with pytest.raises(InputError, match=r"does not fit the experiment beside it: size mismatch for neck"):
        Predictor(tmp_path / "run")


def test_an_empty_folder_is_an_error(tmp_path, call):
    finished_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    status, _, told = call("predict", tmp_path / "run", tmp_path / "empty")
    assert status == 2
    assert "holds no images" in told


def test_of_a_folder_the_images_are_taken_with_those_inside_and_the_rest_is_named(tmp_path, call):
    training = finished_run(tmp_path / "run")
    folder = tmp_path / "holiday"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    image = training.dataset.split("test").images[:1]
    for place in (folder, folder / "deep", folder / ".hidden"):
        write_images(place, image)
    for name in (".DS_Store", "._0.png", "Thumbs.db", "notes.txt"):
        (folder / name).write_text("no image")
    status, shown, told = call("predict", tmp_path / "run", folder, "--json")
    assert status == 0
    assert [row["image"] for row in json.loads(shown)] == [str(folder / "0.png"), str(folder / "deep" / "0.png")]
    assert told == f"left out of {folder}, no images by their endings: Thumbs.db, notes.txt\n"


def test_csv_has_a_row_for_each_label_and_each_problem(tmp_path, call):
    training = finished_run(tmp_path / "run")
    (good,) = write_images(tmp_path, training.dataset.split("test").images[:1])
    awkward = good.rename(tmp_path / 'a "name", with comma.png')
    words = "predict", tmp_path / "run", tmp_path / "absent.png", awkward, "--top", "3"
    rows = list(csv.DictReader(io.StringIO(call(*words, "--csv")[1])))
    labels = json.loads(call(*words, "--json")[1])[1]["labels"]
    assert rows[0] == {"image": str(tmp_path / "absent.png"), "label": "", "score": "", "problem": "no such file"}
    assert [(row["image"], row["label"], float(row["score"]), row["problem"]) for row in rows[1:]] == [
        (str(awkward), label["label"], label["score"], "") for label in labels
    ]
    status, _, error = call(*words, "--csv", "--json")
    assert (status, "give one of them" in error) == (2, True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("https://example.org/a.jpg", "an address; download the image and name its file"),
        ("holiday/*.jpg", "no such file; a pattern is filled in by the shell where it is not quoted"),
        ("holiday/absent.jpg", "no such file"),
        ("holiday/notes.txt", "no image in a known format"),
        ("holiday/a.heic", "an HEIC or AVIF file: save it as JPEG"),
    ],
)
def test_names_that_are_no_image_say_what_to_do_and_the_others_are_predicted(name, says, tmp_path, call, monkeypatch):
    training = finished_run(tmp_path / "run")
    folder = tmp_path / "holiday"
    folder.mkdir()
    (good,) = write_images(folder, training.dataset.split("test").images[:1])
    (folder / "notes.txt").write_text("no image")
    (folder / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    without_ending = good.rename(folder / "without_ending")
    monkeypatch.chdir(tmp_path)
    status, shown, told = call("predict", tmp_path / "run", name, without_ending, "--json")
    assert status == 1
    problem, whole = json.loads(shown)
    assert (problem["image"], says in problem["problem"]) == (name, True)
    assert len(whole["labels"]) == 5
    assert told.startswith(f"cannot use {name}: {problem['problem']}")


def test_of_a_folder_foreign_formats_are_named_with_their_cure_and_an_empty_one_ends_nothing(tmp_path, call):
    training = finished_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "phone").mkdir()
    (good,) = write_images(tmp_path / "phone", training.dataset.split("test").images[:1])
    good.rename(tmp_path / "phone" / "x.JFIF")
    for name in ("a.HEIC", "b.heic"):
        (tmp_path / "phone" / name).write_bytes(b"")
    status, shown, told = call("predict", tmp_path / "run", tmp_path / "empty", tmp_path / "phone", "--json")
    assert (status, [row["image"] for row in json.loads(shown)]) == (1, [str(tmp_path / "phone" / "x.JFIF")])
    assert "2 of them .heic: save it as JPEG" in told
    assert "empty holds no images" in told


def test_a_file_whose_name_looks_like_a_pattern_is_taken_as_it_is(tmp_path):
    training = finished_run(tmp_path / "run")
    (good,) = write_images(tmp_path, training.dataset.split("test").images[:1])
    good, bad = good.rename(tmp_path / "scan [1].png"), tmp_path / "scan [2].png"
    bad.write_text("no image")
    files = [str(path) for path in (good, bad, tmp_path / "scan [3].png")]
    found = list(Predictor(tmp_path / "run").predict(files))
    assert [len(each.scores) for each in found] == [len(CLASSES), 0, 0]
    assert ["a pattern is" in each.problem for each in found] == [False, False, True]


def test_16_bits_are_scaled_as_the_dataset_of_the_run_was(tmp_path):
    finished_run(tmp_path / "run", backbone="resnet18", image_size=32, trained=False)
    file = tmp_path / "run" / "per_class.json"
    report = json.loads(file.read_text())
    dark = np.random.default_rng(0).integers(0, 1024, (40, 40)).astype(np.uint16)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    # An earlier version did not say it, and kept the upper 8 of 16 bits. One of 8 bits says 0; 10 are in use here.
    for recorded, shift in (({}, 8), ({"image_bits": 16}, 8), ({"image_bits": 12}, 4), ({"image_bits": 0}, 2)):
        file.write_text(json.dumps(report | recorded))
        (alike,) = write_images(tmp_path, [(dark >> shift).astype(np.uint8)])
        one, other = Predictor(tmp_path / "run").predict([str(tmp_path / "dark.png"), str(alike)])
        assert one.scores == other.scores, recorded
    # Where 8 of them are in use, they are taken as they are.
    Image.fromarray(dark >> 2).save(tmp_path / "darker.png")
    (alike,) = write_images(tmp_path, [(dark >> 2).astype(np.uint8)])
    one, other = Predictor(tmp_path / "run").predict([str(tmp_path / "darker.png"), str(alike)])
    assert one.scores == other.scores


@pytest.mark.parametrize("bits", [0, 12])
def test_a_run_records_by_how_many_bits_its_images_were_scaled(bits, tmp_path):
    tiny = tiny_dataset()
    splits = {name: replace(tiny.split(name), bits=bits) for name in tiny.digests}
    dataset = Dataset.in_memory("tiny", tiny.classes, splits)
    labels = splits["validation"].labels
    scores = score(labels.astype(np.float32), labels, dataset.statistics)
    write_outcome(tmp_path, dataset, torch.nn.Linear(1, 1), validation=scores, test=None, test_scores=None)
    assert json.loads((tmp_path / "per_class.json").read_text())["image_bits"] == bits
