"""What a study costs beside training: the suite's own time per trial."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from ...benchmark.executors.run_plan import Surroundings
from ...benchmark.networks.initial_weights import AS_THE_DATASET
from .definition import equal_budget
from .designs import Setting, tuning
from .leases import Leases
from .open_study import begin_study
from .space import suggest
from .storage import optimise_once
from .trials import plan_trial
from .worker import laboratory_of


def trial_overheads(surroundings: Surroundings, *, dataset: str, method: str, trials: int) -> list[float]:
    """Milliseconds of each of so many trials that train nothing: choose, take over, ask, lease, plan, report, tell."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        laboratory = laboratory_of(root, surroundings)
        setting = Setting(dataset=dataset, open_dataset=laboratory.open_dataset, backbone=AS_THE_DATASET)
        options = {"objective": "total", "sampler": "tpe", "seeds_per_trial": 1, "parameters": (), "prune": True}
        definition = tuning("overhead", [method], setting, **options)  # type: ignore[arg-type]
        study = begin_study(definition, equal_budget(definition.arms, trials, 1), root, None)
        (arm,), leases = definition.arms, study.leases
        assert isinstance(leases, Leases)

        def objective(trial):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            with leases.hold(study.arms[arm.name], trial.number):
                study.is_surplus(arm, trial.number)
                settings = suggest(trial, arm.space)
                planned = plan_trial(definition, arm, settings, definition.seeds, laboratory)
                trial.set_user_attr("experiments", [item.experiment.id for item in planned])
                for look in range(1, 9):
                    trial.report(0.5 + 0.01 * look + 1e-3 * trial.number, look)
                    trial.should_prune()
                result = {"outcome": "complete", "reason": "", "settings": settings, "images": arm.images}
                trial.set_user_attr("result", {**result, "validation": {"total": 0.7}, "seconds": 0.0})
                return 0.7 + 1e-3 * trial.number

        for _ in range(trials):
            started = time.perf_counter()
            study.take_over()
            study.next_arm()
            optimise_once(study.arms[arm.name], objective, catch=())
            times.append(1000 * (time.perf_counter() - started))
    return times


def describe(times: list[float]) -> str:
    """The times in one sentence; the first trial, which opens the dataset, apart."""
    later = sorted(times[1:])
    return (
        f"{len(later)} trials of TPE on a journal file: median {statistics.median(later):.1f} ms, "
        f"mean {statistics.mean(later):.1f} ms, 95 % within {later[int(0.95 * len(later))]:.1f} ms, "
        f"without any training (first trial, with the dataset opened: {times[0]:.0f} ms)"
    )
