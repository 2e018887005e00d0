import pytest

from hilum.datasets.id_lists import lost_zeros, one_of_each, read_id_list, read_named_ids, refuse_unknown
from hilum.errors import HilumError


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "list.txt"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def problems(read, *args):
    with pytest.raises(HilumError) as error:
        read(*args)
    return [line.split("list.txt: ", 1)[1] for line in str(error.value).splitlines()]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\n\n b \nc.d", {"a": 1, "b": 3, "c.d": 4}),
        ("a\r\nb\r\n", {"a": 1, "b": 2}),
        ("patientId\na\nb\n", {"a": 2, "b": 3}),
        ("Target, PatientID\n1,a\n0, b\n", {"a": 2, "b": 3}),
        ("image_id,split\na,val\n", {"a": 2}),
    ],
)
def test_ids_come_one_a_line_or_as_a_column(write, text, lines, encoding):
    assert read_id_list(write(text, encoding)) == lines


def test_what_is_no_list_is_said_line_by_line(write):
    assert problems(read_id_list, write("a\nb\na\nb\nx,y\n")) == [
        "line 3: a is named on line 1 already",
        "line 4: b is named on line 2 already",
        "line 5: expected one image id, found 'x,y'",
    ]
    assert problems(read_id_list, write("patientId,x\n,3\n")) == ["line 2: expected one image id, found ''"]
    for text in ("", "\n\n", "patientId\n"):
        assert problems(read_id_list, write(text)) == ["names no image"]
    assert problems(read_id_list, write("a\n\xe9", "latin-1")) == ["not text in UTF-8, in line 2"]
    assert problems(read_id_list, write("a\n" + "b" * 200_000)) == [
        "line 2: not a table: field larger than field limit (131072)"
    ]


def test_a_hundred_problems_are_not_a_hundred_lines(write):
    found = problems(read_id_list, write("a\n" * 100))
    assert len(found) == 11
    assert found[-1] == "and 89 more like these"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(HilumError, match=r"nowhere.csv: cannot be read: No such file"):
        read_id_list(tmp_path / "nowhere.csv")


def test_unknown_ids_are_named_with_their_lines(write, tmp_path):
    path = write("a\nb\nc\n")
    lines = read_id_list(path)
    refuse_unknown(path, lines, {"a": 0, "b": 0, "c": 0}, tmp_path)
    assert problems(refuse_unknown, path, lines, {"b": 0}, tmp_path) == [
        f"line 1: {tmp_path} has no image a",
        f"line 3: {tmp_path} has no image c",
    ]


def test_a_label_table_names_an_image_once_a_box(write):
    assert read_named_ids(write("patientId,x\na,1\na,2\nb,\n")) == {"a", "b"}
    assert problems(read_named_ids, write("id,x\na,1\n")) == [
        "expected a column 'patientid' or 'image_id', found id, x"
    ]


def test_where_no_id_is_known_one_of_each_side_is_shown(write, tmp_path):
    path = write("345\n12\n")
    for known, said in [
        ({"b": 1, "a": 2}, "none of its 2 ids is of DATA: expected 'a', found '12'"),
        (
            {"00345": 1, "x": 2},
            "none of its 2 ids is of DATA: expected '00345', found '345': save the ids as text, with ",
        ),
    ]:
        (line,) = problems(refuse_unknown, path, read_id_list(path), known, "DATA")
        assert line.startswith(said)
    assert one_of_each([], []) == "expected 'none', found 'none'"


def test_lost_zeros_are_those_of_ids_that_only_one_known_id_can_be():
    known = ["007", "07", "0012", "12", "0", "000", "x01", "0345"]
    assert lost_zeros(["7", "12", "345", "x1", "0", "00"], known) == {"345": "0345"}
    assert lost_zeros(["0"], ["000"]) == {"0": "000"}
