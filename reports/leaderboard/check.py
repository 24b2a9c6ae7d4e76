"""Checking a submission: schema, digest, seeds, arithmetic; each fault names the field, the value and the cure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.long_tail.statistics import GROUPS
from ...errors import InputError
from .known import KnownDataset
from .submission import class_groups, group_means

# Two decimals in, two decimals out: a mean of rounded values may be off by so much.
ROUNDING = 0.011
LONGEST_VALUE = 80


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a submission.

    Attributes:
        field: where, such as `runs[0].total`.
        value: what stands there, shortened.
        cure: what should stand there.
    """

    field: str
    value: str
    cure: str

    def __str__(self) -> str:
        return f"{self.field} = {self.value}: {self.cure}"


def check(data: Any, known: Mapping[str, KnownDataset]) -> list[Fault]:
    """Return all faults of a submission's JSON; none means that it may stand on the board.

    Args:
        data: the parsed JSON.
        known: accepted datasets, as `known_datasets` returns them.
    """
    broken = [_schema_fault(error) for error in _validator().iter_errors(data)]
    return (
        broken
        or [*_dataset_faults(data, known), *_seed_faults(data), *_class_faults(data, known)]
        or [*_arithmetic_faults(data)]
    )


def check_scores(data: Mapping[str, Any], seed: int, rescored: Mapping[str, float | None]) -> list[Fault]:
    """Compare the claimed average precision of one seed with what its per-image scores give.

    Args:
        data: a submission that passed `check`.
        seed: of the run.
        rescored: by class, in percent, as `rescore` returns it.
    """
    runs = [(i, run) for i, run in enumerate(data["runs"]) if run["seed"] == seed]
    if not runs:
        return [_fault("runs", sorted(run["seed"] for run in data["runs"]), f"has no seed {seed}, but scores of it")]
    i, run = runs[0]
    return [
        _fault(f"runs[{i}].ap[{name!r}]", run["ap"].get(name), f"the scores of seed {seed} give {_shown(value)}")
        for name, value in rescored.items()
        if not _same(run["ap"].get(name), value)
    ]


def rescore(
    scores: NDArray[np.float32], labels: NDArray[np.uint8], classes: tuple[str, ...]
) -> dict[str, float | None]:
    """Average precision of each class in percent from per-image scores; None for a class without positives."""
    from ...benchmark.training.metrics import average_precision

    values = 100 * average_precision(scores, labels)
    return {name: None if np.isnan(value) else float(value) for name, value in zip(classes, values, strict=True)}


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    schema = json.loads((files(__package__) / "schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)


def _schema_fault(error: Any) -> Fault:
    field = error.json_path.removeprefix("$").removeprefix(".") or "(the file)"
    if error.validator == "pattern":
        hint = error.schema.get("description", "control characters and blank texts are not allowed")
        return _fault(field, error.instance, f"must match {error.validator_value[:70]} ({hint})")
    message = error.message.replace(repr(error.instance), "it", 1)
    return _fault(field, error.instance, message[:200])


def _dataset_faults(data: Mapping[str, Any], known: Mapping[str, KnownDataset]) -> Iterator[Fault]:
    name, digest = data["dataset"], data["dataset_digest"]
    if name not in known:
        names = ", ".join(sorted(known)) or "(none)"
        cure = f"not a dataset of this board; known: {names}. Its owner can add it to datasets.json"
        yield _fault("dataset", name, cure)
    elif digest not in known[name].digests:
        wanted = " or ".join(f"{one[:12]}..." for one in known[name].digests)
        yield _fault("dataset_digest", digest, f"results on {name} count for {wanted}; train on that version")


def _seed_faults(data: Mapping[str, Any]) -> Iterator[Fault]:
    seeds = [run["seed"] for run in data["runs"]]
    for seed in sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        yield _fault("runs", f"seed {seed} {seeds.count(seed)} times", "give every seed once")
    aps = [json.dumps(run["ap"], sort_keys=True) for run in data["runs"]]
    if len(set(aps)) < len(aps):
        yield _fault(
            "runs", "the same ap for several seeds", "different seeds give different numbers; give each its own"
        )


def _class_faults(data: Mapping[str, Any], known: Mapping[str, KnownDataset]) -> Iterator[Fault]:
    classes = data["training_images"]
    facts = known.get(data["dataset"])
    if facts is not None and facts.training_images and dict(facts.training_images) != classes:
        wrong = [n for n in {**facts.training_images, **classes} if facts.training_images.get(n) != classes.get(n)]
        wanted = {name: facts.training_images.get(name) for name in wrong[:3]}
        yield _fault("training_images", {n: classes.get(n) for n in wrong[:3]}, f"{data['dataset']} has {wanted}")
    empty = {name for name in classes if all(run["ap"].get(name) is None for run in data["runs"])}
    for i, run in enumerate(data["runs"]):
        if set(run["ap"]) != set(classes):
            odd = sorted(set(run["ap"]) ^ set(classes))[:3]
            yield _fault(f"runs[{i}].ap", odd, "must have exactly the classes of training_images")
            continue
        missing = {name for name, value in run["ap"].items() if value is None}
        allowed = empty if facts is None or facts.without_test_images is None else set(facts.without_test_images)
        if missing - allowed:
            yield _fault(
                f"runs[{i}].ap", sorted(missing - allowed)[:3], "have test images: give their average precision"
            )
    if empty == set(classes):
        yield _fault("runs", "no average precision at all", "give the average precision of every class")


def _arithmetic_faults(data: Mapping[str, Any]) -> Iterator[Fault]:
    groups = class_groups(data["training_images"])
    for i, run in enumerate(data["runs"]):
        means = group_means(run["ap"], data["training_images"])
        for group in ("total", *GROUPS):
            claimed, computed = run.get(group), means.get(group)
            of = "all classes" if group == "total" else f"its {list(groups.values()).count(group)} classes"
            if claimed is not None and not _same(claimed, computed):
                cure = f"the mean of ap over {of} is {_shown(computed)}; correct one of them"
                yield _fault(f"runs[{i}].{group}", claimed, cure)


def _same(claimed: float | None, computed: float | None) -> bool:
    if claimed is None or computed is None:
        return claimed is computed
    return abs(claimed - computed) <= ROUNDING


def _shown(value: float | None) -> str:
    return "undefined (no such class)" if value is None else f"{value:.2f}"


def _fault(field: str, value: Any, cure: str) -> Fault:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, default=str)
    shown = repr(text) if isinstance(value, str) else text
    short = shown if len(shown) <= LONGEST_VALUE else shown[: LONGEST_VALUE - 3] + "..."
    return Fault(field=field[:LONGEST_VALUE], value=short, cure=cure)


def require_scores_file(path: Any) -> tuple[NDArray[np.float32], list[str], tuple[str, ...]]:
    """Read per-image scores: `scores` (N, C), `ids` (N,), `classes` (C,), as `test_scores.npz` of a run holds them.

    Raises:
        InputError: if it does not.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            scores = np.asarray(arrays["scores"], dtype=np.float32)
            return scores, [str(i) for i in arrays["ids"].tolist()], tuple(str(c) for c in arrays["classes"].tolist())
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"{path} must hold the arrays scores (N, C), ids (N,) and classes (C,): {error}") from error
