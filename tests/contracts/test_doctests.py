import doctest
import importlib
import pkgutil

import mltbench.datasets
import mltbench.methods
import pytest

MODULES = [
    module.name
    for room in (mltbench.datasets, mltbench.methods)
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_module_come_out_as_written(name, own_registrations):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_the_rooms_have_examples():
    finder = doctest.DocTestFinder()
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name))]
    documented = {test.name for test in tests if test.examples}
    assert {
        "mltbench.datasets.long_tail.statistics.ClassStatistics.from_labels",
        "mltbench.methods.loss.ComposedLoss",
    } <= documented
