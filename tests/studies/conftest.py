"""A dataset whose test split nobody may open, and settings with which it trains in moments."""

import pytest
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.datasets.dataset import Dataset
from mltbench.datasets.registry import DatasetEntry, register_dataset
from mltbench.studies.tuning.definition import Setting

SMALL = ("recipe.batch_size=8", "recipe.plain.epochs=3", "recipe.resampled.epochs=3")


@pytest.fixture
def sealed(own_registrations):
    """The tiny set, whose test split nobody may open."""
    tiny = tiny_dataset()

    def refuse():
        raise AssertionError("a study opened the test split")

    sealed = Dataset(name="tiny", classes=tiny.classes, digests=tiny.digests, openers={**tiny.openers, "test": refuse})
    entry = DatasetEntry(
        name="tiny", summary="", source="", open=lambda root: sealed, recipe="digits-smoke", backbone="digits-resnet"
    )
    register_dataset(entry)
    return sealed


@pytest.fixture
def settings(sealed, tmp_path):
    return RunSettings(data_root=tmp_path)


@pytest.fixture
def setting(settings):
    return Setting(dataset="tiny", settings=settings, overrides=SMALL)
