"""Downloads that resume where they were cut off, and that count only when they are whole."""

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, require_known
from ...files import file_digest, locked, writing

SITES = {
    "voc": "https://thor.robots.ox.ac.uk/pascal/VOC",
    "coco": "http://images.cocodataset.org",
    "lists": (
        "https://raw.githubusercontent.com/wutong16/DistributionBalancedLoss/"
        "14460d0acda6a3e77a8a6a5999b9746243cb1535/appendix"
    ),
}
BLOCK = 2**18
TRIES = 4
CONNECTIONS = 8
TIMEOUT_SECONDS = 30
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to be fetched, with its published digest in hex if there is one; larger answers are refused."""

    url: str
    path: Path
    algorithm: str = ""  # of the digest, such as `md5`
    digest: str = ""
    most_bytes: int = 2**36


def address(site: str, path: str) -> str:
    """The address of a file at one of the `SITES`; `MLTBENCH_ADDRESS_VOC`, `_COCO` and `_LISTS` name mirrors.

    >>> address("coco", "/val2017/000000000139.jpg")
    'http://images.cocodataset.org/val2017/000000000139.jpg'
    """
    require_known("site", site, SITES)
    variable = f"MLTBENCH_ADDRESS_{site.upper()}"
    base = os.environ.get(variable) or SITES[site]
    if not base.startswith(("http://", "https://")):
        raise InputError(f"{variable}={base!r} must begin with http:// or https://")
    return f"{base.rstrip('/')}/{path.lstrip('/')}"


def fetch(download: Download, *, on_progress: Callable[[int, int], None] = lambda more, whole: None) -> Path:
    """Fetch a file that is not there yet, resuming an earlier try.

    `on_progress` is called with how many more bytes are there (fewer: a server began anew) and how many there will be
    (0: unknown). Raises `InputError` if the server refuses, does not answer, or sends other bytes than published.
    """
    if download.path.exists():
        return download.path
    part = download.path.with_name(f"{download.path.name}.part")
    reported = 0

    def report(there: int, whole: int) -> None:
        nonlocal reported
        on_progress(there - reported, whole)
        reported = there

    with writing(str(download.path)), locked(Path(f"{part}.lock"), f"downloading {download.url}"):
        if download.path.exists():
            return download.path
        for left in reversed(range(TRIES)):
            try:
                _append(download, part, report)
                break
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                code = error.code if isinstance(error, urllib.error.HTTPError) else 500
                if not left or (code < 500 and code not in (408, 429)):
                    there = f"{part.stat().st_size:,} bytes" if part.exists() else ""
                    kept = f"; {there} are kept, the same command resumes from there" if there else ""
                    raise InputError(f"cannot download {download.url}: {error}{kept}") from error
                time.sleep(PAUSE_SECONDS)
        _check(download, part)
        part.replace(download.path)
    Path(f"{part}.lock").unlink(missing_ok=True)
    return download.path


def fetch_all(downloads: Sequence[Download], what: str, *, on_progress: Callable[[int, int], None]) -> None:
    """Fetch many small files in parallel, `what` they are for messages; those that are there already cost nothing.

    `on_progress` is called with 1 for each file that is done, successfully or not, and their number. Raises
    `InputError` after all of them were tried, if some could not be fetched.
    """
    failed: list[tuple[str, str]] = []
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        futures = {pool.submit(fetch, download): download.url for download in downloads}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except InputError as error:
                    failed.append((futures[future], str(error)))
                on_progress(1, len(downloads))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if failed:
        lines = [f"  {reason}\n" for _, reason in sorted(failed)[:5]]
        lines += [f"  ... and {len(failed) - 5} more\n"] if failed[5:] else []
        found = f"{len(failed)} of {len(downloads)} {what} could not be downloaded:\n{''.join(lines)}"
        raise InputError(f"{found}the others are kept; give the same command again")


def _append(download: Download, part: Path, report: Callable[[int, int], None]) -> None:
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
        report(have if resumed else 0, whole)
        with part.open("ab" if resumed else "wb") as file:
            while block := answer.read(BLOCK):
                file.write(block)
                report(file.tell(), whole)
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
        wanted = f"published is {download.digest}: damaged on the way or not the official file"
        cure = "It was deleted; give the same command again to download it anew"
        raise InputError(f"{download.url} has {download.algorithm} {found}, {wanted}. {cure}")
