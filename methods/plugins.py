"""Your own methods: a loss class decorated with `register_loss`, in a package or in a Python file of yours."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import nn

from ..datasets.long_tail.statistics import ClassStatistics
from ..errors import InputError, require_known
from .catalogue import get_method, register_method
from .part import PARTS, as_type_of
from .search_space import SearchSpace

LossClass = TypeVar("LossClass", bound=type[nn.Module])


def register_loss(
    name: str,
    *,
    like: str = "erm",
    title: str | None = None,
    summary: str = "",
    reference: str = "own loss",
    search_space: SearchSpace | None = None,
) -> Callable[[LossClass], LossClass]:
    """Decorate an `nn.Module` class to make a method of it, which trains `like` another method but for its loss.

    The class is built as `Loss(statistics, *, hyper-parameters)` and called as `loss(logits, labels) -> scalar`; with
    the attribute `takes_context = True` as `loss(logits, labels, context)`, see `Context`.
    `search_space` gives the ranges that `mltbench study tune` may search, by hyper-parameter. Where training labels are
    unknown, and -1 in `labels`, the class is refused unless it has the attribute `takes_unknown = True`.

    Example:
        >>> import torch, mltbench
        >>> space = {"margin": mltbench.Interval(low=0.1, high=10, scale="log")}
        >>> @mltbench.register_loss("doctest-hinge", like="rs", search_space=space)
        ... class Hinge(torch.nn.Module):
        ...     def __init__(self, statistics, *, margin=1.0):
        ...         super().__init__()
        ...         self.margin = margin
        ...     def forward(self, logits, labels):
        ...         return (self.margin - (2 * labels - 1) * logits).relu().mean()  # doctest: +SKIP
    """

    def decorate(loss_class: LossClass) -> LossClass:
        model, loss = get_method(like), ModuleLoss.of(loss_class, search_space)
        shared = sorted(loss.parameters.keys() & (model.parameters.keys() - model.loss_parameters.keys()))
        if shared:
            raise InputError(f"{name}: hyper-parameter {shared[0]!r} is one of {like}'s sampler or head; rename it")
        summary_line = summary or (loss_class.__doc__ or "").strip().split("\n")[0]
        labelled = replace(model, name=name, title=title or name, reference=reference, summary=summary_line)
        register_method(replace(labelled, loss=loss, weights=None, adjustment=None, focal=None))
        return loss_class

    return decorate


def load_plugins(files: Sequence[str]) -> None:
    """Import each file once; it registers its methods with `mltbench.register_loss`.

    Raises:
        InputError: if a file is missing or cannot be imported.
    """
    for file in files:
        path = Path(file).resolve()
        name = plugin_module_name(path)
        if name in sys.modules:
            continue
        if not path.is_file():
            raise InputError(f"no plugin at {path}; --plugin takes a Python file that calls mltbench.register_loss")
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise InputError(f"{path} is not a Python file; --plugin takes one that calls mltbench.register_loss")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise InputError(f"plugin {path} cannot be imported: {type(error).__name__}: {error}") from error


def plugin_module_name(path: Path) -> str:
    """Module name of a plugin file: the same for the same file name and text, in every process and folder."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    name = re.sub(r"[^0-9a-zA-Z_]", "_", path.with_suffix("").name)
    return f"mltbench_plugin_{name}_{digest[:8]}"


@dataclass(frozen=True, kw_only=True)
class ModuleLoss:
    """Your own loss as a part of a method: a class by address, its keyword arguments as hyper-parameters.

    Attributes:
        address: `module:Class` of an `nn.Module` made from (statistics, *, hyper-parameters) and called as
            `loss(logits (N, C), labels (N, C)) -> scalar`.
        source_digest: SHA-256 of the file that defines it; another text is another experiment.
        search_space: over which its hyper-parameters are tuned; no part of its identity.
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
        for name, searched in (search_space or {}).items():
            require_known(f"hyper-parameter in the search space of {loss_class.__name__}", name, parameters)
            if parameters[name] not in searched:
                raise InputError(
                    f"{loss_class.__name__}: the default {name}={parameters[name]!r} lies outside of its search space "
                    f"({searched.text}); tuning starts from the defaults"
                )
        try:
            source = Path(inspect.getfile(loss_class)).read_bytes()
        except (TypeError, OSError):
            source = b""
        if not source or "<locals>" in loss_class.__qualname__:
            raise InputError(
                f"{loss_class.__qualname__} is not defined at the top level of a file, where other processes could "
                "find it; move it into one, and pass that file with --plugin"
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
            require_known(f"hyper-parameter of {self.address}", name, self.parameters)
            # 2 and 2.0 are one value, hence one experiment.
            values[name] = as_type_of(self.parameters[name], value, name)
        return replace(self, parameters={**self.parameters, **values})

    def build(self, statistics: ClassStatistics) -> nn.Module:
        """Build the module.

        Raises:
            InputError: if labels are unknown, and the class does not say that it takes them.
        """
        module, _, name = self.address.partition(":")
        loss_class = importlib.import_module(module)
        for part in name.split("."):
            loss_class = getattr(loss_class, part)
        if not statistics.is_complete and not getattr(loss_class, "takes_unknown", False):
            raise InputError(
                f"some training labels are unknown, and {name} would take their -1 for a number. Leave those cells out "
                f"in its forward, `known = labels != -1`, and write `takes_unknown = True` in the class; or import the "
                "labels with 0 or 1 for unknown"
            )
        built: nn.Module = loss_class(statistics, **self.parameters)  # type: ignore[operator]
        return built

    def as_json(self) -> dict[str, Any]:
        """Return the loss as plain JSON."""
        identity = {"kind": self.kind, "address": self.address, "parameters": dict(self.parameters)}
        return {**identity, "source_digest": self.source_digest}


PARTS["loss"][ModuleLoss.kind] = ModuleLoss
