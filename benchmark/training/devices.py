"""Which device trains, and how many experiments run at once on it."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from ...errors import InputError
from ...processes import usable_cores

# Of products that stay in float32 on CUDA: TF32, as torch calls it; recorded with each run.
CUDA_MATMUL_PRECISION = "high"


def resolve_device(name: str) -> str:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that is there.

    Raises:
        InputError: if there is no such device.
    """
    if name == "cpu":
        return "cpu"
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


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Mixed precision where a recipe's precision says so."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def set_up_process(threads: int) -> None:
    """Set how torch works in this process, before its first tensor.

    Feature maps lie in pages of 2 MiB: a step of MobileNetV2 at 224 pixels spent half its time on page faults and took
    1.83 s with 4 KiB, 1.41 with these; Digits-MLT's takes 4 % less. The bits are the same.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    torch.set_num_threads(threads)


def set_up_cuda() -> None:
    """Set how torch works on a GPU.

    Convolutions that repeat their bits cost nothing: ResNet-50, 3,540 images/s with them and 3,536 without on an H200.
    """
    torch.set_float32_matmul_precision(CUDA_MATMUL_PRECISION)
    torch.backends.cudnn.deterministic = True


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done everything that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cuda_devices(device: str) -> tuple[str, ...]:
    """The devices that experiments take in turn: all GPUs for `cuda` where there are several, else none by name."""
    if device != "cuda":
        return ()
    count = torch.cuda.device_count()
    return tuple(f"cuda:{i}" for i in range(count)) if count > 1 else ()


def default_workers(device: str) -> int:
    """Experiments at once: one per core on the CPU, one per GPU.

    Two one-thread runs give more images/s than one run of two threads: see `mltbench bench loop`.
    """
    return usable_cores() if device == "cpu" else max(len(cuda_devices(device)), 1)
