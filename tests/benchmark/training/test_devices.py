"""Devices by name, and how many experiments run at once, on machines with any number of GPUs."""

import os

import pytest
import torch
from mltbench.benchmark.training import devices
from mltbench.benchmark.training.devices import (
    autocast,
    cuda_devices,
    default_workers,
    resolve_device,
    set_up_cuda,
    set_up_process,
)
from mltbench.errors import InputError


@pytest.fixture
def gpus(monkeypatch):
    """A machine with so many GPUs and three cores."""

    def gpus(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(devices, "usable_cores", lambda: 3)

    return gpus


@pytest.mark.parametrize(
    ("number", "name", "resolved"),
    [
        (0, "auto", "cpu"), (2, "auto", "cuda"), (0, "cpu", "cpu"), (2, "cpu", "cpu"),
        (1, "cuda", "cuda"), (1, "cuda:0", "cuda:0"), (2, "cuda:1", "cuda:1"),
        (0, "cuda", None), (0, "cuda:0", None), (1, "cuda:1", None), (2, "cuda:2", None), (2, "cuda:x", None),
        (2, "cuda:-1", None), (2, "gpu", None), (2, "mps", None), (2, "", None),
    ],
)  # fmt: skip
def test_a_device_is_one_that_is_there(number, name, resolved, gpus):
    gpus(number)
    if resolved is not None:
        assert resolve_device(name) == resolved
        return
    with pytest.raises(InputError, match=f"device '{name}'"):
        resolve_device(name)


@pytest.mark.parametrize(
    ("number", "device", "named", "workers"),
    [
        (0, "cpu", (), 3),
        (2, "cpu", (), 3),
        (1, "cuda", (), 1),
        (4, "cuda", ("cuda:0", "cuda:1", "cuda:2", "cuda:3"), 4),
        (2, "cuda", ("cuda:0", "cuda:1"), 2),
        (4, "cuda:1", (), 1),
    ],
)
def test_experiments_take_all_cores_or_all_gpus(number, device, named, workers, gpus):
    gpus(number)
    assert cuda_devices(device) == named
    assert default_workers(device) == workers


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_are_of_the_recipes_precision(precision, dtype):
    with autocast(precision, torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_a_process_has_its_threads_and_a_gpu_repeats_its_bits(monkeypatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    set_up_process(2)
    assert (torch.get_num_threads(), os.environ["THP_MEM_ALLOC_ENABLE"]) == (2, "1")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    set_up_process(1)
    assert (torch.get_num_threads(), os.environ["THP_MEM_ALLOC_ENABLE"]) == (1, "0")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    before, asked = torch.get_float32_matmul_precision(), []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    set_up_cuda()
    assert (asked, torch.backends.cudnn.deterministic) == (["high"], True)
    assert torch.get_float32_matmul_precision() == before
