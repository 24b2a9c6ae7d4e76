"""How plans are run: what all their experiments share, and where they are trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import unknown_name
from ..experiments.plan import PlannedExperiment
from ..runs.job import Job, Member
from ..runs.provenance import command_line
from ..training.execution import Execution
from .in_process import Executor, InProcess
from .processes import Processes
from .ray_cluster import RayCluster

EXECUTORS = ("here", "local", "ray")
# Each experiment of a cohort keeps its network, gradients and momentum on the device.
LARGEST_COHORT = 16


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a plan is run.

    The `address` of a Ray cluster is `auto` for the one that this machine belongs to, `HOST:PORT`, or `local` for one
    that is started here and ends with the plan.
    """

    data_root: Path  # where datasets are kept
    execution: Execution = field(default_factory=Execution)  # device, threads, when to evaluate
    plugins: Sequence[str] = ()  # files of user-defined methods
    word_vectors: Path | None = None  # file of word vectors, or None for the default
    restart: bool = False  # whether to train from the beginning what was interrupted
    executor: str = "here"  # `here` in this process, `local` in processes of this machine, or `ray`
    workers: int = 1  # jobs at once
    devices: tuple[str, ...] = ()  # that local workers take in turn, such as `cuda:0`; none leaves the execution's
    address: str = "auto"
    gpus: float = 0  # GPUs per job on Ray; half a GPU lets two share one
    wheel: Path | None = None  # of mltbench, for Ray workers on which it is not installed
    cohort: bool = True  # whether experiments that see the same images and crops are trained together

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise unknown_name("executor", self.executor, EXECUTORS[1:])

    def largest_cohort(self, experiments: int) -> int:
        """How many of so many experiments may be trained together: no worker is left without any."""
        return max(1, min(LARGEST_COHORT, -(-experiments // self.workers))) if self.cohort else 1

    def make_executor(self) -> Executor:
        """The executor that is named."""
        if self.executor == "ray":
            return RayCluster(self.workers, address=self.address, gpus=self.gpus, wheel=self.wheel)
        return Processes(self.workers, devices=self.devices) if self.executor == "local" else InProcess()

    def job(self, experiments: Sequence[PlannedExperiment], runs: Path) -> Job:
        """The job that trains these experiments together, each in its folder under `runs`."""
        members = tuple(
            Member(
                experiment_json=planned.experiment.to_json(),
                folder=str(runs / planned.experiment.id),
                weights=str(planned.weights.file.resolve()) if planned.weights.file else None,
            )
            for planned in experiments
        )
        return Job(
            members=members,
            data_root=str(self.data_root),
            execution=self.execution,
            plugins=tuple(self.plugins),
            word_vectors=str(self.word_vectors) if self.word_vectors else None,
            command=command_line(),
            restart=self.restart,
        )
