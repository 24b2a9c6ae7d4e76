"""Where every number comes from: a training whose splits, seeds, streams and statistics cannot stand for one another.

The splits of a tiny set differ in everything: sizes, ids, and how many images have each class. Every method of the
catalogue learns on it for some steps, in this process, by the code that `mltbench run` runs. Then each number is
followed from the labels to a table, and compared with what can be said of it from outside: counts that stand in this
file, streams that begin at the hash of their names, a plain network with the weights that were kept, scikit-learn.
"""

import json
import shutil
import statistics
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace

import frozen_truth
import mltbench
import numpy as np
import pytest
import torch
from mltbench.benchmark import networks
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.experiments.recipe import Augmentation
from mltbench.benchmark.networks.residual_network import digits_resnet
from mltbench.benchmark.runs import run
from mltbench.benchmark.runs.journal import read_journal
from mltbench.benchmark.tracking.store import open_store
from mltbench.benchmark.training.augmentation import augment, parameters_from_draws
from mltbench.benchmark.training.execution import Execution
from mltbench.benchmark.training.learner import Learner
from mltbench.datasets import registry
from mltbench.datasets.dataset import Dataset, Split
from mltbench.datasets.registry import DatasetEntry
from mltbench.datasets.sources.digits_mlt import CLASSES as DIGITS
from mltbench.datasets.sources.digits_mlt import DIGESTS
from mltbench.methods.catalogue import CATALOGUE, TABLES
from mltbench.methods.method import METHODS
from mltbench.reports.results.runs import load_per_class, load_runs
from mltbench.reports.tables.build import build_table, classes_frame
from numpy.random import RandomState
from scipy.stats import ttest_1samp
from sklearn.metrics import average_precision_score
from torch import nn

CLASSES = ("a", "b", "c", "d", "e", "f")
# Images with each class, in which it is unknown, and all of them. A class with 100 training images is a head class, one
# with 20 a medium one; the last has no validation image.
POSITIVE = {"train": (104, 100, 41, 20, 19, 4), "validation": (7, 11, 9, 13, 5, 0), "test": (10, 6, 15, 8, 12, 14)}
UNKNOWN = {"train": (2, 0, 3, 1, 0, 5), "validation": (1, 0, 0, 2, 0, 0), "test": (0, 3, 0, 0, 1, 2)}
SIZES = {"train": 131, "validation": 29, "test": 37}
GROUPS = {"head": (0, 1), "medium": (2, 3), "tail": (4, 5)}
SPLITS, SCORED, NAMES = tuple(SIZES), ("validation", "test"), ("total", *GROUPS)
FIRST, *OTHERS = SEEDS = (3, 5, 8)
# Methods that are trained from each of the seeds.
SEVERAL = ("erm", "rs")
BATCH, WIDTH, SIDE = 32, 16, 16
SETTINGS = (
    "recipe.plain.epochs=2", "recipe.plain.decay_after=1", "recipe.resampled.epochs=2",
    "recipe.resampled.decay_after=()", "recipe.learning_rate=0.1", "recipe.warmup_iterations=5",
    f"recipe.neck_width={WIDTH}", f"recipe.image_size={SIDE}",
)  # fmt: skip
# What is recorded of each run.
KEPT = ("weights", "test_scores", "average_precision", "metrics")
# Where bits differ: with oneDNN's AVX2 kernels losses differ by up to 3e-8 of themselves and no average precision does,
# without any vector kernels by 2e-7, and one of 220 average precisions by 9e-4.
LOSS_TOLERANCE, TOLERANCE = 1e-5, 0.02
RECORD = Path(__file__).parent / "frozen" / "identities.json"


def split_of(name):
    """Coloured squares, so that crops, flips and colours matter, on images that are not as high as wide."""
    generator = RandomState(len(name))
    labels = np.zeros((SIZES[name], len(CLASSES)), dtype=np.uint8)
    for column, positive, unknown in zip(labels.T, POSITIVE[name], UNKNOWN[name], strict=True):
        rows = generator.permutation(len(labels))
        column[rows[:positive]], column[rows[positive : positive + unknown]] = 1, 255
    squares = generator.randint(0, 256, (len(labels), 4, 5, 3)).astype(np.uint8)
    ids = np.array([f"{name}-{i}" for i in range(len(labels))])
    return Split(images=squares.repeat(4, axis=1).repeat(4, axis=2), labels=labels, ids=ids)


def stream(seed, name):
    """The number at which a stream begins, as it always has."""
    return int.from_bytes(sha256(f"{seed}/{name}".encode()).digest()[:8], "big") // 2


class Curious(nn.Module):
    """A loss of a user's own with weights of its own; it keeps what it was made from."""

    takes_unknown = True

    def __init__(self, statistics):
        super().__init__()
        self.statistics, self.mixing = statistics, nn.Linear(len(CLASSES), len(CLASSES))
        self.first = self.mixing.weight.detach().clone()

    def forward(self, logits, labels):
        return nn.functional.binary_cross_entropy_with_logits(self.mixing(logits), labels.clamp(min=0))


class WatchedLearner(Learner):
    """Remembers how it began, what it was shown, and which features it dropped."""

    made = {}  # noqa: RUF012

    def __init__(self, experiment, *more, **named):
        super().__init__(experiment, *more, **named)
        self.seed, self.epochs = experiment.seed, self.training["schedule"]["epochs"]
        self.sampler, self.schedule = experiment.method.sampler.kind, experiment.method.schedule
        self.made[experiment.method.name, experiment.seed, self.epochs] = self
        self.began = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.shown, self.dropped, self.rates = [], [], []
        self.network.neck[2].register_forward_hook(self.remember)

    def remember(self, layer, inputs, output):
        if layer.training:
            self.dropped.append(output == 0)

    def learn(self, batch):
        self.shown.append((batch.features.clone(), batch.targets.clone()))
        super().learn(batch)

    def end_epoch(self, feed):
        self.rates.append(self.optimiser.learning_rate)
        return super().end_epoch(feed)


@pytest.fixture(scope="module")
def world(tmp_path_factory, empty_database):
    """Every method at the first seed, and two at all; ERM for one epoch as well; a loss of a user's own."""
    out, threads = tmp_path_factory.mktemp("identities"), torch.get_num_threads()
    shutil.copy(empty_database, out)
    dataset = Dataset.in_memory("identities", CLASSES, {name: split_of(name) for name in SPLITS})
    entry = DatasetEntry(
        name=dataset.name, summary="", source="", open=lambda root: dataset, recipe="paper", backbone="digits-resnet"
    )
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setitem(registry._REGISTERED.load(), dataset.name, entry)
        patch.setattr(METHODS, "by_name", dict(METHODS.load()))
        mltbench.register_loss("curious", like="rs")(Curious)
        patch.setattr(run, "Learner", WatchedLearner)
        patch.setattr(WatchedLearner, "made", {})
        store = open_store(out)
        settings = RunSettings(data_root=out, execution=Execution(evaluate_every=1))
        for methods, seeds in ([one.name for one in CATALOGUE], [FIRST]), (SEVERAL, OTHERS):
            plan = build_plan(dataset, methods, seeds=seeds, overrides=SETTINGS)
            summary = run_plan(plan, store, settings, executor=InProcess())
            assert (len(summary.trained), summary.failed) == (len(plan.experiments), [])
        for method, more in ("erm", "recipe.plain.epochs=1"), ("curious", "recipe.resampled.epochs=1"):
            plan = build_plan(dataset, [method], seeds=[FIRST], overrides=[*SETTINGS, more])
            assert run.run_cohort(settings.job(plan.experiments, out / method))
        yield SimpleNamespace(out=out, store=store, dataset=dataset, learners=WatchedLearner.made)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def runs(world):
    """Every run in MLflow, with the logits and the average precision that its kept weights give on each split."""
    found = []
    for one in world.store.runs_of():
        folder = world.store.artifacts_of(one.info.artifact_uri)
        logits = {name: plain_logits(folder / "weights.pt", split_of(name).images) for name in SCORED}
        tags, by_hand = one.data.tags, {name: precisions(logits[name], name) for name in SCORED}
        own = {"method": tags["mltbench.method"], "seed": int(tags["mltbench.seed"])}
        own |= {"metrics": one.data.metrics, "params": one.data.params, "inputs": one.inputs.dataset_inputs}
        found.append(SimpleNamespace(**own, id=one.info.run_id, folder=folder, logits=logits, by_hand=by_hand))
    return found


def plain_logits(weights, images):
    """Logits of whole images by a network without folding, memory formats or batches."""
    state = torch.load(weights)
    parts = []
    for prefix, part in zip(("trunk.", "upper."), digits_resnet(), strict=True):
        part.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        parts.append(part.eval())
    pixels = nn.functional.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2).float(), SIDE, mode="bilinear")
    with torch.no_grad():
        features = parts[1](parts[0]((pixels / 255 - 0.45) / 0.225)).mean(dim=(2, 3))
        hidden = features @ state["neck.0.weight"].T + state["neck.0.bias"]
        hidden = (hidden - state["neck.1.running_mean"]) / (state["neck.1.running_var"] + 1e-5).sqrt()
        hidden = hidden * state["neck.1.weight"] + state["neck.1.bias"]
        if "head.weight" in state:
            return (hidden @ state["head.weight"].T + state["head.bias"]).numpy()
        inner = nn.functional.leaky_relu(state["head.propagated"] @ state["head.first"], 0.2)
        return (hidden @ (state["head.graph"] @ (inner @ state["head.second"])).T).numpy()


def precisions(logits, split):
    """Average precision of each class on the images of a split in which it is known."""
    labels = split_of(split).labels
    known = labels != 255
    return [
        average_precision_score(labels[rows, c], logits[rows, c]) if positive else np.nan
        for c, (rows, positive) in enumerate(zip(known.T, POSITIVE[split], strict=True))
    ]


def marks(per_class):
    """Total, head, medium, tail, over the classes that there are."""
    return [np.nanmean(per_class), *(np.nanmean([per_class[c] for c in GROUPS[group]]) for group in GROUPS)]


# What a visit to a class takes: so many images with it, or with it and without it, until an epoch has its draws. An
# epoch of class-aware sampling has a quarter as many as the largest class has images, for each class.
VISITS = {"class-aware": ((1,), 3, 104 * 6 // 4), "positives-and-negatives": ((1, 0), 2, 131)}


@cache
def expected_batches(seed, epochs, sampler):
    """Training images of each batch by number, with the numbers that augment them, from streams by their names."""
    sampling = np.random.Generator(np.random.PCG64(stream(seed, "sampling")))
    augmentation = torch.Generator().manual_seed(stream(seed, "augmentation"))
    batches = []

    def endless(items):
        while True:
            sampling.shuffle(items)
            yield from items.tolist()

    sides, each, length = VISITS.get(sampler, ((), 0, 131))
    images = [[endless(np.flatnonzero(column == side)) for side in sides] for column in split_of("train").labels.T]
    classes = endless(np.arange(len(CLASSES)))
    for _ in range(epochs):
        visits = (row for c in classes for side in images[c] for row in islice(side, each))
        order = list(islice(visits, length)) if sides else sampling.permutation(length).tolist()
        draws = torch.rand(length, 16, generator=augmentation)
        # The last batch, of 3 images, is one; that of 28 or 3 draws of classes is left out.
        starts = range(0, 128 if sides else length, BATCH)
        batches += [(order[start : start + BATCH], draws[start : start + BATCH]) for start in starts]
    return batches


def test_the_splits_of_this_set_differ_in_all_that_is_counted():
    for name in SPLITS:
        labels = split_of(name).labels
        assert (labels == 1).sum(axis=0).tolist() == list(POSITIVE[name])
        assert (labels == 255).sum(axis=0).tolist() == list(UNKNOWN[name])
    assert all(len(set(numbers)) == 3 for numbers in zip(*POSITIVE.values(), strict=True))
    assert len(set(SIZES.values())) == 3


def test_learners_see_images_of_the_training_split_in_the_order_and_with_the_crops_of_their_streams(world):
    split, augmentation = split_of("train"), Augmentation()
    labels = torch.from_numpy(split.labels).view(torch.int8).float()
    for (method, *_), learner in world.learners.items():
        expected = expected_batches(learner.seed, learner.epochs, learner.sampler)
        assert len(learner.shown) == len(expected) == learner.epochs * (4 if learner.sampler in VISITS else 5)
        for (features, targets), (rows, draws) in zip(learner.shown, expected, strict=True):
            assert torch.equal(targets, labels[rows])
            if method in ("erm", "rs"):
                images = torch.from_numpy(split.images[rows])
                pixels = augment(images, parameters_from_draws(draws, augmentation), augmentation, size=SIDE)
                with torch.no_grad():
                    by_hand = learner.network.trunk((pixels / 255 - 0.45) / 0.225)
                torch.testing.assert_close(features, by_hand, rtol=1e-3, atol=1e-3)


def test_initial_weights_dropout_and_losses_begin_at_streams_of_their_own(world):
    with np.load(files(networks) / "digits_resnet.npz") as published, torch.random.fork_rng(devices=[]):
        for (method, *_), learner in world.learners.items():
            backbone = {name for name in learner.began if name.startswith(("trunk.", "upper."))}
            assert backbone == set(published)
            assert all(np.array_equal(learner.began[name], published[name]) for name in backbone)
            torch.manual_seed(stream(learner.seed, "initialisation"))
            digits_resnet()
            neck = nn.Linear(64, WIDTH)
            nn.init.kaiming_normal_(neck.weight, mode="fan_out")
            assert torch.equal(learner.began["neck.0.weight"], neck.weight)
            assert not learner.began["neck.0.bias"].any()
            if method != "ml-gcn":
                head = nn.init.normal_(nn.Linear(WIDTH, len(CLASSES)).weight, std=0.01)
                assert torch.equal(learner.began["head.weight"], head)
            torch.manual_seed(stream(learner.seed, "dropout"))
            masks = [nn.functional.dropout(torch.ones(len(targets), WIDTH)) == 0 for _, targets in learner.shown]
            assert all(map(torch.equal, learner.dropped, masks))
            assert len(learner.dropped) == len(masks)
        torch.manual_seed(stream(FIRST, "loss"))
        assert torch.equal(world.learners["curious", FIRST, 1].loss.first, nn.Linear(6, 6).weight)


def test_losses_and_heads_know_the_training_split_alone(world):
    labels, pairs = split_of("train").labels, list(product(range(6), repeat=2))
    seen = world.learners["curious", FIRST, 1].loss.statistics
    assert seen.num_images == 131
    assert seen.counts.tolist() == [104, 100, 41, 20, 19, 4]
    assert seen.known_images.tolist() == [129, 131, 128, 130, 131, 126]
    both = {(i, j): sum(row[i] == row[j] == 1 for row in labels.tolist()) for i, j in pairs}
    known = {(i, j): sum(row[i] != 255 and row[j] == 1 for row in labels.tolist()) for i, j in pairs}
    assert {pair: seen.joint_counts[pair] for pair in pairs} == both
    given = {pair: both[pair] / known[pair] for pair in pairs}  # p(i|j)
    assert {pair: seen.conditional[pair] for pair in pairs} == pytest.approx(given)
    counts = np.array([104, 100, 41, 20, 19, 4])
    for method, buffer, expected in (
        ("rw", "weights_class_weights", np.sqrt(4 / counts)),
        ("cb-focal", "weights_class_weights", 0.1 / (1 - 0.9**counts)),
        ("r-bce", "weights_inverse_counts", 1 / counts),
        ("db-focal", "weights_inverse_counts", 1 / counts),
        ("db-focal", "adjustment_bias", 0.05 / 5 * np.log(np.array([129, 131, 128, 130, 131, 126]) / counts - 1)),
        ("ldam", "adjustment_margins", 2 / counts**0.25),
    ):
        kept = world.learners[method, FIRST, 2].loss.get_buffer(buffer)
        np.testing.assert_allclose(kept, expected, rtol=1e-5, err_msg=method)
    graph = world.learners["ml-gcn", FIRST, 2].began["head.graph"]
    edges = np.array([[i != j and given[j, i] >= 0.4 for j in range(6)] for i in range(6)])
    # Some classes are neighbours and some are not, and not all of them both ways.
    assert 0 < edges.sum() < 30
    assert (edges != edges.T).any()
    assert ((graph.numpy() > 0) == edges | np.eye(6, dtype=bool)).all()


def test_learning_rates_follow_the_schedule_of_the_method(world):
    for (method, *_), learner in world.learners.items():
        # Warm-up from a third of .1 in 5 steps; an epoch that visits classes has 4 of them, others 5. The decay after
        # the first epoch is of the plain schedule alone.
        last = 3 if learner.sampler in VISITS else 4
        rates = [0.1 * (1 + 2 * last / 5) / 3, 0.01 if learner.schedule == "plain" else 0.1]
        assert learner.rates == pytest.approx(rates[: learner.epochs]), method


def test_marks_are_those_of_the_kept_weights_on_the_split_of_their_name(world, runs):
    for one in runs:
        for split in SCORED:
            stored = [one.metrics[f"{split}/{name}"] for name in NAMES]
            assert stored == pytest.approx(marks(one.by_hand[split]), abs=1e-9), (one.method, split)
        (given,) = one.inputs
        assert json.loads(given.dataset.source)["sha256"] == world.dataset.digest
        assert (one.params["method"], one.params["seed"]) == (one.method, str(one.seed))


def test_marks_of_an_epoch_are_those_of_a_training_that_ends_with_it(world, runs):
    (long,) = [one for one in runs if (one.method, one.seed) == ("erm", FIRST)]
    (short,) = (world.out / "erm").iterdir()
    first, alone = (
        {entry.step: entry.metrics for entry in read_journal(folder) if entry.event == "epoch"}
        for folder in (long.folder, short)
    )
    (evaluation,) = [entry.metrics for entry in read_journal(short) if entry.event == "evaluation"]
    assert first[1] == {**alone[1], **evaluation}
    logits = plain_logits(short / "weights.pt", split_of("validation").images)
    by_hand = dict(zip(NAMES, marks(precisions(logits, "validation")), strict=True))
    assert evaluation == pytest.approx({f"validation/{name}": mark for name, mark in by_hand.items()}, abs=1e-9)
    for name in NAMES:
        curve = world.store.client.get_metric_history(long.id, f"validation/{name}")
        last = marks(long.by_hand["validation"])[NAMES.index(name)]
        assert [point.step for point in curve] == [1, 2]
        assert [point.value for point in curve] == pytest.approx([by_hand[name], last], abs=1e-9)


def test_files_hold_the_weights_of_their_seed_and_the_images_that_they_speak_of(world, runs):
    split = split_of("test")
    for one in runs:
        weights = torch.load(one.folder / "weights.pt")
        learnt = world.learners[one.method, one.seed, 2].network.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in learnt.items())
        with np.load(one.folder / "test_scores.npz") as kept:
            assert kept["classes"].tolist() == list(CLASSES)
            assert kept["ids"].tolist() == [f"test-{i}" for i in range(37)]
            assert np.array_equal(kept["labels"], split.labels)
            np.testing.assert_allclose(kept["scores"], one.logits["test"], rtol=1e-3, atol=1e-4)
        per_class = json.loads((one.folder / "per_class.json").read_text())
        assert per_class["training_images_per_class"] == dict(zip(CLASSES, POSITIVE["train"], strict=True))
        assert per_class["training_images"] == SIZES["train"]
        precision = {name: list(classes.values()) for name, classes in per_class["average_precision"].items()}
        by_hand = {name: [None if np.isnan(ap) else ap for ap in one.by_hand[name]] for name in SCORED}
        assert precision == {name: pytest.approx(by_hand[name], abs=1e-9) for name in SCORED}
        assert per_class["classes_without_positives"] == {"validation": ["f"], "test": []}


def test_reports_read_the_marks_of_the_split_and_seed_that_they_name(world, runs):
    by_hand = {(one.method, one.seed): one.by_hand for one in runs}
    frame, per_class = load_runs(world.out), load_per_class(world.out)
    assert len(frame) == len(runs) == len(CATALOGUE) + 4
    assert set(frame.dataset_digest) == {world.dataset.digest}
    for line in frame.itertuples():
        for split, prefix in (("test", ""), ("validation", "validation_")):
            shown = [getattr(line, prefix + name) for name in NAMES]
            assert shown == pytest.approx([100 * mark for mark in marks(by_hand[line.method, line.seed][split])])
    assert len(per_class) == len(runs) * 2 * len(CLASSES)
    for line in per_class.itertuples():
        c = CLASSES.index(line.class_name)
        assert line.ap == pytest.approx(100 * by_hand[line.method, line.seed][line.split][c], nan_ok=True)
        assert line.class_size == POSITIVE["train"][c]
        assert c in GROUPS[line.group]


def test_a_table_has_means_over_seeds_on_the_test_split_alone(world, runs):
    frame, per_class = load_runs(world.out), load_per_class(world.out)
    table = build_table(frame, 1, "identities", per_class=per_class)
    classes = classes_frame(table, per_class).set_index("class_name")
    assert table.notes == ()
    assert [row.method for row in table.rows] == list(TABLES[1])
    of_seeds = {}
    for row in table.rows:
        seeds = SEEDS if row.method in SEVERAL else (FIRST,)
        tests = [one.by_hand["test"] for seed in seeds for one in runs if (one.method, one.seed) == (row.method, seed)]
        assert row.seeds == seeds
        for name in NAMES:
            values = of_seeds[row.method, name] = [100 * marks(one)[NAMES.index(name)] for one in tests]
            spread = statistics.stdev(values) if len(values) > 1 else None
            cell = row.cells[name]
            assert (cell.mean, cell.deviation, cell.n) == pytest.approx((statistics.mean(values), spread, len(seeds)))
        for c, name in enumerate(CLASSES):
            assert classes.loc[name, row.label] == pytest.approx(100 * np.mean([one[c] for one in tests]))
    # Two methods have all seeds; the lesser is behind the other by the mean of its differences, seed by seed.
    for name in NAMES:
        better, other = sorted(SEVERAL, key=lambda method: -statistics.mean(of_seeds[method, name]))
        cells = {row.method: row.cells[name] for row in table.rows}
        assert {method for method, cell in cells.items() if cell.competes} == set(SEVERAL)
        assert (cells[better].best, cells[other].best, cells[other].behind.n) == (True, False, 3)
        differences = [a - b for a, b in zip(of_seeds[better, name], of_seeds[other, name], strict=True)]
        assert cells[other].behind.mean == pytest.approx(statistics.mean(differences))
        assert cells[other].behind.p == pytest.approx(ttest_1samp(differences, 0).pvalue)


def test_numbers_of_every_method_are_those_recorded(world, tmp_path):
    found = frozen_truth.experiments(world.out)
    now = {name: {"id": one["tags"]["experiment_id"], **{key: one[key] for key in KEPT}} for name, one in found.items()}
    here, recorded = {"numerics": frozen_truth.numerics(), "experiments": now}, json.loads(RECORD.read_text())
    anew = tmp_path / RECORD.name
    anew.write_text(frozen_truth.as_text(here, depth=3) + "\n")
    if frozen_truth.gives_the_bits_of(recorded["numerics"]):
        assert list(frozen_truth.differences(recorded["experiments"], now)) == [], f"those of now are in {anew}"
    assert recorded["experiments"].keys() == now.keys()
    for name, was in recorded["experiments"].items():
        assert now[name]["id"] == was["id"]
        for metric, points in was["metrics"].items():
            close = {"rel": LOSS_TOLERANCE} if metric.startswith("train/") else {"abs": TOLERANCE}
            assert now[name]["metrics"][metric] == [[step, pytest.approx(x, **close)] for step, x in points], name
        for split, classes in was["average_precision"].items():
            assert now[name]["average_precision"][split] == pytest.approx(classes, abs=TOLERANCE), name


def test_ids_on_digits_smoke_are_those_recorded():
    record = json.loads((RECORD.parent / "experiments.json").read_text())["experiments"]
    recorded = {
        (tags["method"], int(tags["seed"])): (tags["experiment_id"], tags["configuration_id"])
        for tags in (one["tags"] for one in record.values())
    }
    # Digests are known without an image, and how many images there are is no part of an id.
    openers, labels = dict.fromkeys(DIGESTS), {"train": lambda: np.ones((2, 20), dtype=np.uint8)}
    digits = Dataset(name="digits-mlt", classes=DIGITS, digests=DIGESTS, openers=openers, label_openers=labels)
    plan = build_plan(digits, [one.name for one in CATALOGUE], seeds=[0, 1], recipe="digits-smoke", values="voc-mlt")
    now = {(e.method.name, e.seed): (e.id, e.configuration_id) for e in (one.experiment for one in plan.experiments)}
    assert now == recorded
