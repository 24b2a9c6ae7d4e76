"""What made a run is known where there is no git as well."""

import shutil

import pytest
from mltbench.benchmark.runs import provenance
from mltbench.benchmark.runs.provenance import PACKAGE_ROOT, ROOMS, code_version, machine, source_digest


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as a wheel leaves it: its rooms, and neither a checkout nor a lock file."""
    folder = tmp_path / "mltbench"
    for room in ROOMS:
        shutil.copytree(PACKAGE_ROOT / room, folder / room)
    for file in PACKAGE_ROOT.glob("*.py"):
        shutil.copy(file, folder)
    monkeypatch.setattr(provenance, "PACKAGE_ROOT", folder)
    return folder


def test_a_wheel_has_the_digest_of_the_checkout_that_it_was_made_from(installed):
    version = code_version.__wrapped__()
    assert (version["commit"], version["dirty"]) == ("unknown", "unknown")
    assert version["source_digest"] == source_digest(PACKAGE_ROOT)
    assert version["mltbench"] == "0.1.0"


@pytest.mark.parametrize("name", ["__init__.py", "benchmark/executors/settings.py"])
def test_another_byte_or_another_name_is_another_digest(name, installed):
    whole, file = source_digest(installed), installed / name
    file.write_bytes(file.read_bytes() + b"\n")
    changed = source_digest(installed)
    file.rename(file.with_name("renamed.py"))
    assert len({whole, changed, source_digest(installed)}) == 3


def test_tf32_is_on_record_where_it_is_used(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a GPU")
    assert machine("cuda", 1)["float32_matmul"] == "high"
    assert "float32_matmul" not in machine("cpu", 1)
