import hashlib

import numpy as np
import pytest
from mltbench.datasets.errors import InputError
from mltbench.datasets.word_vectors import hashed_word_vectors, read_word_vectors
from numpy.random import RandomState

GLOVE_TEXT = "the .5 .5\ntable 1 2\ndining 3 6\nperson -1 0.25\n"


@pytest.fixture
def glove_text(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE_TEXT)
    return path


def test_made_vectors_come_from_the_digest_of_the_name():
    made = hashed_word_vectors(["dining table"])
    seed = int.from_bytes(hashlib.sha256(b"dining table").digest()[:4], "big")
    drawn = RandomState(seed).standard_normal(300)
    assert made.vectors.shape == (1, 300)
    assert made.vectors.dtype == np.float32
    np.testing.assert_allclose(made.vectors[0], drawn / np.sqrt(np.sum(drawn**2)), rtol=1e-6)


def test_made_vectors_know_nothing_of_meaning():
    vectors = hashed_word_vectors([f"{ink} {digit}" for ink in ("red", "blue") for digit in range(10)]).vectors
    cosine = vectors.astype(np.float64) @ vectors.T
    np.testing.assert_allclose(np.diag(cosine), 1, rtol=1e-6)
    # Independent draws in 300 dimensions have a cosine of 0 +- .06, of which the 190 pairs stay within four.
    assert abs(cosine - np.eye(20)).max() < 0.24


def test_made_vectors_ignore_case_and_other_classes():
    alone, among = hashed_word_vectors(["Sofa"]), hashed_word_vectors(["dog", "sofa"])
    assert np.array_equal(alone.vectors[0], among.vectors[1])
    assert alone.digest != among.digest
    assert alone.digest == hashed_word_vectors(["sofa"]).digest
    assert hashed_word_vectors(["sofa"], dimensions=7).vectors.shape == (1, 7)


def test_names_of_several_words_are_their_mean(glove_text):
    read = read_word_vectors(glove_text, ["dining table", "Person"])
    assert read.vectors.tolist() == [[2, 4], [-1, 0.25]]
    assert read.vectors.dtype == np.float32
    assert read.source == "glove.txt"


def test_a_missing_word_is_named(glove_text):
    with pytest.raises(InputError, match=r"glove\.txt has no vector for 'sofa', 'dog'"):
        read_word_vectors(glove_text, ["person", "sofa", "dining dog"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no file of word vectors at .*absent\.txt"):
        read_word_vectors(tmp_path / "absent.txt", ["dog"])


def test_arrays_are_read_by_class_name(tmp_path):
    path = tmp_path / "vectors.npz"
    np.savez(path, classes=np.array(["dining table", "dog"]), vectors=np.array([[1, 2], [3, 4]]))
    assert read_word_vectors(path, ["dog", "dining table"]).vectors.tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize(
    "arrays",
    [
        pytest.param({"vectors": np.ones((2, 3))}, id="no classes"),
        pytest.param({"classes": np.array(["dog"]), "vectors": np.ones((2, 3))}, id="another number"),
        pytest.param({"classes": np.array(["dog"], dtype=object), "vectors": np.ones((1, 3))}, id="pickled"),
    ],
)
def test_arrays_of_another_form_are_refused(arrays, tmp_path):
    np.savez(tmp_path / "vectors.npz", **arrays)
    with pytest.raises(InputError, match="must hold the arrays `classes`"):
        read_word_vectors(tmp_path / "vectors.npz", ["dog"])


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_damaged_arrays_are_refused(content, tmp_path):
    (tmp_path / "vectors.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"vectors\.npz"):
        read_word_vectors(tmp_path / "vectors.npz", ["dog"])


@pytest.mark.parametrize("text", ["dog 1 two\nsofa 1 2\n", "dog 1\nsofa 1 2\n", "dog\nsofa\n"])
def test_lines_that_are_no_vectors_are_refused(text, tmp_path):
    (tmp_path / "glove.txt").write_text(text)
    with pytest.raises(InputError, match=r"glove\.txt"):
        read_word_vectors(tmp_path / "glove.txt", ["dog", "sofa"])
