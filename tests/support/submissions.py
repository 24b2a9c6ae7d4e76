"""Submissions: of Digits-MLT with a mAP near a level, and of five classes whose means are computed by head."""

import numpy as np
from mltbench.reports.leaderboard.check import known_datasets
from mltbench.reports.leaderboard.submission import group_means

KNOWN = known_datasets()
SIZES = dict(KNOWN["digits-mlt"]["training_images"])
DIGEST = KNOWN["digits-mlt"]["digests"][0]

# One class on each side of both bounds: a head of one class, two of medium size, a tail of two.
TOY_SIZES = {"rare": 19, "edge": 20, "common": 100, "middle": 99, "single": 1}
TOY_GROUPS = {"rare": "tail", "edge": "medium", "common": "head", "middle": "medium", "single": "tail"}
TOY_KNOWN = {"toy": {"digests": ["e" * 64, "d" * 64], "training_images": TOY_SIZES, "without_test_images": []}}


def submission(name, level, *, seeds=3, **changes):
    """A good submission whose mAP is near `level`."""
    generator = np.random.default_rng(list(name.encode()))
    runs = []
    for seed in range(seeds):
        ap = {c: round(float(level + generator.normal(0, 2)) + 0.3 * seed, 2) for c in SIZES}
        runs.append({"seed": seed, "ap": ap, **{k: round(v, 2) for k, v in group_means(ap, SIZES).items()}})
    return {
        "format": "mltbench-submission-1", "id": name, "method": name.upper(), "author": "A. Name",
        "code": "https://example.org/code", "dataset": "digits-mlt", "dataset_digest": DIGEST,
        "protocol": {"recipe": "digits", "split": "test", "epoch": "last", "chosen_on": "nothing"},
        "backbone": "digits-resnet", "pretraining": "weights 5432c1c4d5ec", "hyperparameters": {"method.mu": "0.3"},
        "cost": {"train_seconds": 18.5, "device": "AMD EPYC"}, "training_images": dict(SIZES), "runs": runs, **changes,
    }  # fmt: skip


def toy(name, totals, *, up="rare", down="rare", **changes):
    """A good submission of the toy with these totals by seed: the tail lies 20 points below, the head 30 above.

    One class may have 28 points more, and another 28 points less.
    """
    runs = []
    for seed, total in totals.items():
        ap = {"rare": total - 25, "edge": total + 2, "common": total + 30, "middle": total + 8, "single": total - 15}
        claimed = {"total": total, "tail": total - 20, "head": total + 30} if up == down else {"total": total}
        ap[up], ap[down] = ap[up] + 28 * (up != down), ap[down] - 28 * (up != down)
        runs.append({"seed": seed, "ap": ap, **claimed})
    texts = {"dataset": "toy", "dataset_digest": "d" * 64, "training_images": dict(TOY_SIZES), "runs": runs}
    return submission(name, 50, seeds=1) | texts | changes
