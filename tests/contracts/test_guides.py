"""Every command and every piece of Python that guides, docstrings and messages show is run, or is marked."""

import importlib
import re
import subprocess
from functools import cache, reduce
from pathlib import Path

import cyclopts
import numpy as np
import pytest
import small_world
import torch
from command_line import call
from mltbench.__main__ import COMMANDS, GROUPS
from mltbench.dispatch import command_line
from mltbench.reports.figures.registry import list_figures
from product import MODULES, ROOMS, ROOT
from shown_commands import GUIDES, blocks_of, commands_of, examples, hints, inline_code_of, python_of
from small_world import require

TUTORIAL = ROOT / "reports" / "TUTORIAL.md"  # tests/end_to_end/test_tutorial.py runs it from its beginning to its end
LONGEST_GUIDE, LONGEST_README, WIDEST = 150, 120, 120
# What is not run as it is shown, and why. What is marked `# network` or `# GPU` is parsed alone, too.
PARSED_ALONE = {
    r"bench ": "it measures for minutes; tests/benchmark/speed runs each in miniature",
    r"study worker": "it joins a study that has to be under way; tests/studies/tuning starts workers",
    r"verify ": "it trains in a process of its own; tests/benchmark/runs/test_run.py verifies runs",
    r".*--executor ray": "it needs a cluster; tests/benchmark/executors/test_executors.py starts one",
    r".*(postgresql|http)://(?!example)": "it needs a server; tests/benchmark/tracking starts them",
    r"data import (pets|town|devkit)": "tests/datasets/importing imports labels of every kind",
    r"data import (nih|chexpert|mimic|padchest|open-images)": "tests/end_to_end/test_published_layouts.py imports them",
    r"data prepare ": "it wants the published files; tests/datasets/published has some of that layout",
    r"run .*--seeds \d\d": "it trains hundreds of runs",
    r".*\b(NAME|FILE|FOLDER)\b": "a name stands for many",
}
PROGRAMS = {
    "mlflow": "serves until it is stopped",
    "optuna-dashboard": "serves until it is stopped",
    "benchmark/speed/gpu_check.sh": "tests/benchmark/speed/test_gpu_check.py runs it in miniature",
    "cd": "the shell's own",
}
OTHERS = ("ray ", "mlflow ", "createdb ")  # whose options are theirs
# What takes long otherwise: tests/studies search and sweep, tests/reports and the tutorial draw all figures.
SOME = ["--figure", "groups", "--figure", "tuned-winners", "--figure", "class-size"]  # on data without a head class
MORE_WORDS = {
    "study tune": ["--dry-run"],
    "study run": ["--dry-run"],
    "report": ["--no-figures"],
    "figures draw digits-mlt": SOME,
    "figures draw --labels": ["--figure", "co-occurrence"],
    "compare": ["--dataset", "digits-mlt"],
}

SHOWN = [shown for guide in GUIDES for shown in commands_of(guide)]
OURS = [shown for shown in SHOWN if shown.words[0] == "mltbench"]


def parse(words):
    """Refuse unknown commands, options and values; the name of a command alone only has to exist."""
    if " ".join(words) not in {*COMMANDS, *GROUPS}:
        parser = parser_of(*words[: 1 + (words[0] in GROUPS)])
        parser.parse_args(words, exit_on_error=False, print_error=False)


@cache
def parser_of(*name):
    return command_line(name, COMMANDS, GROUPS)


def require_none(wrong):
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_command_that_is_shown_parses():
    wrong = []
    advised = set(hints())
    for shown in {shown.text: shown for shown in [*OURS, *examples(), *advised]}.values():
        try:
            parse(shown.words[1:])
        except (cyclopts.CycloptsError, ValueError) as error:
            # Prose may name an option, `mltbench run --from-study`, without a value.
            if shown not in advised or not isinstance(error, cyclopts.MissingArgumentError):
                wrong.append(f"{shown}: {error}")
    require_none(wrong)


def test_every_other_program_that_is_shown_needs_a_network_or_a_gpu_or_is_a_target_of_make():
    wrong = []
    for shown in SHOWN:
        program, *rest = shown.words
        if program == "make":
            ended = subprocess.run(["make", "--dry-run", *rest], cwd=ROOT, capture_output=True, text=True, timeout=60)
            wrong += [] if ended.returncode == 0 else [f"{shown}: {ended.stderr}"]
        elif program.startswith("mltbench."):
            wrong += [] if (ROOT / program.partition(".")[2].replace(".", "/")).with_suffix(".py").exists() else [shown]
        elif program != "mltbench" and not shown.needs and program not in PROGRAMS:
            wrong.append(f"{shown}: mark it `# network` or `# GPU`, or run it here")
    require_none(wrong)


@pytest.fixture
def world(own_folder, own_registrations, closed_studies, monkeypatch, tmp_path):
    """A folder with all that commands name; gives the ids of two finished runs."""
    monkeypatch.setenv("MLTBENCH_DATA", str(tmp_path / "data"))
    small_world.shrink(monkeypatch)
    small_world.make_files(tmp_path)
    return small_world.make_results(tmp_path)


def reason_to_parse_alone(text):
    return next((why for pattern, why in PARSED_ALONE.items() if re.match(pattern, text)), None)


def test_every_command_and_every_piece_of_python_that_is_shown_runs(world):
    wrong, done = [], set()
    guides = [path for path in GUIDES if path != TUTORIAL]
    for guide in sorted(guides, key=lambda path: path.name != "CONTRIBUTING.md"):  # whose plug-in the others name
        for shown in python_of(guide):
            problem = problem_of(run_python, shown.text)
            wrong += [f"{shown.place}: {problem}"] if problem else []
        for shown in commands_of(guide):
            wrong += run_once(shown, world, done)
    for shown in sorted(examples(), key=lambda shown: "delete" in shown.words):  # at the end: others need that run
        wrong += run_once(shown, world, done)
    require_none(wrong)


def run_once(shown, ids, done):
    """Run a command unless it was, or is parsed alone; give what went wrong, as a list."""
    program, *words = shown.words
    text = " ".join(words)
    named = shown.inline and text in {*COMMANDS, *GROUPS}
    if program != "mltbench" or shown.needs or named or reason_to_parse_alone(text) or text in done:
        return []
    more = next((more for name, more in MORE_WORDS.items() if text.startswith(name) and more[0] not in words), [])
    done.add(text)
    given = [one for word in words for one in files_of(named_for(word, ids))]
    problem = problem_of(lambda: require(call(*given, *more)))
    return [f"{shown}: {problem}"] if problem else []


def named_for(word, ids):
    """A word with the ids of guides replaced by those of finished runs."""
    return reduce(lambda text, pair: text.replace(*pair), zip(("3f2a91c0", "77b0e4d1"), ids, strict=True), word)


def files_of(word):
    """What a shell makes of a word."""
    return sorted(Path().glob(word)) if "*" in word else [word]


def problem_of(action, *arguments):
    try:
        action(*arguments)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[-600:]}"
    return ""


def run_python(text):
    """Run a piece of Python: as a part of the file that its first line names, else on small labels and logits."""
    name = re.match(r"# (\S+\.py)\n", text)
    module = name and next((module for module, path in MODULES.items() if path == ROOT / name.group(1)), None)
    if name and not module:
        Path(name.group(1)).write_text(text)
        return
    names = dict(vars(importlib.import_module(module))) if module else {
        "labels": np.eye(4, 3, dtype=np.uint8), "targets": torch.eye(4, 3),
        "logits": torch.zeros(4, 3, requires_grad=True),
    }  # fmt: skip
    if module == "mltbench.methods.catalogue":  # a row of its table
        text = f"register_method({text})"
    exec(text, names)


def test_guides_are_short_and_readable_as_plain_text():
    wrong = []
    for guide in GUIDES:
        name, lines = guide.relative_to(ROOT).as_posix(), guide.read_text(encoding="utf-8").splitlines()
        most = LONGEST_README if name == "README.md" else LONGEST_GUIDE
        wrong += [f"{name}: {len(lines)} lines, of at most {most}"] if len(lines) > most else []
        long = [i for i, line in enumerate(lines, 1) if len(line) > WIDEST and not line.startswith(("|", "!["))]
        wrong += [f"{name}:{i}: wider than {WIDEST}" for i in long]
        kinds = {language for language, _, _ in blocks_of(guide)} - {"sh", "python", "text", "json"}
        wrong += [f"{name}: a block of {kinds}; its commands are run where it is marked sh or python"] if kinds else []
        wrong += [f"{name}:{i}: mark a block by ```" for i, line in enumerate(lines, 1) if indented_block(lines, i)]
    require_none(wrong)


def indented_block(lines, i):
    before = next((line for line in reversed(lines[: i - 1]) if line.strip()), "")
    inside = sum(line.startswith("```") for line in lines[: i - 1]) % 2
    return not inside and lines[i - 1].startswith("    ") and not before.startswith((" ", "-", "1"))


def test_every_file_and_every_option_that_guides_name_exists():
    options = {"--help", "--version"} | {name for words in COMMANDS for name in options_of(words)}
    wrong = []
    for guide in GUIDES:
        for shown in inline_code_of(guide):
            own = guide.name != "CHANGELOG.md" and not shown.text.startswith(OTHERS)  # what is gone has its line there
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown.text) if own else ():
                wrong += [] if option in options else [f"{shown}: no command has {option}"]
            if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|sh|md|toml|json)", shown.text):
                places = (ROOT, guide.parent, *(ROOT / room for room in ROOMS))
                there = any((place / shown.text).exists() for place in places)
                wrong += [] if there else [f"{shown}: there is no such file"]
        for target in re.findall(r"\]\(([^)#]+)\)", guide.read_text(encoding="utf-8")):
            there = target.startswith("http") or (guide.parent / target).exists()
            wrong += [] if there else [f"{guide.name}: a link to {target}, which is not there"]
    require_none(wrong)


def options_of(words):
    app = command_line(words.split(), COMMANDS, GROUPS)[words.split()[0]]
    for word in words.split()[1:]:
        app = app[word]
    arguments = app.assemble_argument_collection()
    return [name for argument in arguments for name in argument.names if name.startswith("--")]


def test_the_guide_of_reports_lists_the_figures():
    table = re.findall(r"^\| (`[^|]+) \|", (ROOT / "reports" / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`([a-z-]+)`", cell)}
    assert named >= {figure.name for figure in list_figures() if figure.part in ("results", "labels", "equations")}
