"""A small devkit in the official layout, as archives behind a local server and as folders, prepared end to end."""

import contextlib
import functools
import hashlib
import http.server
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mltbench.datasets.download import fetching
from mltbench.datasets.long_tail.selection import ids_digest
from mltbench.datasets.prepared.dataset_folder import open_prepared, read_manifest
from mltbench.datasets.published.published_set import Place, PublishedSet, rebuild
from mltbench.datasets.published.voc_mlt import IMAGE_SETS, prepare_voc, read_year
from mltbench.errors import InputError
from PIL import Image

CLASSES = ("person", "dog", "sofa")
PATHS = {"VOC2012": "voc2012/trainval.tar", "VOC2007": "voc2007/test.tar"}


def annotation(name, size, objects):
    body = "".join(f"<object><name>{c}</name><difficult>{d}</difficult></object>" for c, d in objects)
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.jpg</filename>{shape}{body}</annotation>"


def make_year(devkit, year, number, seed):
    random_state = np.random.default_rng(seed)
    folder = devkit / year
    for part in ("JPEGImages", "Annotations", "ImageSets/Main", "SegmentationClass"):
        (folder / part).mkdir(parents=True)
    names = [f"{year[3:]}_{i:06d}" for i in range(number)]
    for i, name in enumerate(names):
        size = 50 + i % 3, 40
        pixels = random_state.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg")
        objects = [(CLASSES[0], 0)] if i % 2 == 0 else [(CLASSES[1], 0), (CLASSES[0], 1)]
        objects += [(CLASSES[2], 0)] if i % 5 == 0 else []
        (folder / "Annotations" / f"{name}.xml").write_text(annotation(name, size, objects))
    (folder / "ImageSets" / "Main" / f"{IMAGE_SETS[year]}.txt").write_text("\n".join(names))
    (folder / "SegmentationClass" / "left_out.png").write_bytes(b"not needed")


@pytest.fixture(scope="session")
def devkit(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc") / "VOCdevkit"
    make_year(root, "VOC2012", 80, 0)
    make_year(root, "VOC2007", 40, 1)
    return root


@pytest.fixture(scope="session")
def published(devkit):
    empty = {"digests": {}, "list_path": "voc/img_id.txt", "list_file_digest": "", "list_digest": ""}
    small = PublishedSet(
        name="voc-mlt",
        classes=CLASSES,
        largest=30,
        generator=functools.partial(random.Random, 0),
        validation=12,
        **empty,
    )
    year = read_year(devkit / "VOC2012", "trainval", CLASSES)
    return replace(small, list_digest=ids_digest(rebuild(small, year.labels)))


def make_archives(devkit, folder):
    for year, path in PATHS.items():
        (folder / path).parent.mkdir(parents=True)
        with tarfile.open(folder / path, "w") as tar:
            tar.add(devkit / year, arcname=f"VOCdevkit/{year}")


@pytest.fixture
def site(devkit, tmp_path, monkeypatch):
    """A server on 127.0.0.1 that holds the archives; its folder can be changed."""
    folder = tmp_path / "site"
    make_archives(devkit, folder)
    with serving(folder) as address:
        monkeypatch.setenv("MLTBENCH_ADDRESS_VOC", address)
        monkeypatch.setenv("MLTBENCH_ADDRESS_LISTS", address)
        monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.01)
        yield folder


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Answers ranges, and breaks off after so many bytes when told to."""

    requests: list
    break_after = None

    def log_message(self, *arguments):
        self.requests.append((self.path, self.headers.get("Range")))

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        stop = len(data) if type(self).break_after is None else start + type(self).break_after
        self.wfile.write(data[start:stop])


@contextlib.contextmanager
def serving(folder, break_after=None):
    handler = type("Handler", (RangeHandler,), {"requests": [], "break_after": break_after})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def archives(site, **wrong):
    return {
        year: (path, wrong.get(year) or hashlib.md5((site / path).read_bytes()).hexdigest())
        for year, path in PATHS.items()
    }


def prepare(published, data_root, **arguments):
    chosen = {key: arguments.pop(key) for key in ("root", "splits") if key in arguments}
    place = Place(data_root=data_root, **chosen)
    return prepare_voc(published, place, on_progress=lambda *told: None, **arguments)


def opened(data_root, name="voc-mlt"):
    return open_prepared(data_root / name, read_manifest(data_root / name))


def test_archives_become_a_dataset(site, published, tmp_path):
    _, remarks = prepare(published, tmp_path / "data", archives=archives(site))
    assert any("without the published list" in remark for remark in remarks)
    dataset = opened(tmp_path / "data")
    assert ids_digest(dataset.split("train").ids.tolist()) == published.list_digest
    assert [dataset.split(name).images.shape[1] for name in ("train", "validation", "test")] == [280, 224, 224]
    assert len(dataset.split("validation")) == 12
    assert len(dataset.split("test")) == 40
    # Person stands in every image, as a difficult object in the odd ones.
    assert dataset.labels("test")[:, 0].sum() == 40
    assert not (
        tmp_path / "data" / "downloads" / "voc" / "VOC2012" / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    ).exists()


def test_folders_give_the_same_as_archives(site, devkit, published, tmp_path):
    prepare(published, tmp_path / "a", archives=archives(site))
    prepare(published, tmp_path / "b", root=devkit.parent)
    prepare(published, tmp_path / "c", root=devkit)
    a, b, c = (opened(tmp_path / name) for name in "abc")
    assert a.digest == b.digest == c.digest
    for split in ("train", "validation", "test"):
        assert (a.split(split).images == b.split(split).images).all()


def test_without_difficult_objects_it_is_another_dataset(devkit, published, tmp_path):
    prepare(published, tmp_path, root=devkit)
    prepare(published, tmp_path, root=devkit, difficult=False)
    both, sure = opened(tmp_path), opened(tmp_path, "voc-mlt-nodifficult")
    assert both.digest != sure.digest
    assert sure.labels("test")[:, 0].sum() == 20
    assert both.split("train").ids.tolist() == sure.split("train").ids.tolist()


def test_a_download_that_breaks_off_is_gone_on_from(site, published, tmp_path, monkeypatch):
    size = (site / PATHS["VOC2012"]).stat().st_size
    with serving(site, break_after=size // 3) as address:
        monkeypatch.setenv("MLTBENCH_ADDRESS_VOC", address)
        prepare(published, tmp_path / "data", archives=archives(site))
    assert len(opened(tmp_path / "data").split("test")) == 40


def test_progress_counts_no_byte_twice(site, tmp_path):
    size, told = (site / PATHS["VOC2012"]).stat().st_size, []
    with serving(site, break_after=size // 3) as address:
        wanted = fetching.Download(url=f"{address}/{PATHS['VOC2012']}", path=tmp_path / "kept.tar")
        fetching.fetch(wanted, on_progress=lambda more, whole: told.append((more, whole)))
    assert sum(more for more, _ in told) == size == told[-1][1]


def test_a_server_that_never_gets_far_keeps_what_was_sent(site, published, tmp_path, monkeypatch):
    with serving(site, break_after=1000) as address:
        monkeypatch.setenv("MLTBENCH_ADDRESS_VOC", address)
        with pytest.raises(
            InputError, match=r"cut off after 4,000 .* 4,000 bytes are kept, the same command resumes from there"
        ):
            prepare(published, tmp_path / "data", archives=archives(site))
    monkeypatch.setattr(fetching, "TRIES", 1)
    with serving(site) as address:
        monkeypatch.setenv("MLTBENCH_ADDRESS_VOC", address)
        prepare(published, tmp_path / "data", archives=archives(site))


def test_one_flipped_byte_is_found(site, published, tmp_path):
    right = archives(site)
    data = bytearray((site / PATHS["VOC2012"]).read_bytes())
    data[len(data) // 2] ^= 1
    (site / PATHS["VOC2012"]).write_bytes(data)
    with pytest.raises(InputError, match=r"has md5 .*, published is .*give the same command again"):
        prepare(published, tmp_path / "data", archives=right)
    assert not list((tmp_path / "data").rglob("*.jpg"))


def member(name, kind=tarfile.REGTYPE, data=b"x", target=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, target
    return info, io.BytesIO(data)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (member("VOCdevkit/VOC2012/JPEGImages/../../../../evil.jpg"), "lies outside the target"),
        (member("/evil.jpg"), "lies outside the target"),
        (member("VOCdevkit/VOC2012/JPEGImages/a.jpg", tarfile.SYMTYPE, target="/etc/passwd"), "is a link"),
        (member("VOCdevkit/VOC2012/JPEGImages/a.jpg", tarfile.LNKTYPE, target="../../../x"), "is a link"),
        (member("VOCdevkit/VOC2012/JPEGImages/null", tarfile.CHRTYPE), "is a device"),
        (member("VOCdevkit/VOC2012/JPEGImages/pipe", tarfile.FIFOTYPE), "is a device"),
    ],
)
def test_hostile_members_are_refused_and_nothing_is_written(site, published, tmp_path, entry, reason):
    with tarfile.open(site / PATHS["VOC2012"], "a") as tar:
        tar.addfile(*entry)
    with pytest.raises(InputError, match=reason):
        prepare(published, tmp_path / "data", archives=archives(site))
    assert not list(tmp_path.rglob("*evil*"))
    assert not list((tmp_path / "data").rglob("*.jpg"))


def test_an_archive_that_unpacks_too_far_is_refused(site, published, tmp_path, monkeypatch):
    monkeypatch.setattr("mltbench.datasets.download.archives.MOST_BYTES", 10_000)
    with pytest.raises(InputError, match="unpacks to more than"):
        prepare(published, tmp_path / "data", archives=archives(site))


def test_a_cut_archive_is_refused(site, published, tmp_path):
    data = (site / PATHS["VOC2012"]).read_bytes()
    (site / PATHS["VOC2012"]).write_bytes(data[: len(data) // 2 + 100])
    with pytest.raises(InputError, match="is damaged"):
        prepare(published, tmp_path / "data", archives=archives(site))


def test_a_missing_image_of_the_release_is_named(devkit, published, tmp_path):
    shutil.copytree(devkit, tmp_path / "kit")
    victim = tmp_path / "kit" / "VOC2007" / "JPEGImages" / "2007_000003.jpg"
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(
        InputError,
        match=r"1 of 67 images cannot be used(.|\n)*2007_000003.jpg: corrupt(.|\n)*official release: replace",
    ):
        prepare(published, tmp_path / "data", root=tmp_path / "kit")
    assert [entry["image"] for entry in quarantined(tmp_path / "data")["unusable"]] == ["2007_000003"]
    shutil.copy(devkit / "VOC2007" / "JPEGImages" / "2007_000003.jpg", victim)
    prepare(published, tmp_path / "data", root=tmp_path / "kit")
    assert len(opened(tmp_path / "data").split("test")) == 40
    assert quarantined(tmp_path / "data") == {"unusable": [], "converted": []}


def quarantined(data_root):
    return json.loads((data_root / "voc-mlt" / "quarantine.json").read_text())


def test_the_quarantine_tells_of_splits_that_were_decoded_earlier(devkit, published, tmp_path):
    shutil.copytree(devkit, tmp_path / "kit")
    unusual = tmp_path / "kit" / "VOC2007" / "JPEGImages" / "2007_000003.jpg"
    with Image.open(unusual) as image:
        converted = image.convert("CMYK")
    converted.save(unusual)
    _, remarks = prepare(published, tmp_path / "data", root=tmp_path / "kit", splits=("test",))
    assert [remark for remark in remarks if remark.startswith("converted: 1 image, such as ")]
    prepare(published, tmp_path / "data", root=tmp_path / "kit", splits=("train",))
    told = quarantined(tmp_path / "data")["converted"]
    assert [(entry["split"], entry["image"]) for entry in told] == [("test", "2007_000003")]


def _prepare_from_archives(published, data_root, known, difficult):
    prepare(published, data_root, archives=known, difficult=difficult)


def test_processes_that_prepare_at_once_share_the_work(devkit, published, tmp_path, monkeypatch):
    """Two of one set and one of its variant: one download, one extraction, and each set is whole."""
    folder = tmp_path / "site"
    make_archives(devkit, folder)
    known = archives(folder)
    server = start_server(folder, monkeypatch)
    try:
        context = multiprocessing.get_context("fork")
        processes = [
            context.Process(target=_prepare_from_archives, args=(published, tmp_path / "data", known, difficult))
            for difficult in (True, True, False)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
    finally:
        server.kill()
        log = server.communicate()[1]
    for name in ("voc-mlt", "voc-mlt-nodifficult"):
        assert [len(opened(tmp_path / "data", name).split(split)) for split in ("validation", "test")] == [12, 40]
    assert sorted(log.count(f"GET /{path} ") for path in PATHS.values()) == [1, 1]


def start_server(folder, monkeypatch):
    """A server in a process of its own, which processes can be forked beside."""
    words = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    port = re.search(r"port (\d+)", server.stdout.readline()).group(1)
    for site in ("VOC", "LISTS"):
        monkeypatch.setenv(f"MLTBENCH_ADDRESS_{site}", f"http://127.0.0.1:{port}")
    return server


def test_a_root_without_the_devkit_is_answered_with_the_layout(published, tmp_path):
    with pytest.raises(InputError, match=r"holds no VOC2012 and no VOC2007; expected .*VOCdevkit/VOC2012"):
        prepare(published, tmp_path / "data", root=tmp_path)


def _prepare_in_a_process(published, data_root, root):
    def slowly(*told):
        time.sleep(0.02)

    prepare_voc(published, Place(data_root=data_root, root=root), on_progress=slowly)


def test_killed_half_way_it_goes_on(devkit, published, tmp_path):
    prepare(published, tmp_path / "whole", root=devkit)
    context = multiprocessing.get_context("fork")
    for _ in range(6):
        process = context.Process(target=_prepare_in_a_process, args=(published, tmp_path / "killed", devkit))
        process.start()
        time.sleep(random.Random(_).uniform(0.05, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    prepare(published, tmp_path / "killed", root=devkit)
    whole, killed = opened(tmp_path / "whole"), opened(tmp_path / "killed")
    assert whole.digest == killed.digest
    for split in ("train", "validation", "test"):
        assert (whole.split(split).images == killed.split(split).images).all()
