"""Studies whose trials were made up, in memory: nothing is trained."""

from pathlib import Path

import optuna
from mltbench.methods.search_space import Interval
from mltbench.studies.tuning.definition import Arm, StudyDefinition
from mltbench.studies.tuning.study import OpenStudy, StudyStorage
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

SPACE = {"method.mu": Interval(low=0.0, high=1.0)}


def made_up_arm(method="db", **changes):
    values = {
        "method": method, "dataset": "toy", "dataset_digest": "d" * 64, "fixed": (), "space": SPACE,
        "defaults": {"method.mu": 0.3}, "images": 100, "epochs": 8,
    }  # fmt: skip
    return Arm(**values | changes)


def made_up_definition(*arms, **changes):
    values = {
        "name": "t", "dataset": "toy", "recipe": "digits", "backbone": "digits-resnet", "weights": {},
        "weights_digest": "w" * 64, "numerics_version": 1, "seeds": (1000, 1001), "arms": arms or (made_up_arm(),),
    }  # fmt: skip
    return StudyDefinition(**values | changes)


def made_up_study(definition, trials=4, root=Path("nowhere")):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = ["maximize"] * len(definition.values)
    studies = {arm.name: optuna.create_study(directions=directions) for arm in definition.arms}
    storage = StudyStorage(root=root)
    return OpenStudy(definition=definition, trials=trials, storage=storage, database=None, arms=studies)


def add_trial(
    study, arm, outcome="complete", *, images=200, settings=None, state=None, attributes=None, params=None, **validation
):
    """Add a trial that ended, or whose state is named; gives it as Optuna keeps it. `validation` is mAP by group."""
    result = {"outcome": outcome, "images": images, "validation": validation, "settings": settings or {}}
    result |= {"reason": "", "seconds": 1.0}
    states = {"complete": TrialState.COMPLETE, None: TrialState.RUNNING}
    state = states.get(outcome, TrialState.PRUNED) if state is None else state
    values = [validation.get(name, 0) for name in study.definition.values] if state == TrialState.COMPLETE else None
    attributes = ({"result": result} if outcome else {}) | (attributes or {})
    ranges = {key: FloatDistribution(0, 1) for key in params or {}}
    trial = create_trial(state=state, values=values, user_attrs=attributes, params=params, distributions=ranges)
    study.arms[arm.name].add_trial(trial)
    return study.arms[arm.name].get_trials()[-1]
