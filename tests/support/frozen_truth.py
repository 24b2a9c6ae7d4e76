"""What a results root holds, as plain JSON that later code must reproduce to the bit.

Nothing of mltbench is imported: MLflow's file is read through MLflow's own client, run folders from outside. Costs,
times, command lines, places and machines are no part of it. To record anew, once numbers have changed on purpose:

    python tests/support/frozen_truth.py RUNS_ROOT STUDIES_ROOT > tests/end_to_end/frozen/experiments.json

The test that compares with `identities.json` says where it has left the numbers of now.
"""

import hashlib
import json
import platform
import re
import sys
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient

CIRCUMSTANCES = ("attempt", "command", "origin", "plan", "provenance.")


def numerics():
    """What decides the last bits, beside the code."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else platform.processor()
    model = re.findall(r"^(?:vendor_id|cpu family|model)\s*: (.*)$", info, re.MULTILINE)[:3]
    processor = " ".join([*model, torch.backends.cpu.get_cpu_capability()])
    return {"torch": str(torch.__version__), "numpy": np.__version__, "processor": processor}


def gives_the_bits_of(recorded):
    """Whether numbers must be those of a record to the bit.

    On one processor they were the same with torch 2.10.0, 2.13.0 and 2.14.1, on one thread: all of `identities.json`,
    and those of ERM, LDAM, ML-GCN and DB-Focal in `experiments.json`. With other kernels last bits differ, and with
    other versions of NumPy nobody has tried.
    """
    here = numerics()
    version = tuple(map(int, here.pop("torch").split(".")[:2]))
    return here == {key: recorded[key] for key in here} and (2, 10) <= version <= (2, 14)


def experiments(root):
    """Every experiment by `DATASET/METHOD/SEED`: ids, settings, metric histories, and digests of its bits."""
    found = {}
    for client, run, tags in _runs(root, "experiment"):
        folder = Path(root) / "runs" / tags["experiment_id"]
        name = f"{tags['dataset']}/{tags['method']}/{tags['seed']}"
        assert name not in found
        found[name] = {
            "status": run.info.status,
            "weights": weights_digest(folder / "weights.pt"),
            "test_scores": scores_digest(folder / "test_scores.npz"),
            "average_precision": json.loads((folder / "per_class.json").read_text())["average_precision"],
            "metrics": {key: _history(client, run, key) for key in sorted(run.data.metrics) if key[:5] != "cost/"},
            "params": dict(sorted(run.data.params.items())),
            "tags": {key: value for key, value in sorted(tags.items()) if not key.startswith(CIRCUMSTANCES)},
        }
    return dict(sorted(found.items()))


def studies(root):
    """Winners and trials of every study, the latter without numbers and order: settings and last validation scores."""
    found = {}
    for _, _, tags in _runs(root, "study"):
        winners = json.loads(tags.get("winners", "[]"))
        if isinstance(winners, int):
            winners = [json.loads(tags[f"winner.{number}"]) for number in range(winners)]
        kept = [{key: value for key, value in w.items() if key not in ("trial", "weights")} for w in winners]
        found[tags["study"]] = {"trials": [], "winners": sorted(kept, key=_canonical)}
    for _, run, tags in _runs(root, "trial"):
        trial = {key: tags[key] for key in ("dataset", "method", "seed", "experiment_id")}
        trial |= {"parameters": json.loads(tags["parameters"]), "state": tags["outcome"]}
        trial |= {"values": {k: v for k, v in sorted(run.data.metrics.items()) if k.startswith("validation/")}}
        found.setdefault(tags["study"], {"trials": [], "winners": []})["trials"].append(trial)
    for study in found.values():
        study["trials"].sort(key=_canonical)
    return dict(sorted(found.items()))


def weights_digest(file):
    """SHA-256 of the names, types, shapes and bytes of all tensors in a file of weights, in their order."""
    digest = hashlib.sha256()
    for name, tensor in torch.load(file, weights_only=True, map_location="cpu").items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def scores_digest(file):
    """SHA-256 of type, shape and bytes of the array `scores` in a `.npz` file."""
    with np.load(file, allow_pickle=False) as arrays:
        scores = np.ascontiguousarray(arrays["scores"])
    return hashlib.sha256(f"{scores.dtype} {scores.shape}\n".encode() + scores.tobytes()).hexdigest()


def differences(recorded, now, path=""):
    """Every place where two records differ, as `path: recorded ..., now ...`."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key in sorted(recorded.keys() | now.keys()):
            yield from differences(recorded.get(key), now.get(key), f"{path}/{key}")
    elif _canonical(recorded) != _canonical(now):
        yield f"{path[1:]}: recorded {_canonical(recorded)}, now {_canonical(now)}"


def _runs(root, kind):
    """Runs of one kind with the client and our own tags, by their names without `mltbench.`."""
    client = MlflowClient(f"sqlite:///{Path(root).resolve() / 'mlflow.db'}")
    places = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(places, f"tags.`mltbench.kind` = '{kind}'", max_results=1000)
    for run in runs:
        yield client, run, {k[9:]: v for k, v in run.data.tags.items() if k.startswith("mltbench.")}


def _history(client, run, name):
    """Every point of a metric as (step, value); one that MLflow holds twice is here twice."""
    points = client.get_metric_history(run.info.run_id, name)
    return [[point.step, point.value] for point in sorted(points, key=lambda point: (point.step, point.timestamp))]


def _canonical(value):
    return json.dumps(value, sort_keys=True)


def as_text(value, depth=4, indent="\n"):
    """As JSON, with one line for all that lies deeper than `depth`; numbers keep every bit."""
    if not depth or not isinstance(value, dict) or not value:
        return json.dumps(value)
    items = (f"{indent} {json.dumps(key)}: {as_text(item, depth - 1, indent + ' ')}" for key, item in value.items())
    return "{" + ",".join(items) + indent + "}"


if __name__ == "__main__":
    record = {"numerics": numerics(), "experiments": experiments(sys.argv[1]), "studies": studies(sys.argv[2])}
    sys.stdout.write(as_text(record) + "\n")
