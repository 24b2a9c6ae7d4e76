"""`mltbench data select`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ...errors import InputError
from ...terminal import print_line
from ..importing.label_files import read_label_file
from ..long_tail.selection import ids_digest, pareto_targets, select_head_to_tail
from ..long_tail.statistics import GROUPS, ClassStatistics

# Whose labels are chosen from, where an .npz has several: all there are, rather than a chosen training split.
POOLS = ("", "trainval2012_", "train_")


def select(
    *,
    labels: Path,
    out: Path,
    largest: Annotated[int, Parameter(name="--max", validator=Number(gte=1))] = 800,
    smallest: Annotated[int, Parameter(name="--min", validator=Number(gte=1))] = 1,
    power: float = 6.0,
    seed: int = 0,
    separator: str = "|",
) -> None:
    """Select a long-tailed subset of anyone's labels by the paper's construction, as VOC-MLT was made.

    For example:

        mltbench data select --labels trainval.npz --max 800 --out ids.txt

    Args:
        labels: Label matrix: .npz with ids and labels, or CSV.
        out: The selected ids, one a line.
        largest: Wanted size of the largest class.
        smallest: Wanted size far out in the tail.
        power: Power of the Pareto density.
        seed: Seed of every draw.
        separator: Between the class names of one image, in a CSV.
    """
    found = read_label_file(labels, separator=separator, prefixes=POOLS)
    ClassStatistics.from_labels(found.labels, class_names=found.classes)
    targets = pareto_targets(len(found.classes), largest=largest, smallest=smallest, power=power)
    chosen = select_head_to_tail(found.labels, targets, random.Random(seed))
    ids = [found.ids[i] for i in chosen]
    statistics = ClassStatistics.from_labels(found.labels[chosen], class_names=found.classes)
    try:
        out.write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the ids to {out}: {error.strerror}; give a writable file with --out") from error
    groups = ", ".join(f"{group} {int(statistics.group_mask(group).sum())}" for group in GROUPS)
    print_line(f"{len(ids)} of {len(found.ids)} images, {found.labels[chosen].sum() / len(ids):.3f} labels per image")
    print_line(f"classes: {groups}; largest {statistics.counts.max()}, smallest {statistics.counts.min()}")
    print_line(f"SHA-256 of the sorted ids: {ids_digest(ids)}")
    print_line(f"ids: {out}")
