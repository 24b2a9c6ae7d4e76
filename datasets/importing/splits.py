"""Three splits from the given ones, and a long-tailed training set from the training images."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from ...errors import InputError, require_known, some_of
from ..dataset import SPLITS
from ..long_tail.drawing import choose_like
from ..long_tail.selection import pareto_targets, select_head_to_tail
from ..long_tail.statistics import TAIL_BELOW, ClassStatistics

SHARES = {"test": 0.3, "validation": 0.15}
# Classes that a remark names.
NAMED = 4


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How images are divided, as the command line describes it; None for what was not given."""

    test_share: float | None = None
    """Share of test images where no test split is given [default: 0.3]."""
    validation_share: float | None = None
    """Share of the training images that become the validation split where none is given [default: 0.15]."""
    validation: Annotated[bool, Parameter(negative="--no-validation")] = True
    """Whether there is a validation split, which studies and --evaluate-every score."""
    seed: int | None = None
    """Seed of every draw [default: 0]."""
    long_tail: str | None = None
    """Cut the training set by the paper's construction: max=800,min=1[,power=6]."""

    def __post_init__(self) -> None:
        for name in SHARES:
            if not 0 < self.share(name) < 1:
                raise InputError(f"--{name}-share {self.share(name)!r} must lie between 0 and 1")
        if not self.validation and self.validation_share is not None:
            raise InputError("--validation-share and --no-validation exclude each other; leave one of them out")
        if (self.seed or 0) < 0:
            raise InputError(f"--seed {self.seed} must be 0 or more")
        if self.long_tail is not None:
            parse_long_tail(self.long_tail)

    def share(self, split: str) -> float:
        """Share of the images that a split takes if it is drawn."""
        given = {"test": self.test_share, "validation": self.validation_share}[split]
        return SHARES[split] if given is None else given

    def recorded(self) -> dict[str, Any]:
        """What a manifest keeps of them; `validation` only where there is none.

        >>> SplitOptions().recorded()
        {'test_share': 0.3, 'validation_share': 0.15, 'seed': 0, 'long_tail': None}
        """
        resolved = {f"{name}_share": self.share(name) for name in SHARES} | {"seed": self.seed or 0}
        kept = asdict(self) | resolved
        return {name: value for name, value in kept.items() if name != "validation" or not value}


def parse_long_tail(text: str) -> dict[str, Any]:
    """Read `max=800,min=1` or `max=800,min=1,power=6` as arguments of `pareto_targets`.

    Other keys, other values and no max raise `InputError`.

    >>> parse_long_tail("max=800,min=2")
    {'largest': 800, 'smallest': 2}
    """
    names = {"max": "largest", "min": "smallest", "power": "power"}
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, _, value = (piece.strip() for piece in part.partition("="))
        require_known("key of --long-tail", key, names)
        try:
            values[names[key]] = float(value) if key == "power" else int(value)
        except ValueError as error:
            raise InputError(f"--long-tail {part!r} must be a number, as in max=800,min=1") from error
    if "largest" not in values:
        raise InputError(f"--long-tail {text!r} needs max, as in max=800,min=1")
    return values


def divide(
    labels: NDArray[np.uint8],  # (N, C); cells that are 1 count
    given: Sequence[str | None],  # the split of each image, or None for all of them
    options: SplitOptions,
    *,
    class_names: Sequence[str] | None = None,  # for messages
    groups: Sequence[str] | None = None,  # of each image: its patient, study or video, which lies in one split alone
) -> tuple[dict[str, list[int]], list[str]]:
    """Row numbers of each split, and remarks for the user.

    A split that is not given is drawn from the training images: no class gives more than its share, rounded down, so
    that small classes lose none. Where a long tail is cut, the validation split comes from what the cut leaves over.
    Training images without any label are left out: the re-balanced losses divide by a sum over an image's labels.

    Raises `InputError` if a split stays empty, a class has no training image, a group lies in two given splits, or an
    option has no effect.
    """
    rows = {name: [i for i, split in enumerate(given) if split == name] for name in SPLITS}
    drawn = [name for name in SHARES if not rows[name] and (options.validation or name == "test")]
    _refuse_unused(options, rows, drawn)
    if not any(rows.values()):
        rows["train"] = list(range(len(labels)))
    if not rows["train"]:
        raise InputError("splits are given, but no image is in the split train")
    if groups is not None:
        _check_groups(groups, rows)
    names = class_names or [str(i) for i in range(labels.shape[1])]
    draws = _Draws(labels=labels == 1, options=options, names=names, groups=groups)
    remarks: list[str] = []
    for name, model in (("test", "train"), ("validation", "test")):
        if name in drawn and not (name == "validation" and options.long_tail):
            rows[name], rows["train"], cost = draws.set_aside(name, rows["train"], rows[model])
            remarks += cost
    pool = rows["train"]
    if bare := [i for i in pool if not draws.labels[i].any()]:
        rows["train"] = [i for i in pool if draws.labels[i].any()]
        remarks.append(f"train: {len(bare)} images without any label left out")
    if not rows["train"]:
        raise InputError("no image of the split train has a label")
    ClassStatistics.from_labels(labels[rows["train"]], class_names=class_names)
    if options.long_tail:
        candidates, targets = rows["train"], pareto_targets(labels.shape[1], **parse_long_tail(options.long_tail))
        chosen = select_head_to_tail(labels[candidates], targets, random.Random(options.seed or 0), order=sorted)
        rows["train"] = [candidates[i] for i in chosen]
        remarks.append(f"train: {len(chosen):,} of {len(candidates):,} images make the long tail")
        if "validation" in drawn:
            rows["validation"], remark = draws.take_left_over(pool, rows["train"], rows["test"])
            remarks.append(remark)
    remarks += draws.describe(rows)
    if not options.validation:
        remarks.append(
            "validation: none (--no-validation): runs score the test split alone, studies and --evaluate-every need one"
        )
    return {name: found for name, found in rows.items() if found}, remarks


def _refuse_unused(options: SplitOptions, rows: Mapping[str, Sequence[int]], drawn: Sequence[str]) -> None:
    """Refuse options that have no effect on these splits."""
    for name in SHARES:
        if rows[name] and getattr(options, f"{name}_share") is not None:
            there = f"the labels give the {name} split, {_images(len(rows[name]))}"
            raise InputError(f"--{name}-share has no effect: {there}; leave the option out")
    if rows["validation"] and not options.validation:
        there = f"the labels give a validation split, {_images(len(rows['validation']))}"
        raise InputError(f"--no-validation, but {there}; leave the option out, or these images")
    if options.seed is not None and not drawn and not options.long_tail:
        raise InputError(f"--seed {options.seed} has no effect: nothing is drawn; leave the option out")


def _check_groups(groups: Sequence[str], rows: Mapping[str, Sequence[int]]) -> None:
    """Refuse images without a group, and groups that lie in two given splits."""
    if bare := [i for i, group in enumerate(groups) if not group.strip()]:
        raise InputError(f"{_images(len(bare))} without a group, first image {bare[0] + 1}; give each image its group")
    splits_of: dict[str, list[str]] = {}
    for name, found in rows.items():
        for group in {groups[i] for i in found}:
            splits_of.setdefault(group, []).append(name)
    if twice := sorted(group for group, found in splits_of.items() if len(found) > 1):
        where = f"group {twice[0]!r} lies in {' and '.join(splits_of[twice[0]])}"
        number = f"{len(twice):,} of {len(splits_of):,} groups lie in several splits, which makes scores too good"
        cure = "correct or leave out the splits, or take them as they are by leaving out --group-column"
        raise InputError(f"{where}; {number}; {cure}")


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """What splits are drawn from, and how."""

    labels: NDArray[np.bool_]  # (N, C)
    options: SplitOptions
    names: Sequence[str]
    groups: Sequence[str] | None

    def set_aside(self, name: str, train: list[int], model: list[int]) -> tuple[list[int], list[int], list[str]]:
        """A split drawn from the training images, what is left of these, and remarks on what it cost."""
        share = self.options.share(name)
        size, one = round(len(train) * share), "image" if self.groups is None else "group"
        cures = ["take another share", "give the split of each image"]
        if not size:
            reason = f"that is less than one of {_images(len(train))}"
        elif self.groups is not None and len(present := {self.groups[i] for i in train}) == 1:
            reason = f"all {_images(len(train))} are of one group, {present.pop()!r}, and groups stay whole"
            cures = ["name another column", "import without --group-column"]
        elif not (chosen := self._choose(train, model, size, largest_share=share)):
            reason = f"every labelled {one} holds more than this share of one of its classes"
        else:
            taken = set(chosen)
            left = [i for i in train if i not in taken]
            return chosen, left, self._describe_cost(name, train, left, size)
        cures += ["do without it: --no-validation"] if name == "validation" else []
        cure = f"{', '.join(cures[:-1])} or {cures[-1]}"
        raise InputError(f"no {name} split can be set aside with --{name}-share {share}: {reason}; {cure}")

    def take_left_over(self, pool: list[int], train: list[int], model: list[int]) -> tuple[list[int], str]:
        """A validation split drawn from what the long tail leaves over of the pool, and a remark."""
        taken = set(train)
        left = [i for i in pool if i not in taken]
        known = set() if self.groups is None else {self.groups[i] for i in train}
        free = left if self.groups is None else [i for i in left if self.groups[i] not in known]
        apart = f", {len(left) - len(free):,} of which share a group with a training image" * (len(free) < len(left))
        there = f"{_images(len(left))} that the long tail leaves over{apart}"
        wanted = max(1, round(len(pool) * self.options.share("validation")))
        chosen = self._choose(free, model, min(wanted, len(free))) if free else []
        if not chosen:
            cure = "cut more (a smaller max), give a validation split or do without it: --no-validation"
            raise InputError(f"no validation split with a label can be drawn from the {there}; {cure}")
        fewer = f" ({wanted:,} wanted)" if len(chosen) < wanted else ""
        return chosen, f"validation: {len(chosen):,}{fewer} of the {there}, seed {self.options.seed or 0}"

    def describe(self, rows: Mapping[str, Sequence[int]]) -> list[str]:
        """Remarks on classes without an image in a split that is scored."""
        remarks = []
        for name in SHARES:
            absent = [self.names[c] for c in np.flatnonzero(~self.labels[rows[name]].any(axis=0)).tolist()]
            if rows[name] and absent:
                number = f"{len(absent)} of {len(self.names)} classes"
                remarks.append(f"{name}: no image of {some_of(absent, NAMED)} ({number}), left out of its mAP")
        return remarks

    def _choose(self, pool: list[int], model: list[int], size: int, **limits: float) -> list[int]:
        """Rows of the pool; none if they would have no label."""
        groups = None if self.groups is None else [self.groups[i] for i in pool]
        seed = self.options.seed or 0
        chosen = choose_like(self.labels[pool], self.labels[model], size, seed=seed, groups=groups, **limits)
        rows = [pool[i] for i in chosen]
        return rows if self.labels[rows].any() else []

    def _describe_cost(self, name: str, before: list[int], after: list[int], wanted: int) -> list[str]:
        number = len(before) - len(after)
        groups = len({self.groups[i] for i in set(before) - set(after)}) if self.groups else 0
        whole = f" in {groups:,} group{'s' * (groups != 1)}" if groups else ""
        text = f"{name}: {_images(number)}{whole} set aside from train, seed {self.options.seed or 0}"
        if number < wanted:
            text += f" ({wanted:,} wanted; no class gives more than {self.options.share(name):.4g} of its images"
            text += ", and groups stay whole)" if self.groups else ")"
        had, has = (self.labels[rows].sum(axis=0) for rows in (before, after))
        lost = had - has
        span = f"{lost.max():,}" if lost.min() == lost.max() else f"{lost.min():,} to {lost.max():,}"
        cost = f"{name}: classes lost {span} images" if lost.any() else f"{name}: no class lost an image"
        # By what they lost of themselves.
        tail = [c for c in np.argsort(-lost / np.maximum(had, 1), kind="stable") if lost[c] and has[c] < TAIL_BELOW]
        listed = some_of([f"{self.names[c]} {had[c]} -> {has[c]}" for c in tail], NAMED)
        return [text, f"{cost}, of the tail: {listed}" if tail else cost]


def _images(number: int) -> str:
    return f"{number:,} image{'s' * (number != 1)}"
