"""A folder with every file that guides name, small data sets under the names that they use, and quick recipes."""

import json
from dataclasses import replace

import numpy as np
import torch
import torchvision
from command_line import call
from mltbench.benchmark.executors.in_process import InProcess
from mltbench.benchmark.executors.settings import RunSettings
from mltbench.benchmark.experiments.recipe import RECIPES, Schedule
from mltbench.benchmark.speed import estimate
from mltbench.benchmark.training.check import tiny_dataset
from mltbench.datasets import registry
from mltbench.methods import catalogue
from mltbench.methods.catalogue import TABLES
from mltbench.methods.part import PARTS
from mltbench.reports.commands import leaderboard as leaderboard_commands
from mltbench.reports.leaderboard import site
from mltbench.studies import commands as study_commands
from mltbench.studies.tuning.worker import run_trials
from PIL import Image

METHODS = ("erm", "rs", "db", "db-focal")
# Of both published tables a part stands for all: what guides name, and the steps from ERM to DB.
SMALL_TABLES = {1: ("erm", "rs", "ml-gcn", "r-bce", "db"), 2: ("rs", "db-focal"), 3: ("erm", "asl", "rs", "rs-asl")}
CLASSES = ("cat", "dog", "bird")
SMALL_SETS = ("digits-mlt", "voc-mlt", "coco-mlt")
IMAGES = 36


def shrink(patch):
    """Tiny data under the names of the suite's sets, recipes of an epoch, and all training in this process."""
    registry.list_datasets()
    for name in SMALL_SETS:
        patch.setitem(registry._REGISTERED.by_name, name, _small(registry._REGISTERED.by_name[name]))
    once = Schedule(epochs=1, decay_after=())
    for name, recipe in RECIPES.items():
        patch.setitem(RECIPES, name, replace(recipe, plain=once, resampled=once, batch_size=8, image_size=48))
    # As all recipes are alike, so are the runs of one method, which learning rates for one recipe would tell apart.
    patch.setattr(catalogue, "TUNED", {})
    for number, names in SMALL_TABLES.items():
        patch.setitem(TABLES, number, names)
    patch.setattr(RunSettings, "make_executor", lambda settings: InProcess())
    patch.setattr(estimate, "measure_speed", lambda *_: estimate.Speed(training=0.01, scoring=0.01, steps=2))

    def work_here(study, settings, deadline, on_poll):
        run_trials(study, settings, deadline, on_trial=on_poll)

    patch.setattr(study_commands, "run_workers", work_here)
    for slot, kinds in PARTS.items():
        patch.setitem(PARTS, slot, dict(kinds))
    known = {name: {"digests": [registry.load_dataset(name).digest]} for name in SMALL_SETS}
    for module in (leaderboard_commands, site):
        patch.setattr(module, "known_datasets", lambda folder=None: known)


def _small(entry):
    tiny = replace(tiny_dataset(), name=entry.name)
    return replace(entry, open=lambda root: tiny, backbone="digits-resnet")


def make_files(folder):
    """Images with labels, weights, word vectors, published rows."""
    draws = np.random.default_rng(0)
    for part in ("photos/images", "holiday", "seed0"):
        (folder / part).mkdir(parents=True)
    held = [
        [name for name, step in zip(CLASSES, (2, 3, 6), strict=True) if i % step == 0] or ["dog"] for i in range(IMAGES)
    ]
    names = [f"{i:02}.jpg" for i in range(IMAGES)]
    pictures = [Image.fromarray(draws.integers(0, 256, (48, 48, 3), dtype=np.uint8)) for _ in names]
    for name, picture in zip(names, pictures, strict=True):
        for place in ("photos/images", "."):
            picture.save(folder / place / name)
    pictures[0].save(folder / "photo.jpg")
    pictures[1].save(folder / "holiday" / "a.jpg")
    rows = [f"{name},{'|'.join(classes)}\n" for name, classes in zip(names, held, strict=True)]
    for file in ("photos/labels.csv", "labels.csv", "birds.csv"):
        (folder / file).write_text("".join(["image,labels\n", *rows]))
    labels = np.array([[one in classes for one in CLASSES] for classes in held], dtype=np.uint8)
    np.savez(folder / "trainval.npz", ids=np.array(names), labels=labels, classes=np.array(CLASSES))
    words = ["class", *map(str, range(6))]
    vectors = draws.normal(size=(len(words), 300)).astype(np.float32)
    lines = [f"{word} {' '.join(f'{v:.3f}' for v in row)}\n" for word, row in zip(words, vectors, strict=True)]
    (folder / "glove.6B.300d.txt").write_text("".join(lines))
    np.savez(folder / "vectors.npz", classes=np.array([f"class {i}" for i in range(6)]), vectors=vectors[:6])
    weights = torchvision.models.mobilenet_v2(weights=None).state_dict()
    for file in ("mobilenet.pt", "mobilenet_v2.pt"):
        torch.save(weights, folder / file)
    row = "Asymmetric,digits-mlt,61.5,80,60,50,Somebody 2021\n"
    (folder / "others.csv").write_text(f"method,dataset,total,head,medium,tail,source\n{row}")


def make_results(folder):
    """Finished runs, a study and a submission, as a user would make them; gives two experiments' ids."""
    methods = [word for name in METHODS for word in ("--method", name)]
    require(call("run", *methods, "--seeds", 3))
    # All recipes are alike here: without an override it would be a run of the other recipe.
    require(call("run", "--method", "erm", "--recipe", "digits-smoke", "--override", "batch_size=4"))
    require(call("study", "tune", "--method", "erm", "--method", "db-focal", "--trials", 1))
    row, other = (json.loads(require(call("runs", "list", "--method", name, "--json")))[0] for name in ("db", "rs"))
    submit = ("--method", "db", "--author", "A. Name", "--code", "https://example.org/code")
    require(call("leaderboard", "submit", *submit, "--to", "db.json"))
    (folder / "submissions").mkdir()
    scores = folder / "mltbench-results" / "runs" / row["experiment"] / "test_scores.npz"
    for place in (folder, folder / "seed0"):
        (place / "test_scores.npz").write_bytes(scores.read_bytes())
    return row["experiment"][:8], other["experiment"][:8]


def require(ended):
    """What a command printed; it must have succeeded."""
    status, shown, error = ended
    assert status == 0, shown + error
    return shown
