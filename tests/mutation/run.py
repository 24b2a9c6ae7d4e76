"""The mutation run: does a fast test of the mirrored room notice each small fault in the code that decides numbers?

    make mutants                                                     16 mutants of each module, spread over its lines
    make mutants MUTANTS="--all methods reports/results/runs.py"     every mutant of a room and of a module
    make mutants MUTANTS=--survivors                                 what survived before, again

Each room's fast tests run once, with the lines that each of them reaches. Then every mutant gets a fork of that
process: the functions that it changes get their new code, and the tests that reach its lines run until one fails. What
survives, and what runs on import, gets a fork that imports the mutated module anew, so that nothing kept from before
hides it.

`survivors.csv` lists what no test noticed. A row with a reason in its last column is equivalent (no result can tell it
from the original) and is not run again. `modules.csv` counts what was tried last.
"""

import argparse
import contextlib
import csv
import gc
import importlib
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import hypothesis
import pytest
from mutants import mutants_of

ROOT = Path(__file__).resolve().parents[2]
SURVIVORS, COUNTS = Path(__file__).with_name("survivors.csv"), Path(__file__).with_name("modules.csv")
# What decides numbers; the fast tests in the folder of the same name under tests/ are to notice.
ROOMS = {
    "methods": """
        adjustments catalogue context heads loss losses/asymmetric losses/asymmetric_polynomial
        losses/balanced_asymmetric losses/equalization losses/hill losses/map_surrogate losses/multi_focal_modifier
        losses/multi_grained losses/robust_asymmetric losses/self_paced_correction losses/two_way losses/zlpr method
        part samplers search_space weights
    """,
    "datasets/long_tail": "drawing selection statistics",
    "datasets/importing": "splits",
    "benchmark/training": "augmentation checkpoint evaluation feed generators learner metrics optimisation pretext",
    "benchmark/experiments": "experiment network overrides plan recipe streams",
    "benchmark/runs": "journal outcome predict run verification",
    "benchmark/executors": "run_plan",
    "benchmark/tracking": "winners upload",
    "reports/results": "bootstrap comparison reference rows runs significance",
    "reports/tables": "build result_table summary tuned",
    "reports/leaderboard": "check score_files submission",
    "studies/tuning": "definition study winners",
    "studies/sweeps": "sweep",
}
# Tests that speak of every room, for what a room's own do not notice: they train for some seconds.
EVERY_ROOM = "tests/end_to_end/test_identities.py"
GOAL = 0.95
# Mutants of each module, unless all are asked for.
SOME = 16
KEY, REASON = ("module", "was", "became", "number"), "equivalent because"
LIBRARIES = """
    torch torchvision pandas sklearn.metrics scipy.stats optuna matplotlib.pyplot seaborn
    mlflow.tracking mlflow.store.tracking.dbmodels.models
"""
# A mutant may loop for ever: this many times the seconds that its tests took, and some more.
PATIENCE, GRACE_SECONDS, IMPORT_SECONDS = 5, 3, 90
OPTIONS = [
    *("-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning", "-m", "not soak and not slow"),
]


class FirstPass:
    """A plugin of pytest: the tests run once, then the tests that reach a mutant's lines, in a fork for each mutant."""

    def __init__(self, mutants, progress):
        self.mutants, self.progress = mutants, progress
        self.failed, self.seconds = False, {}
        self.found = []  # of each mutant: noticed, the tests that reach it, their limit in seconds

    def pytest_runtest_logreport(self, report):
        self.failed = self.failed or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        modules = {mutant.module for mutant in self.mutants}
        items = {item.nodeid: item for item in session.items}
        reached = self._measure(session.items, modules)
        if noticed_in_fork(self._limit(items), self._fails, session.items):
            raise pytest.UsageError("tests that pass fail in a fork of the process, without any mutant")
        functions = live_functions({file_of(module) for module in modules})
        for mutant in self.mutants:
            reaching = self._tests_of(mutant, reached[mutant.module], items)
            tests, noticed = [items[test] for test in reaching], False
            if tests and not mutant.on_import:
                noticed = noticed_in_fork(self._limit(reaching), self._fails, tests, mutant, functions)
            self.found.append((noticed, reaching, self._limit(reaching)))
            self.progress(len(self.found))
        run_item(session.items[0], None)
        return True

    def _limit(self, tests):
        return PATIENCE * sum(self.seconds[test] for test in tests) + GRACE_SECONDS

    def _measure(self, items, modules):
        """Run every test; give the tests that reach each line of each module."""
        files = {module: str(ROOT / module) for module in modules}
        measured = coverage.Coverage(data_file=None, include=list(files.values()), messages=False)
        measured.start()
        for item, following in zip(items, [*items[1:], items[0]], strict=True):
            measured.switch_context(item.nodeid)
            began = time.perf_counter()
            run_item(item, following)
            self.seconds[item.nodeid] = time.perf_counter() - began
            if self.failed:
                raise pytest.UsageError(f"{item.nodeid} fails without any mutant")
        measured.stop()
        return {module: measured.get_data().contexts_by_lineno(file) for module, file in files.items()}

    def _tests_of(self, mutant, lines, items):
        """Tests that may notice: those of the module's own file first, then the fast ones."""
        tests = {test for line in mutant.lines for test in lines.get(line, ())} & items.keys()
        if mutant.on_import or not tests:  # any test may read what a module defines, and what it called for that
            tests = items.keys()
        name = Path(mutant.module).stem
        return sorted(tests, key=lambda test: (name not in test.partition("::")[0], self.seconds[test], test))

    def _fails(self, items, mutant=None, functions=None):
        if mutant:
            original = compile_module(mutant.module, (ROOT / mutant.module).read_text())
            for before, after in changed_code(original, compile_module(mutant.module, mutant.source)):
                for function in functions.get(before, ()):
                    function.__code__ = after
        for item, following in zip(items, [*items[1:], items[0]], strict=True):
            # Of the processor's seconds; the signal ends the process, as no test of the suite catches it.
            signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE * self.seconds[item.nodeid] + GRACE_SECONDS)
            run_item(item, following)
            if self.failed:
                return True
        return False


def run_item(item, following):
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def file_of(module):
    """Where Python finds a module, which is what its functions say of themselves."""
    return str(Path(importlib.util.find_spec("mltbench").submodule_search_locations[0]) / module)


def compile_module(module, source):
    return compile(source, file_of(module), "exec", dont_inherit=True)


def changed_code(before, after):
    """Code objects that differ, each with what takes its place."""
    if before == after:
        return
    yield before, after
    inner = [[part for part in code.co_consts if isinstance(part, CodeType)] for code in (before, after)]
    if len(inner[0]) == len(inner[1]):
        for pair in zip(*inner, strict=True):
            yield from changed_code(*pair)


def live_functions(files):
    """The functions that were defined in these files, by their code."""
    found = {}
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__.co_filename in files:
            found.setdefault(function.__code__, []).append(function)
    return found


def noticed_in_fork(limit, fails, *arguments):
    """Whether `fails` says so in a fork, or breaks, or takes more than the limit in seconds."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return status != 0
    status = 1
    try:
        os.setpgid(0, 0)
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit)))
        signal.alarm(int(4 * limit))
        status = int(fails(*arguments))
    finally:
        os._exit(status)


class Chosen:
    """A plugin of pytest: these tests, in this order, and then those of every room."""

    def __init__(self, tests):
        self.tests = tests

    def pytest_collection_modifyitems(self, items):
        found = {item.nodeid: item for item in items}
        chosen = [*self.tests, *(test for test in found if test.startswith(EVERY_ROOM))]
        items[:] = [found[test] for test in chosen if test in found]


def fails_anew(mutant, tests, options):
    """Whether the tests fail if the mutated module is imported anew."""
    get_code, file = SourceFileLoader.get_code, mutant and file_of(mutant.module)
    SourceFileLoader.get_code = lambda loader, name: (
        compile_module(mutant.module, mutant.source) if loader.path == file else get_code(loader, name)
    )
    files = [*dict.fromkeys(test.partition("::")[0] for test in tests), EVERY_ROOM] if mutant else tests
    return pytest.main([*options, "--exitfirst", *files], [Chosen(tests)] if mutant else []) != 0


def run_room(room, modules, wanted, results):
    """Run the mutants of some modules of a room; write what was found as JSON."""
    os.chdir(ROOT)
    # Sessions share the rendered scenes, as workers do; plugins of other packages take .4 s to find.
    os.environ.update(OMP_NUM_THREADS="1", PYTEST_XDIST_WORKER="mutants", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for library in LIBRARIES.split():
        importlib.import_module(library)
    gc.freeze()  # nothing of this is garbage, and every session looks for some when it ends
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True, phases=phases, max_examples=25)
    hypothesis.settings.load_profile("mutants")
    mutants, existing = [], []
    for module in modules:
        found = mutants_of(module, (ROOT / module).read_text())
        mutants += wanted(found)
        existing += [mutant.key for mutant in found]
    if not mutants:
        results.write_text(json.dumps([[], existing]))
        return
    folder = results.with_suffix("")
    sessions = [folder / name / "session" for name in ("first", "second")]
    for session in sessions:
        session.mkdir(parents=True)
    terminal = os.fdopen(os.dup(2), "w")

    def progress(title):
        return lambda done: done % 100 or print(f"{room}: {title} {done} of {len(mutants)}", file=terminal, flush=True)

    tests = [f"tests/{room}", EVERY_ROOM]
    first, log = folder / "first.json", folder / "first.log"
    if not (child := os.fork()):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 1)
        plugin = FirstPass(mutants, progress("first pass"))
        status = pytest.main([*OPTIONS, f"--basetemp={sessions[0]}", tests[0]], [plugin])
        sys.stdout.flush()
        if not status:
            first.write_text(json.dumps(plugin.found))
        os._exit(status)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{room}: the tests do not pass without a mutant\n{log.read_text()}")
    rows, options, passed = [], [*OPTIONS, f"--basetemp={sessions[1]}"], json.loads(first.read_text())
    if noticed_in_fork(IMPORT_SECONDS + max(row[2] for row in passed), fails_anew, None, tests, options):
        sys.exit(f"{room}: tests that pass fail in a fork that imports everything anew, without any mutant")
    for mutant, (noticed, reaching, limit) in zip(mutants, passed, strict=True):
        if not noticed:
            noticed = noticed_in_fork(IMPORT_SECONDS + limit, fails_anew, mutant, reaching, options)
        rows.append((mutant.key, mutant.lines[0], noticed, len(reaching)))
        progress("second pass")(len(rows))
    results.write_text(json.dumps([rows, existing]))


def chosen(words):
    """Modules by room, of the rooms and modules that are named."""
    rooms = {room: [f"{room}/{name}.py" for name in names.split()] for room, names in ROOMS.items()}
    known = {*rooms, *(module for modules in rooms.values() for module in modules)}
    if unknown := [word for word in words if word not in known]:
        sys.exit(f"no such room or module: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    picked = {room: [m for m in modules if not words or room in words or m in words] for room, modules in rooms.items()}
    return {room: modules for room, modules in picked.items() if modules}


def survivors_of(mutants):
    """What is listed without a reason."""
    listed = read_survivors()
    return [mutant for mutant in mutants if mutant.key in listed and not listed[mutant.key][REASON]]


def all_of(mutants):
    """All but those that are equivalent."""
    listed = read_survivors()
    return [mutant for mutant in mutants if mutant.key not in listed or not listed[mutant.key][REASON]]


def some_of(mutants):
    """A part of them, spread over the lines of the module; the same ones as long as the module stays."""
    share = SOME / max(len(mutants), SOME)
    return all_of([mutant for i, mutant in enumerate(mutants) if int(i * share) != int((i - 1) * share) or i == 0])


def record(rows, existing, again):
    """Write what was found of some modules into both tables; return the counts of these modules."""
    mutants, tried = Counter(key[0] for key in existing), Counter(key[0] for key, *_ in rows)
    found = {key: row for key, row in read_survivors().items() if key[0] not in mutants or key in existing}
    for key, line, noticed, tests in rows:
        found.pop(key, None)
        if not noticed:
            found[key] = {**dict(zip(KEY, key, strict=True)), "line": line, "tests": tests, REASON: ""}
    write(SURVIVORS, sorted(found.values(), key=lambda row: (row["module"], int(row["line"]))))
    table = read(COUNTS, ("module",))
    for module in mutants:
        survived = sum(key[0] == module and not noticed for key, _, noticed, _ in rows)
        equivalent = sum(key[0] == module and bool(row[REASON]) for key, row in found.items())
        before = int(table[(module,)]["killed"]) if again and (module,) in table else 0
        killed = before + tried[module] - survived
        row = {"module": module, "mutants": mutants[module], "equivalent": equivalent, "tried": killed + survived}
        score = killed / max(killed + survived, 1)
        table[(module,)] = {**row, "killed": killed, "survived": survived, "score": f"{score:.3f}"}
    write(COUNTS, [table[key] for key in sorted(table)])
    return [table[(module,)] for module in sorted(mutants)]


def read(path, key):
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {tuple(row[name] for name in key): row for row in csv.DictReader(file)}


def read_survivors():
    """Rows of the table of survivors by the key of their mutant; an equivalent one has a reason."""
    return {(*key[:3], int(key[3])): row for key, row in read(SURVIVORS, KEY).items()}


def write(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0] if rows else [*KEY, "line", "tests", REASON], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def report(counts):
    """Print a line for each module and one for all; whether the goal is reached."""
    names = ("mutants", "equivalent", "tried", "killed", "survived")
    total = {name: sum(int(row[name]) for row in counts) for name in names}
    share = total["killed"] / max(total["tried"], 1)
    print(f"{'module':42}{''.join(f'{name:>12}' for name in names)}{'score':>8}")
    for row in [*counts, {"module": "all", **total, "score": share}]:
        print(f"{row['module']:42}{''.join(f'{row[name]:>12}' for name in names)}{float(row['score']):>8.1%}")
    return share >= GOAL


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("modules", nargs="*", help="rooms or modules; all without any")
    which = options.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_const", dest="wanted", const="all", help="every mutant")
    which.add_argument(
        "--survivors", action="store_const", dest="wanted", const="survivors", help="what survived before"
    )
    options.add_argument("--jobs", type=int, default=os.cpu_count(), help="rooms at a time")
    options.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    options = options.parse_args()
    rooms = chosen(options.modules)
    if options.results:
        [(room, modules)] = rooms.items()
        choose = {"all": all_of, "survivors": survivors_of, None: some_of}[options.wanted]
        run_room(room, modules, choose, options.results)
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        jobs = {}
        for number, modules in enumerate(rooms.values()):
            results = Path(folder, f"{number}.json")
            words = [*modules, *([f"--{options.wanted}"] if options.wanted else []), "--results", results]
            jobs[pool.submit(subprocess.run, [sys.executable, __file__, *words])] = results
        counts, broken = [], False
        for job in as_completed(jobs):
            if job.result().returncode:
                broken = True  # as it has said; what the other rooms find is kept
                continue
            rows, existing = json.loads(jobs[job].read_text())
            rows = [(tuple(key), *rest) for key, *rest in rows]
            counts += record(rows, {tuple(key) for key in existing}, options.wanted == "survivors")
    reached = report(sorted(counts, key=lambda row: row["module"]))
    print(f"{(time.monotonic() - began) / 60:.0f} minutes")
    sys.exit(broken or not reached)


if __name__ == "__main__":
    main()
