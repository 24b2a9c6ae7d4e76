"""Somebody's own methods from a Python file, without packaging."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError


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
    """Module name of a plugin file; the same text under the same name has it in every process and every folder."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    return f"mltbench_plugin_{re.sub(r'[^0-9a-zA-Z_]', '_', path.stem)}_{digest[:8]}"
