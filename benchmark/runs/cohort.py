"""Cohorts: experiments that see the same images in the same crops train in lock step, on one frozen trunk."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from .interruption import Interrupted, stop_requests
from .run import Job, run_in_steps, run_job

if TYPE_CHECKING:
    from ..experiments.experiment import Experiment
    from ..experiments.plan import PlannedExperiment

# Each member keeps its network, gradients and momentum on the device.
LARGEST = 16


def cohort_key(experiment: Experiment) -> str:
    """What experiments must agree in to train in lock step: all but loss and head."""
    deciding = experiment.deciding()
    method = deciding.pop("method")
    deciding.pop("word_vectors_digest")
    return json.dumps([deciding, method["sampler"], method["schedule"]], sort_keys=True)


def form_cohorts(experiments: Sequence[PlannedExperiment], *, largest: int) -> list[list[PlannedExperiment]]:
    """Divide experiments into cohorts of at most so many, those with the most images first; 1 leaves their order."""
    if largest == 1:
        return [[planned] for planned in experiments]
    alike: dict[str, list[PlannedExperiment]] = {}
    for planned in experiments:
        alike.setdefault(f"{cohort_key(planned.experiment)} {planned.weights.file}", []).append(planned)
    cohorts = [mates[start : start + largest] for mates in alike.values() for start in range(0, len(mates), largest)]
    return sorted(cohorts, key=lambda cohort: -sum(planned.images for planned in cohort))


def run_unit(job: Job) -> None:
    """Run a job alone, or together with its mates."""
    if job.mates:
        run_cohort(job.cohort)
    else:
        run_job(job)


def run_cohort(jobs: Sequence[Job]) -> None:
    """Run experiments of one cohort in lock step, each in its own folder, as `run_job` would run each.

    The member that has done the fewest steps takes the next one, so that members which go on from checkpoints of
    different steps come together again. A member that fails leaves the others alone.

    Raises:
        Interrupted: if a signal came; every member has finished its step and written a checkpoint.
        InputError: when all others have ended, if a member could not be run here; see `run_job`.
    """
    import torch

    from ..training.generators import generator_states, set_generator_states
    from ..training.shared_trunk import SharedTrunk

    device, shared = torch.device(jobs[0].execution.device), SharedTrunk(len(jobs))
    outside, errors = generator_states(device), list[InputError]()
    with stop_requests() as request:
        running = [_Member(run_in_steps(job, request, shared=shared), n, outside) for n, job in enumerate(jobs)]
        try:
            while running and not request.at_once:
                member = min(running, key=lambda member: member.turn(len(jobs)))
                set_generator_states(member.generators, device)
                try:
                    member.steps = next(member.course)
                except (StopIteration, Interrupted):  # leaving `stop_requests` tells of the interruption
                    running.remove(member)
                except InputError as error:
                    errors.append(error)
                    running.remove(member)
                member.generators = generator_states(device)
                if request.number is not None:
                    running = [member for member in running if member.has_begun]
        finally:
            for member in running:
                set_generator_states(member.generators, device)
                member.course.close()
            set_generator_states(outside, device)
    if errors:
        raise errors[0]


class _Member:
    """One experiment of a cohort under way."""

    def __init__(self, course: Generator[int, None, bool], place: int, generators: dict[str, Any]) -> None:
        self.course, self.place, self.generators = course, place, generators
        self.steps = -1

    @property
    def has_begun(self) -> bool:
        return self.steps >= 0

    def turn(self, members: int) -> tuple[int, int]:
        """Its place in the order of turns, which rotates: the first pays for the trunk, in its recorded seconds."""
        return self.steps, (self.place + self.steps) % members
