"""What is done with every batch as one CUDA graph, its kernels fused by `torch.compile` where that pays."""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from .generators import equal_on_host, generator_states, set_generator_states
from .optimisation import FlatSGD

WARM_UP_STEPS = 3
# `torch.compile` keeps so many variants of a function, and runs further ones unfused.
VARIANTS_OF_A_FUNCTION = 8
# In which a loss may keep what it remembers, and which it changes in place.
CONTAINERS = (dict, list, set)


class NotRepeatableError(RuntimeError):
    """A function does not do the same each time, so a graph of it would be another function."""


class Graph:
    """Replays a function for tensors of one shape, on CUDA.

    What changes from call to call lies in tensors that the graph reads, the inputs among them. Warming up is done
    within what `trace_free` makes, which puts back what it changes; the capture executes nothing.

    Attributes:
        refused: why other functions of the same meaning were not taken, such as one with fused kernels.

    Raises:
        RuntimeError: if something in the function waits for the device, or cannot be captured.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        trace_free: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.refused: tuple[str, ...] = ()
        self.inputs, device = [tensor.clone() for tensor in inputs], inputs[0].device
        # One stream for both: gradients are accumulated on the stream that first saw their parameter.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            # What compiling does besides is not the function's: it is judged by a call of its own.
            with suppress(NotRepeatableError), trace_free():
                for _ in range(WARM_UP_STEPS):
                    function(*self.inputs)
            with trace_free(), _waiting_forbidden():
                function(*self.inputs)
        torch.cuda.synchronize(device)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            self.output = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Give what the function would; the tensor is overwritten by the next call. Does not wait for the device."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.output


class Graphs:
    """Graphs of what is done with every batch on CUDA, one for each size of batch, captured when its first one comes.

    It holds no function: those of its owner would keep the owner, and its memory, until a garbage collection.
    """

    def __init__(self) -> None:
        self.by_size: dict[int, Graph | str] = {}

    def __call__(
        self,
        functions: Callable[[int], Sequence[Callable[..., Tensor]]],
        inputs: Sequence[Tensor],
        trace_free: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Tensor | None:
        """What functions of one meaning give for a batch, overwritten by the next one; None if there is no graph.

        Args:
            functions: gives them for a size of batch; the first that can be captured is taken.
            inputs: the batch; all have its size as their first.
            trace_free: makes a context that puts back what a function has changed within; see `without_trace`.
        """
        if not inputs[0].is_cuda:
            return None
        size = len(inputs[0])
        if size not in self.by_size:
            self.by_size[size] = _capture(functions(size), inputs, trace_free)
        graph = self.by_size[size]
        return graph(*inputs) if isinstance(graph, Graph) else None

    def slower_because(self, size: int) -> dict[str, str]:
        """Why there is no graph for a size of batch, or none with fused kernels; empty where there is."""
        graph = self.by_size.get(size)
        if isinstance(graph, str):
            return {"not_graphed": graph}
        return {"not_fused": graph.refused[0]} if graph is not None and graph.refused else {}


def _capture(
    functions: Sequence[Callable[..., Tensor]],
    inputs: Sequence[Tensor],
    trace_free: Callable[[], AbstractContextManager[Any]],
) -> Graph | str:
    """A graph of the first function that can be captured, or why none of them can be."""
    refused: list[str] = []
    with warnings.catch_warnings():
        # Of what torch's compiler does itself, and of the mode that forbids waiting.
        warnings.simplefilter("ignore")
        for function in functions:
            try:
                graph = Graph(function, inputs, trace_free)
            except Exception as error:  # of the function itself it comes again where it is called
                refused.append(f"{type(error).__name__}: {error}")
            else:
                graph.refused = tuple(refused)
                return graph
    return refused[-1]


@contextmanager
def _waiting_forbidden() -> Iterator[None]:
    """Within, what would wait for the device raises: in a capture it would leave the device unusable."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def fused(module: nn.Module) -> Iterator[None]:
    """Within, the blocks of a network run with their kernels fused; what is captured here stays so afterwards.

    Blocks are compiled one by one, because equal ones are compiled once. ResNet-50 on an H200: 14 s where the network
    as a whole takes 37, both once per machine, for the same speed.
    """
    blocks = list(_blocks(module))
    if len(set(map(repr, blocks))) > VARIANTS_OF_A_FUNCTION:
        blocks = [module]
    for block in blocks:
        block.forward = torch.compile(block.forward, dynamic=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that a network is a row of, however nested the row is."""
    for child in module.children():
        # Not its subclasses, such as torchvision's convolution with norm and activation.
        if type(child) is nn.Sequential:
            yield from _blocks(child)
        else:
            yield child


@contextmanager
def without_trace(optimiser: FlatSGD, state: Sequence[Tensor], loss: nn.Module) -> Iterator[None]:
    """Take steps within; afterwards weights, statistics, momentum, generators and the loss are as they were.

    `state` are all tensors that a step changes besides the momentum.

    Raises:
        NotRepeatableError: if the loss has changed something outside of its tensors, such as a counter, or has drawn
            random numbers on the host.
    """
    before, device = [tensor.clone() for tensor in state], optimiser.flat.device
    momentum = [None if buffer is None else buffer.clone() for buffer in optimiser.momentum]
    remembered, generators = _attributes(loss), generator_states(device)
    changed: list[str] = []
    try:
        yield
    finally:
        for (owner, name), value in _attributes(loss).items():
            if (owner, name) not in remembered:
                delattr(owner, name)
            elif not _same(value, remembered[owner, name]):
                setattr(owner, name, remembered[owner, name])
            else:
                continue
            changed.append(f"changes its {name!r}")
        # Dropout on a GPU draws there, and a graph of it draws anew each time.
        if device.type == "cuda" and not equal_on_host(generators, generator_states(device)):
            changed.append("draws random numbers on the host")
        set_generator_states(generators, device)
        with torch.no_grad():
            for tensor, earlier in zip(state, before, strict=True):
                tensor.copy_(earlier)
            # In place, for the graph reads these buffers. Momentum 0 before a first step is the same as none.
            for buffer, kept in zip(optimiser.momentum, momentum, strict=True):
                if buffer is not None:
                    buffer.copy_(torch.zeros_like(buffer) if kept is None else kept)
    if changed:
        raise NotRepeatableError(f"the loss {changed[0]} in each step, which a graph would not repeat")


def _attributes(loss: nn.Module) -> dict[tuple[nn.Module, str], Any]:
    """What a loss keeps outside of the contents of its tensors, by module and name."""
    torch_own = vars(nn.Module()).keys()
    return {
        (module, name): copy.copy(value) if isinstance(value, CONTAINERS) else value
        for module in loss.modules()
        for name, value in [*vars(module).items(), *module.named_buffers(recurse=False)]
        if name not in torch_own
    }


def _same(now: Any, before: Any) -> bool:
    if isinstance(before, dict):
        return type(now) is type(before) and _same([*now, *now.values()], [*before, *before.values()])
    if isinstance(before, list | tuple):
        return type(now) is type(before) and len(now) == len(before) and all(map(_same, now, before))
    return now is before or (isinstance(before, bool | int | float | str | set) and bool(now == before))
