"""mltbench: the benchmark suite for long-tailed multi-label image recognition.

The losses alone, in anyone's training loop:

    statistics = mltbench.ClassStatistics.from_labels(labels)
    loss = mltbench.create_loss("db-focal", statistics, dataset="voc-mlt")
    loss(logits, labels).backward()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets.dataset import Dataset as Dataset
    from .datasets.dataset import Split as Split
    from .datasets.long_tail.statistics import ClassStatistics as ClassStatistics
    from .datasets.registry import load_dataset as load_dataset
    from .datasets.registry import register_dataset as register_dataset
    from .errors import InputError as InputError
    from .methods.catalogue import create_loss as create_loss
    from .methods.catalogue import get_method as get_method
    from .methods.catalogue import list_methods as list_methods
    from .methods.context import Context as Context
    from .methods.plugins import register_loss as register_loss
    from .methods.search_space import Choice as Choice
    from .methods.search_space import Interval as Interval

__version__ = "0.1.0"

# Public names load on first use, so that `import mltbench` and `mltbench --help` need neither torch nor mlflow.
_NAMES = {
    "datasets.dataset": ("Dataset", "Split"),
    "datasets.long_tail.statistics": ("ClassStatistics",),
    "datasets.registry": ("load_dataset", "register_dataset"),
    "errors": ("InputError",),
    "methods.catalogue": ("create_loss", "get_method", "list_methods"),
    "methods.context": ("Context",),
    "methods.plugins": ("register_loss",),
    "methods.search_space": ("Choice", "Interval"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(_HOMES)}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
