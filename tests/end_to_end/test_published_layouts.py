"""Five sets are imported from files of the shape in which they are published, trained on for an epoch, and reported."""

import re

import numpy as np
import pytest
from mltbench.benchmark.commands import import_dataset
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.datasets.long_tail.statistics import UNKNOWN
from mltbench.datasets.registry import load_dataset
from mltbench.reports.results.runs import load_runs
from published_layouts import CHEXPERT, FINDINGS, LAYOUTS, MACHINE_IDS, MIMIC, PADCHEST

SMALL = ("--override", "recipe.image_size=48", "--override", "recipe.batch_size=16", "--workers", 1)
CLASSES = {
    "nih": FINDINGS,
    "chexpert": CHEXPERT,
    "mimic": MIMIC,
    "padchest": PADCHEST,
    "open-images": tuple(MACHINE_IDS.values()),
}
GROUPS = {"nih": r"(\d{8})_", "chexpert": r"patient\d+", "mimic": r"p\d{8}", "padchest": None, "open-images": None}


@pytest.fixture
def imported(call, own_folder, tmp_path, monkeypatch):
    """All five as datasets; what their imports printed."""
    monkeypatch.setenv("MLTBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(import_dataset, "next_run", lambda name, root: (name, None))
    monkeypatch.setattr(RunSettings, "make_executor", lambda settings: InProcess())
    printed = {}
    for name, write in LAYOUTS.items():
        made = write(tmp_path / name)
        labels = [word for text in made["labels"] for word in ("--labels", text)]
        own = ("--recipe", "digits-smoke", "--backbone", "digits-resnet", "--workers", 1)
        status, printed[name], error = call(
            "data", "import", name, *labels, "--images", made["images"], *made["options"], *own
        )
        assert (status, error) == (0, ""), name
    return printed


def test_published_layouts_are_imported_as_they_are_trained_on_and_reported(imported, call, tmp_path):
    for name, classes in CLASSES.items():
        dataset = load_dataset(name)
        assert set(dataset.classes) == set(classes), name
        ids = {split: dataset.split(split).ids.tolist() for split in dataset.splits}
        if GROUPS[name]:
            groups = {split: {re.search(GROUPS[name], one)[0] for one in some} for split, some in ids.items()}
            assert sum(map(len, groups.values())) == len(set().union(*groups.values())), name
        codes = {split: set(np.unique(dataset.labels(split)).tolist()) for split in ids}
        unknown = {"chexpert": {"train", "validation"}, "open-images": set(ids)}.get(name, set())
        assert codes == {split: {0, 1, UNKNOWN} if split in unknown else {0, 1} for split in ids}, name
    # The official test lists and files are the test splits.
    assert all(int(one.split("/")[-1][:8]) % 3 == 0 for one in load_dataset("nih").split("test").ids)
    assert all("/valid/" in f"/{one}" for one in load_dataset("chexpert").split("test").ids)
    assert [len(load_dataset("open-images").split(split)) for split in ("train", "validation", "test")] == [42, 14, 14]
    # 12 bits are 256 grey levels, not 16.
    assert len(np.unique(load_dataset("padchest").split("train").images[0])) > 200
    assert "12" in imported["padchest"]

    datasets = [word for name in LAYOUTS for word in ("--dataset", name)]
    status, out, error = call("run", *datasets, "--method", "erm", *SMALL, "--out", tmp_path / "results")
    assert (status, error) == (0, ""), out
    runs = load_runs(tmp_path / "results")
    assert set(runs.dataset) == set(LAYOUTS)
    assert np.isfinite(runs.total).all()
    status, out, error = call("report", "--out", tmp_path / "results", "--no-figures")
    assert (status, error) == (0, "")
    page = next((tmp_path / "results").glob("report*/index.html")).read_text(encoding="utf-8")
    assert all(name in page for name in LAYOUTS)
