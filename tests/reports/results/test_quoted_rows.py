from collections import Counter

import pytest
from mltbench.errors import InputError
from mltbench.reports.results.quoted import quoted_datasets, quoted_rows, read_quoted

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
    totals = (75.019, 74.981, 75.021, 74.979)
    lines = [*(f"A,voc-mlt,{total},70,80,75,x" for total in totals), "C,voc-mlt,76,70,80,75,x,a reason"]
    # COCO-MLT has 22, 33 and 25: (22 x 10 + 33 x 20 + 25 x 40) / 80 = 23.5. What is unknown contradicts nothing.
    lines += ["D,coco-mlt,23.5,10,20,40,x", "E,voc-mlt,99,,80,75,x", "F,coco-mlt,23.4,10,20,40,x"]
    suspects = [row.suspect for row in read_quoted(write(tmp_path, *lines, head=f"{HEAD},suspect"))]
    wrong = "total is not the class-weighted mean of the groups (75.00)"
    assert suspects == ["", "", wrong, wrong, "a reason", "", "", wrong.replace("75.00", "23.50")]


def test_the_papers_rows_are_all_there_and_their_doubts():
    rows = quoted_rows()
    assert Counter((row.table, row.dataset) for row in rows) == {
        (1, "voc-mlt"): 12, (1, "coco-mlt"): 12, (2, "voc-mlt"): 5, (2, "coco-mlt"): 5
    }  # fmt: skip
    assert sum(bool(row.suspect) for row in rows) == 7
    assert quoted_datasets() == ("voc-mlt", "coco-mlt")
    best = {(row.title, row.dataset): tuple(row.values.values()) for row in rows}
    assert best["DB-Focal", "voc-mlt"] == (78.94, 73.22, 84.18, 79.30)
    assert best["DB-Focal", "coco-mlt"] == (53.55, 51.13, 57.05, 51.06)
    assert all("ECCV 2020" in row.source for row in rows)


def test_a_total_outside_of_its_groups_is_suspect_on_any_dataset(tmp_path):
    totals = (80.02, 59.98, 80.021, 59.979)
    lines = [*(f"A,mine,{total},70,80,60,x" for total in totals), "C,mine,99,,70,80,x"]
    outside = "total is no mean of the groups: they lie between 60.00 and 80.00"
    assert [row.suspect for row in read_quoted(write(tmp_path, *lines))] == ["", "", outside, outside, ""]


def test_zero_and_a_hundred_percent_are_percent_and_tables_are_as_given(tmp_path):
    head = f"\ufeff{HEAD},table,suspect"
    # What stands behind the last column is nobody's.
    lines = ("A,mine,50,0,50,100,x,2,,more,", " B , mine ,50,0,50, 100 ,x,, ")
    first, second = read_quoted(write(tmp_path, *lines, head=head))
    assert (first.table, second.table, second.title, second.dataset, second.suspect) == (2, 1, "B", "mine", "")
    assert first.values == second.values == {"total": 50, "head": 0, "medium": 50, "tail": 100}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("A,voc-mlt,75,70,80,75,", "line 2: source is empty"),
        (",voc-mlt,75,70,80,75,x", "line 2: method is empty"),
        ("A,voc-mlt,,70,80,75,x", "line 2: total is empty"),
        ("A,voc-mlt,100.01,70,80,75,x", "total '100.01' must be a number from 0 to 100"),
        ("A,voc-mlt,75,70,80,-0.01,x", "tail '-0.01' must be a number from 0 to 100"),
        ("A,,75,70,80,75,x", "line 2: dataset is empty"),
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
    with pytest.raises(InputError, match="no column method, dataset, total"):
        read_quoted(write(tmp_path, head=""))
    with pytest.raises(InputError, match="table '3' must be 1 or 2"):
        read_quoted(write(tmp_path, "A,voc-mlt,75,70,80,75,x,3", head=f"{HEAD},table"))
