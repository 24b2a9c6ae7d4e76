"""The images of a dataset's splits: decoded to their end, then told what was converted and what cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ..images.cache import BadImagesError, Cache, ImageFile, ImageReport, read_record, write_json
from ..images.cache_building import build_cache
from .dataset_folder import SIDES

QUARANTINE = "quarantine.json"
# Told what is being done, how much more of it was done, and how much there is.
Progress = Callable[[str, int, int], None]


def decode_splits(
    folder: Path,
    files: Mapping[str, Sequence[ImageFile]],
    *,
    cure: str,
    workers: int = 1,
    leave_out: bool = False,
    on_progress: Progress = lambda what, more, total: None,
) -> dict[str, Cache]:
    """Decode splits into a dataset's folder and write its quarantine report, also when images cannot be used.

    Args:
        folder: of the dataset.
        files: of each split that is wanted.
        cure: what to do about images that cannot be used, as the end of a sentence.
        workers: processes that decode.
        leave_out: go on without images that cannot be used.
        on_progress: told `decoding SPLIT`, how many more images are done, and how many there are.

    Raises:
        InputError: after all images were tried, if some cannot be used; what was decoded is kept.
    """
    caches: dict[str, Cache] = {}
    reports: dict[str, Sequence[ImageReport]] = {}
    for name, images in files.items():

        def tell(more: int, name: str = name, total: int = len(images)) -> None:
            on_progress(f"decoding {name}", more, total)

        path = folder / f"{name}.npy"
        try:
            caches[name] = build_cache(
                images, path, SIDES[name], workers=workers, leave_out=leave_out, on_progress=tell
            )
            reports[name] = caches[name].images
        except BadImagesError as error:
            reports[name] = error.images
    _write_quarantine(folder, reports)
    if len(caches) < len(files):
        raise _refusal(folder, [report for split in reports.values() for report in split], cure)
    return caches


def describe_reports(folder: Path, caches: Mapping[str, Cache]) -> list[str]:
    """What became of images that were left out or converted, a line each, with the file that lists all of them."""
    reports = [report for cache in caches.values() for report in cache.images]
    kinds = {
        "left out": [(report.path, report.problem) for report in reports if report.problem],
        "converted": [(report.path, report.note) for report in reports if report.note],
    }
    return [
        f"{what}: {len(found)} image{'s' * (len(found) > 1)}, such as {found[0][0]} ({found[0][1]}); "
        f"listed in {folder / QUARANTINE}"
        for what, found in kinds.items()
        if found
    ]


def _write_quarantine(folder: Path, reports: Mapping[str, Sequence[ImageReport]]) -> None:
    """Write the report of all splits; those that were decoded earlier are told of by their records."""
    entries: dict[str, list[dict[str, str]]] = {"unusable": [], "converted": []}
    for split in SIDES:
        earlier = read_record(folder / f"{split}.npy").get("images", ())
        for report in reports[split] if split in reports else [ImageReport(**image) for image in earlier]:
            entry = {"split": split, "image": report.id, "path": report.path}
            if report.problem:
                entries["unusable"].append(entry | {"reason": report.problem})
            elif report.note:
                entries["converted"].append(entry | {"what": report.note})
    write_json(folder / QUARANTINE, entries)


def _refusal(folder: Path, reports: Sequence[ImageReport], cure: str) -> InputError:
    bad = [report for report in reports if report.problem]
    lines = [f"  {report.path}: {report.problem}" for report in bad[:10]]
    lines += [f"  ... and {len(bad) - 10} more"] if len(bad) > 10 else []
    return InputError(
        f"{len(bad)} of {len(reports)} images cannot be used:\n" + "\n".join(lines) + "\n"
        f"all of them, with reasons: {folder / QUARANTINE}. {cure}"
    )
