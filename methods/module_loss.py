"""Somebody's own loss as a part of a method: a class by address, its keyword arguments as hyper-parameters."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InputError, unknown_name
from .search_space import SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from ..datasets.long_tail.statistics import ClassStatistics


@dataclass(frozen=True, kw_only=True)
class ModuleLoss:
    """A loss that is no composition of the suite's parts.

    Attributes:
        address: `module:Class` of an `nn.Module` made from (statistics, *, hyper-parameters) and called as
            `loss(logits (N, C), labels (N, C)) -> scalar`.
        parameters: its hyper-parameters by name.
        source_digest: SHA-256 of the file that defines it; another text is another experiment.
        search_space: over what its hyper-parameters are tuned; no part of its identity.
    """

    kind: ClassVar[str] = "module"

    address: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    source_digest: str = ""
    search_space: SearchSpace = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, loss_class: type[nn.Module], search_space: SearchSpace | None = None) -> ModuleLoss:
        """Describe a loss class; its hyper-parameters are the keyword-only arguments of its constructor.

        Raises:
            InputError: if a keyword-only argument has no plain default, the class is not at the top level of a file, or
                its search space does not fit its hyper-parameters.
        """
        parameters: dict[str, Any] = {}
        for name, argument in inspect.signature(loss_class).parameters.items():
            if argument.kind is not inspect.Parameter.KEYWORD_ONLY:
                continue
            if not isinstance(argument.default, bool | int | float | str):
                raise InputError(
                    f"{loss_class.__name__}: hyper-parameter {name!r} needs a default that is a number, a string or a "
                    f"boolean; got {argument.default!r}"
                )
            parameters[name] = argument.default
        _require_fitting(loss_class.__name__, parameters, search_space or {})
        try:
            source = Path(inspect.getfile(loss_class)).read_bytes()
        except (TypeError, OSError):
            source = b""
        if not source or "<locals>" in loss_class.__qualname__:
            raise InputError(
                f"{loss_class.__qualname__} is not defined at the top level of a file, where other processes could "
                "find it; move it into one, and bring it with --plugin"
            )
        return cls(
            address=f"{loss_class.__module__}:{loss_class.__qualname__}",
            parameters=parameters,
            source_digest=hashlib.sha256(source).hexdigest(),
            search_space=search_space or {},
        )

    def with_parameters(self, **values: Any) -> ModuleLoss:
        """Return the loss with other hyper-parameters, each of the type of its default."""
        for name, value in values.items():
            if name not in self.parameters:
                raise unknown_name(f"hyper-parameter of {self.address}", name, self.parameters)
            default = self.parameters[name]
            number = isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
            if not number and type(value) is not type(default):
                raise InputError(
                    f"{name}={value!r} must be of type {type(default).__name__}, as its default {default!r}"
                )
        # 2 and 2.0 are one value, hence one experiment.
        typed = {name: type(self.parameters[name])(value) for name, value in values.items()}
        return replace(self, parameters={**self.parameters, **typed})

    def build(self, statistics: ClassStatistics) -> nn.Module:
        """Build the module."""
        module, _, name = self.address.partition(":")
        loss_class = importlib.import_module(module)
        for part in name.split("."):
            loss_class = getattr(loss_class, part)
        built: nn.Module = loss_class(statistics, **self.parameters)  # type: ignore[operator]
        return built

    def as_json(self) -> dict[str, Any]:
        """Return the loss as plain JSON."""
        return {
            "kind": self.kind,
            "address": self.address,
            "parameters": dict(self.parameters),
            "source_digest": self.source_digest,
        }


def _require_fitting(loss: str, parameters: Mapping[str, Any], search_space: SearchSpace) -> None:
    for name, searched in search_space.items():
        if name not in parameters:
            raise unknown_name(f"hyper-parameter in the search space of {loss}", name, parameters)
        if parameters[name] not in searched:
            raise InputError(
                f"{loss}: the default {name}={parameters[name]!r} lies outside of its search space ({searched.text}); "
                "tuning starts from the defaults"
            )
