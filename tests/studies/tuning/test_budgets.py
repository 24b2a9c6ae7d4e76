"""How much of its budget a method has used, which method is next, and when it has enough."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_studies import SPACE, add_trial, made_up_arm, made_up_definition, made_up_study
from mltbench.methods.search_space import Choice
from optuna.trial import TrialState

SMALL, LARGE = made_up_arm("erm", images=60), made_up_arm("db", images=100)


@pytest.fixture
def study():
    """A budget of four trials of two seeds of 100 images each: 800."""
    return made_up_study(made_up_definition(SMALL, LARGE))


def test_every_method_has_the_budget_of_full_trials_of_the_method_that_takes_most(study):
    definition = study.definition
    assert (study.budget, definition.budget(4), definition.budget(1)) == (800, 800, 200)
    assert made_up_definition(LARGE, SMALL, seeds=(1, 2, 3)).budget(5) == 1500
    assert made_up_definition(SMALL, seeds=(1,)).budget(5) == 300


def test_trials_count_with_the_images_that_they_took_and_running_ones_in_full(study):
    first = add_trial(study, SMALL, images=120)
    pruned = add_trial(study, SMALL, "pruned", images=7)
    add_trial(study, SMALL, images=1000, state=TrialState.FAIL)  # lost: its copy counts
    add_trial(study, SMALL, None, state=TrialState.PRUNED)
    running = add_trial(study, SMALL, None)
    add_trial(study, SMALL, images=1000, state=TrialState.RUNNING)
    add_trial(study, SMALL, None, state=TrialState.WAITING)
    add_trial(study, LARGE, images=13)
    progress = study.progress(SMALL)
    assert [trial.number for trial in progress.finished] == [first.number, pruned.number]
    assert [trial.number for trial in progress.running] == [running.number, running.number + 1]
    assert (progress.waiting, progress.images) == (1, 120 + 7 + 2 * 60 * 2)
    assert study.running() == 2
    early = study.progress(SMALL, before=running.number)
    assert (len(early.finished), early.running, early.images) == (2, (), 127)


def test_the_method_that_used_least_is_next_and_of_equals_the_first(study):
    assert study.next_arm() is SMALL
    add_trial(study, SMALL, images=120)
    assert study.next_arm() is LARGE
    add_trial(study, LARGE, None)
    # 120 against 200 that are reserved.
    assert study.next_arm() is SMALL
    add_trial(study, SMALL, images=80)
    assert study.next_arm() is SMALL
    add_trial(study, SMALL, images=1)
    assert study.next_arm() is LARGE


@pytest.mark.parametrize(("images", "wants"), [(799, True), (800, False), (801, False)])
def test_a_method_wants_more_until_it_has_used_its_budget(study, images, wants):
    add_trial(study, LARGE, images=5000)
    add_trial(study, SMALL, images=images - 120)
    add_trial(study, SMALL, None)
    assert study.next_arm() is (SMALL if wants else None)


def test_at_most_twice_as_many_trials_as_the_budget_has_are_begun(study):
    add_trial(study, LARGE, images=800)
    for number in range(8):
        assert study.next_arm() is SMALL, number
        add_trial(study, SMALL, "pruned", images=1) if number % 2 else add_trial(study, SMALL, None, images=1)
    assert study.progress(SMALL).images < study.budget
    assert study.next_arm() is None


@pytest.mark.parametrize(
    ("outcomes", "wants"),
    [
        ("failed failed failed failed", True),
        ("failed failed failed failed failed", False),
        ("failed failed complete failed failed failed failed", True),
        ("complete failed failed failed failed failed", False),
        ("failed failed failed failed failed pruned", True),
        ("pruned pruned pruned pruned pruned", True),
        ("diverged diverged diverged diverged diverged", True),
    ],
)
def test_a_method_that_fails_five_times_in_a_row_is_given_up(study, outcomes, wants):
    add_trial(study, LARGE, images=800)
    for outcome in outcomes.split():
        add_trial(study, SMALL, outcome, images=1)
    assert study.next_arm() is (SMALL if wants else None)


def test_a_grid_wants_no_more_than_the_points_that_wait():
    study = made_up_study(made_up_definition(SMALL, sampler="grid"))
    assert study.next_arm() is None
    add_trial(study, SMALL, None, state=TrialState.WAITING)
    assert study.next_arm() is SMALL


@pytest.mark.parametrize("images", [(700, 100), (699, 100), (700, 99, 1, 1)])
def test_the_trial_that_reaches_the_budget_is_the_last_and_what_began_after_it_is_surplus(study, images):
    for used in images:
        add_trial(study, LARGE, images=used)
    first = next(i for i in range(9) if sum(images[:i]) >= 800 or i == len(images))
    number = add_trial(study, LARGE, None).number
    expected = sum(images) >= 800
    assert study.is_surplus(LARGE, number) == expected
    assert [study.is_surplus(LARGE, i) for i in range(first)] == [False] * first
    # What is running reserves its images: 200 of 800 more.
    later = [add_trial(study, LARGE, None).number for _ in range(2)]
    assert study.is_surplus(LARGE, later[-1])


def test_a_grid_has_its_points_and_the_defaults_and_no_more():
    arm = made_up_arm(space=SPACE | {"method.nu": Choice(options=("a", "b"))}, images=1)
    study = made_up_study(made_up_definition(arm, sampler="grid"), trials=2)
    # Four of six points: twice as many as full trials, in the order of the sampler's seed.
    assert len(study.grid(arm)) == 4
    assert len(made_up_study(study.definition, trials=5).grid(arm)) == 6
    other = made_up_study(made_up_definition(arm, sampler="grid", sampler_seed=1), trials=2)
    assert other.grid(arm) != study.grid(arm)
    numbers = [add_trial(study, arm, images=0).number for _ in range(7)]
    # Points, defaults, and one that another worker began at once.
    assert [study.is_surplus(arm, number) for number in numbers] == [False] * 5 + [True] * 2
    free = made_up_study(made_up_definition(arm), trials=2)
    numbers = [add_trial(free, arm, images=0).number for _ in range(7)]
    assert not any(free.is_surplus(arm, number) for number in numbers)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 200), min_size=20, max_size=20), st.integers(1, 3))
def test_methods_advance_side_by_side_and_each_ends_with_the_trial_that_reaches_its_budget(images, trials):
    study = made_up_study(made_up_definition(SMALL, LARGE), trials=trials)
    begun = {"erm": [], "db": []}

    def wants_more(method):
        return sum(begun[method]) < study.budget and len(begun[method]) < 2 * trials

    for used in images:  # a pruned trial may take any part of a full one
        arm = study.next_arm()
        wanting = [sum(begun[method]) for method in begun if wants_more(method)]
        assert (arm is None) == (not wanting)
        if arm is None:
            return
        assert wants_more(arm.method)
        assert sum(begun[arm.method]) == min(wanting)
        begun[arm.method].append(min(used, 2 * arm.images))
        add_trial(study, arm, "pruned", images=begun[arm.method][-1])
    assert study.next_arm() is None
