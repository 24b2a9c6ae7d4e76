"""CSV and TSV as editors, pandas and Excel write them: the same cells, and rows numbered as an editor shows them."""

import gzip

import pandas as pd
import pytest
from mltbench.datasets.importing.tables import read_tables
from mltbench.errors import InputError

IMAGES = ["a.png", "b.png", "c.png"]
NAMES = ["cat", "cat|dog", "dog"]
PLAIN = "image,labels\na.png,cat\nb.png,cat|dog\nc.png,dog\n"


def written(tmp_path, content, name="labels.csv"):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path / name


def read(path, **options):
    (table,) = read_tables(path, **options)
    return table


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("plain.csv", PLAIN, {}),
        ("upper.CSV", PLAIN, {}),
        ("text.txt", PLAIN, {}),
        ("mark.csv", b"\xef\xbb\xbf" + PLAIN.encode(), {}),
        ("windows.csv", PLAIN.replace("\n", "\r\n"), {}),
        ("macintosh.csv", PLAIN.replace("\n", "\r"), {}),
        ("packed.csv.gz", gzip.compress(PLAIN.encode(), mtime=0), {}),
        ("tabs.tsv", PLAIN.replace(",", "\t"), {}),
        ("tabs.tab", PLAIN.replace(",", "\t"), {}),
        ("packed.tsv.gz", gzip.compress(PLAIN.replace(",", "\t").encode(), mtime=0), {}),
        ("given.csv", PLAIN.replace(",", "\t"), {"delimiter": "\t"}),
        ("typed.csv", PLAIN.replace(",", "\t"), {"delimiter": r"\t"}),
        ("odd.labels", PLAIN.replace(",", "~"), {"delimiter": "~"}),
        ("semicolons.csv", PLAIN.replace(",", ";"), {}),
        ("tabs.csv", PLAIN.replace(",", "\t"), {}),
        ("commas.tsv", PLAIN, {}),
        ("bars.csv", "image|labels\na.png|cat\nb.png|'cat|dog'\nc.png|dog\n".replace("'", '"'), {}),
        ("excel.csv", "sep=;\r\n" + PLAIN.replace(",", ";"), {}),
        ("excel-given.csv", "sep=;\r\n" + PLAIN.replace(",", ";"), {"delimiter": ";"}),
        ("unicode-text.csv", PLAIN.replace(",", "\t").encode("utf-16"), {}),
        ("big-endian.csv", b"\xfe\xff" + PLAIN.encode("utf-16-be"), {}),
        ("empty.csv", PLAIN.replace(",", ";") + ";\r\n;;;\r\n\r\n", {}),
        ("trailing.csv", PLAIN.replace("\n", ",\n"), {}),
        ("trailing-header.csv", PLAIN.replace("labels", "labels,"), {}),
        ("trailing-cells.csv", PLAIN.replace("\n", ",,\n").replace("labels,,", "labels"), {}),
    ],
)  # fmt: skip
def test_every_way_to_save_a_table_gives_the_same_cells(tmp_path, name, content, options):
    table = read(written(tmp_path, content, name), **options)
    assert {column: list(cells) for column, cells in table.columns.items()} == {"image": IMAGES, "labels": NAMES}
    found = {"semicolons.csv", "tabs.csv", "commas.tsv", "bars.csv", "unicode-text.csv", "empty.csv"}
    assert any("separates its cells, by its header" in remark for remark in table.remarks) == (name in found)


def test_rows_are_numbered_as_in_the_file(tmp_path):
    text = 'sep=,\n\nimage,labels\na.png,"cat\ndog"\n,\n\nb.png,dog\n'
    table = read(written(tmp_path, text))
    assert (list(table.columns["labels"]), list(table.rows)) == (["cat\ndog", "dog"], [4, 7])
    assert read(written(tmp_path, PLAIN)).rows == range(2, 5)


def test_cells_are_those_that_pandas_reads(tmp_path):
    texts = {"labels": ['a "b"', "c\nd"] * 25, "x": ["", "é"] * 25}
    frame = pd.DataFrame({"image": [f"{i}, {i}.png" for i in range(50)], **texts})
    path = tmp_path / "labels.csv"
    frame.to_csv(path, index=False)
    truth = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert {name: list(cells) for name, cells in read(path).columns.items()} == truth.to_dict("list")


FRAME = pd.DataFrame({"image": [*IMAGES, "d.png"], "cat": [1, 1, 0, 0], "dog": [0, 1, 1, 0]})


FILTERED, SHUFFLED = FRAME[FRAME.cat + FRAME.dog > 0], FRAME.sample(frac=1, random_state=1)


@pytest.mark.parametrize("frame", [FRAME, FILTERED, SHUFFLED, FRAME.set_index(FRAME.index + 1)])
def test_the_index_of_a_frame_is_no_column(tmp_path, frame):
    once, twice = tmp_path / "once.csv", tmp_path / "twice.csv"
    frame.to_csv(once)
    pd.read_csv(once).to_csv(twice)
    for path in (once, twice):
        table = read(path)
        assert list(table.columns) == ["image", "cat", "dog"]
        assert "numbers the rows and is ignored" in table.remarks[-1]


@pytest.mark.parametrize(
    "text",
    [
        ",labels\na.png,cat\nb.png,dog\n",  # an index of file names
        ",cat,dog\n1001,1,0\n1007,0,1\n",  # an index of numbers that nothing else can replace
        "id,image\n0,a.png\n1,b.png\n",  # a column with a name
    ],
)
def test_a_column_that_may_be_needed_stays(tmp_path, text):
    assert len(read(written(tmp_path, text)).columns) == text.splitlines()[0].count(",") + 1


def test_the_header_of_nih_chest_x_ray_is_read_as_published(tmp_path):
    header = "Image Index,Finding Labels,Patient ID,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    table = read(written(tmp_path, f"{header}\n00000001_000.png,Cardiomegaly|Effusion,1,2682,2749,0.143,0.143,\n"))
    assert list(table.columns)[-4:] == ["OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"]
    assert table.columns["Finding Labels"] == ["Cardiomegaly|Effusion"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "nothing below it"),
        ("image\na.png\n", "needs a header of at least two columns; its first row is"),
        ("image~labels\na.png~cat\n", "separates its cells"),
        ("image,labels\n", "nothing below it"),
        ("image,labels\n\n,\n", "nothing below it"),
        ("image,cat,dog\na,1,0\n\nb,1\n", r"labels.csv, row 4: 2 cells, the header has 3$"),
        ("image,cat,dog\na,1,0,1\n", r"row 2: 4 cells, the header has 3"),
        ("image, cat,cat\na,1,0\n", "names a column twice: cat"),
        ("image,,\na,1,0\n", "several columns have no name"),
        ('image,labels\na.png,cat\nb.png,"dog\nc.png,dog\n', "row 3; is a quotation mark left open"),
        ("image,labels\na.png,café\n".encode("cp1252"), r"line 2 has the byte 0xe9; save it as UTF-8 .*iconv"),
        (PLAIN.encode("utf-16-le"), "its header holds zero bytes.*iconv -f utf-16"),
        (b"\xff\xfea\x00,\x00b", "no text in UTF-8"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(tmp_path, content, words):
    with pytest.raises(InputError, match=words):
        read_tables(written(tmp_path, content))


def test_a_delimiter_of_several_characters_is_refused(tmp_path):
    for sign in ("", "ab", "\n"):
        with pytest.raises(InputError, match="must be one character"):
            read_tables(written(tmp_path, PLAIN), delimiter=sign)


def test_damaged_and_missing_files_are_refused(tmp_path):
    packed = gzip.compress(PLAIN.encode(), mtime=0)
    for name, content in (("cut.csv.gz", packed[:-12]), ("no.csv.gz", b"nothing packed")):
        with pytest.raises(InputError, match=name):
            read_tables(written(tmp_path, content, name))
    with pytest.raises(InputError, match="no table at"):
        read_tables(tmp_path / "gone.csv")


def test_equal_cells_are_one_object(tmp_path):
    text = "image,labels\n" + "".join(f"{i}.png,a long class name\n" for i in range(100))
    assert len({id(cell) for cell in read(written(tmp_path, text)).columns["labels"]}) == 1
