"""What the tests of several rooms share: published facts, a small label matrix, and registrations that do not leak."""

from pathlib import Path

import numpy as np
import pytest
from mltbench.datasets import registry
from mltbench.datasets.statistics import ClassStatistics
from mltbench.methods import catalogue


@pytest.fixture(scope="session")
def shared_folder():
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder `shared` with published facts is not beside the project")
    return folder


@pytest.fixture(scope="session")
def voc_facts(shared_folder):
    with np.load(shared_folder / "facts" / "voc_mlt.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def coco_facts(shared_folder):
    with np.load(shared_folder / "facts" / "coco_mlt.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def small_labels():
    """Seven images of four classes with 6, 3, 2 and 1 images; the rarest never stands alone."""
    rows = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]
    return np.array(rows, dtype=np.uint8)


@pytest.fixture
def small_statistics(small_labels):
    return ClassStatistics.from_labels(small_labels)


@pytest.fixture
def own_registrations(monkeypatch):
    """Let a test register methods and datasets that no other test sees."""
    catalogue.list_methods()
    registry.list_datasets()
    monkeypatch.setattr(catalogue, "_METHODS", dict(catalogue._METHODS))
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
