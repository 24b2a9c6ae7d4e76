"""`mltbench data select`."""

import random
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...files import writing
from ...terminal import print_line
from ..importing.label_files import read_matrices
from ..importing.label_options import LabelOptions
from ..long_tail.selection import ids_digest, pareto_targets, select_head_to_tail
from ..long_tail.statistics import ClassStatistics
from .options import AtLeastOne

# Whose labels `select` chooses from, where an .npz has several: all there are, rather than a chosen training split.
POOLS = ("", "trainval2012_", "train_")


def select(
    *,
    labels: list[str],
    out: Path,
    reading: LabelOptions = LabelOptions(),
    largest: Annotated[int, Parameter(name="--max"), AtLeastOne] = 800,
    smallest: Annotated[int, Parameter(name="--min"), AtLeastOne] = 1,
    power: float = 6.0,
    seed: int = 0,
) -> None:
    """Select a long-tailed subset of anyone's labels by the paper's construction, as VOC-MLT was made.

    For example: `mltbench data select --labels trainval.npz --max 800 --out ids.txt`

    Args:
        labels: An .npz with ids and labels, or any files that `data import` reads; of splits, the training images.
        out: The selected ids, one a line.
        largest: Wanted size of the largest class.
        smallest: Wanted size far out in the tail.
        power: Power of the Pareto density.
        seed: Seed of every draw.
    """
    matrices, remarks = read_matrices(labels, reading, prefixes=POOLS)
    found = matrices["train"]
    ClassStatistics.from_labels(found.labels, class_names=found.classes)
    targets = pareto_targets(len(found.classes), largest=largest, smallest=smallest, power=power)
    chosen = select_head_to_tail(found.labels, targets, random.Random(seed))
    ids = [found.ids[i] for i in chosen]
    statistics = ClassStatistics.from_labels(found.labels[chosen], class_names=found.classes)
    with writing(f"the ids to {out}", "give a writable file with --out"):
        out.write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
    for remark in remarks:
        print_line(remark)
    each = (found.labels[chosen] == 1).sum() / len(ids)
    print_line(f"{len(ids)} of {len(found.ids)} images, {each:.3f} labels per image")
    print_line(
        f"classes: {statistics.group_sizes}; largest {statistics.counts.max()}, smallest {statistics.counts.min()}"
    )
    print_line(f"SHA-256 of the sorted ids: {ids_digest(ids)}")
    print_line(f"ids: {out}")
