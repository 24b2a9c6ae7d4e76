"""What columns and cells of a table mean: three layouts, names joined by any sign, and what is not known."""

import numpy as np
import pytest
from mltbench.datasets.importing.label_files import read_labels
from mltbench.datasets.importing.label_options import LabelOptions
from mltbench.datasets.importing.table_labels import joined_by
from mltbench.datasets.long_tail.statistics import UNKNOWN
from mltbench.errors import InputError


@pytest.fixture
def read(tmp_path):
    def reading(text, name="labels.csv", **options):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_labels([str(tmp_path / name)], LabelOptions(**options))

    return reading


def sets(annotations, key="classes"):
    return [set(getattr(image, key)) for image in annotations.images]


TWO = [{"cat"}, {"cat", "dog"}, set()]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("labels", ["cat", "cat|dog", ""]),
        ("Labels", ["cat", " cat | dog |", "nan"]),
        ("Finding Labels", ["cat", "dog|cat", "NaN"]),
        ("tags", ["\"['cat']\"", "\"['cat', 'dog']\"", "[]"]),
        ("labels", ['"[""cat""]"', '"[""dog"", ""cat""]"', "[]"]),
        ("labels", ["\"['cat']\"", "\"['cat' 'dog']\"", "['']"]),
        ("labels", ["\"('cat',)\"", "\"('cat', 'dog')\"", "()"]),
        ("labels", ["{'cat'}", "\"{'dog', 'cat'}\"", ""]),
        ("labels", ["[cat]", '"[cat, dog]"', "[nan]"]),
    ],
)
def test_names_in_one_cell_are_read_in_every_spelling(read, column, cells):
    found = read(f"image,{column}\n" + "".join(f"{i}.jpg,{cell}\n" for i, cell in enumerate(cells)))
    assert (sets(found), set(found.classes)) == (TWO, {"cat", "dog"})


@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("true", "FALSE"), (" 1", "0 "), ("yes", "no"), ("1.0", "0")],
)
def test_columns_of_flags_are_read_in_every_spelling(read, yes, no):
    rows = [(yes, no, no), (yes, yes, no), (no, no, yes)]
    text = "image,cat,dog,hen\n" + "".join(f"{i}.jpg,{','.join(row)}\n" for i, row in enumerate(rows))
    assert sets(read(text)) == [{"cat"}, {"cat", "dog"}, {"hen"}]


@pytest.mark.parametrize("sign", [" ", ",", ";", "/", "+", "&", "-", "_", "·", "\u3001", "~"])
def test_names_that_look_joined_by_another_sign_are_asked_about(read, sign):
    generator = np.random.default_rng(0)
    words = ["haze", "road", "water", "primary", "clear"]
    rows = [sign.join(generator.permutation(words)[: generator.integers(1, 4)]) for _ in range(60)]
    text = "image\ttags\n" + "".join(f"{i}\t{row}\n" for i, row in enumerate(rows))
    with pytest.raises(InputError) as error:
        read(text, "labels.tsv")
    assert f"look joined by {sign!r} out of others" in str(error.value)
    assert f"--separator {sign!r} splits them; if they are whole names, say --separator '|'" in str(error.value)
    assert set(read(text, "labels.tsv", separator=sign).classes) == set(words)
    whole = read(text, "labels.tsv", separator="|")
    assert set(whole.classes) == set(rows)
    assert any("look joined by" in remark for remark in whole.remarks)


@pytest.mark.parametrize(
    "names",
    [
        ["dining table", "potted plant", "tv monitor", "sofa"],
        ["hot dog", "dog", "ice cream", "sports ball", "tennis racket", "teddy bear", "bear"],
        ["Aortic enlargement", "Pleural effusion", "Pleural thickening", "Nodule/Mass", "Other lesion", "Lung Opacity"],
        ["No Finding", "Lung Lesion", "Lung Opacity", "Pleural Effusion", "Pleural Other", "Support Devices", "Edema"],
        ["red-eyed vireo", "white-eyed vireo", "crow"],
    ],
)
def test_names_of_several_words_are_names(names):
    assert joined_by(names) is None


def test_columns_that_are_no_labels_are_left_out_and_named(read):
    rows = [
        "p1,Female,40,Frontal,a.jpg,1,0,x",
        "p2,Male,1,Lateral,b.jpg,0,1,",
        "p3,Male,0,Frontal,c.jpg,1,1,",
        "p4,Male,77,,d.jpg,1,1,",
    ]
    found = read("id2,Sex,Age,View,Path,cat,dog,\n" + "\n".join(rows))
    assert (found.classes, [image.file for image in found.images][:2]) == (("cat", "dog"), ["a.jpg", "b.jpg"])
    assert any("columns that are no labels, left out: id2, Sex, Age, View" in remark for remark in found.remarks)


def test_columns_are_chosen_and_left_out_by_pattern(read):
    text = "file,has_cat,has_dog,is_test,gps_1,gps_2\na,1,0,0,0,1\nb,0,1,1,1,0\n"
    chosen = read(text, class_columns=("has_*",), ignore_columns=("is_test",))
    assert (chosen.classes, {image.split for image in chosen.images}) == (("has_cat", "has_dog"), {None})
    assert read(text, ignore_columns=("gps_?", "is_test")).classes == ("has_cat", "has_dog")
    divided = read(text, ignore_columns=("gps_?",), split_column="is_test")
    assert [image.split for image in divided.images] == ["train", "test"]
    for options in ({"class_columns": ("have_*",)}, {"ignore_columns": ("GPS",)}, {"split_column": "fold"}):
        with pytest.raises(InputError, match=r"unknown column of .*for --"):
            read(text, **options)


@pytest.mark.parametrize("name", ["is_val", "is_train", "fold", "subset", "Partition", "val_set", "for-testing"])
@pytest.mark.parametrize("layout", ["image,labels,{}\na,cat,0\nb,dog,1\n", "image,cat,dog,{}\na,1,0,0\nb,0,1,1\n"])
def test_a_column_that_looks_like_a_split_is_asked_about(read, name, layout):
    with pytest.raises(InputError, match=f"column '{name}' looks like a split: .*--split-column '{name}'") as caught:
        read(layout.format(name))
    # What is proposed works, for cells as they are or as they should be written.
    if "looks like a split: say so" in str(caught.value):
        splits = [image.split for image in read(layout.format(name), split_column=name).images]
        assert splits == ["train", "test" if "test" in name else "validation"]
    else:
        written = layout.format(name).replace(",0\n", ",train\n").replace(",1\n", ",test\n")
        assert [image.split for image in read(written, split_column=name).images] == ["train", "test"]
    assert read(layout.format(name), ignore_columns=(name,)).classes == ("cat", "dog")


def test_train_is_a_class_unless_there_is_test_beside_it(read):
    assert read("image,train,car\na,1,0\nb,0,1\n").classes == ("train", "car")
    with pytest.raises(InputError, match="'train' looks like a split"):
        read("image,cat,dog,train,test\na,1,0,1,0\nb,0,1,0,1\n")


@pytest.mark.parametrize(
    ("uncertain", "blank", "present", "unknown"),
    [
        ("ones", "zeros", [{"cat"}, {"dog"}], [set(), set()]),
        ("zeros", "zeros", [set(), {"dog"}], [set(), set()]),
        ("mask", "zeros", [set(), {"dog"}], [{"cat"}, set()]),
        ("zeros", "mask", [set(), {"dog"}], [{"dog"}, {"cat"}]),
        ("mask", "mask", [set(), {"dog"}], [{"cat", "dog"}, {"cat"}]),
    ],
)
def test_uncertain_and_blank_cells_are_what_was_said(read, uncertain, blank, present, unknown):
    found = read("image,cat,dog\na,-1.0,\nb,,1.0\n", uncertain=uncertain, blank=blank)
    assert (sets(found), sets(found, "unknown")) == (present, unknown)
    codes = found.labels()
    assert codes.tolist() == [
        [1 if c in p else UNKNOWN if c in u else 0 for c in ("cat", "dog")]
        for p, u in zip(present, unknown, strict=True)
    ]


def test_uncertain_and_blank_cells_are_never_decided_in_silence(read):
    with pytest.raises(
        InputError, match=r"row 2, column 'cat': the cell is -1, as 1 of the 4 .*--uncertain ones .*zeros .*mask"
    ):
        read("image,cat,dog\na,-1,\nb,0,1\n")
    with pytest.raises(
        InputError, match=r"row 2, column 'dog': the cell is blank, as 1 of the 4 .*--blank zeros .*mask"
    ):
        read("image,cat,dog\na,1,\nb,0,1\n")


def test_one_row_per_box_is_one_image(read):
    text = "image_id,class_name,x_min,rad_id\na,cat,1,R1\nb,dog,2,R1\na,dog,5,R2\na,cat,9,R3\n"
    found = read(text)
    assert ([image.file for image in found.images], sets(found)) == (["a", "b"], [{"cat", "dog"}, {"dog"}])
    assert "labels.csv: 4 rows of 2 images, one for each label: taken together" in found.remarks
    with pytest.raises(InputError, match=r"row 4: image 'a' has the split 'train' and 'test' in different rows"):
        read("image,label,split\na,cat,train\nb,dog,test\na,dog,test\n")


def test_a_long_table_with_confidences_says_what_is_verified(read):
    text = "ImageID,Source,LabelName,Confidence\na,v,cat,1\na,v,dog,0\nb,v,dog,1.0\nb,m,hen,0.6\n"
    with pytest.raises(InputError, match=r"row 5, column 'Confidence': the confidence is 0.6; .*--uncertain"):
        read(text)
    with pytest.raises(InputError, match=r"of others nothing; .*--blank zeros"):
        read(text, uncertain="mask")
    found = read(text, uncertain="mask", blank="mask")
    assert (sets(found), sets(found, "unknown")) == ([{"cat"}, {"dog"}], [{"hen"}, {"cat", "hen"}])
    found = read(text, uncertain="ones", blank="zeros")
    assert (sets(found), sets(found, "unknown")) == ([{"cat"}, {"dog", "hen"}], [set(), set()])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "image,cat,dog\na,1,2\nb,0,1\nc,1,1\n",
            "row 2, column 'dog': '2' is not 0 or 1; write 1 for every count above 0",
        ),
        ("image,cat,dog\na,1,0\nb,O,1\nc,1,1\n", "row 3, column 'cat': 'O' is not 0 or 1; correct it"),
        ("image,cat,dog\na,1,0\nb,.5,1\nc,1,1\n", "row 3, column 'cat': '.5' is not 0 or 1"),
        ("image,age,name\na,31,x\nb,40,y\n", "needs at least 2 columns of 0/1, one per class, and has none among"),
        ("image,cat\na,1\nb,0\n", "needs at least 2 columns of 0/1, one per class, and has cat among"),
        ("image,labels\n,cat\nb,dog\n", "row 2, column 'image': '' names no image"),
        ('image,tags\na,"[1, 0, 1]"\nb,"[0, 1, 1]"\n', "holds 0, 1 and no names"),
        ("image,labels\na,\"['cat', ['dog']]\"\nb,['dog']\n", "is no list of names"),
        ("image,labels,split\na,cat,holdout\n", "unknown split"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(read, text, words):
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        read(text)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("image,Patient ID,labels\n1.png,7,cat\n2.png,7,dog\n3.png,8,cat\n", "--group-column 'Patient ID'"),
        (
            "image,subject_id,study_id,cat,dog\n1,a,x,1,0\n2,a,y,0,1\n3,b,z,1,1\n4,b,z,1,1\n",
            "--group-column 'subject_id'",
        ),
        (
            "path,cat,dog\nx/patient001/1.png,1,0\nx/patient001/2.png,0,1\nx/patient002/1.png,1,1\n",
            "--group-pattern 'patient[0-9]{3,}'",
        ),
        ("image,labels\n1.png,cat\n2.png,dog\n", None),
        ("image,scene,labels\n1.png,s1,cat\n2.png,s2,dog\n", None),
    ],
)
def test_likely_groups_are_the_coarsest_that_repeat(read, text, cure):
    found = read(text).likely_groups
    assert (found.cure if found else None) == cure


def test_the_pattern_that_is_proposed_gives_the_groups_that_were_seen(read):
    # The shorter number is a folder of many patients.
    paths = [f"files/p10/p1000{i // 2:04d}/s5000/{i}.jpg" for i in range(6)]
    text = "path,cat,dog\n" + "".join(f"{path},1,{i % 2}\n" for i, path in enumerate(paths))
    likely = read(text).likely_groups
    pattern = likely.cure.removeprefix("--group-pattern '").removesuffix("'")
    groups = {image.file: image.group for image in read(text, group_pattern=pattern).images}
    assert groups == likely.group_of == {path: path.split("/")[2] for path in paths}


def test_a_group_column_gives_groups(read):
    found = read("image,patient,cat,dog\na,7,1,0\nb,7,0,1\nc,,1,1\n", group_column="Patient")
    assert [image.group for image in found.images] == ["7", "7", None]
    assert found.likely_groups is None
