"""Which file a name of an image means: found in every spelling, never guessed, never outside of the folder."""

import unicodedata
from pathlib import Path

import pytest
from mltbench.datasets.importing.annotations import AnnotatedImage
from mltbench.datasets.importing.image_files import find_images
from mltbench.errors import InputError


@pytest.fixture
def folder(tmp_path):
    def made(*names, root="photos"):
        for name in names:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return tmp_path / root

    return made


def image(file, **more):
    return AnnotatedImage(file=file, classes=frozenset(), **more)


def found(root, *names, **more):
    result = find_images([image(name, **more) for name in names], {None: root})
    return [Path(path).relative_to(root).as_posix() for path in result.paths]


NFD = unicodedata.normalize("NFD", "Kühe.png")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("a", "a.jpg"),
        ("A.JPG", "a.jpg"),
        ("12", "12.png"),
        ("12.0", "12.png"),
        (unicodedata.normalize("NFC", NFD), NFD),
        ("sub\\b.png", "sub/b.png"),
        ("b.png", "sub/b.png"),
        ("SUB/b", "sub/b.png"),
        ("release-1.0/sub/b.png", "sub/b.png"),
        ("C:\\Users\\x\\photos\\a.jpg", "a.jpg"),
        ("/srv/x/sub/b.png", "sub/b.png"),
        ("/data/local-files/?d=photos/sub/b.png", "sub/b.png"),
        ("https://example.org/photos/Kuh%201.png?size=3", "Kuh 1.png"),
        ("v1.2.final", "v1.2.final.png"),
    ],
)
def test_a_file_is_found_by_every_spelling_of_its_name(folder, name, file):
    root = folder("a.jpg", "12.png", NFD, "sub/b.png", "Kuh 1.png", "v1.2.final.png", ".hidden/a.jpg", "a.txt")
    assert found(root, name) == [file]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["test/1.png", "a.png"], "train/1.png"),
        (["a.jpg", "b.png"], "a.png"),
        (["a1.png", "b.png"], "a"),
        (["xa.png", "b.png"], "a.png"),
    ],
)
def test_another_file_is_never_taken(folder, files, name):
    root = folder(*files)
    result = find_images([image(name), image(files[1])], {None: root})
    assert [Path(path).exists() for path in result.paths] == [False, True]


def test_a_name_of_several_files_is_refused_unless_a_split_decides(folder):
    root = folder("train/1.png", "test/1.png")
    with pytest.raises(InputError, match=r"image '1' means 2 files in .*--images SPLIT=FOLDER"):
        found(root, "1")
    assert found(root, "1", split="test") == ["test/1.png"]
    assert found(root, "train/1") == ["train/1.png"]
    with pytest.raises(InputError, match=r"image 'a' means 2 files"):
        found(folder("a.jpg", "a.png", root="two"), "a")


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "..\\x.png", "C:\\..\\x.png", "/../x.png", "", "."])
def test_names_that_lead_outside_are_refused(folder, name):
    folder("x.png", root=".")
    with pytest.raises(InputError, match="lies outside the image folder"):
        found(folder("a.png"), name)


def test_an_absolute_name_of_another_file_that_is_there_is_refused(folder, tmp_path):
    root, other = folder("a.png"), folder("a.png", root="elsewhere") / "a.png"
    with pytest.raises(InputError, match="is there, and is another file than"):
        found(root, str(other))
    assert found(root, str(root / "a.png")) == ["a.png"]
    # One that is not below the folder is not read, either.
    (result,) = find_images([image(str(tmp_path / "elsewhere" / "b.png")), image("a.png")], {None: root}).paths[:1]
    assert root in Path(result).parents


def test_two_names_of_one_file_are_refused(folder):
    with pytest.raises(InputError, match=r"images 'a' and 'A.JPG' are one file"):
        found(folder("a.jpg"), "a", "A.JPG")


def test_of_two_names_in_one_record_the_file_decides(folder):
    root = folder("000001.png", "IMG_7.JPG", "000002.png")
    assert found(root, "IMG_1.JPG", other_file="000001") == ["000001.png"]
    assert found(root, "IMG_7.JPG", other_file="000009") == ["IMG_7.JPG"]
    with pytest.raises(
        InputError, match=r"one annotation names two images that are both there, 'IMG_7.JPG' .*'000001'"
    ):
        found(root, "IMG_7.JPG", other_file="000001")


def test_splits_have_folders_of_their_own(folder, tmp_path):
    folders = {
        "train": folder("1.png", "2.png", root="d/train/images"),
        "test": folder("1.png", "9.png", root="d/test/images"),
    }
    result = find_images([image("1", split="train"), image("1", split="test")], folders)
    assert [one.file for one in result.images] == ["train/images/1.png", "test/images/1.png"]
    # Without splits in the labels, the folders say them.
    result = find_images([image("2"), image("9")], folders)
    assert [(one.file, one.split) for one in result.images] == [
        ("train/images/2.png", "train"),
        ("test/images/9.png", "test"),
    ]
    with pytest.raises(InputError, match=r"image '1' means .*d/train/images/1.png and .*d/test/images/1.png"):
        find_images([image("1")], folders)
    with pytest.raises(
        InputError, match="split validation, which has no folder; give its folder: --images validation=FOLDER"
    ):
        find_images([image("1", split="validation")], folders)


def test_where_nothing_is_found_the_message_says_what_is_there(folder):
    with pytest.raises(
        InputError,
        match=r"none of the 2 images of the labels is below .*, which holds 2 image files, such as a.png; .*'x.png'",
    ):
        found(folder("a.png", "b/c.jpg", "d.txt"), "x.png", "y.png")
    with pytest.raises(InputError, match="which holds no image file"):
        found(folder("d.txt", root="empty"), "x.png")


def test_a_folder_in_a_circle_of_links_is_read_once(folder):
    root = folder("sub/a.png")
    (root / "sub" / "again").symlink_to(root, target_is_directory=True)
    assert found(root, "a.png") == ["sub/a.png"]
