"""Torchvision's published weights: found where torch keeps its downloads, else downloaded and checked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import torch
import torchvision

from ...errors import InputError
from .backbones import Backbone
from .weight_files import file_digest

ANSWER_WITHIN_SECONDS = 20.0


def downloaded_weights(backbone: Backbone, folder: Path) -> Path:
    """The file of a backbone's published weights, in torch's own folder; downloaded when it is not there.

    Args:
        backbone: one of torchvision's.
        folder: another folder in which a user may put the file, for the error message.

    Raises:
        InputError: if it cannot be downloaded, or what came is something else.
    """
    digest = Path(backbone.weights).stem.rpartition("-")[2]
    path = Path(torch.hub.get_dir()) / "checkpoints" / backbone.weights
    if path.is_file() and file_digest(path).startswith(digest):
        return path
    address = published_address(backbone)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _impatient():
            torch.hub.download_url_to_file(address, str(path), hash_prefix=digest, progress=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise InputError(
            f"the weights of {backbone.name} are not here, and {address} cannot be downloaded ({error}). Put that "
            f"file, whose SHA-256 begins with {digest}, into {path.parent} or {folder}; or name a file of your own "
            "with --weights FILE; or start from --weights random"
        ) from error
    return path


def published_address(backbone: Backbone) -> str:
    """Where torchvision fetches a backbone's weights."""
    return str(torchvision.models.get_model_weights(backbone.name)["IMAGENET1K_V1"].url)


@contextmanager
def _impatient() -> Iterator[None]:
    """Within, a server that says nothing is given up; torch sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(ANSWER_WITHIN_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
