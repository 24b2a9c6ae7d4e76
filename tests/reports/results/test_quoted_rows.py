import pytest
from mltbench.errors import InputError
from mltbench.reports.results.quoted import quoted_rows, read_quoted

HEAD = "method,dataset,total,head,medium,tail,source"


def write(folder, *lines, head=HEAD):
    file = folder / "quoted.csv"
    file.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return file


def test_rows_come_with_their_source(tmp_path):
    quoted = 'ASL,voc-mlt,76.4,70.7,82.3,76.2,"Ridnik et al. 2021, in Table 2"'
    file = write(tmp_path, quoted, "Other,digits-mlt,50,,,,A. Name")
    first, second = read_quoted(file)
    assert (first.title, first.table, first.source) == ("ASL", 1, "Ridnik et al. 2021, in Table 2")
    assert first.values == {"total": 76.4, "head": 70.7, "medium": 82.3, "tail": 76.2}
    assert (second.values["head"], second.text("head"), second.text("total")) == (None, "–", "50.00")
    assert second.suspect == ""


def test_totals_are_checked_where_the_group_sizes_are_known(tmp_path):
    # VOC-MLT has 6, 6 and 8 classes: (6 x 70 + 6 x 80 + 8 x 75) / 20 = 75.
    lines = ("A,voc-mlt,75.01,70,80,75,x", "B,voc-mlt,76,70,80,75,x", "C,voc-mlt,76,70,80,75,x,a reason")
    right, wrong, told = read_quoted(write(tmp_path, *lines, head=f"{HEAD},suspect"))
    assert (right.suspect, told.suspect) == ("", "a reason")
    assert wrong.suspect == "total is not the class-weighted mean of the groups (75.00)"
    assert sum(bool(row.suspect) for row in quoted_rows()) == 7


def test_a_total_outside_of_its_groups_is_suspect_on_any_dataset(tmp_path):
    lines = ("A,mine,80.01,60,70,80,x", "B,mine,59.9,60,70,80,x", "C,mine,99,,70,80,x")
    within, below, unknown = read_quoted(write(tmp_path, *lines))
    assert (within.suspect, unknown.suspect) == ("", "")
    assert below.suspect == "total is no mean of the groups: they lie between 60.00 and 80.00"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("A,voc-mlt,75,70,80,75,", "line 2: source is empty"),
        (",voc-mlt,75,70,80,75,x", "line 2: method is empty"),
        ("A,voc-mlt,,70,80,75,x", "line 2: total is empty"),
        ("A,voc-mlt,101,70,80,75,x", "total '101' must be a number from 0 to 100"),
        ("A,voc-mlt,nan,70,80,75,x", "total 'nan' must be a number"),
        ("A,voc-mlt,75,high,80,75,x", "head 'high' must be a number"),
        ('A,voc-mlt,75,70,80,75,"x', "cannot read quoted rows"),
        ("A,voc-mlt,75,70,80,75,M\xfcller", r"cannot read quoted rows from .* in UTF-8 with --quoted"),
    ],
)
def test_what_cannot_be_is_named(line, complaint, tmp_path):
    (tmp_path / "quoted.csv").write_text(f"{HEAD}\n{line}\n", encoding="latin-1")
    with pytest.raises(InputError, match=complaint):
        read_quoted(tmp_path / "quoted.csv")


def test_missing_columns_files_and_wrong_tables_are_named(tmp_path):
    with pytest.raises(InputError, match="no column source; needed: method, dataset"):
        read_quoted(write(tmp_path, "A,voc-mlt,75,70,80,75", head=HEAD.removesuffix(",source")))
    with pytest.raises(InputError, match=r"cannot read quoted rows from .*nowhere.csv"):
        read_quoted(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="table '3' must be 1 or 2"):
        read_quoted(write(tmp_path, "A,voc-mlt,75,70,80,75,x,3", head=f"{HEAD},table"))
