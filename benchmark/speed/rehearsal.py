"""The rehearsal for a GPU: every way to train, measured in one call, and what the whole paper would take with each."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..training.devices import wait_for
from .rehearsal_data import Setting
from .rehearsal_variants import Speed, Variant, measure

EAGER = Variant(name="eager")
GRAPHED = Variant(name="graphed", graphed=True)
# In the order of what is lost least gladly when the time is up.
VARIANTS = (
    EAGER,
    GRAPHED,
    Variant(name="cohort", cohort=True),
    Variant(name="cohort, graphed", cohort=True, graphed=True),
    Variant(name="plain loop", loop="plain"),
    Variant(name="concurrent, 2 processes", runs=2),
    Variant(name="compiled", compiled=True),
    Variant(name="compiled and graphed", compiled=True, graphed=True),
)
# Share of a GPU's memory that concurrent runs may take together.
MEMORY_SHARE = 0.9
# Seconds kept back at the end to stop what still runs, and to print.
LAST_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one variant.

    Attributes:
        variant: as measured.
        speeds: by shape's name; rates of several processes are added.
        reason: why there are none, or None.
    """

    variant: Variant
    speeds: Mapping[str, Speed]
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """All variants on one device.

    Attributes:
        setting: what was rehearsed.
        peak: FLOP per second of the largest matrix product.
        results: one per variant.
    """

    setting: Setting
    peak: float
    results: tuple[Result, ...]

    def flop_per_image(self, shape: str) -> float | None:
        """As counted by the eager variant."""
        return self._of_eager(shape, "flop_per_image")

    def share_of_peak(self, result: Result, shape: str) -> float | None:
        """Counted operations per second of training over the measured peak."""
        flop = self.flop_per_image(shape)
        return result.speeds[shape].images_per_second * flop / self.peak if flop and shape in result.speeds else None

    def paper_seconds(self, result: Result) -> float | None:
        """Both tables on both datasets at these speeds, evaluation included, without compilation and start."""
        total = 0.0
        for shape in self.setting.shapes:
            evaluation = self._of_eager(shape.name, "evaluation_seconds")
            if evaluation is None or shape.name not in result.speeds:
                return None
            total += shape.paper_images / result.speeds[shape.name].images_per_second + shape.runs * evaluation
        return total

    def as_json(self) -> dict[str, Any]:
        """Everything that was measured, as plain JSON."""
        return {
            "setting": asdict(self.setting),
            "peak_flop_per_second": self.peak,
            "variants": [
                {
                    **asdict(result.variant),
                    "reason": result.reason,
                    "paper_seconds": self.paper_seconds(result),
                    "shapes": {
                        name: {
                            **asdict(speed),
                            "images_per_second": speed.images_per_second,
                            "share_of_peak": self.share_of_peak(result, name),
                        }
                        for name, speed in result.speeds.items()
                    },
                }
                for result in self.results
            ],
        }

    def _of_eager(self, shape: str, name: str) -> float | None:
        speeds = next((result.speeds for result in self.results if result.variant == EAGER), {})
        return getattr(speeds[shape], name) if shape in speeds else None


def rehearse(setting: Setting, *, minutes: float, tell: Callable[[str], None] = lambda text: None) -> Rehearsal:
    """Measure all variants, one after the other; one that fails is reported with its reason and the others go on.

    Args:
        setting: what is rehearsed.
        minutes: after which nothing runs any more.
        tell: called with what is measured now.
    """
    deadline = time.monotonic() + 60 * minutes - min(LAST_SECONDS, 6 * minutes)
    tell("measuring the largest matrix product")
    peak, results = matrix_peak(torch.device(setting.device)), list[Result]()
    for listed in VARIANTS:
        variant = _best_of_many(listed, results)
        tell(f"measuring: {variant.name}")
        reason = _hindrance(variant, setting, results)
        if reason is None and time.monotonic() >= deadline:
            reason = f"no time left of {minutes:g} minutes"
        if reason:
            results.append(Result(variant=variant, speeds={}, reason=reason))
        else:
            results.append(_in_processes(setting, variant, deadline))
    return Rehearsal(setting=setting, peak=peak, results=tuple(results))


def matrix_peak(device: torch.device) -> float:
    """FLOP per second of a square matrix product: 8192 in bfloat16 on CUDA, 1024 in float32 elsewhere; best of 5."""
    side, dtype, times = (8192, torch.bfloat16, 20) if device.type == "cuda" else (1024, torch.float32, 3)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        wait_for(device)
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(left, right)
        wait_for(device)
        seconds.append((time.perf_counter() - started) / times)
    return float(2 * side**3 / min(seconds[1:]))


def _best_of_many(variant: Variant, results: list[Result]) -> Variant:
    """Several runs at once take the graphed step where it worked."""
    works = any(result.variant == GRAPHED and result.reason is None for result in results)
    if variant.runs == 1 or not works:
        return variant
    return replace(variant, name=f"{variant.name} graphed", graphed=True)


def _hindrance(variant: Variant, setting: Setting, results: list[Result]) -> str | None:
    """Why a variant need not be tried, or None."""
    if not setting.device.startswith("cuda"):
        return "needs CUDA" if variant.graphed else None
    if variant.runs > 1:
        alone = [
            speed.peak_mib for result in results if result.variant.loop == "ours" for speed in result.speeds.values()
        ]
        room = MEMORY_SHARE * torch.cuda.get_device_properties(setting.device).total_memory / 2**20
        if alone and variant.runs * max(alone) > room:
            return f"needs {variant.runs * max(alone):,.0f} MiB of {room:,.0f}"
    return None


def _in_processes(setting: Setting, variant: Variant, deadline: float) -> Result:
    """Measure a variant in spawned processes, which are ended at the deadline whatever they do."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(variant.runs, timeout=max(deadline - time.monotonic(), 1))
    connections: list[Connection] = []
    processes = []
    try:
        for _ in range(variant.runs):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(there, setting, variant, barrier))
            process.start()
            there.close()
            connections.append(here)
            processes.append(process)
        speeds: dict[str, Speed] = {}
        for shape in setting.shapes:
            found = [_receive(connection, deadline) for connection in connections]
            if reasons := [answer for answer in found if isinstance(answer, str)]:
                # One that fails lets the others wait in vain; its reason counts.
                reasons.sort(key=lambda reason: reason.startswith("BrokenBarrierError"))
                return Result(variant=variant, speeds=speeds, reason=reasons[0])
            speeds[shape.name] = _together([answer for answer in found if isinstance(answer, Speed)])
        return Result(variant=variant, speeds=speeds)
    finally:
        for process in processes:
            process.join(timeout=2 if len(connections) == variant.runs else 0)
            if process.is_alive():
                process.kill()
            process.join()


def _receive(connection: Connection, deadline: float) -> Speed | str:
    if not connection.poll(max(deadline - time.monotonic(), 0)):
        return "ended, because the time was up"
    try:
        answer: Speed | str = connection.recv()
    except EOFError:
        return "its process died; what it said, if anything, is above"
    return answer


def _together(speeds: list[Speed]) -> Speed:
    """Several processes as one: rates and memory are added."""
    return replace(
        speeds[0],
        rates=tuple(sum(rates) for rates in zip(*(speed.rates for speed in speeds), strict=True)),
        peak_mib=sum(speed.peak_mib for speed in speeds),
        setup_seconds=max(speed.setup_seconds for speed in speeds),
        finite=all(speed.finite for speed in speeds),
    )


def _serve(connection: Connection, setting: Setting, variant: Variant, barrier: Any) -> None:
    """Send the speed on each shape, or the reason why there is none."""
    # Ctrl-C reaches every process of the group; this one simply ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        for shape in setting.shapes:
            connection.send(measure(setting, shape, variant, barrier))
            gc.collect()
            if setting.device.startswith("cuda"):
                torch.cuda.empty_cache()
    except Exception as error:  # whatever it is, it is this variant's alone
        barrier.abort()
        lines = str(error).strip().splitlines() or [""]
        connection.send(f"{type(error).__name__}: {lines[0][:300]}")
