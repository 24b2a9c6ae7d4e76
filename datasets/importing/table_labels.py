"""Labels in tables: which column means what, and what its cells say, of any format that has rows and columns.

Three layouts: an image per row with its class names in one cell; an image per row with a column of 0/1 per class; a
label or box per row, of which an image has several.
"""

import ast
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, some_of, unknown_name
from ..long_tail.statistics import UNKNOWN
from .annotations import (
    IMAGE_COLUMNS,
    SPLIT_NAMES,
    AnnotatedImage,
    Annotations,
    LikelyGroups,
    normal_name,
    split_name,
)
from .label_options import LabelOptions
from .tables import Cell, Table

# How the column is called where nothing was said, in any case; the first that is there.
LABELS_COLUMNS = (
    *("labels", "label", "finding labels", "tags", "class_name", "class_names", "labelname", "label_name"),
    *("classes", "class", "categories", "category"),
)
# Beside one class name a row: 1 where the class is there, 0 where it is not, as OpenImages has it.
CONFIDENCE = "confidence"
# A column of 0/1 of such a name divides the images. `train` alone may be a class; beside `test` it is none.
SPLIT_LIKE = re.compile(
    r"(is|in|for|use)[ _-]?(train|val|valid|validation|dev|test|holdout)(ing)?"
    r"|(train|val|valid|validation|dev|test)[ _-]?(set|split|flag)|(k?[ _-]?fold|split|subset|partition|phase)s?"
)
GROUP_LIKE = re.compile(
    r"(patient|subject|subj|study|participant|person|case|video|clip|series|session|slide|scene|sequence)s?"
    r"[ _.-]?(id|ids|name|no|nr|num|number|uid|key|index)?"
)
GROUP_IN_PATH = re.compile(
    r"(?<![^/_])((?:patient|subject|subj|sub|person|case|video|p)[-_]?)[0-9]{3,}(?=[/_.-])", re.IGNORECASE
)

Meaning = Literal["present", "absent", "uncertain", "blank"]
# Texts that programs write where there is nothing; `none` may be the name of a class.
BLANK = ("", "nan", "null", "<na>")
MEANINGS: Mapping[str, Meaning] = {
    **{"1": "present", "true": "present", "yes": "present"},
    **{"0": "absent", "false": "absent", "no": "absent", "-1": "uncertain"},
    **dict.fromkeys((*BLANK, "none", "na", "n/a"), "blank"),
}
CODES: Mapping[Meaning, int] = {"absent": 0, "present": 1, "uncertain": 2, "blank": 3}
SAID = {"ones": 1, "zeros": 0, "mask": UNKNOWN}

SEPARATOR = "|"
LISTED = re.compile(r"\[.*\]|\(.*\)|\{.*\}", re.DOTALL)
QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
# NumPy writes lists without commas, which Python reads as one long name.
WITHOUT_COMMAS = re.compile(r"['\"]\s+['\"]")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowLabels:
    """What one row says of classes."""

    present: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()  # of which it says so one by one


@dataclass(kw_only=True)
class Columns:
    """The columns of a table with what each was taken for, and the options that had an effect."""

    table: Table
    options: LabelOptions
    taken: dict[str, str] = field(default_factory=dict)  # column -> option
    used: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)

    def take(self, option: str, usual: Sequence[str] = ()) -> str | None:
        """Take the column that an option names, else the first of usual names, in any case, that is left.

        Raises `InputError` if the named one is not there.
        """
        given: str | None = getattr(self.options, option)
        left = {normal_name(name).casefold(): name for name in reversed(self.left())}
        if given is None:
            found = next((left[name] for name in usual if name in left), None)
        elif (found := given if given in self.left() else left.get(normal_name(given).casefold())) is None:
            raise unknown_name(f"column of {self.table.source} for {_spelt(option)}", given, self.left())
        if given is not None:
            self.used.add(option)
        if found is not None:
            self.taken[found] = option
        return found

    def matching(self, option: str) -> list[str]:
        """Columns by the names or patterns that an option has; raises `InputError` if one of them has no column."""
        patterns: Sequence[str] = getattr(self.options, option)
        found: set[str] = set()
        for pattern in patterns:
            some = {name for name in self.left() if name == pattern or fnmatchcase(name, pattern)}
            if not some:
                raise unknown_name(f"column of {self.table.source} for {_spelt(option)}", pattern, self.left())
            found |= some
        self.used |= {option} if patterns else set()
        return [name for name in self.left() if name in found]

    def left(self) -> list[str]:
        """Columns that were not taken yet."""
        return [name for name in self.table.columns if name not in self.taken]

    def place(self, row: int, column: str) -> str:
        """Where a cell is, for messages."""
        return f"{self.table.source}, row {self.table.rows[row]}, column {column!r}"

    def said(self, option: Literal["uncertain", "blank"], place: str, what: str) -> str:
        """What the user said such cells mean; raises `InputError` if nothing was said."""
        chosen: str | None = getattr(self.options, option)
        if chosen is None:
            ones = "ones (the class is there), " * (option == "uncertain")
            means = f"--{option} {ones}zeros (it is not) or mask (unknown: costs nothing and is not scored)"
            raise InputError(f"{place}: {what}; say what that means: {means}")
        self.used.add(option)
        return chosen


def read_table(table: Table, options: LabelOptions) -> tuple[Annotations, set[str]]:
    """What a table says of its images, and which options had an effect.

    Raises `InputError` if a column is not there, or a cell cannot be used or was not said what it means; row and column
    are named.
    """
    columns = Columns(table=table, options=options)
    columns.taken |= dict.fromkeys(columns.matching("ignore_columns"), "ignore_columns")
    image = columns.take("image_column", IMAGE_COLUMNS) or next(iter(columns.left()), None)
    if image is None:
        raise InputError(f"{table.source} has no column of images: --ignore-columns leaves none")
    columns.taken[image] = "image_column"
    split = columns.take("split_column", ("split",))
    group = columns.take("group_column")
    likely = _likely_groups(columns, image) if group is None else None
    if split is None:
        _refuse_hidden_split(columns)
    names = None if options.class_columns else _labels_column(columns)
    if names is None:
        rows, classes = _of_flags(columns)
    else:
        rows, classes = _of_names(columns, names)
    if left := [name for name in columns.left() if any(table.columns[name])]:
        columns.remarks.append(f"{table.source.name}: columns that are no labels, left out: {some_of(left, 6)}")
    images = _images(columns, rows, image, split, group)
    if names is not None:
        images = _one_each(columns, images, rows, classes)
    remarks = [*table.remarks, *columns.remarks]
    found = Annotations(
        images=images, classes=tuple(classes), remarks=remarks, likely_groups=likely,
        save_images=(table.save_images,) if table.save_images else (),
    )  # fmt: skip
    return found, columns.used


def _labels_column(columns: Columns) -> str | None:
    """The column of class names: the one that was named, else one of a usual name whose cells are not all of 0/1."""
    if columns.options.labels_column is not None:
        return columns.take("labels_column")
    flags = {name for name in columns.left() if all(_meaning(cell) for cell in set(columns.table.columns[name]))}
    usual = [name for name in LABELS_COLUMNS if name not in {normal_name(flag).casefold() for flag in flags}]
    return columns.take("labels_column", usual)


def _refuse_hidden_split(columns: Columns) -> None:
    """Ask about columns whose names say that they divide the images."""
    left = [name for name in columns.left() if name not in columns.matching("class_columns")]
    words = [name for name in left if name.casefold() in SPLIT_NAMES]
    like = [name for name in left if SPLIT_LIKE.fullmatch(name.casefold())]
    for name in like + words * (len(words) > 1):
        asked = f"say so, --split-column {name!r}"
        try:
            _splits(columns, name)
        except InputError:  # numbers of folds, say
            asked = f"write train, validation or test into its cells and give --split-column {name!r}"
        rest = f"or leave it out, --ignore-columns {name!r}; if it is a class, name all classes: --class-columns"
        raise InputError(f"{columns.table.source}: the column {name!r} looks like a split: {asked}, {rest}")


def _of_flags(columns: Columns) -> tuple[list[RowLabels], list[str]]:
    """Rows of a table with a column of 0/1 for each class, and its classes."""
    cells, classes = columns.table.columns, _flag_columns(columns)
    columns.used |= {"uncertain", "blank"}
    codes = np.empty((len(columns.table.rows), len(classes)), np.uint8)
    for i, name in enumerate(classes):
        code = {cell: CODES[_meaning(cell) or "blank"] for cell in set(cells[name])}
        codes[:, i] = [code[cell] for cell in cells[name]]
    whats: tuple[tuple[Literal["uncertain", "blank"], str], ...] = ("uncertain", "is -1"), ("blank", "is blank")
    for option, what in whats:
        if (such := codes == CODES[option]).any():
            row, column = (int(i) for i in np.argwhere(such)[0])
            more = f"the cell {what}, as {such.sum():,} of the {codes.size:,} cells of classes are"
            codes[such] = SAID[columns.said(option, columns.place(row, classes[column]), more)]
    # Equal rows are one value: a table of 100,000 images has a few thousand kinds.
    kinds, kind_of = np.unique(codes, axis=0, return_inverse=True)
    rows = [RowLabels(present=_names(classes, kind == 1), unknown=_names(classes, kind == UNKNOWN)) for kind in kinds]
    return [rows[i] for i in kind_of.reshape(-1)], classes


def _flag_columns(columns: Columns) -> list[str]:
    """The columns of 0/1 that are classes: those that were named, else those that mostly hold 0 and 1."""
    cells, named = columns.table.columns, columns.matching("class_columns")
    classes: list[str] = []
    for name in named or columns.left():
        counts = Counter(cells[name])
        foreign = {cell: number for cell, number in counts.items() if _meaning(cell) is None}
        filled = sum(number for cell, number in counts.items() if _meaning(cell) != "blank")
        if not named and 2 * sum(foreign.values()) >= filled:
            continue  # other things, or nothing
        if foreign:
            row = next(row for row, cell in enumerate(cells[name]) if cell in foreign)
            counted = all(isinstance(cell, str) and cell.strip().isdecimal() for cell in foreign)
            cure = "write 1 for every count above 0" if counted else "correct it"
            found = f"{_shown(cells[name][row])} is not 0 or 1; {cure}, or if the column is no class, leave it out"
            raise InputError(f"{columns.place(row, name)}: {found}: --ignore-columns {name!r}")
        classes.append(name)
    if len(classes) < 2:
        found = f"{', '.join(classes) or 'none'} among the columns {some_of(cells, 8)}"
        cure = "name the column of class names with --labels-column, or columns of 0/1 with --class-columns"
        raise InputError(
            f"{columns.table.source} needs at least 2 columns of 0/1, one per class, and has {found}; {cure}"
        )
    columns.taken |= dict.fromkeys(classes, "class_columns")
    return classes


def _names(classes: Sequence[str], chosen: NDArray[np.bool_]) -> frozenset[str]:
    return frozenset(classes[i] for i in np.flatnonzero(chosen).tolist())


def _meaning(cell: Cell) -> Meaning | None:
    """What a cell of 0/1 says; None if it is none."""
    if isinstance(cell, tuple):
        return None
    text = cell.strip().lower()
    # pandas writes 1.0 where a column has blanks.
    return MEANINGS.get(text.removesuffix(".0"))


def _of_names(columns: Columns, column: str) -> tuple[list[RowLabels], list[str]]:
    """Rows of a table with class names in one column, and its classes by name."""
    cells, names_of = columns.table.columns[column], _names_by_cell(columns, column)
    declared = dict.fromkeys(columns.table.classes.get(column, ()))
    classes = list(declared | dict.fromkeys(sorted({name for names in names_of.values() for name in names})))
    if classes and all(_meaning(name) for name in classes):
        cure = "give a column of 0/1 for each class, or lists of names"
        raise InputError(
            f"{columns.table.source}: the column {column!r} holds {', '.join(classes)} and no names; {cure}"
        )
    kinds = {cell: RowLabels(present=frozenset(names)) for cell, names in names_of.items()}
    rows = [kinds[cell] for cell in cells]
    sure = next((name for name in columns.left() if name.casefold() == CONFIDENCE), None)
    if sure is None or any(len(names) > 1 for names in names_of.values()):
        return rows, classes
    columns.taken[sure] = "labels_column"
    columns.used |= {"uncertain", "blank"}
    return [_with_confidence(columns, i, row, sure) for i, row in enumerate(rows)], classes


def _with_confidence(columns: Columns, row: int, labels: RowLabels, column: str) -> RowLabels:
    """A row of one class whose confidence says whether it is there."""
    cell, place = columns.table.columns[column][row], columns.place(row, column)
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:
        cure = f"leave the column out: --ignore-columns {column!r}"
        raise InputError(f"{place}: {_shown(cell)} is no confidence, which lies between 0 and 1; correct it, or {cure}")
    said = {0.0: "zeros", 1.0: "ones"}.get(value) or columns.said("uncertain", place, f"the confidence is {cell}")
    absent, unknown = RowLabels(absent=labels.present), RowLabels(unknown=labels.present)
    return {"ones": labels, "zeros": absent, "mask": unknown}[said]


def _names_by_cell(columns: Columns, column: str) -> dict[Cell, tuple[str, ...]]:
    """Class names of each different cell: a list of its own, a list written as text, or names with a separator."""
    distinct, options = dict.fromkeys(columns.table.columns[column]), columns.options
    texts = [cell for cell in distinct if isinstance(cell, str) and cell.strip().lower() not in BLANK]
    if any(isinstance(cell, tuple) for cell in distinct) or (texts and all(LISTED.fullmatch(t.strip()) for t in texts)):
        parts = {text: _listed(columns, column, text) for text in texts}
    else:
        columns.used |= {"separator"} if options.separator else set()
        separator = options.separator or SEPARATOR
        parts = {text: tuple(text.split(separator)) for text in texts}
        _judge_separator(columns, column, {name.strip() for names in parts.values() for name in names})
    found = {cell: cell if isinstance(cell, tuple) else parts.get(cell, ()) for cell in distinct}
    return {cell: tuple(name.strip() for name in names if name.strip()) for cell, names in found.items()}


def _listed(columns: Columns, column: str, text: str) -> tuple[str, ...]:
    """Names of a list that was written as text by Python, by NumPy (without commas) or without quotes."""
    inside = text.strip()[1:-1]
    if WITHOUT_COMMAS.search(inside):
        return tuple(one or other for one, other in QUOTED.findall(inside))
    try:
        found: Any = ast.literal_eval(f"[{inside}]")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = inside.split(",")
    if not all(isinstance(name, str | int | float | None) for name in found):
        place = columns.place(columns.table.columns[column].index(text), column)
        raise InputError(f"{place}: {_shown(text)} is no list of names; write ['cat', 'dog'] or cat|dog")
    return tuple(str(name) for name in found if name is not None and str(name).strip().lower() not in BLANK)


def _judge_separator(columns: Columns, column: str, names: Collection[str]) -> None:
    """Raise `InputError` if names look joined by another sign than the default; say so if the sign was chosen."""
    given, cells = columns.options.separator, columns.table.columns[column]
    split = any((given or SEPARATOR) in cell for cell in cells)
    sign = joined_by(names, all_alone=bool(given) or split)
    if sign is None:
        return
    example = next(name for name in sorted(names) if sign in name)
    seen = f"{columns.table.source}: most names of the column {column!r} look joined by {sign!r} out of others"
    if not given and not split:
        cure = f"--separator {sign!r} splits them; if they are whole names, say --separator {SEPARATOR!r}"
        raise InputError(f"{seen}, such as {example!r}; {cure}")
    columns.remarks.append(
        f"{seen}, such as {example!r}; is {given or SEPARATOR!r} what separates names? --separator gives another"
    )


def joined_by(names: Collection[str], *, all_alone: bool = False) -> str | None:
    """The sign by which names look joined out of other names, if there is one.

    Either at least half of the names with it consist of other names; or, unless `all_alone`, nearly all of their parts
    stand in several, and the parts are half as many as the names.

    >>> joined_by({"haze", "road", "haze road", "road water"})
    ' '
    >>> joined_by({"dog", "hot dog", "ice cream"})
    """
    found: dict[str, int] = {}
    for sign in sorted({letter for name in names for letter in name if not letter.isalnum()} - set("'()")):
        parts = [tuple(part.strip() for part in name.split(sign) if part.strip()) for name in names]
        joined = [of_name for of_name in parts if len(of_name) > 1]
        holders = Counter(part for of_name in parts for part in set(of_name))
        alone = {of_name[0] for of_name in parts if len(of_name) == 1}
        of_names = sum(alone.issuperset(of_name) for of_name in joined)
        of_shared = sum(all(holders[part] > 1 for part in of_name) for of_name in joined)
        few = len(joined) > 2 and of_shared >= 0.8 * len(joined) and 2 * len(holders) <= len(names)
        if (of_names and 2 * of_names >= len(joined)) or (few and not all_alone):
            found[sign] = len(joined)
    return max(found, key=lambda sign: found[sign], default=None)


def _images(
    columns: Columns, rows: Sequence[RowLabels], image: str, split: str | None, group: str | None
) -> tuple[AnnotatedImage, ...]:
    """An image for each row."""
    cells = columns.table.columns
    splits = _splits(columns, split)
    groups = [str(cell).strip() or None for cell in cells[group]] if group else [None] * len(rows)
    images = []
    for i, labels in enumerate(rows):
        file = cells[image][i]
        if isinstance(file, tuple) or not file.strip():
            raise InputError(
                f"{columns.place(i, image)}: {_shown(file)} names no image; name the column with --image-column"
            )
        images.append(
            AnnotatedImage(
                file=file.strip(), classes=labels.present, unknown=labels.unknown, split=splits[i], group=groups[i]
            )
        )
    return tuple(images)


def _splits(columns: Columns, column: str | None) -> Sequence[str | None]:
    """The split of each row: a word, or 0/1 in a column whose name says of which split."""
    if column is None:
        return [None] * len(columns.table.rows)
    cells = columns.table.columns[column]
    found: dict[Cell, str | None] = {}
    for cell in dict.fromkeys(cells):
        text, meaning = str(cell).strip(), _meaning(cell)
        word = re.search("val|dev|test", column.casefold())
        if meaning in ("present", "absent") and word:
            found[cell] = ("test" if word[0] == "test" else "validation") if meaning == "present" else "train"
        else:
            found[cell] = split_name(text, columns.place(cells.index(cell), column)) if meaning != "blank" else None
    return [found[cell] for cell in cells]


def _one_each(
    columns: Columns, images: tuple[AnnotatedImage, ...], rows: Sequence[RowLabels], classes: Sequence[str]
) -> tuple[AnnotatedImage, ...]:
    """One image for all rows that name it; raises `InputError` if they differ in what is one for an image."""
    absent: dict[str, set[str]] = {}
    merged: dict[str, AnnotatedImage] = {}
    for i, (image, labels) in enumerate(zip(images, rows, strict=True)):
        absent.setdefault(image.file, set()).update(labels.absent)
        first = merged.setdefault(image.file, image)
        if first is not image:
            for what in ("split", "group"):
                if getattr(first, what) != getattr(image, what):
                    two = f"{getattr(first, what)!r} and {getattr(image, what)!r}"
                    raise InputError(
                        f"{columns.table.source}, row {columns.table.rows[i]}: image {image.file!r} has the {what} "
                        f"{two} in different rows; give it one"
                    )
            merged[image.file] = replace(
                first, classes=first.classes | image.classes, unknown=first.unknown | image.unknown
            )
    if len(merged) < len(images):
        taken = f"{len(images):,} rows of {len(merged):,} images, one for each label: taken together"
        columns.remarks.append(f"{columns.table.source.name}: {taken}")
    said_apart = any(absent.values()) or any(labels.unknown for labels in rows)
    rest = frozenset[str]()
    if said_apart:
        place, what = f"{columns.table.source}", "it says of single classes that they are absent, and of others nothing"
        rest = frozenset(classes) if columns.said("blank", place, what) == "mask" else rest
    return tuple(
        replace(image, unknown=(image.unknown | rest - absent[file]) - image.classes) if said_apart else image
        for file, image in merged.items()
    )


def _likely_groups(columns: Columns, image: str) -> LikelyGroups | None:
    """Patients, studies or videos by a column or a part of the names that looks like them, the coarsest."""
    cells = columns.table.columns
    found: list[tuple[str, Sequence[str | None]]] = [
        (f"--group-column {name!r}", [str(cell) or None for cell in cells[name]])
        for name in columns.left()
        if GROUP_LIKE.fullmatch(name.casefold())
    ]
    in_path = [GROUP_IN_PATH.search(str(cell)) for cell in cells[image]]
    word = next((match[1] for match in in_path if match), "")
    found.append((f"--group-pattern '{word}[0-9]{{3,}}'", [match and match[0] for match in in_path]))
    number = len(set(cells[image]))
    several = [(len(set(groups)), cure, groups) for cure, groups in found if 1 < len(set(groups)) < number]
    if not several:
        return None
    _, cure, groups = min(several, key=lambda one: one[:2])
    return LikelyGroups(cure=cure, group_of=dict(zip(map(str, cells[image]), groups, strict=True)))


def _shown(cell: Cell) -> str:
    text = repr(cell)
    return text if len(text) < 60 else f"{text[:56]}...'"


def _spelt(option: str) -> str:
    return f"--{option.replace('_', '-')}"
