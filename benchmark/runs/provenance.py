"""Provenance: what made a run, recorded beside it and never part of its id."""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ... import __version__
from ...errors import without_password
from ..training.devices import CUDA_MATMUL_PRECISION

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("benchmark", "datasets", "methods", "reports", "studies")


@cache
def code_version() -> Mapping[str, str]:
    """Version, commit, dirty state and digest of the code, digest of the lock file, versions of Python and torch.

    A wheel has no commit: its digest is that of the checkout that it was made from.
    """
    commit = _git("rev-parse", "HEAD")
    dirty = _git("status", "--porcelain", "--untracked-files=no")
    lock = PACKAGE_ROOT / "requirements.lock"
    return {
        "mltbench": __version__,
        "commit": commit or "unknown",
        "dirty": "unknown" if commit is None else str(bool(dirty)).lower(),
        "source_digest": source_digest(PACKAGE_ROOT),
        "lock_digest": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "unknown",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def source_digest(package: Path) -> str:
    """SHA-256 over the Python files of the package's rooms, by their names in order."""
    digest = hashlib.sha256()
    for path in sorted([*package.glob("*.py"), *(file for room in ROOMS for file in (package / room).rglob("*.py"))]):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def machine(device: str, threads: int) -> Mapping[str, str]:
    """The machine that trains: its kind, device, torch threads, and on CUDA how float32 products are taken."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    system = f"{platform.system()} {platform.machine()}"
    found = {"system": system, "device": device, "device_name": name, "threads": str(threads)}
    return {**found, "float32_matmul": CUDA_MATMUL_PRECISION} if device.startswith("cuda") else found


def command_line() -> str:
    """The command that this process was started with, passwords in addresses left out."""
    return without_password(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def _git(*arguments: str) -> str | None:
    """Output of a git command on the package's own checkout; None outside one."""
    if not (PACKAGE_ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=PACKAGE_ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
