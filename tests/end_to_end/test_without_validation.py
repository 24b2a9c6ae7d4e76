"""A dataset of training and test images alone: every command takes it, and what needs a validation split says so."""

import json

import numpy as np
import pytest
from mltbench.benchmark.runs.predict import Predictor
from mltbench.benchmark.runs.verification import compare_runs
from mltbench.datasets.registry import load_dataset
from mltbench.reports.results.runs import load_runs
from mltbench.studies.tuning.definition import open_dataset
from PIL import Image

SMALL = ("--override", "recipe.image_size=48", "--override", "recipe.batch_size=16", "--workers", 1)


@pytest.fixture
def imported(call, own_folder, tmp_path, monkeypatch):
    """The dataset `two` of 80 images, imported with --no-validation."""
    monkeypatch.setenv("MLTBENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "images").mkdir()
    rows = ["image,labels"]
    for i in range(80):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 48, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i:02d}.png")
        rows.append(f"{i:02d}.png,{'abc'[i % 3]}{'|a' * (i % 5 == 1 and i % 3 > 0)}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))

    def importing(*options, name="two"):
        words = ["--images", tmp_path / "images", "--labels", tmp_path / "labels.csv", "--workers", 1]
        return call("data", "import", name, *words, "--recipe", "digits-smoke", "--backbone", "digits-resnet", *options)

    status, out, error = importing("--no-validation")
    assert (status, error) == (0, "")
    assert "validation: none (--no-validation)" in out
    return importing


def test_every_command_does_without_a_validation_split(imported, call, tmp_path):
    results = tmp_path / "results"
    assert load_dataset("two").splits == ("train", "test")
    assert "train 56, test 24" in call("data", "show", "two", "--out", tmp_path / "two.png")[1]
    assert [line.split(":")[0] for line in call("data", "verify", "two")[1].splitlines()] == ["train", "test"]
    for words in (("--dry-run",), ()):
        status, out, error = call("run", "--dataset", "two", "--method", "erm", *SMALL, *words, "--out", results)
        assert (status, error) == (0, ""), out
    (run,) = load_runs(results).itertuples()
    assert np.isfinite(run.total)
    assert np.isnan(run.validation_total)
    (folder,) = (results / "runs").glob("*")
    assert list(json.loads((folder / "per_class.json").read_text())["average_precision"]) == ["test"]
    assert Predictor(folder).classes == ("a", "b", "c")
    assert all(item.same for item in compare_runs(folder, folder))
    status, out, error = call("report", "--out", results)
    assert (status, error) == (0, "")
    page = next(results.glob("report*/index.html")).read_text(encoding="utf-8")
    # Nothing promises figures that this dataset cannot have.
    assert page.count("two has no validation split") >= 8
    assert "--evaluate-every 1" not in page
    assert "mltbench study" not in page


def test_what_scores_the_validation_split_refuses_before_any_training_and_the_cure_works(imported, call, tmp_path):
    for command, what in (
        (("run", "--dataset", "two", "--method", "erm", "--evaluate-every", 1), "--evaluate-every"),
        (("study", "tune", "--dataset", "two", "--method", "erm"), "a study"),
        (("study", "run", "beta", "--dataset", "two"), "a study"),
    ):
        for dry in (), ("--dry-run",):
            status, _, error = call(*command, *dry, "--out", tmp_path / "results")
            assert status == 2
            assert error == (
                f"error: two has no validation split, which {what} scores; "
                "import it with one: without --no-validation, with --replace\n"
            )
            assert not list((tmp_path / "results").glob("*/*"))
    # The same import changes nothing.
    assert imported("--no-validation")[0] == 0
    assert "other images, labels or settings" in imported()[2]
    assert imported("--replace")[0] == 0
    assert load_dataset("two").splits == ("train", "validation", "test")
    assert "other images, labels or settings" in imported("--no-validation")[2]
    words = ("--dataset", "two", "--method", "erm", *SMALL[:-2], "--dry-run", "--out", tmp_path / "results")
    open_dataset.cache_clear()  # as for a command of its own
    status, _, error = call("study", "tune", *words)
    assert (status, error) == (0, "")
