"""Archives that are not trusted: only plain files below the target, none too large, whole or not at all."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from ...errors import InputError
from ...files import writing

MOST_MEMBERS = 1_000_000
MOST_BYTES = 16 * 2**30


def extract_tar(archive: Path, target: Path, *, wanted: Sequence[str], on_progress: Callable[[int, int], None]) -> None:
    """Extract the files of a tar that lie in the wanted folders into a folder that is there whole or not at all.

    `on_progress` is called with how many more bytes of the archive were read, and its size. Raises `InputError` if the
    archive is damaged, or any member is absolute, goes up, is a link or a device, or all of them are too large.
    """
    if target.exists():
        return
    aside = target.with_name(f".{target.name}.extracting")
    with writing(f"{target}, extracted from {archive}"):
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
        try:
            _require_end(archive)
            with tarfile.open(archive, "r:") as tar:
                tar.extractall(aside, filter=_member_filter(archive, wanted, on_progress))
            aside.rename(target)
        except InputError:
            raise
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise InputError(f"{archive} is damaged: {error}; delete it, it will be downloaded again") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def read_zip_member(archive: Path, member: str, *, most_bytes: int = 2**31) -> bytes:
    """One file of a zip.

    Raises `InputError` if the archive is damaged, lacks the file, or the file is larger than allowed.
    """
    try:
        with zipfile.ZipFile(archive) as content, content.open(member) as file:
            data = file.read(most_bytes + 1)
    except (KeyError, zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        wrong = f"lacks {member}" if isinstance(error, KeyError) else f"is damaged: {error}"
        raise InputError(f"{archive} {wrong}; delete it, it will be downloaded again") from error
    if len(data) > most_bytes:
        raise InputError(f"{archive}: {member} unpacks to more than {most_bytes:,} bytes; it is not the official file")
    return data


def _require_end(archive: Path) -> None:
    """A tar ends with two blocks of zeros; `tarfile` takes one that was cut between two members for whole."""
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - 1024))
        if file.read() != bytes(1024):
            raise tarfile.ReadError("it does not end as a tar does")


def _member_filter(
    archive: Path, wanted: Sequence[str], on_progress: Callable[[int, int], None]
) -> Callable[[tarfile.TarInfo, str], tarfile.TarInfo | None]:
    """What `tarfile` asks before it extracts a member; stricter than its `data` filter, which lets links through."""
    size, read, unpacked, number = archive.stat().st_size, 0, 0, 0

    def check(member: tarfile.TarInfo, target: str) -> tarfile.TarInfo | None:
        nonlocal read, unpacked, number
        path = PurePosixPath(member.name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0].endswith(":"):
            raise InputError(f"{archive}: the member {member.name!r} lies outside the target; nothing was extracted")
        if not (member.isreg() or member.isdir()):
            kind = "a link" if member.issym() or member.islnk() else "a device or another special file"
            raise InputError(f"{archive}: the member {member.name!r} is {kind}; nothing was extracted")
        unpacked, number = unpacked + member.size, number + 1
        if number > MOST_MEMBERS or unpacked > MOST_BYTES:
            raise InputError(f"{archive} unpacks to more than {MOST_BYTES:,} bytes or {MOST_MEMBERS:,} files: refused")
        on_progress(member.offset_data - read, size)
        read = member.offset_data
        needed = member.isreg() and any(f"/{folder}/" in member.name for folder in wanted)
        return tarfile.data_filter(member, target) if needed else None

    return check
