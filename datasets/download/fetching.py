"""Downloads that go on where they were cut off, and that count only when they are whole."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...files import alone

BLOCK = 2**18
TRIES = 4
TIMEOUT_SECONDS = 30
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to be fetched.

    Attributes:
        url: where it lies.
        path: where it will lie.
        algorithm: of its digest, such as `md5`; empty where none is published.
        digest: in hex.
        most_bytes: larger answers are refused.
    """

    url: str
    path: Path
    algorithm: str = ""
    digest: str = ""
    most_bytes: int = 2**36


def fetch(download: Download, *, on_progress: Callable[[int, int], None] = lambda more, whole: None) -> Path:
    """Fetch a file that is not there yet; what an earlier try has got is kept and gone on from.

    Args:
        download: what, from where, to where.
        on_progress: told how many more bytes are there (fewer: a server began anew) and how many there will be (0:
            unknown).

    Raises:
        InputError: if the server refuses, stays away, or sends other bytes than published.
    """
    if download.path.exists():
        return download.path
    part = download.path.with_name(f"{download.path.name}.part")
    told = 0

    def tell(there: int, whole: int) -> None:
        nonlocal told
        on_progress(there - told, whole)
        told = there

    try:
        with alone(Path(f"{part}.lock"), f"downloading {download.url}"):
            if download.path.exists():
                return download.path
            for left in reversed(range(TRIES)):
                try:
                    _append(download, part, tell)
                    break
                except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                    if _hopeless(error) or not left:
                        raise _away(download, part, error) from error
                    time.sleep(PAUSE_SECONDS)
            _check(download, part)
            part.replace(download.path)
    except OSError as error:
        raise InputError(
            f"cannot write {download.path}: {error.strerror or error}; free some space or give another folder with "
            "--data-root (MLTBENCH_DATA). What was downloaded is kept, the same command goes on"
        ) from error
    Path(f"{part}.lock").unlink(missing_ok=True)
    return download.path


def fetch_all(
    downloads: Iterable[Download], *, at_once: int, on_progress: Callable[[int], None] = lambda done: None
) -> list[tuple[Download, str]]:
    """Fetch many small files in parallel; return those that could not be had, with the reason.

    Args:
        downloads: those that are there already cost nothing.
        at_once: connections at a time.
        on_progress: called with 1 for each file that is done, well or not.
    """
    failed = []
    with ThreadPoolExecutor(at_once) as pool:
        futures = {pool.submit(fetch, download): download for download in downloads}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except InputError as error:
                    failed.append((futures[future], str(error)))
                on_progress(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return sorted(failed, key=lambda item: item[0].url)


def file_digest(path: Path, algorithm: str) -> str:
    """Digest of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _append(download: Download, part: Path, tell: Callable[[int, int], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(download.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        if error.code == 416 and have:  # nothing is left to send: the part is whole, or was never of this file
            return
        raise
    with answer:
        resumed = answer.status == 206
        length = int(answer.headers.get("Content-Length") or 0)
        whole = (have if resumed else 0) + length
        if whole > download.most_bytes:
            raise InputError(f"{download.url} has {whole:,} bytes; at most {download.most_bytes:,} are taken")
        tell(have if resumed else 0, whole)
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                tell(file.tell(), whole)
                if file.tell() > download.most_bytes:
                    raise InputError(f"{download.url} sends more than {download.most_bytes:,} bytes")
    if length and part.stat().st_size < whole:
        raise ConnectionError(f"cut off after {part.stat().st_size:,} of {whole:,} bytes")


def _check(download: Download, part: Path) -> None:
    if not part.exists() or part.stat().st_size == 0:
        part.unlink(missing_ok=True)
        raise InputError(f"{download.url} sent nothing; try again later")
    if download.algorithm and (found := file_digest(part, download.algorithm)) != download.digest:
        part.unlink()
        raise InputError(
            f"{download.url} has {download.algorithm} {found}, published is {download.digest}: damaged on the way or "
            "not the official file. It was deleted; give the same command again to download it anew"
        )


def _hopeless(error: Exception) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)


def _away(download: Download, part: Path, error: Exception) -> InputError:
    kept = f"; {part.stat().st_size:,} bytes are kept, the same command goes on" if part.exists() else ""
    return InputError(f"cannot download {download.url}: {error}{kept}")


def describe_failures(failed: Sequence[tuple[Download, str]]) -> str:
    """The first reasons and how many there are."""
    lines = [f"  {reason}" for _, reason in failed[:5]] + ([f"  ... and {len(failed) - 5} more"] if failed[5:] else [])
    return "\n".join(lines)
