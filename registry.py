"""Entries by name, registered by the modules that define them: methods, datasets, sweeps, figures."""

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

from .errors import InputError, require_known


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """Public name."""


Entry = TypeVar("Entry", bound=Named)


class NamedEntries(Generic[Entry]):
    """Entries of one `kind`, as messages call it, in order of registration; `by_name` holds those registered so far.

    `sources` are modules, and packages with their modules, that register entries when they are imported; `installed`
    is the group of entry points under which other packages offer such modules.
    """

    def __init__(self, kind: str, *sources: str, installed: str | None = None) -> None:
        self.kind, self.sources, self.installed = kind, sources, installed
        self.by_name: dict[str, Entry] = {}
        self._loaded = False

    def add(self, entry: Entry) -> Entry:
        """Register an entry; raises `InputError` if the name is taken."""
        if entry.name in self.by_name:
            raise InputError(f"{self.kind} {entry.name!r} is registered already; choose another name")
        self.by_name[entry.name] = entry
        return entry

    def load(self) -> dict[str, Entry]:
        """All entries by name; imports the modules that register them, once."""
        if not self._loaded:
            for source in self.sources:
                for module in pkgutil.iter_modules(getattr(importlib.import_module(source), "__path__", ())):
                    importlib.import_module(f"{source}.{module.name}")
            for entry in entry_points(group=self.installed) if self.installed else ():
                entry.load()
            self._loaded = True
        return self.by_name

    def get(self, name: str) -> Entry:
        """Return one entry; raises `InputError` if there is none of that name."""
        known = self.load()
        require_known(self.kind, name, known)
        return known[name]
