"""A dataset whose test split nobody may open, in every process, and settings with which it trains in moments."""

import pytest
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.studies.tuning.definition import Setting
from plans import plugin_file

PLUGIN = """
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.datasets.registry import DatasetEntry, register_dataset

def refuse():
    raise AssertionError("a study opened the test split")

tiny = tiny_dataset()
tiny.openers["test"] = refuse
more = {"summary": "", "source": "", "recipe": "digits-smoke", "backbone": "digits-resnet"}
register_dataset(DatasetEntry(name="tiny", open=lambda root: tiny, **more))
"""


@pytest.fixture(autouse=True)
def _closed(closed_studies):
    """In every test."""


@pytest.fixture
def plugin(own_registrations, tmp_path):
    with plugin_file(tmp_path / "sealed.py", PLUGIN) as path:
        yield path


@pytest.fixture
def settings(plugin, tmp_path):
    return RunSettings(data_root=tmp_path, plugins=(str(plugin),))


@pytest.fixture
def setting(settings):
    overrides = ("recipe.batch_size=8", "recipe.plain.epochs=3", "recipe.resampled.epochs=3")
    return Setting(dataset="tiny", settings=settings, overrides=overrides)
