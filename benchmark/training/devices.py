"""Which device trains, and how many experiments run at once on it."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
    import torch

# Of products that stay in float32 on CUDA: TF32, as torch calls it; recorded with each run.
CUDA_MATMUL_PRECISION = "high"


def resolve_device(name: str) -> str:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that is there.

    Raises:
        InputError: if there is no such device.
    """
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    there = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if there else "cpu"
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise InputError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:N")
    if not there or int(number or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {name!r} is not here: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu"
        )
    return name


def _may_have_gpu() -> bool:
    """Whether torch, whose import takes seconds, has to be asked for one: on Linux not without a driver for any."""
    if sys.platform != "linux" or Path("/dev/kfd").exists():
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done everything that it was told."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cuda_devices(device: str) -> tuple[str, ...]:
    """The devices that experiments take in turn: all GPUs for `cuda` where there are several, else none by name."""
    if device != "cuda":
        return ()
    import torch

    count = torch.cuda.device_count()
    return tuple(f"cuda:{i}" for i in range(count)) if count > 1 else ()


def default_workers(device: str) -> int:
    """Experiments at once: one per core on the CPU, one per GPU.

    Two one-thread runs give more images/s than one run of two threads: see `mltbench bench loop`.
    """
    return usable_cores() if device == "cpu" else max(len(cuda_devices(device)), 1)
