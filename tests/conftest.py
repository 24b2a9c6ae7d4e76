"""Which tests are slow, and where the fixtures of several rooms come from."""

import os
from pathlib import Path

import pytest

# Files that start processes, servers or a browser, train, draw, or render every variant: four fifths of the time.
# `make test-fast` does without.
SLOW = """
    benchmark/commands/test_command_line benchmark/commands/test_command_line_errors benchmark/commands/test_runs
    benchmark/executors/test_executors benchmark/networks/test_backbones benchmark/networks/test_weight_files
    benchmark/runs/test_cohort benchmark/runs/test_crashes benchmark/runs/test_losses_that_remember
    benchmark/runs/test_resume benchmark/speed/test_bench
    benchmark/speed/test_estimate benchmark/speed/test_gpu_check benchmark/speed/test_loop
    benchmark/tracking/test_deleted_in_mlflow benchmark/tracking/test_moved_results benchmark/tracking/test_store
    benchmark/tracking/test_upload benchmark/training/test_fast_path benchmark/training/test_pretended_cuda
    contracts/test_contracts contracts/test_guides contracts/test_narrow_terminal datasets/images/test_image_cache
    datasets/importing/test_image_import datasets/importing/test_importers datasets/prepared/test_decoded_splits
    datasets/published/test_preparing end_to_end/test_frozen_truth end_to_end/test_published_layouts
    end_to_end/test_tutorial end_to_end/test_without_validation end_to_end/test_written_before
    reports/figures/test_figure_registry reports/figures/test_looks reports/figures/test_result_figures
    reports/leaderboard/test_leaderboard reports/pages/test_report_command reports/pages/test_report_page
    reports/results/test_loaded_results studies/sweeps/test_sweeps studies/tuning/test_tuning
    studies/tuning/test_workers
"""


# pytest-xdist gives its workers the width of a narrow terminal; what commands print in tests is as wide as in a pipe.
os.environ.pop("COLUMNS", None)


def pytest_collection_modifyitems(items):
    slow = {Path(__file__).parent / f"{name}.py" for name in SLOW.split()}
    assert all(path.exists() for path in slow)
    for item in items:
        if item.path in slow:
            item.add_marker(pytest.mark.slow)
    # One test each, of most of a minute: at the end, one core alone would be at work.
    longest = [Path(__file__).parent / name for name in ("contracts/test_guides.py", "end_to_end/test_tutorial.py")]
    items.sort(key=lambda item: item.path not in longest)


def pytest_configure(config):
    """A process that only hands tests to pytest-xdist's workers does without: importing torch takes it 8 seconds."""
    if config.getoption("dist", "no") == "no":
        config.pluginmanager.import_plugin("shared_fixtures")
