"""`mltbench data list` and `mltbench data show`: a dataset, or a label matrix alone, as tables, JSON and a picture."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import seaborn as sns
from cyclopts import Parameter
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from rich.markup import escape

from ...errors import InputError
from ...files import safe_file_name
from ...terminal import Json, console, print_json, print_line, print_tables, table_of
from ..dataset import SPLITS, Dataset, Split
from ..importing.label_files import read_matrices, split_and_path
from ..importing.label_options import LabelOptions
from ..long_tail.statistics import (
    GROUP_COLOURS,
    GROUPS,
    HEAD_AT_LEAST,
    TAIL_BELOW,
    UNKNOWN,
    ClassStatistics,
    within_class_sampling_variance,
)
from ..registry import list_datasets, load_dataset
from .options import DataOptions

# What the columns of the printed table are called; their JSON names are longer.
COLUMNS = {"expected_frequency_class_aware": "p-hat (Eq. 1)", "within_class_sampling_variance": "variance (Fig. 5)",
           **{f"{split}_known": f"{split} known" for split in SPLITS}}  # fmt: skip
# Of 64 letters, as a reader compares them; --json has all.
DIGEST_LENGTH = 12
SCENES = 12
# From this many classes on, names along the axes cannot be read.
MOST_NAMED_CLASSES = 40


def list_all(*, as_json: Json = False, data: DataOptions = DataOptions()) -> None:
    """List the datasets with their sources, imported ones included.

    For example: `mltbench data list`
    """
    entries = list_datasets(data_root=data.root)
    if as_json:
        print_json([{"name": e.name, "summary": e.summary, "source": e.source, "recipe": e.recipe} for e in entries])
        return
    rows = [(entry.name, entry.summary, entry.source, entry.recipe, entry.backbone) for entry in entries]
    columns = ("name", "what it is", "source", "recipe", "backbone")
    console().print(table_of(columns, rows, prose=columns[1:3], optional=("backbone", "source")))


def show(
    name: str | None = None,
    /,
    *,
    labels: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    reading: LabelOptions = LabelOptions(),
    out: Path | None = None,
    data: DataOptions = DataOptions(),
    as_json: Json = False,
) -> None:
    """Show a dataset's statistics, and write a picture: scenes with labels, class sizes by group, p(i|j).

    For example:

        mltbench data show digits-mlt --out digits-mlt.png
        mltbench data show --labels labels.csv

    Args:
        name: The dataset; with --labels, how to call it.
        labels: Labels alone instead of a dataset: an .npz with ids and labels, or any files that `data import` reads.
        out: The picture [default: NAME.png].
    """
    if name is None and not labels:
        raise InputError("nothing to show: name a dataset (`mltbench data list` shows them), or give --labels FILE")
    title = name or (split_and_path(labels[0])[1].stem if labels else "")
    remarks: Sequence[str] = ()
    picture = out or Path(f"{safe_file_name(title)}.png")
    if labels:
        matrices, remarks = read_matrices(labels, reading)
        found = {split: matrix.labels for split, matrix in matrices.items()}
        draw(title, found["train"], matrices["train"].classes, picture)
        description = describe_labels(title, found, matrices["train"].classes)
    else:
        reading.require_used((), f"the dataset {title}: it goes with --labels")
        dataset = load_dataset(title, data_root=data.root)
        try:
            scenes = dataset.split("train")
        except InputError:  # labels without images have a picture, too
            scenes = None
        draw(title, dataset.labels("train"), dataset.classes, picture, scenes=scenes)
        description = describe(dataset)
    if as_json:
        more = {"remarks": list(remarks)} if remarks else {}
        print_json(description | more | {"picture": str(picture)})
        return
    for remark in remarks:
        print_line(remark)
    description |= {"digest": description["digest"][:DIGEST_LENGTH]} if "digest" in description else {}
    summary = [(key.replace("_", " "), str(description[key])) for key in description if key not in ("name", "classes")]
    heads = ("what", "value")
    about = table_of(heads, summary, prose=heads[1:], title=escape(description["name"]), show_header=False)
    columns = [COLUMNS.get(key, key) for key in description["classes"][0]]
    cells = [[f"{v:.4f}" if isinstance(v, float) else v for v in row.values()] for row in description["classes"]]
    print_tables([about, table_of(columns, cells, numbers=columns[2:], optional=columns[4:2:-1])])
    print_line(f"picture: {picture}")


def describe_labels(name: str, labels: Mapping[str, NDArray[np.uint8]], classes: Sequence[str]) -> dict[str, Any]:
    """Sizes, labels per image, groups and per-class statistics of label matrices by split, as plain JSON.

    Statistics are those of the split `train`. Unknown labels count nowhere; where a split has some, each class says in
    how many of its images it is known.
    """
    train = labels["train"]
    held = {split: matrix == 1 for split, matrix in labels.items()}
    known = {split: (matrix != UNKNOWN).sum(axis=0) for split, matrix in labels.items()}
    incomplete = [split for split, matrix in labels.items() if known[split].min() < len(matrix)]
    shares = ", ".join(f"{split} {known[split].mean() / len(matrix):.1%}" for split, matrix in labels.items())
    statistics = ClassStatistics.from_labels(train, class_names=classes)
    variance = within_class_sampling_variance(train)
    masks = {group: statistics.group_mask(group) for group in GROUPS}
    return {
        "name": name,
        "images": ", ".join(f"{split} {len(matrix)}" for split, matrix in labels.items()),
        "labels_per_image": ", ".join(f"{split} {matrix.sum(1).mean():.3f}" for split, matrix in held.items()),
        "groups": ", ".join(f"{group} {mask.sum()}" for group, mask in masks.items()),
        "labels_per_image_by_group": ", ".join(
            f"{group} {held['train'][:, mask].sum() / len(train):.3f}" for group, mask in masks.items()
        ),
        **({"known_labels": shares} if incomplete else {}),
        "largest_class": int(statistics.counts.max()),
        "smallest_class": int(statistics.counts.min()),
        "classes": [
            {
                "name": class_name,
                "group": statistics.group_names[i],
                "train": int(statistics.counts[i]),
                "expected_frequency_class_aware": round(float(statistics.expected_frequencies[i]), 6),
                "within_class_sampling_variance": round(float(variance[i]), 6),
                **{split: int(matrix[:, i].sum()) for split, matrix in held.items() if split != "train"},
                **{f"{split}_known": int(known[split][i]) for split in incomplete},
            }
            for i, class_name in enumerate(classes)
        ],
    }


def describe(dataset: Dataset) -> dict[str, Any]:
    """What `describe_labels` says of all splits, with digest and image shape; the images may be missing."""
    labels = {split: dataset.labels(split) for split in dataset.splits}
    description = describe_labels(dataset.name, labels, dataset.classes) | {"digest": dataset.digest}
    try:
        shapes = {split: dataset.split(split).images.shape[1:] for split in labels}
    except InputError as error:
        return description | {"image_shape": f"no images: {error}"}
    same = len(set(shapes.values())) == 1
    shown = shapes["train"] if same else ", ".join(f"{split} {shape}" for split, shape in shapes.items())
    return description | {"image_shape": str(shown)}


def draw(
    name: str, labels: NDArray[np.uint8], classes: Sequence[str], picture: Path, *, scenes: Split | None = None
) -> None:
    """Write a picture, as PNG, PDF or SVG by its ending: scenes, class sizes by group, co-occurrence, sampling.

    Raises `InputError` if the file cannot be written.
    """
    each = f"{(labels == 1).sum(1).mean():.3f} labels per image"
    with sns.axes_style("white"):
        figure = Figure(figsize=(13, 13 if scenes else 9), layout="constrained")
        figure.suptitle(f"{name}: {len(labels):,} training images, {len(classes)} classes, {each}", weight="bold")
        grid = figure.add_gridspec(2, 1, height_ratios=[1, 1.9]) if scenes else figure.add_gridspec(1, 1)
        if scenes:
            _draw_scenes(figure.add_subfigure(grid[0]), scenes, classes)
        _draw_statistics(figure.add_subfigure(grid[-1]), labels, classes)
        try:
            picture.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(picture, dpi=110)
        except (OSError, ValueError) as error:
            cure = "give a writable .png with --out"
            raise InputError(f"cannot write the picture to {picture}: {error}; {cure}") from error


def _draw_scenes(figure: SubFigure, train: Split, classes: Sequence[str]) -> None:
    chosen = np.linspace(0, len(train) - 1, min(SCENES, len(train))).astype(int)
    for axes, i in zip(figure.subplots(2, SCENES // 2).flat, chosen, strict=False):
        axes.imshow(train.images[i])
        names = ", ".join(classes[c] for c in np.flatnonzero(train.labels[i] == 1).tolist())
        axes.set_title(textwrap.shorten(names, 34, placeholder=" ..."), fontsize=9)
        axes.set_axis_off()


def _draw_statistics(figure: SubFigure, labels: NDArray[np.uint8], classes: Sequence[str]) -> None:
    statistics = ClassStatistics.from_labels(labels, class_names=classes)
    order = np.argsort(-statistics.counts, kind="stable")
    names = [classes[i] for i in order]
    colours = [GROUP_COLOURS[statistics.group_names[i]] for i in order]
    grid = figure.subplots(2, 2, width_ratios=[1.15, 1], height_ratios=[1.3, 1])
    (sizes, conditional), (frequencies, variances) = grid
    shown = statistics.counts, statistics.expected_frequencies, within_class_sampling_variance(labels)
    for axes, values in zip((sizes, frequencies, variances), shown, strict=True):
        bars = axes.bar(range(len(order)), values[order], color=colours, width=0.8)
        # Room for the legend above the bars; and an axis where all values are 0.
        axes.set(xmargin=0.01, ylim=(0, max(1.2 * values.max(), 0.01)))
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) <= MOST_NAMED_CLASSES:
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
        else:
            axes.set_xticks([])
            axes.set_xlabel(f"{len(names)} classes by size")
        if axes is sizes and len(names) <= MOST_NAMED_CLASSES:
            axes.bar_label(bars, fontsize=7, padding=1)
    _finish_sizes(sizes, statistics)
    uniform = 1 / statistics.num_classes
    frequencies.set(title="Class frequency under class-aware sampling (Eq. 1)", ylabel="mean over j of p(i|j)")
    frequencies.axhline(uniform, color="black", linewidth=0.8, linestyle="--", label=f"1/C = {uniform:.3f}")
    frequencies.legend(frameon=False, loc="upper right")
    variances.set(title="Variance of sampling times within each class (Fig. 5)", ylabel="variance")
    ticks = names if len(names) <= MOST_NAMED_CLASSES else False
    sns.heatmap(
        # Fig. 5: column i, row j holds p(i|j); `conditional` has i along its rows.
        statistics.conditional[np.ix_(order, order)].T,
        ax=conditional, cmap="rocket_r", vmin=0, vmax=1, square=True, xticklabels=ticks, yticklabels=ticks,
        cbar_kws={"label": "p(i|j)", "shrink": 0.8},
    )  # fmt: skip
    conditional.set(title="Co-occurrence: p(column i | row j), by class size")
    conditional.tick_params(labelsize=8)


def _finish_sizes(axes: Axes, statistics: ClassStatistics) -> None:
    """Make the axis of class sizes logarithmic, and explain the groups."""
    axes.set_yscale("log")
    # From below 1, so that the bar of a class of one image is seen; a quarter above the bars is for the legend.
    bottom = 0.7
    top = bottom * (statistics.counts.max() / bottom) ** (4 / 3)
    axes.set(title="Training images per class", ylabel="images (log scale)", ylim=(bottom, top))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter("")
    bounds = f"at least {HEAD_AT_LEAST}", f"{TAIL_BELOW} to {HEAD_AT_LEAST - 1}", f"under {TAIL_BELOW}"
    for group, bound in zip(GROUPS, bounds, strict=True):
        mask = statistics.group_mask(group)
        words = "class" if mask.sum() == 1 else "classes"
        each = statistics.counts[mask].sum() / statistics.num_images
        label = f"{group}: {mask.sum()} {words} of {bound}, {each:.3f} labels per image"
        axes.bar(0, 0, color=GROUP_COLOURS[group], label=label)
    axes.legend(frameon=False, loc="upper right", fontsize=9)
