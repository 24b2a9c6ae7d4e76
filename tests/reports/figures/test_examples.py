"""Best and worst images of each class, by hand."""

import numpy as np
import pandas as pd
import pytest
from mltbench.datasets.dataset import Split
from mltbench.datasets.long_tail.statistics import ClassStatistics
from mltbench.reports.figures.examples import best_method, draw_examples, examples, shown_classes
from mltbench.reports.figures.registry import get_figure, write_data
from mltbench.reports.figures.source import MissingDataError

IDS = np.array([f"image-{i}" for i in range(9)])


class Watched(np.ndarray):
    """Images that remember which rows were read."""

    read: list

    def __getitem__(self, key):
        self.read.append(key)
        return np.asarray(super().__getitem__(key))


@pytest.fixture
def test_split():
    labels = np.array([[1, 0]] * 5 + [[0, 1]] * 2 + [[0, 0]] * 2, dtype=np.uint8)
    images = np.zeros((9, 8, 6, 3), dtype=np.uint8).view(Watched)
    Watched.read = []
    return Split(images=images, labels=labels, ids=IDS)


def of(split, seeds=((0,) * 9,)):
    base = np.stack([np.arange(9.0), np.arange(9.0)[::-1]], axis=1)
    scores = [(base + np.array(seed)[:, None]).astype(np.float32) for seed in seeds]
    training = ClassStatistics.from_labels(np.array([[0, 1]] * 30 + [[1, 0]] * 5))
    return examples(scores, split, training, ("rare", "common"), method="DB", dataset="d")


def test_the_highest_and_lowest_positives_and_the_highest_negatives_of_each_class(test_split):
    frame = of(test_split)
    assert list(dict.fromkeys(frame.class_name)) == ["common", "rare"]  # largest first
    kinds = {key: own.id.tolist() for key, own in frame.groupby(["class_name", "kind"])}
    assert kinds["rare", "found"] == ["image-4", "image-3", "image-2"]
    assert kinds["rare", "missed"] == ["image-0", "image-1"]  # those that are among the best are not among the worst
    assert kinds["rare", "mistaken"] == ["image-8", "image-7", "image-6"]
    assert kinds["common", "found"] == ["image-5", "image-6"]
    assert ("common", "missed") not in kinds
    # Nine images by falling score: positives of `rare` are ranks 5 to 9.
    assert frame[frame.class_name == "rare"].ap.iloc[0] == pytest.approx(20 * (1 / 5 + 2 / 6 + 3 / 7 + 4 / 8 + 5 / 9))
    assert frame[frame["class_name"] == "rare"].class_size.iloc[0] == 5


def test_scores_are_means_over_seeds(test_split):
    frame = of(test_split, seeds=((0,) * 9, (0, 0, 0, 0, 6, 0, 0, 0, 0)))
    first = frame[(frame.class_name == "rare") & (frame.kind == "found")].iloc[0]
    assert (first.id, first.score) == ("image-4", 7.0)


def test_only_the_images_that_are_shown_are_read_and_the_csv_names_all(test_split, tmp_path):
    frame = of(test_split)
    assert test_split.images.read == []
    draw_examples(frame)
    assert sorted(test_split.images.read) == sorted(picture.row for picture in frame.picture)
    write_data(frame, tmp_path / "examples.csv")
    written = pd.read_csv(tmp_path / "examples.csv")
    assert written.id.tolist() == frame.id.tolist()
    assert (IDS[written.picture] == written.id).all()
    assert get_figure("examples").describe(frame).endswith("Highest AP: rare with 40.3; lowest: common with 22.6.")


def test_of_many_classes_the_extremes_of_each_group_are_shown():
    sizes = {"head": 30, "medium": 3, "tail": 8}
    rows = [(f"{group} {i}", group, 10.0 * i) for group, number in sizes.items() for i in range(number)]
    frame = pd.DataFrame(rows, columns=["class_name", "group", "ap"])
    assert shown_classes(frame, 12) == [
        *("head 0", "head 1", "head 28", "head 29"),
        *("medium 0", "medium 1", "medium 2"),
        *("tail 0", "tail 1", "tail 6", "tail 7"),
    ]
    assert shown_classes(frame[frame.group == "medium"], 12) == ["medium 0", "medium 1", "medium 2"]


def test_one_lucky_seed_is_not_the_best_method():
    rows = [("erm", 0, 70), ("erm", 1, 71), ("db", 0, 72), ("db", 1, 73), ("mine", 0, 99)]
    assert best_method(pd.DataFrame(rows, columns=["method", "seed", "total"])) == "db"


def test_a_store_without_scores_lacks_the_figure():
    class Without:
        dataset = "d"
        standard_runs = pd.DataFrame({"method": ["db"], "seed": [0], "total": [1.0]})

        def test_scores(self, method):
            return None

    with pytest.raises(MissingDataError, match="no finished run on d has its test scores"):
        get_figure("examples").collect(Without())


def test_an_image_of_which_the_class_is_unknown_is_shown_for_no_kind(test_split):
    test_split.labels[[8, 4], 0] = 255
    frame = of(test_split)
    kinds = {key: own.id.tolist() for key, own in frame.groupby(["class_name", "kind"])}
    assert kinds["rare", "found"] == ["image-3", "image-2", "image-1"]
    assert kinds["rare", "mistaken"] == ["image-7", "image-6", "image-5"]
    assert frame[frame.class_name == "rare"].ap.iloc[0] == pytest.approx(25 * (1 / 4 + 2 / 5 + 3 / 6 + 4 / 7))
