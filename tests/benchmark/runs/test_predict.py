import json

import numpy as np
import pytest
import torch
from mltbench.benchmark.runs.predict import Predictor
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.datasets.images.decode import decode_image
from mltbench.errors import InputError
from PIL import Image
from trainings import make_training

CLASSES = tiny_dataset().classes


def finished_run(folder, method="erm", **settings):
    """A run folder with a network that took two steps; also its training."""
    training = make_training(method, **settings)
    training.epoch()
    folder.mkdir()
    (folder / "experiment.json").write_text(training.experiment.to_json())
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
    found = list(Predictor(tmp_path / "run").predict(paths))
    assert [each.image for each in found] == paths
    scores = np.array([[dict(each.scores)[name] for name in CLASSES] for each in found])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-4)
    assert all([*each.scores] == sorted(each.scores, key=lambda pair: -pair[1]) for each in found)


def test_photographs_are_decoded_as_a_test_split_is(tmp_path):
    training = finished_run(tmp_path / "run", backbone="resnet18", image_size=32)
    photograph = np.random.RandomState(0).randint(0, 256, (90, 150, 3)).astype(np.uint8)
    (path,) = write_images(tmp_path, [photograph])
    (found,) = Predictor(tmp_path / "run").predict([path])
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
