"""VOC folders as annotation tools write them: names, sizes, flags and encodings, and splits by lists or folders."""

import pytest
from mltbench.datasets.importing.annotations import AnnotatedImage
from mltbench.datasets.importing.voc_xml import read_voc_folder
from mltbench.errors import InputError

SIZE = "<size><width>64</width><height>48</height><depth>3</depth></size>"


def annotation(filename, *names, size=SIZE, difficult="<difficult>0</difficult>"):
    objects = "".join(f"<object><name>{name}</name>{difficult}</object>" for name in names)
    return f"<annotation><folder>x</folder><filename>{filename}</filename>{size}{objects}</annotation>"


def folder(tmp_path, files, **image_sets):
    place = tmp_path / "Annotations"
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, lines in image_sets.items():
        (sets := tmp_path / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (sets / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def names(found):
    return [(image.file, image.other_file) for image in found.images]


@pytest.mark.parametrize("text", ["1", "True", "true", "YES", "1.0", " 1\n", "0", "False", "false", "No", "0.0", ""])
def test_difficult_objects_are_known_in_every_spelling(tmp_path, text):
    flag = text.strip()[:1].lower() in ("1", "t", "y")
    files = {"a.xml": annotation("a.jpg", "cat", "dog", difficult=f"<difficult>{text}</difficult>")}
    place = folder(tmp_path, files)
    assert read_voc_folder(place).images[0].classes == {"cat", "dog"}
    assert read_voc_folder(place, difficult=False).images[0].classes == (set() if flag else {"cat", "dog"})


def test_other_words_for_difficult_are_refused(tmp_path):
    place = folder(tmp_path, {"a.xml": annotation("a.jpg", "cat", difficult="<difficult>maybe</difficult>")})
    with pytest.raises(InputError, match=r"a.xml: object number 0 has difficult='maybe'; it must be 0 or 1"):
        read_voc_folder(place)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        (SIZE, (64, 48)),
        ("<size><width>64.0</width><height> 48.00 </height></size>", (64, 48)),
        ("<size><width>0</width><height>0</height></size>", None),
        ("<size><width>64</width><height>0</height></size>", None),
        ("<size><width></width><height></height></size>", None),
        ("<size><width>64</width></size>", None),
        ("<size><width>nan</width><height>-1</height></size>", None),
        ("<size><width>64.5</width><height>48</height></size>", None),
        ("<size/>", None),
        ("", None),
    ],
)
def test_sizes_are_whole_pixels_or_unknown(tmp_path, size, shape):
    assert read_voc_folder(folder(tmp_path, {"a.xml": annotation("a.jpg", "cat", size=size)})).images[0].shape == shape


def test_a_size_in_words_is_refused(tmp_path):
    size = "<size><width>wide</width><height>48</height></size>"
    with pytest.raises(InputError, match=r"a.xml: width='wide' is no number of pixels"):
        read_voc_folder(folder(tmp_path, {"a.xml": annotation("a.jpg", "cat", size=size)}))


@pytest.mark.parametrize(
    ("xml", "filename", "expected"),
    [
        ("000000.xml", "000000.png", ("000000.png", None)),
        ("000000.XML", "000000.png", ("000000.png", None)),
        ("000000.xml", "000000", ("000000", None)),
        ("000000.xml", "", ("000000", None)),
        ("Photo.xml", "photo.JPG", ("photo.JPG", None)),
        ("a b.xml", " a b.jpg ", ("a b.jpg", None)),
        ("v1.2.xml", "v1.2.jpg", ("v1.2.jpg", None)),
        ("000000.xml", r"C:\Users\x\000000.png", ("000000.png", None)),
        ("000000.xml", "/data/x/000000.png", ("000000.png", None)),
        ("000000.xml", "IMG_00.JPG", ("IMG_00.JPG", "000000")),
        ("sub/deep/000000.xml", "000000.png", ("000000.png", None)),
        ("sub/000000.xml", "IMG_00.JPG", ("IMG_00.JPG", "sub/000000")),
        ("000000.xml", "other/000000.png", ("000000.png", None)),
    ],
)
def test_an_image_has_the_name_in_the_file_and_that_of_the_file_where_they_differ(tmp_path, xml, filename, expected):
    assert names(read_voc_folder(folder(tmp_path, {xml: annotation(filename, "cat")}))) == [expected]


def test_names_that_do_not_tell_images_apart_give_way(tmp_path):
    same = {f"{i}.xml": annotation("image.png", "cat") for i in range(2)}
    assert names(read_voc_folder(folder(tmp_path / "same", same))) == [("0", "image.png"), ("1", "image.png")]
    below = {f"{cam}_1.xml": annotation(f"{cam}/1.png", "cat") for cam in "ab"}
    assert names(read_voc_folder(folder(tmp_path / "below", below))) == [("a/1.png", "a_1"), ("b/1.png", "b_1")]
    twice = {f"{sub}/1.xml": annotation("1.png", "cat") for sub in "ab"}
    assert names(read_voc_folder(folder(tmp_path / "twice", twice))) == [("a/1", None), ("b/1", None)]
    copied = {"1.xml": annotation("1.png", "cat"), "2.xml": annotation("1.png", "dog")}
    assert names(read_voc_folder(folder(tmp_path / "copied", copied))) == [("1", None), ("2", "1.png")]


def test_names_of_classes_lose_blanks_and_line_ends(tmp_path):
    place = folder(tmp_path, {"a.xml": annotation("a.jpg", " cat ", "dining\n   table"), "b.xml": annotation("b.jpg")})
    found = read_voc_folder(place)
    assert (found.classes, [set(image.classes) for image in found.images]) == (
        ("cat", "dining table"),
        [{"cat", "dining table"}, set()],
    )


ENTITY = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'
CHINESE = annotation("a.jpg", "\u732b", "\u72d7")


@pytest.mark.parametrize(
    "content",
    [
        CHINESE.encode(),
        b"\xef\xbb\xbf" + CHINESE.encode(),
        ("\n<?xml version='1.0' encoding='UTF-8' standalone='yes'?>\n" + CHINESE).encode(),
        *(f'<?xml version="1.0" encoding="{name}"?>{CHINESE}'.encode(name) for name in ("gb2312", "GBK", "gb18030")),
        f"<?xml version='1.0' encoding='utf-16'?>{CHINESE}".encode("utf-16"),
        b"\xfe\xff" + CHINESE.encode("utf-16-be"),
        f'<?xml version="1.0" encoding="utf-16"?>{CHINESE}'.encode(),
    ],
)
def test_encodings_are_those_of_python(tmp_path, content):
    assert read_voc_folder(folder(tmp_path, {"a.xml": content})).images[0].classes == {"\u732b", "\u72d7"}


OTHERS = {"shift_jis": "\u732b", "cp1252": "\u20ac caf\u00e9", "latin-1": "caf\u00e9"}


@pytest.mark.parametrize(("encoding", "name"), OTHERS.items())
def test_other_encodings_are_those_of_python_too(tmp_path, encoding, name):
    text = f'<?xml version="1.0" encoding="{encoding}"?>{annotation("a.jpg", name)}'
    assert read_voc_folder(folder(tmp_path, {"a.xml": text.encode(encoding)})).images[0].classes == {name}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'<?xml version="1.0" encoding="gb2312"?><annotation>\xff\xff</annotation>', "not in the encoding"),
        (b'<?xml version="1.0" encoding="no-such"?><annotation/>', "unknown encoding: no-such"),
        (b'<?xml version="1.0" encoding="hex"?><annotation/>', "not a text encoding"),
        (b"<annotation>caf\xe9</annotation>", "no well-formed XML"),
        (f'<?xml version="1.0" encoding="gb2312"?>{ENTITY}'.encode(), "declares a document type or entities"),
        (ENTITY.encode("utf-16"), "declares a document type or entities"),
        (b"<annotations/>", "the root element is 'annotations', not annotation"),
        (b"<annotation><object><name> </name></object></annotation>", "object number 0 has no name"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_file(tmp_path, content, words):
    with pytest.raises(InputError, match=rf"a.xml.*{words}"):
        read_voc_folder(folder(tmp_path, {"a.xml": content}))


def test_resource_forks_of_macintosh_are_no_annotations(tmp_path):
    place = folder(tmp_path, {"a.xml": annotation("a.jpg", "cat"), "._a.xml": b"\0\5\x16\7"})
    assert names(read_voc_folder(place)) == [("a.jpg", None)]


@pytest.mark.parametrize(
    "listed",
    [
        ["photo 1", "photo 2"],
        ["photo 1.png", "photo 2.PNG"],
        ["photo 1 -1", "photo 2  1"],
        ["photo 1.png 0", "photo 2.png 1"],
        ["sub/photo 1", "sub/photo 2"],
        ["sub\\photo 1.png", "/data/x/photo 2.png"],
        ["IMG 7.JPG", "IMG 8"],
    ],
)
def test_lists_name_images_with_blanks_endings_marks_and_folders(tmp_path, listed):
    stems = {"photo 1": "IMG 7.JPG", "photo 2": "IMG 8.JPG", "photo 3": "photo 3.png", "photo": "photo.png"}
    files = {f"sub/{stem}.xml": annotation(name, "cat") for stem, name in stems.items()}
    found = read_voc_folder(folder(tmp_path, files, train=listed, test=["photo 3"]))
    assert {image.file: image.split for image in found.images} == {
        **{"IMG 7.JPG": "train", "IMG 8.JPG": "train", "photo 3.png": "test"}
    }
    assert found.remarks == ["1 annotations are in no list of ImageSets/Main: left out"]


def test_lists_that_do_not_fit_are_refused(tmp_path):
    files = {f"{name}.xml": annotation(f"{name}.png", "cat") for name in ("a/1", "b/1", "2", "v1", "v1.2")}
    for i, (sets, words) in enumerate(
        (
            ({"train": ["2", "3"]}, r"no annotation of '3' \(1 of the image sets' names\)"),
            ({"train": ["1"]}, r"train.txt: '1' means the annotations a/1 and b/1; give their folders in the list"),
            ({"train": ["2"], "test": ["2.png"]}, r"test.txt: '2.png' is in another image set too"),
            ({"train": ["v1.3"]}, "no annotation of 'v1.3'"),
        )
    ):
        with pytest.raises(InputError, match=words):
            read_voc_folder(folder(tmp_path / str(i), files, **sets))
    found = read_voc_folder(folder(tmp_path / "good", files, train=["a/1", "b/1 1", "2", "v1"], test=["v1.2"]))
    splits = {image.file: image.split for image in found.images}
    assert (splits.pop("v1.2.png"), set(splits.values()), len(splits)) == ("test", {"train"}, 4)


def test_folders_that_are_called_by_splits_are_splits(tmp_path):
    files = {f"{place}/{i}.xml": annotation(f"{i}.png", "cat") for i, place in enumerate(("train", "valid", "test"))}
    found = read_voc_folder(folder(tmp_path, files))
    assert sorted((image.file, image.split) for image in found.images) == [
        *(("0.png", "train"), ("1.png", "validation"), ("2.png", "test"))
    ]
    assert found.remarks == ["splits by the sub-folders test, train, valid"]
    (tmp_path / "Annotations" / "other").mkdir()
    (tmp_path / "Annotations" / "other" / "9.xml").write_text(annotation("9.png", "cat"))
    assert {image.split for image in read_voc_folder(tmp_path / "Annotations").images} == {None}


def test_the_lists_of_a_whole_voc_folder_are_found_from_its_root(tmp_path):
    files = {f"{i}.xml": annotation(f"{i}.png", "cat", "dog") for i in range(2)}
    place = folder(tmp_path, files, trainval=["0"], test=["1"])
    classes = frozenset(("cat", "dog"))
    expected = [
        AnnotatedImage(file=f"{i}.png", classes=classes, split=split, shape=(64, 48))
        for i, split in enumerate(("train", "test"))
    ]
    assert list(read_voc_folder(place).images) == list(read_voc_folder(tmp_path).images) == expected
