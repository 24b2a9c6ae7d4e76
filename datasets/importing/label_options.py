"""What the command line says about label files; every setting that is given is used, or refused."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from ...errors import InputError


@Parameter(name="*", group=Group("Label files", sort_key=2))
@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How label files are read."""

    delimiter: str | None = None
    """Between the cells of a CSV [default: a comma, or what its header has]."""
    separator: str | None = None
    """Between the class names of one cell [default: |]."""
    image_column: str | None = None
    """Column of the image files [default: image, file_name, path and the like, else the first]."""
    labels_column: str | None = None
    """Column of the class names [default: labels, class_name and the like]; without one, columns of 0/1 are classes."""
    split_column: str | None = None
    """Column of the splits [default: split, if it is there]."""
    group_column: str | None = None
    """Column of the patient, study or video of an image: all images of one are in one split."""
    group_pattern: str | None = None
    """The same by a regular expression that is searched in the image's name, such as 'patient[0-9]+'."""
    class_columns: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Columns of 0/1 that are classes, by name or pattern (`has_*`); repeatable [default: all of 0/1]."""
    ignore_columns: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Columns that are left out, by name or pattern; repeatable."""
    uncertain: Literal["ones", "zeros", "mask"] | None = None
    """What -1 means, or a confidence between 0 and 1: the class, its absence, or that nothing is known."""
    blank: Literal["zeros", "mask"] | None = None
    """What a cell without a value means: absence of the class, or that nothing is known."""
    class_names: str | None = None
    """CSV of two columns, what the labels call a class and its name."""
    split_list: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """SPLIT=FILE, a list of images, one name a line; repeatable."""
    drop_empty_classes: Annotated[bool, Parameter(negative=())] = False
    """Leave out classes without any training image."""
    difficult: Annotated[bool, Parameter(negative="--no-difficult")] = True
    """Whether VOC objects marked difficult count."""

    @property
    def given(self) -> set[str]:
        """Names of the fields that were set."""
        return {field.name for field in fields(self) if getattr(self, field.name) != field.default}

    def require_used(self, used: Collection[str], what: str) -> None:
        """Raise `InputError` if a field was set that has no effect on `what`, such as `the COCO file a.json`."""
        if without := sorted(self.given - set(used)):
            options = ", ".join(f"--{'no-' * (name == 'difficult')}{name.replace('_', '-')}" for name in without)
            raise InputError(f"{options}: without effect on {what}; leave it out")


# What any kind of label file obeys.
ALWAYS = {"group_pattern", "class_names", "split_list", "drop_empty_classes"}
