"""Options that commands of every room share: where datasets are kept, and how numbers are bounded."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from ..registry import resolve_data_root

PLACES = Group("Data and results", sort_key=3)

AtLeastOne = Parameter(validator=Number(gte=1))
NotNegative = Parameter(validator=Number(gte=0))
# Makes each field of a dataclass an option, described by the text below it.
Flattened = Parameter(name="*")


@Parameter(name="*", group=PLACES)
@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where datasets are kept."""

    data_root: Path | None = None
    """Where datasets are kept [default: MLTBENCH_DATA, else the user's cache folder]."""

    @property
    def root(self) -> Path:
        """The folder of the datasets."""
        return resolve_data_root(self.data_root)

    @property
    def repeated(self) -> str:
        """The option as it was given, for a command that is suggested next."""
        return f" --data-root {shlex.quote(str(self.data_root))}" if self.data_root else ""
