"""What people call an experiment, kept in its run folder, so that the folder alone can be uploaded to MLflow."""

import json
from pathlib import Path

from ...errors import InputError
from ...files import replacing
from ..networks.initial_weights import InitialWeights
from .experiment import Experiment
from .plan import PlannedExperiment

LABELS_NAME = "labels.json"


def write_labels(planned: PlannedExperiment, plan: str, folder: Path) -> None:
    """Write the display names of an experiment, and the plan that asked for it, into its run folder."""
    labels = {
        "plan": plan,
        "title": planned.title,
        "recipe": planned.recipe,
        "settings": planned.settings,
        "images": planned.images,
        "weights_file": str(planned.weights.file) if planned.weights.file else None,
        "weights_settings": dict(planned.weights.settings),
        "tags": dict(planned.tags),
    }
    with replacing(folder / LABELS_NAME) as file:
        file.write(json.dumps(labels, indent=1).encode())


def read_planned(folder: Path) -> tuple[PlannedExperiment, str]:
    """Read a planned experiment, and its plan's name, from a run folder.

    A folder without labels, of an older version, gives what its experiment says.

    Raises:
        InputError: if the folder holds no experiment of this version.
    """
    try:
        text = (folder / "experiment.json").read_text(encoding="utf-8")
        experiment = Experiment.from_json(text)
        file = folder / LABELS_NAME
        labels = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        title = json.loads(text)["labels"]["title"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} holds no experiment that this version reads: {error}") from error
    weights = InitialWeights(
        backbone=experiment.backbone,
        digest=experiment.weights_digest,
        input=experiment.input_format,
        file=Path(labels["weights_file"]) if labels.get("weights_file") else None,
        settings=labels.get("weights_settings", {}),
    )
    planned = PlannedExperiment(
        experiment=experiment,
        title=labels.get("title", title),
        recipe=labels.get("recipe", "unknown"),
        settings=tuple(labels.get("settings", ())),
        images=labels.get("images", 0),
        weights=weights,
        tags=labels.get("tags", {}),
    )
    return planned, labels.get("plan", f"runs of {experiment.dataset}")
