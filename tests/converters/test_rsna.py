"""The challenge's tables, as Kaggle writes them and as people and spreadsheets change them."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.converters.challenge_tables import CLASSES, LABEL_COLUMNS, read_classes, read_labels
from hilum.datasets import tables as table_reader
from hilum.datasets.id_lists import match_case
from hilum.datasets.patients import read_patients
from hilum.errors import HilumError

NAME = "stage_2_train_labels.csv"
HEADER = "patientId,x,y,width,height,Target\n"
BOX = (1, 2, 3, 4)


def encoded(text):
    return text if isinstance(text, bytes) else text.encode()


def read(text):
    """The label table: boxes by image without their rows, and what was left out as (what, row, reason)."""
    labels = read_labels(encoded(text), NAME)
    assert {entry.file for entry in labels.left_out} <= {NAME}
    boxes = {image_id: [box[:4] for box in found] for image_id, found in labels.boxes.items()}
    return boxes, [(entry.what, entry.row, entry.reason) for entry in labels.left_out]


def refusal(reader, text):
    with pytest.raises(HilumError) as caught:
        reader(encoded(text), "the table.csv")
    message = str(caught.value)
    assert message.startswith("the table.csv: ")
    assert message.isprintable()
    assert len(message) < 500
    return message


# Rows of the label table


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,nan,2,3,4,1", "four finite numbers"),
        ("a,1,inf,3,4,1", "four finite numbers"),
        ("a,1,2,3,-Infinity,1", "four finite numbers"),
        ("a,one,2,3,4,1", "four finite numbers"),
        ("a,1,2,,4,1", "four finite numbers"),
        ("a,1_0,2,3,4,1", "four finite numbers"),
        ("a,0x1,2,3,4,1", "four finite numbers"),
        ("a,\u0661,2,3,4,1", "four finite numbers"),  # a digit to float(), a cell that nobody meant as one here
        ('a,"1,024",2,3,4,1', "four finite numbers"),  # 1.024 or 1024
        (f"a,{'1' * 5000},2,3,4,1", "four finite numbers"),
        ("a,1,2,0,4,1", "above 0"),
        ("a,1,2,3,-4,1", "above 0"),
        ("a,0,0,0,0,1", "above 0"),
        ("a,1,2,1e400,4,1", "beyond 65,535 px"),
        ("a,-1e308,2,3,4,1", "beyond 65,535 px"),
        ("a,1,2,65536,4,1", "beyond 65,535 px"),
        ("a,,,,,1", "no box"),
        ("a,nan,NaN,NA,<NA>,1", "no box"),
        ("a,1,2", "Target is empty"),
    ],
)
def test_a_box_that_cannot_be_used_takes_its_image_along_if_it_is_the_only_one(row, reason):
    boxes, left_out = read(f"{HEADER}b,,,,,0\n{row}\n")
    assert boxes == {"b": []}
    assert [(what, at) for what, at, _ in left_out] == [(left_out[0][0], 3), ("image", 3)]
    assert reason in left_out[0][2]
    assert len(left_out[0][2]) < 120


@pytest.mark.parametrize("row", ["a,-3.5,2,3,4,1", "a,65535,+2.,.3e1,4E0,1", 'a," 1","2 ", 3,4\t,1', "a,1,2,3,4,1,,"])
def test_boxes_as_they_may_well_be(row):
    boxes, left_out = read(f"{HEADER}{row}\n")
    assert len(boxes["a"]) == 1
    assert left_out == []


def test_a_bad_box_beside_a_good_one_costs_only_itself():
    boxes, left_out = read(f"{HEADER}a,1,2,3,4,1\na,1,2,0,4,1\na,1.0,2,3,4.0,1\n")
    assert boxes == {"a": [BOX]}
    assert [entry[:2] for entry in left_out] == [("box", 3), ("box", 4)]
    assert left_out[1][2] == "the same box a second time, first in row 2"


@pytest.mark.parametrize(
    "rows",
    [
        "a,1,2,3,4,0\n",
        "a,,,,,0\na,1,2,3,4,1\n",
        "a,1,2,3,4,1\na,,,,,0\n",
        "a,1,2,3,4,1\na,1,2,3,4,0\n",
        "a,,,,,0\na,,,,,1\n",
        "a,,,,,0\na,1,2,3,4,seven\n",  # a negative that is not sure is none
        "a,,,,,0\na,1,5,2,3,4,1\n",
        "a,x,,,,0\n",
    ],
)
def test_an_image_whose_rows_contradict_each_other_is_left_out(rows):
    boxes, left_out = read(HEADER + rows)
    assert boxes == {}
    assert left_out[-1][:2] == ("image", 2)
    assert "contradict" in left_out[-1][2] or "another cannot be used" in left_out[-1][2]


@pytest.mark.parametrize("cells", ["0,0,0,0", "-1,-1,-1,-1", "0.0,0.0,,0", "nan,NaN,NA,null"])
def test_a_fill_value_in_a_negative_row_is_no_box(cells):
    boxes, left_out = read(f"{HEADER}a,{cells},0\nb,{cells},0\n")
    assert boxes == {"a": [], "b": []}
    if "0" in cells or "-1" in cells:
        assert left_out == [
            ("note", 2, "Target is 0 and the box is filled with 0 or -1, which counts as no box (so in 2 rows)")
        ]
    else:
        assert left_out == []


@pytest.mark.parametrize(
    ("target", "said"),
    [
        *((number, number) for number in ("2", "-1", "0.5", "10")),
        *((text, f"text of {len(text)} characters") for text in ("pneumonia", "nan", "1 0", "inf", "Lung\0Opacity")),
        ("", "empty"),
        ("19500131", "a number of 8 characters"),
        ("0.1234567", "a number of 9 characters"),
    ],
)
def test_targets_that_are_neither_0_nor_1_are_named(target, said):
    boxes, left_out = read(f"{HEADER}b,1,2,3,4,{target}\na,1,2,3,4,1\nb,5,2,3,4,1\n")
    assert boxes == {"a": [BOX], "b": [(5, 2, 3, 4)]}
    assert left_out == [("row", 2, f"Target is {said}, expected 0 or 1")]


def test_targets_in_other_words_are_read_and_each_form_is_said_once():
    rows = ["a,,,,,0.0", "b,1,2,3,4,1.0", "c,,,,,FALSE", "d,1,2,3,4,True", "e,1,2,3,4,yes", "f,,,,,no", "g,,,,,00"]
    boxes, left_out = read(HEADER + "\n".join([*rows, 'h,1,2,3,4,"1 "', "i,,,,,FALSE", 'j,,,,,"0,0"']))
    assert boxes == {name: [BOX] if name in "bdeh" else [] for name in "abcdefghij"}
    assert left_out == [
        ("note", 4, "Target is written 'FALSE', read as 0 (so in 2 rows)"),
        ("note", 5, "Target is written 'True', read as 1"),
        ("note", 6, "Target is written 'yes', read as 1"),
        ("note", 7, "Target is written 'no', read as 0"),
        ("note", 8, "Target is written '00', read as 0"),
        ("note", 11, "Target is written '0,0', read as 0"),
    ]


@pytest.mark.parametrize("image_id", ["../a", "a b", ".hidden", "a/b", "x" * 129, "a\0", "\u00e4", "..\\.dcm", ".dcm"])
def test_ids_that_are_no_file_names_are_left_out_and_not_quoted(image_id):
    labels = read_labels(f"{HEADER}{image_id},,,,,0\n".encode(), NAME)
    assert labels.boxes == {}
    (entry,) = labels.left_out
    assert (entry.what, entry.image_id, entry.row) == ("row", "", 2)
    assert entry.reason == f"patientId {table_reader.BAD_ID}"


def test_a_row_without_an_id_is_no_blank_row():
    assert read(f"{HEADER},1,2,3,4,1\na,,,,,0\n") == ({"a": []}, [("row", 2, f"patientId {table_reader.BAD_ID}")])


def test_ids_written_as_file_names_are_those_of_the_files():
    boxes, left_out = read(f"{HEADER}a.dcm,1,2,3,4,1\nimages/a.DCM,2,2,3,4,1\nc:\\x\\b.dcm,,,,,0\nc.d,,,,,0\n")
    assert boxes == {"a": [BOX, (2, 2, 3, 4)], "b": [], "c.d": []}
    assert left_out == [("note", 2, "patientId is written as a file name, read as the id in it (so in 3 rows)")]


def test_of_ids_that_differ_only_in_case_the_first_is_kept():
    labels = read_labels(f"{HEADER}b,,,,,0\nab,1,2,3,4,1\nAB,9,2,3,4,1\nAB,8,2,3,4,1\nAb,,,,,0\n".encode(), NAME)
    assert labels.boxes == {"b": [], "ab": [(*BOX, 3)]}
    assert [(entry.what, entry.image_id, entry.row) for entry in labels.left_out] == [
        ("image", "AB", 4),
        ("image", "Ab", 6),
    ]
    assert {entry.reason for entry in labels.left_out} == {"the id differs only in case from 'ab' of row 3"}


def test_a_second_negative_row_is_said():
    expected = ("note", 3, "Target is 0 for an image that has such a row already (so in 2 rows)")
    assert read(f"{HEADER}a,,,,,0\na,,,,,0\na,,,,,0\n") == ({"a": []}, [expected])


def test_a_row_with_more_cells_than_the_header_is_not_guessed_at():
    # Decimal commas without quotes: x would be 264 and y 5.
    boxes, left_out = read("patientId,Target,x,y,width,height\na,1,264,5,152,0,213,0\nb,1,1,2,3,4\nc,0\n")
    assert boxes == {"b": [BOX], "c": []}
    assert [entry[:2] for entry in left_out] == [("row", 2), ("image", 2)]
    assert "the row has 8 cells, the header 6" in left_out[0][2]


# The table as a whole

TWO_IMAGES = f"{HEADER}a,1,2,3,4,1\nb,,,,,0\n"


@pytest.mark.parametrize(
    "content",
    [
        TWO_IMAGES.encode("utf-8-sig"),
        b"\xef\xbb\xbf" + TWO_IMAGES.encode("utf-8-sig"),
        TWO_IMAGES.encode("utf-16"),
        TWO_IMAGES.encode("utf-16-le"),
        TWO_IMAGES.encode("utf-16-be"),
        b"\xfe\xff" + TWO_IMAGES.encode("utf-16-be"),
        TWO_IMAGES.replace(",", "\t").encode("utf-16"),
        TWO_IMAGES.replace("\n", "\r\n"),
        TWO_IMAGES.replace("\n", "\r"),
        TWO_IMAGES.replace(",", ";"),
        TWO_IMAGES.replace(",", "\t"),
        TWO_IMAGES.replace(",", "|"),
        TWO_IMAGES.strip(),
        '"patientId","x","y","width","height","Target"\n"a","1","2","3","4","1"\n"b","","","","","0"\n',
        'patientId, "x", y, width, height, Target\n"a", "1", 2, 3, 4, "1"\n"b" , , , , , 0\n',
        " PATIENTID , X,y,Width,HEIGHT,target\na , 1,2,3, 4 ,1\nb,,,,,0\n",
        "patient_id,x,y,width,height,Target\na,1,2,3,4,1\nb,,,,,0\n",
        "Patient ID,x,y,width,height,TARGET\na,1,2,3,4,1\nb,,,,,0\n",
        "Target,height,width,y,x,patientID\n1,4,3,2,1,a\n0,,,,,b\n",
        "Target,patientId,height,width,y,x\n1,a,4,3,2,1\n0,b\n",
        f"\n{HEADER}\na,1,2,3,4,1.0\n,,,,,\n , ,\t,,,\nb,,,,,0.0\n\n\n",
    ],
)
def test_the_ways_spreadsheets_write_a_table_are_read(content):
    boxes, left_out = read(content)
    assert boxes == {"a": [BOX], "b": []}
    assert [entry for entry in left_out if "quotation marks" not in entry[2]] == []
    assert read_labels(encoded(content), NAME).rows == 2


def test_decimal_commas_are_read_and_said():
    expected = {"a": [(264.5, 2, 3, 4)]}
    note = ("note", 2, "numbers with a decimal comma")
    assert read(f'{HEADER}a,"264,5",2,3,"4,0",1\n') == (expected, [note])
    assert read(f"{HEADER}a,264;5,2,3,4,1\n".translate(str.maketrans(",;", ";,"))) == (expected, [note])


def test_extra_columns_are_said_once():
    boxes, left_out = read("patientId,note,x,y,width,height,Target,\na,n,1,2,3,4,1,\nb,,,,,,0,7\n")
    assert boxes == {"a": [BOX], "b": []}
    assert left_out == [("column", 1, "2 columns more than are used")]


def test_latin_1_in_another_column_harms_nothing():
    text = "patientId,x,y,width,height,Target,by\na,1,2,3,4,1,z\nb,,,,,0,M\u00fcller\n"
    boxes, left_out = read(text.encode("latin-1"))
    assert boxes == {"a": [BOX], "b": []}
    assert left_out[1:] == [("note", 3, "bytes that are not text in the file's encoding, from this row on")]
    assert read(text)[1] == left_out[:1]


def test_rows_are_numbered_as_lines_also_after_line_breaks_in_a_cell():
    text = 'patientId,x,y,width,height,Target,text\na,1,2,3,4,1,"one\n\ntwo, ""2"""\n\nb,,,,,7,\nc,,,,,0,"x"\n'
    boxes, left_out = read(text)
    assert boxes == {"a": [BOX], "c": []}
    reader = csv.reader(io.StringIO(text))
    rows = {row[0]: reader.line_num for row in reader if row}
    assert read_labels(text.encode(), NAME).boxes["a"][0][4] == rows["a"] == 4
    assert [entry[:2] for entry in left_out[1:3]] == [("row", rows["b"]), ("image", rows["b"])]
    assert left_out[3][:2] == ("note", 4)


@pytest.mark.parametrize("damaged", ['"b,,,,,0', 'b,"1,2,3,4,1', '"b",,,,,0"', 'b,,,,,"0', '""b,,,,,0'])
@pytest.mark.parametrize("mark", ["", '"'])
def test_a_stray_quotation_mark_costs_at_most_its_own_row(damaged, mark):
    rows = [f"{mark}{name}{mark},,,,,{mark}0{mark}" for name in "acdef"]
    boxes, left_out = read(HEADER + "\n".join([rows[0], damaged, *rows[1:]]))
    assert boxes.keys() - {"b"} == set("acdef")
    assert any(row == 3 for _, row, _ in left_out)


def test_two_stray_quotation_marks_do_not_swallow_the_rows_between_them():
    boxes, left_out = read(f'{HEADER}b,"1,2,3\na,1,2,3,4,1\nc,1,2,3,4,"\nd,,,,,0\n')
    assert boxes == {"a": [BOX], "d": []}
    assert [entry[:2] for entry in left_out if entry[0] == "row"] == [("row", 2), ("row", 4)]


@pytest.mark.parametrize("more", [-1, 0])
def test_a_cell_may_run_over_some_lines_and_no_more(more):
    cell = "\n".join("x" * (table_reader.MAX_SPAN + 1 + more))
    boxes, left_out = read(f'patientId,x,y,width,height,Target,text\na,1,2,3,4,1,"{cell}"\nb,,,,,0,\n')
    assert boxes == {"a": [BOX], "b": []}
    assert len([entry for entry in left_out if entry[0] == "row"]) == (0 if more else table_reader.MAX_SPAN)


@pytest.mark.parametrize("line", ['a"b,"c\n', 'a","x\n'])  # each opens a cell; the next ends it badly, or opens another
def test_stray_quotation_marks_everywhere_take_no_quadratic_time(line):
    labels = read_labels(f"{HEADER}{line * 20_000}a,1,2,3,4,1\n".encode(), NAME)
    assert labels.boxes == {"a": [(*BOX, 20_002)]}
    assert sum(entry.what == "row" for entry in labels.left_out) == 20_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\n \r\n\n", "is empty"),
        (HEADER, "no rows"),
        (f"{HEADER}\n,,,,,\n", "no rows"),
        ("patientId,x,y,width,height\na,,,,\n", "column Target is missing; found 'patientId', 'x', 'y'"),
        ("a,1,2,3,4,1\n", "column patientId, x, y, width, height, Target is missing; found 'a', '1'"),
        ("patientId,x,y,width,height,Target,X\na,,,,,0,\n", "column x is there more than once"),
        (b"\xff\xfe\x00", "is missing"),
        (b"\x00,\x00", "found '\\x00', '\\x00'"),
        (b"\0" * 100, "is missing"),
        (b"PK\x03\x04" + b"\0" * 30, "unpack it"),
        (b"\x1f\x8b\x08\x00", "unpack it"),
        ("\x1b[31m" + "\u202e" * 300 + ",b" * 99, r"'\x1b[31m\u202e"),
        ("x" * 300_000, "is missing"),
        ('"' + "x" * 300_000 + "\n", "is missing"),
    ],
)
def test_what_is_no_such_table_is_refused_with_its_name(content, expected):
    assert expected in refusal(read_labels, content)


def test_tables_beyond_all_measure_are_refused_before_they_take_memory(monkeypatch):
    assert "rows" in refusal(read_labels, b"\n" * (table_reader.MAX_ROWS + 1))
    assert "rows" in refusal(read_labels, b"\r" * (table_reader.MAX_ROWS + 1))
    monkeypatch.setattr(table_reader, "MAX_BYTES", 1 << 10)
    assert "right file" in refusal(read_labels, HEADER + "x" * 1000)


@pytest.mark.parametrize("line", ["x" * 200_000, "," * 200_000, '"' * 200_000, "a,1,2,3,4,1," + " " * 200_000])
def test_a_line_beyond_all_measure_costs_only_itself(line):
    boxes, left_out = read(f"{HEADER}{line}\na,1,2,3,4,1\n")
    assert boxes == {"a": [BOX]}
    assert left_out == [("row", 2, f"the line has {len(line)} characters, more than a row can have")]


def test_control_characters_and_long_cells_do_not_reach_a_message():
    cell = "\x1b]0;\u202e\u2028" + "x" * 500
    for text in (
        f"{HEADER}a,{cell},2,3,4,1",
        f"{HEADER}a,1,2,3,4,{cell}",
        f"patientId,{cell},x,y,width,height,Target\na",
    ):
        for _, _, reason in read(text)[1]:
            assert reason.isprintable()
            assert len(reason) < 120
    _, left_out = read_classes(f"patientId,class\na,{cell}".encode(), NAME)
    assert left_out[0].reason.isprintable()
    assert len(left_out[0].reason) < 150


numbers = st.integers(0, 1024) | st.floats(-100, 1024, allow_nan=False).map(lambda value: round(value, 3))
sides = st.integers(1, 1024) | st.floats(0.01, 1024).map(lambda value: round(value, 3))
tables = st.dictionaries(
    st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True),
    st.lists(st.tuples(numbers, numbers, sides, sides), max_size=3, unique=True),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(
    tables,
    st.permutations(LABEL_COLUMNS),
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([str.lower, str.upper, str.title, lambda name: f" {name} "]),
)
def test_however_a_table_is_written_the_same_is_read(boxes, columns, delimiter, quoting, end, encoding, rename):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow([rename(name) for name in columns])
    for image_id, found in boxes.items():
        for box in found or [("", "", "", "")]:
            row = dict(zip(LABEL_COLUMNS, [image_id, *box, int(bool(found))], strict=True))
            writer.writerow([row[name] for name in columns])
    assert read(text.getvalue().encode(encoding)) == (boxes, [])


# Classes, patients, ids


def classes_of(text):
    classes, left_out = read_classes(encoded(text), "c.csv")
    return classes, [(entry.what, entry.image_id, entry.row) for entry in left_out]


def test_classes_are_one_an_image_and_a_second_one_is_said():
    classes, left_out = classes_of("patientId,class\na,Normal\na,Normal\nb,Normal\nb,Lung Opacity\n")
    assert classes == {"a": "Normal", "b": "Normal"}
    assert left_out == [("row", "b", 5)]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "form", [str.lower, str.upper, lambda s: s.replace(" ", "  "), lambda s: s.replace(" / ", "/")]
)
def test_class_names_are_taken_in_other_case_and_said_once(kind, form):
    classes, left_out = read_classes(f"PatientID;CLASS\na; {kind}\nb;{form(kind)}\nc;{form(kind)}\n".encode(), "c.csv")
    assert classes == dict.fromkeys("abc", kind)
    if form(kind) == kind:
        assert left_out == []
    else:
        assert [(entry.what, entry.row) for entry in left_out] == [("note", 3)]
        assert left_out[0].reason == f"class is written {form(kind)!r}, read as {kind!r} (so in 2 rows)"


def test_unknown_classes_are_empty_and_said_with_their_row():
    classes, left_out = classes_of("patientId,class\na,Fine\nb,\nb,Normal\nc\nd,Normal\nd,Norm\n../e,Normal\n")
    assert classes == {"a": "", "b": "Normal", "c": "", "d": "Normal"}
    assert left_out == [("row", "a", 2), ("row", "b", 3), ("row", "c", 5), ("row", "d", 7), ("row", "", 8)]


def test_a_class_with_a_stray_comma_is_not_cut():
    classes, left_out = classes_of("patientId,class\na,Normal,Lung Opacity\nb.dcm,Normal,\n")
    assert classes == {"b": "Normal"}
    assert left_out == [("row", "a", 2), ("note", "", 3)]


def test_a_class_table_without_its_columns_is_refused():
    assert "column class is missing; found 'patientId', 'kind'" in refusal(read_classes, "patientId,kind\na,Normal\n")
    assert "no rows" in refusal(read_classes, "patientId,class\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patientId,patient\na,p\nb,p\nc,\nd\ne,nan\na,p\n", {"a": "p", "b": "p"}),
        ("patientId,nih,nih_patient,mse\na,f,7,1\n", {"a": "7"}),
        ("NIH Patient;patientId\n7;x/a.dcm\n", {"a": "7"}),
        ("patientId,nih_patient,patient\na,7,p\n", {"a": "p"}),
        (
            "patientId,patient\na,M\u00fcller\nb,M\u00f6ller\n".encode("latin-1"),
            {"a": "M\u00fcller", "b": "M\u00f6ller"},
        ),
    ],
)
def test_a_patient_map_gives_one_patient_an_image(text, expected):
    assert read_patients(encoded(text), "p.csv") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patientId,patient\na,p\na,q\n", "row 3: image a has two patients; mend the map"),
        ("patientId,patient\na,p\na,\n", "row 3: image a has two patients; mend the map"),
        ("patientId,person\na,p\n", "expected a column 'patient' or 'nih_patient', found 'patientId', 'person'"),
        ("image,patient\na,p\n", "column patientId is missing"),
        ("patientId,patient,patient\na,p,q\n", "column patient is there more than once"),
        ("patientId,patient\na,Doe, John\n", "row 2: the row has 3 cells, the header 2"),
        ("patientId,patient\n,p\n", "row 2: patientId is empty"),
        (f"patientId,patient\na,p\nb,{'x' * 200_000}\n", "row 3: the line has 200002 characters"),
        ("patientId,patient\n", "no rows"),
        ("", "is empty"),
    ],
)
def test_a_patient_map_that_could_mislead_is_refused(text, expected):
    message = refusal(read_patients, text)
    assert expected in message
    assert "Doe" not in message


def test_ids_meet_in_spite_of_their_case_only_where_there_is_one_answer():
    assert match_case(["AB", "cd", "E"], ["ab", "cd", "CD", "f"]) == {"AB": "ab"}
    assert match_case(["AB", "aB"], ["ab"]) == {}
    assert match_case(["AB"], ["ab", "Ab"]) == {}
    assert match_case(["AB", "ab"], ["ab"]) == {}
