"""The scores of a large split are those of a small one, in a file that leaves nothing behind."""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest
from mltbench.benchmark.training import evaluation
from mltbench.benchmark.training.check import tiny_dataset, tiny_experiment
from mltbench.benchmark.training.evaluation import gather_scores, in_batches
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.learner import Learner
from mltbench.methods.catalogue import get_method

ROWS = np.random.RandomState(0).randn(70, 5).astype(np.float32)


def pieces(size):
    return (ROWS[start : start + size] for start in range(0, len(ROWS), size))


@pytest.mark.parametrize("size", [1, 32, 70])
@pytest.mark.parametrize("limit", [0, ROWS.nbytes - 1, ROWS.nbytes])
def test_pieces_are_the_whole(size, limit, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "BYTES_IN_MEMORY", limit)
    found = gather_scores(pieces(size), ROWS.shape, folder=tmp_path)
    assert isinstance(found, np.memmap) == (limit < ROWS.nbytes)
    assert found.dtype == np.float32
    assert np.array_equal(found, ROWS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("images", "batches"),
    [(1, [[1]]), (3, [[3]]), (4, [[3, 1]]), (6, [[3, 3]]), (7, [[3, 3], [1]]), (14, [[3, 3], [3, 3], [2]])],
)
def test_rows_are_scored_once_and_in_order_several_batches_at_a_time(images, batches, monkeypatch):
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 3)
    monkeypatch.setattr(evaluation, "EVALUATED_AT_ONCE", 6)
    asked = []
    pieces = list(in_batches(lambda indices: asked.append(len(indices)) or indices[:, None] * 2.0, images))
    assert [len(piece) for piece in pieces] == [sum(sizes) for sizes in batches]
    assert asked == [size for sizes in batches for size in sizes]
    assert np.concatenate(pieces)[:, 0].tolist() == [2.0 * i for i in range(images)]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_the_file_ends_with_the_matrix(monkeypatch, tmp_path):
    def mapped():
        return str(tmp_path) in Path("/proc/self/maps").read_text()

    monkeypatch.setattr(evaluation, "BYTES_IN_MEMORY", 0)
    matrix = gather_scores(pieces(8), ROWS.shape, folder=tmp_path)
    assert mapped()
    del matrix
    gc.collect()
    assert not mapped()


def test_a_full_disk_is_an_error_and_no_end_of_the_process(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(evaluation, "BYTES_IN_MEMORY", 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            gather_scores(pieces(8), ROWS.shape, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_in_pieces_from_a_file_is_that_in_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 4)
    learner = Learner(tiny_experiment(get_method("erm")), tiny_dataset(), Execution())
    expected, logits = learner.evaluate("test")
    monkeypatch.setattr(evaluation, "EVALUATED_AT_ONCE", 8)
    monkeypatch.setattr(evaluation, "BYTES_IN_MEMORY", 0)
    folders, make = [], evaluation.tempfile.TemporaryFile
    monkeypatch.setattr(evaluation.tempfile, "TemporaryFile", lambda dir: folders.append(dir) or make(dir=dir))
    found, mapped = learner.evaluate("test", folder=tmp_path)
    assert folders == [tmp_path]
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, logits)
    assert found.per_class.tolist() == expected.per_class.tolist()
