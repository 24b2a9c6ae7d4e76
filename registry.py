"""Entries by name, each registered by a module of its own: what datasets, sweeps and figures are listed in."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Generic, Protocol, TypeVar

from .errors import InputError, unknown_name


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """Public name."""


Entry = TypeVar("Entry", bound=Named)


class NamedEntries(Generic[Entry]):
    """Entries of one kind, in order of registration.

    Args:
        kind: what one is called in messages.
        package: whose modules register entries when they are imported.

    Attributes:
        by_name: those registered so far.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self.by_name: dict[str, Entry] = {}

    def add(self, entry: Entry) -> Entry:
        """Register an entry.

        Raises:
            InputError: if the name is taken.
        """
        if entry.name in self.by_name:
            raise InputError(f"{self.kind} {entry.name!r} is registered already; choose another name")
        self.by_name[entry.name] = entry
        return entry

    def load(self) -> dict[str, Entry]:
        """All entries by name; imports the modules that register them, once."""
        for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        return self.by_name

    def get(self, name: str) -> Entry:
        """Return one entry.

        Raises:
            InputError: if there is none of that name.
        """
        known = self.load()
        if name not in known:
            raise unknown_name(self.kind, name, sorted(known))
        return known[name]
