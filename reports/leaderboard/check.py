"""Checking a submission: schema, digest, seeds, arithmetic; each fault names the field, the value and the cure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from ...benchmark.training.metrics import SCORE_NAMES
from ...errors import InputError
from .submission import class_groups, group_means, read_json

OWN_FILE = "datasets.json"
# Two decimals in, two decimals out: a mean of rounded values may be off by so much.
ROUNDING = 0.011
LONGEST_VALUE = 80
# Accepted datasets by name, as `known_datasets` returns them.
Known = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a submission: where (such as `runs[0].total`), the value, shortened, and what is right."""

    field: str
    value: str
    cure: str

    def __str__(self) -> str:
        return f"{self.field} = {self.value}: {self.cure}"


def known_datasets(folder: Path | None = None) -> Known:
    """Datasets that the suite knows, and those of `datasets.json` in a folder of submissions.

    The file holds, by dataset: `digests` (a list of the accepted versions), and perhaps `training_images` (by class)
    and `without_test_images` (a list of the classes that have no average precision).

    Raises:
        InputError: if the file cannot be used.
    """
    found: dict[str, Any] = json.loads((files(__package__) / "known.json").read_text(encoding="utf-8"))
    own = folder / OWN_FILE if folder is not None else None
    if own is not None and own.is_file():
        content = read_json(own)
        for error in _validator("datasets.schema.json").iter_errors(content):
            raise InputError(
                f"{own}: each dataset needs `digests`, a list of SHA-256, and may have `training_images` (by class) "
                f"and `without_test_images` ({error.message[:200]})"
            )
        found |= content
    return found


def check(data: Any, known: Known) -> list[Fault]:
    """All faults of a submission's JSON, on a dataset that is `known`; none means that it is accepted."""
    return (
        [_schema_fault(error) for error in _validator("schema.json").iter_errors(data)]
        or [*_dataset_faults(data, known), *_seed_faults(data), *_class_faults(data, known)]
        or [*_arithmetic_faults(data)]
    )


def check_scores(data: Mapping[str, Any], seed: int, rescored: Mapping[str, float | None]) -> list[Fault]:
    """Compare the average precision that a checked submission claims for one seed with what `rescore` found."""
    for i, run in enumerate(data["runs"]):
        if run["seed"] == seed:
            wrong = [name for name, value in rescored.items() if not _same(run["ap"].get(name), value)]
            cures = {name: f"the scores of seed {seed} give {_shown(rescored[name])}" for name in wrong}
            return [_fault(f"runs[{i}].ap[{name!r}]", run["ap"].get(name), cures[name]) for name in wrong]
    return [_fault("runs", sorted(run["seed"] for run in data["runs"]), f"has no seed {seed}, but scores of it")]


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((files(__package__) / schema).read_text(encoding="utf-8")))


def _schema_fault(error: Any) -> Fault:
    place = error.json_path.removeprefix("$").removeprefix(".") or "(the file)"
    if error.validator == "pattern":
        hint = error.schema.get("description", "control characters and blank texts are not allowed")
        return _fault(place, error.instance, f"must match {error.validator_value[:70]} ({hint})")
    return _fault(place, error.instance, error.message.replace(repr(error.instance), "it", 1)[:200])


def _dataset_faults(data: Mapping[str, Any], known: Known) -> Iterator[Fault]:
    name, digest = data["dataset"], data["dataset_digest"]
    if name not in known:
        names = ", ".join(sorted(known)) or "(none)"
        cure = f"not a dataset of this board; known: {names}. Its owner can add it to datasets.json"
        yield _fault("dataset", name, cure)
    elif digest not in known[name]["digests"]:
        wanted = " or ".join(f"{one[:12]}..." for one in known[name]["digests"])
        yield _fault("dataset_digest", digest, f"results on {name} count for {wanted}; train on that version")


def _seed_faults(data: Mapping[str, Any]) -> Iterator[Fault]:
    seeds = [run["seed"] for run in data["runs"]]
    for seed in sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        yield _fault("runs", f"seed {seed} {seeds.count(seed)} times", "give every seed once")
    if len({json.dumps(run["ap"], sort_keys=True) for run in data["runs"]}) < len(seeds):
        cure = "different seeds give different numbers; give each its own"
        yield _fault("runs", "the same ap for several seeds", cure)


def _class_faults(data: Mapping[str, Any], known: Known) -> Iterator[Fault]:
    classes, facts = data["training_images"], known.get(data["dataset"], {})
    right = facts.get("training_images") or classes
    if right != classes:
        wrong = [name for name in {**right, **classes} if right.get(name) != classes.get(name)][:3]
        given, wanted = ({name: counts.get(name) for name in wrong} for counts in (classes, right))
        yield _fault("training_images", given, f"{data['dataset']} has {wanted}")
    empty = {name for name in classes if all(run["ap"].get(name) is None for run in data["runs"])}
    for i, run in enumerate(data["runs"]):
        if set(run["ap"]) != set(classes):
            odd = sorted(set(run["ap"]) ^ set(classes))[:3]
            yield _fault(f"runs[{i}].ap", odd, "must have exactly the classes of training_images")
            continue
        missing = {name for name, value in run["ap"].items() if value is None}
        missing -= empty if facts.get("without_test_images") is None else set(facts["without_test_images"])
        if missing:
            yield _fault(f"runs[{i}].ap", sorted(missing)[:3], "have test images: give their average precision")
    if empty == set(classes):
        yield _fault("runs", "no average precision at all", "give the average precision of every class")


def _arithmetic_faults(data: Mapping[str, Any]) -> Iterator[Fault]:
    groups = list(class_groups(data["training_images"]).values())
    for i, run in enumerate(data["runs"]):
        means = group_means(run["ap"], data["training_images"])
        for name in SCORE_NAMES:
            claimed, computed = run.get(name), means.get(name)
            if claimed is not None and not _same(claimed, computed):
                of = "all classes" if name == "total" else f"its {groups.count(name)} classes"
                cure = f"the mean of ap over {of} is {_shown(computed)}; correct one of them"
                yield _fault(f"runs[{i}].{name}", claimed, cure)


def _same(claimed: float | None, computed: float | None) -> bool:
    if claimed is None or computed is None:
        return claimed is computed
    return abs(claimed - computed) <= ROUNDING


def _shown(value: float | None) -> str:
    return "undefined (no such class)" if value is None else f"{value:.2f}"


def _fault(place: str, value: Any, cure: str) -> Fault:
    shown = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=True, default=str)
    short = shown if len(shown) <= LONGEST_VALUE else shown[: LONGEST_VALUE - 3] + "..."
    return Fault(field=place[:LONGEST_VALUE], value=short, cure=cure)
