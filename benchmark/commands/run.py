"""`mltbench run` and `mltbench check`."""

from contextlib import nullcontext
from functools import cache

from rich.markup import escape

from ...datasets.commands.options import DataOptions
from ...methods.catalogue import get_method, list_methods
from ...terminal import console, print_line
from ..executors.processes import Processes
from ..training.check import check_method
from .options import PlanOptions, PluginOptions, StoreOptions, TrainingOptions, parse_seeds


def run(
    *,
    plan: PlanOptions = PlanOptions(),
    training: TrainingOptions = TrainingOptions(),
    dry_run: bool = False,
    store: StoreOptions = StoreOptions(),
    data: DataOptions = DataOptions(),
) -> int:
    """Train methods on datasets with several seeds; what is finished is never trained again.

    For example:

        mltbench run --table 1 --table 2 --seeds 3
        mltbench run --method db --method rs --override method.mu=.2 --dry-run
        mltbench run --plugin my_loss.py --method my-loss --seeds 3
        mltbench run --from-study tune-digits-mlt --seeds 5
        mltbench run --dataset photos --method db-focal --backbone mobilenet_v2 --weights mobilenet.pt

    Args:
        dry_run: Show the plan with the hours it takes here; train nothing.
    """
    settings = training.settings(plan, data.root)
    plan.check()
    open_results = cache(store.open)
    plans = plan.plans(open_results, data_root=data.root, device_type=training.kind)
    executor = settings.make_executor()
    with executor.ready() if isinstance(executor, Processes) and not dry_run else nullcontext():
        from .plans import run_plans

        results = open_results()
        if plan.seeds and "," not in plan.seeds and len(seeds := parse_seeds(plan.seeds)) > 1:
            print_line(f"{len(seeds)} seeds: 0 to {seeds[-1]}; the one seed {len(seeds)} is --seeds {len(seeds)},")
        for note in dict.fromkeys(note for each in plans for one in each.experiments for note in one.weights.notes):
            print_line(note)
        return int(run_plans(plans, results, settings, executor=executor, dry_run=dry_run))


def check(*, method: tuple[str, ...] = (), plugins: PluginOptions = PluginOptions()) -> int:
    """Let every registered method take two steps on a tiny set: the smoke test for a new method.

    For example: `mltbench check --plugin my_loss.py --method my-loss`

    Args:
        method: Only these methods; repeatable.
    """
    plugins.load()
    chosen = [get_method(name) for name in method] if method else list_methods()
    bad = 0
    for item in chosen:
        problem = check_method(item)
        bad += problem is not None
        verdict = f"[red]bad[/red]   {item.name}: {escape(problem)}" if problem else f"[green]good[/green]  {item.name}"
        console().print(verdict, soft_wrap=True)
    console().print(f"{len(chosen) - bad} of {len(chosen)} methods passed")
    return int(bad > 0)
