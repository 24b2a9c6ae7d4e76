import gzip
import hashlib
import pickle
import re

import numpy as np
import pytest
from mltbench.datasets.word_vectors import hashed_word_vectors, read_word_vectors
from mltbench.errors import InputError
from numpy.random import RandomState


@pytest.fixture
def glove_text(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("the .5 .5\ntable 1 2\ndining 3 6\nperson -1 0.25\n")
    return path


def test_made_vectors_come_from_the_digest_of_the_name():
    made = hashed_word_vectors(["dining table"])
    seed = int.from_bytes(hashlib.sha256(b"dining table").digest()[:4], "big")
    drawn = RandomState(seed).standard_normal(300)
    assert (made.vectors.shape, made.vectors.dtype) == ((1, 300), np.float32)
    np.testing.assert_allclose(made.vectors[0], drawn / np.sqrt(np.sum(drawn**2)), rtol=1e-6)


def test_made_vectors_ignore_case_and_other_classes():
    alone, among = hashed_word_vectors(["Sofa"]), hashed_word_vectors(["dog", "sofa"])
    assert np.array_equal(alone.vectors[0], among.vectors[1])
    assert among.digest != alone.digest == hashed_word_vectors(["sofa"]).digest
    assert hashed_word_vectors(["sofa"], dimensions=7).vectors.shape == (1, 7)


@pytest.mark.parametrize("large", [0, 10**6])  # reading shows its progress, or not
def test_names_of_several_words_are_their_mean(large, glove_text, monkeypatch):
    monkeypatch.setattr("mltbench.datasets.word_vectors.LARGE_FILE", large)
    read = read_word_vectors(glove_text, ["dining table", "Person"])
    assert read.vectors.tolist() == [[2, 4], [-1, 0.25]]
    assert (read.vectors.dtype, read.source) == (np.float32, "glove.txt")


def test_missing_words_and_files_are_named(glove_text, tmp_path):
    with pytest.raises(
        InputError, match=r"glove\.txt lacks words of 3 of 4 classes: sofa, dining dog \(dog\), Dog/person"
    ) as e:
        read_word_vectors(glove_text, ["person", "sofa", "dining dog", "Dog/person"])
    assert "Dog/person (dog); add lines of these, give an .npz" in str(e.value)
    with pytest.raises(InputError, match=r"no file of word vectors at .*absent\.txt"):
        read_word_vectors(tmp_path / "absent.txt", ["dog"])


OTHER_ARRAYS = {
    "no classes": {"vectors": np.ones((2, 3))},
    "another number": {"classes": np.array(["dog"]), "vectors": np.ones((2, 3))},
    "pickled": {"classes": np.array(["dog"], dtype=object), "vectors": np.ones((1, 3))},
}


@pytest.mark.parametrize("arrays", OTHER_ARRAYS.values(), ids=OTHER_ARRAYS)
def test_arrays_of_another_form_are_refused(arrays, tmp_path):
    np.savez(tmp_path / "vectors.npz", **arrays)
    with pytest.raises(InputError, match="must hold the arrays `classes`"):
        read_word_vectors(tmp_path / "vectors.npz", ["dog"])


ARCHIVES = (b"", b"no archive", b"PK\x03\x04 cut off")
LINES = (b"dog 1 two\nsofa 1 2\n", b"dog 1\nsofa 1 2\n", b"dog\nsofa\n")


@pytest.mark.parametrize("content", ARCHIVES + LINES)
def test_damaged_files_are_refused(content, tmp_path):
    path = tmp_path / ("vectors.npz" if content in ARCHIVES else "glove.txt")
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(path.name)):
        read_word_vectors(path, ["dog", "sofa"])


TEXTS = {
    "joined names of VOC have their words": (
        b"tv 1 0\nplant 0 1\ntable 2 2\ntvmonitor 9 9\n",
        {"diningtable": [2, 2], "pottedplant": [0, 1], "tvmonitor": [1, 0]},
    ),
    "reading ends where all are found": (b"dog 1 2\ncat 3 4\ndog broken\n", {"cat": [3, 4], "dog": [1, 2]}),
    "a word with blanks stands before its first piece": (b"the 1 2\non a@b.org 9 9\non 3 4\n", {"on": [3, 4]}),
    "words in no UTF-8 are passed over": (b"\xff\xfe 7 7\n. . . 5 5\nh\xc3\xb6rnchen 1 2\n", {"h\u00f6rnchen": [1, 2]}),
}


@pytest.mark.parametrize(("content", "vectors"), TEXTS.values(), ids=TEXTS)
def test_a_text_is_read_line_by_line(content, vectors, tmp_path):
    (tmp_path / "glove.txt").write_bytes(content)
    assert read_word_vectors(tmp_path / "glove.txt", list(vectors)).vectors.tolist() == list(vectors.values())


def test_arrays_are_read_by_name_and_without_names_in_alphabetical_order_alone(tmp_path):
    path, vectors = tmp_path / "vectors.npz", np.array([[1, 2], [3, 4]])
    np.savez(path, classes=np.array(["dining table", "dog"]), vectors=vectors)
    assert read_word_vectors(path, ["dog", "dining table"]).vectors.tolist() == [[3, 4], [1, 2]]
    np.savez(path, vectors=vectors)
    assert read_word_vectors(path, ["cat", "dog"]).vectors.tolist() == [[1, 2], [3, 4]]
    for classes in (["dog", "cat"], ["cat", "dog", "person"]):
        with pytest.raises(InputError, match="nothing says which of its rows"):
            read_word_vectors(path, classes)


# In the order of GloVe 840B: frequent words, then some with blanks, then rare ones.
WORDS = ("the", "in", "on", "at", "person", "water", ". . .", "at name@domain.com", "on name@domain.com",
         "in name@domain.com", "red", "left", "nodule", "mass", "traffic", "light", "e", "bike", "hair-drier", "men",
         "pleural", "thickening", "NASA", "Paris", "ebook", "New_York", "7", "tv", "monitor", "wheelchair", "canoe",
         "snorkel")  # fmt: skip
NAMES = {
    "person in wheelchair": ["person", "in", "wheelchair"], "canoe on water": ["canoe", "on", "water"],
    "Snorkel": ["snorkel"],
    "Nodule/Mass": ["nodule", "mass"], "e-bike": ["e", "bike"], "traffic-light (red)": ["traffic", "light", "red"],
    "traffic light": ["traffic", "light"], "TrafficLight": ["traffic", "light"], "hair-drier": ["hair-drier"],
    "hair drier": ["hair-drier"], "hair_drier": ["hair-drier"], "red7": ["red", "7"],
    "Pleural_Thickening": ["pleural", "thickening"], "men's": ["men"], "person & canoe": ["person", "canoe"],
    "nasa": ["NASA"], "paris": ["Paris"], "e-book": ["ebook"], "New York": ["New_York"], "red 7": ["red", "7"],
    "TVMonitor": ["tv"], "TVPerson": ["tv", "person"], "LIGHT": ["light"],
}  # fmt: skip


@pytest.fixture(scope="module")
def large_text(tmp_path_factory):
    """Vectors of 20 numbers by word, and the files that hold them in the forms that are published."""
    folder = tmp_path_factory.mktemp("texts")
    vectors = dict(
        zip(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 20)).round(5).astype(np.float32), strict=True)
    )
    lines = [f"{word} {' '.join(map(str, vector.tolist()))}" for word, vector in vectors.items()]
    header = f"{len(lines)} 20"
    contents = {
        "glove.txt": "\n".join(lines) + "\n",
        "crawl.vec": " \n".join([header, *lines]) + " \n",
        "windows.txt": "\r\n".join(lines),
        "tabs.txt": "\n".join(line.replace(" ", "\t") if line.count(" ") == 20 else line for line in lines),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content.encode())
    (folder / "crawl.vec.gz").write_bytes(gzip.compress(contents["crawl.vec"].encode()))
    return vectors, {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("form", ["glove.txt", "crawl.vec", "crawl.vec.gz", "windows.txt", "tabs.txt"])
def test_names_are_found_in_every_form_of_text_among_words_with_blanks(form, large_text):
    vectors, files = large_text
    read = read_word_vectors(files[form], list(NAMES))
    for row, (name, words) in zip(read.vectors, NAMES.items(), strict=True):
        np.testing.assert_allclose(row, np.mean([vectors[word] for word in words], axis=0), rtol=1e-6, err_msg=name)


def test_the_words_of_a_name_do_not_depend_on_the_other_classes(large_text):
    _, files = large_text
    together = read_word_vectors(files["glove.txt"], ["Person", "snorkel"])
    assert np.array_equal(together.vectors[0], read_word_vectors(files["glove.txt"], ["Person"]).vectors[0])


def test_a_word_in_small_letters_comes_before_one_that_stands_earlier_in_the_file(tmp_path):
    (tmp_path / "x.txt").write_text("Mass 9 9\nhair-drier 8 8\nhair 1 1\ndrier 3 3\nmass 1 2\n")
    assert read_word_vectors(tmp_path / "x.txt", ["Mass", "hair drier"]).vectors.tolist() == [[1, 2], [2, 2]]


def test_names_of_an_npz_are_taken_as_they_are_before_they_are_divided(tmp_path):
    classes = np.array(["Nodule/Mass", "nodule", "mass", "Pleural Thickening"])
    np.savez(tmp_path / "x.npz", classes=classes, vectors=np.arange(8).reshape(4, 2))
    read = read_word_vectors(tmp_path / "x.npz", ["Nodule/Mass", "mass-nodule", "Pleural_Thickening".replace("_", " ")])
    assert read.vectors.tolist() == [[0, 1], [3, 4], [6, 7]]


UNREADABLE = {
    "not finite": (b"dog 1 nan\ncat 1 2\n", "line 1|is no text"),
    "not finite later": (b"cat 1 2\ncat2 1 2\ndog inf 2\n", "line 3 has 2 finite numbers"),
    "too short": (b"cat 1 2\nbird 1 2\ndog 1\n", "line 3 has 1 finite numbers, not 2"),
    "a pickle": (pickle.dumps(np.ones(3)), "is no text of word vectors.*pickles as .npz"),
    "binary": (
        b"2 3\ndog \x00\x01\x02\x80\x81\x82\x83\x84\x85\x86\x87\x88\n",
        "is no text of word vectors.*save_word2vec",
    ),
    "a page": (b"<!DOCTYPE html>\n<html></html>\n", "is no text of word vectors"),
    "a cut archive": (gzip.compress(b"dog 1 2\n" * 1000)[:30], "is damaged or was cut off"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_texts_that_are_none_say_where_and_why(what, tmp_path):
    content, message = UNREADABLE[what]
    (tmp_path / "vectors.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_word_vectors(tmp_path / "vectors.txt", ["dog"])


def test_arrays_that_are_no_finite_matrix_are_refused(tmp_path):
    for vectors, message in (
        (np.array([[np.nan, 1]]), "'dog' has values that are not finite"),
        (np.ones(1), "numbers .C, D."),
    ):
        np.savez(tmp_path / "x.npz", classes=np.array(["dog"]), vectors=vectors)
        with pytest.raises(InputError, match=message):
            read_word_vectors(tmp_path / "x.npz", ["dog"])


def test_published_vectors_fit_their_classes(shared_folder, voc_facts, coco_facts, tmp_path):
    facts = shared_folder / "facts"
    voc, coco = voc_facts["classes"].tolist(), coco_facts["classes"].tolist()
    read = read_word_vectors(facts / "voc_glove300.npz", voc)
    with np.load(facts / "coco_glove300.npz") as arrays:
        # COCO's published rows are alphabetical, COCO's classes are not: by position all 80 would be wrong.
        by_name = dict(zip(sorted(coco), arrays["vectors"], strict=True))
    same = [name for name in voc if name in by_name]
    assert len(same) == 14
    assert all(np.array_equal(read.vectors[voc.index(name)], by_name[name]) for name in same)
    # A GloVe text of COCO's words gives VOC's `tvmonitor` as published.
    words = tmp_path / "glove.txt"
    words.write_text("\n".join(f"{n} {' '.join(map(str, v.tolist()))}" for n, v in by_name.items() if " " not in n))
    (made,) = read_word_vectors(words, ["tvmonitor"]).vectors
    np.testing.assert_allclose(made, read.vectors[voc.index("tvmonitor")], rtol=1e-6)
