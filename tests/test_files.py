import hashlib
import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mltbench.files import file_digest, open_durably, replacing, safe_file_name

HOSTILE = [
    "", ".", "..", "../x", "..\\x", "/etc/passwd", "C:\\x", "a\0b", "a\nb", ".hidden", "-rf", "x.", "x ", "\ud800",
    "con", "NUL", "Com1.txt", "lpt9.tar.gz", "x" * 101, "ü" * 300, "=HYPERLINK(1)", "a:b", "a*b?", "~root", "$HOME",
]  # fmt: skip
NAMES = st.one_of(st.text(max_size=300), st.sampled_from(HOSTILE), st.text("./\\-=aA~\0", max_size=12))


@given(NAMES)
@example("voc-mlt=dadd0c6d")
def test_any_name_becomes_a_safe_file_name(name):
    name = safe_file_name(name)
    assert PureWindowsPath(name).parts == PurePosixPath(name).parts == (name,)
    assert 0 < len(os.fsencode(name)) <= 100
    assert name.isascii()
    assert not set(name) & {*'<>:"/\\|?*~$`;& ', *map(chr, range(32)), "\x7f"}
    assert (name[0] not in ".-", name[-1] not in ". ") == (True, True)
    # As Windows says itself, whatever the end: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
    devices = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{n}" for kind in ("COM", "LPT") for n in range(10))}
    assert name.split(".")[0].upper() not in devices


@given(st.lists(NAMES, unique=True, max_size=8))
@example(["../voc mlt", "voc-mlt", "voc mlt", "voc-mlt=dadd0c6d"])
def test_different_names_stay_different(names):
    assert len({safe_file_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("opened", [replacing, open_durably])
def test_a_file_is_replaced_whole_or_not_at_all(opened, tmp_path):
    path = tmp_path / "file"
    with opened(path) as file:
        file.write(b"old")
    with pytest.raises(TypeError), opened(path) as file:
        file.writelines([b"a part" * 1000, "no bytes"])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert file_digest(path) == hashlib.sha256(b"old").hexdigest()
    assert file_digest(path, "md5") == hashlib.md5(b"old").hexdigest()
