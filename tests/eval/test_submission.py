"""Kaggle's submission.csv: round trips, and files as people write them."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import HilumError
from hilum.eval.problems import MOST_LINES
from hilum.eval.submission import read_submission, write_submission

BOX = [1.0, 2.0, 3.0, 4.0]


@pytest.fixture
def read(tmp_path):
    """Writes the text to sub.csv and returns {id: (boxes, confidence)} as lists, and the problems."""

    def read_text(text, sizes_wh=None):
        (tmp_path / "sub.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        predictions, problems = read_submission(tmp_path / "sub.csv", sizes_wh)
        for boxes, confidence in predictions.values():
            assert boxes.dtype == confidence.dtype == np.float64
            assert boxes.shape == (len(confidence), 4)
        return {
            name: (boxes.tolist(), confidence.tolist()) for name, (boxes, confidence) in predictions.items()
        }, problems

    return read_text


# Round trip

number = st.floats(0, 1024) | st.integers(0, 1024).map(float)
size = st.floats(1e-3, 1024) | st.integers(1, 1024).map(float)
row = st.tuples(st.floats(0, 1), number, number, size, size)
submissions = st.dictionaries(
    st.text("abc-019,\"' é#", min_size=1).filter(lambda s: s == s.strip()), st.lists(row, max_size=4)
)


@given(submissions)
def test_what_is_written_is_read_to_the_last_bit(tmp_path_factory, rows_of):
    path = tmp_path_factory.mktemp("round_trip") / "submission.csv"
    tables = [np.array(rows, dtype=np.float64).reshape(-1, 5) for rows in rows_of.values()]
    write_submission(path, list(rows_of), [table[:, 1:] for table in tables], [table[:, 0] for table in tables])
    predictions, problems = read_submission(path)
    assert problems == []
    assert list(predictions) == list(rows_of)
    for (boxes, confidence), table in zip(predictions.values(), tables, strict=True):
        np.testing.assert_array_equal(boxes, table[:, 1:])
        np.testing.assert_array_equal(confidence, table[:, 0])


def test_the_file_is_what_kaggle_takes(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(
        path,
        ["a", "b"],
        [np.array([[605, 389, 217.5, 389], [1, 2, 3, 4]]), np.empty((0, 4))],
        [np.array([0.72, 1]), np.empty(0)],
    )
    assert path.read_bytes() == b"patientId,PredictionString\na,0.72 605 389 217.5 389 1 1 2 3 4\nb,\n"


def test_a_file_without_images_has_a_header(tmp_path):
    write_submission(tmp_path / "submission.csv", [], [], [])
    assert read_submission(tmp_path / "submission.csv") == ({}, [])


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "submission.csv"
    write_submission(path, ["old"], [np.empty((0, 4))], [np.empty(0)])
    before = path.read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(csv, "writer", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_submission(path, ["new"], [np.empty((0, 4))], [np.empty(0)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write_submission(path, ["new"], [np.empty((0, 4))], [np.empty(0)])
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("ids", "boxes", "confidence", "message"),
    [
        (["a", "a"], [[], []], [[], []], "'a' of image 1 is empty, has blanks around it or is there twice"),
        ([""], [[]], [[]], "'' of image 0"),
        (["a "], [[]], [[]], "'a ' of image 0"),
        (["a"], [[], []], [[], []], "boxes_xywh: expected one entry an image, 1, got 2"),
        (["a"], [[BOX]], [[1.5]], "confidence: expected values from 0 to 1, got 1.5 to 1.5"),
        (["a"], [[BOX]], [[]], "confidence of image 0"),
        (["a"], [[[1, 2, 0, 4]]], [[0.5]], "boxes_xywh of image 0, box 0"),
    ],
)
def test_what_cannot_be_written(tmp_path, ids, boxes, confidence, message):
    with pytest.raises(ValueError, match=message):
        write_submission(
            tmp_path / "sub.csv",
            ids,
            [np.array(b, dtype=np.float64).reshape(-1, 4) for b in boxes],
            [np.array(c) for c in confidence],
        )
    assert list(tmp_path.iterdir()) == []


# Files as people write them


@pytest.mark.parametrize(
    "text",
    [
        "patientId,PredictionString\na,0.5 1 2 3 4\nb,\n",
        "PatientId,PredictionString\na, 0.5 1 2 3 4\nb, \n",
        "PATIENTID , predictionstring\n a ,  0.5   1 2\t3 4 \n b,\n",
        "\ufeffpatientId,PredictionString\r\na,0.5 1 2 3 4\r\nb,\r\n",
        '"patientId","PredictionString"\n"a", "0.5 1 2 3 4"\n"b",""\n',
        "patientId,PredictionString\n\na,0.5 1 2 3 4\n,\n  \nb,",
        "row,PredictionString,patientId\n0,0.5 1 2 3 4,a\n1,,b\n",
        "patientId,PredictionString\na,0.50 1.0 2e0 +3 4.\nb,\n",
        "patientId,PredictionString\na,0.5 1 2 3 4\nb,   \t \n",
        "\ufeffPatientID,PREDICTIONSTRING\r\n a,0.5 1 2 3 4,\r\nb,,  ,\r\n",
    ],
)
def test_harmless_differences(read, text):
    assert read(text) == ({"a": ([BOX], [0.5]), "b": ([], [])}, [])


OF_FIVE = "expected five a box; row skipped"


@pytest.mark.parametrize(
    ("rows", "expected", "problem"),
    [
        # The whole row is skipped: the image is missing, and not an image without boxes.
        ("a,0.5 1 2 3", {}, f"row 2 (a): 4 values, {OF_FIVE}"),
        ("a,0.5 1 2 3 4 0.5", {}, f"row 2 (a): 6 values, {OF_FIVE}"),
        ("a,0.5 1 2 3 4 # sure", {}, f"row 2 (a): 7 values, {OF_FIVE}"),
        (",0.5 1 2 3 4", {}, "row 2: no patientId; row skipped"),
        ("a", {}, "row 2 (a): no PredictionString column; row skipped"),
        ("(2 rows)", {}, "row 2 ((2 rows)): no PredictionString column; row skipped"),
        ("a,0.5 1 2 3 4\na,", {"a": ([BOX], [0.5])}, "row 3 (a): was in row 2 already; row skipped"),
        ("a,\na,0.5 1 2 3 4", {"a": ([], [])}, "row 3 (a): was in row 2 already; row skipped"),
        # A row that was skipped does not block a better one.
        ("a,0.5\na,0.5 1 2 3 4", {"a": ([BOX], [0.5])}, f"row 2 (a): 1 values, {OF_FIVE}"),
        # One box is skipped, the others are used.
        (
            "a,0.9 1 2 x 4 0.5 1 2 3 4",
            {"a": ([BOX], [0.5])},
            "row 2 (a), box 1: '0.9 1 2 x 4' is not five finite numbers; box skipped",
        ),
        (
            "a,0.5 1 2 3 4 nan 1 2 3 4",
            {"a": ([BOX], [0.5])},
            "row 2 (a), box 2: 'nan 1 2 3 4' is not five finite numbers; box skipped",
        ),
        (
            "a,0.5 1 2 3 4; 0.4 1 2 3 4",
            {"a": ([BOX], [0.4])},
            "row 2 (a), box 1: '0.5 1 2 3 4;' is not five finite numbers; box skipped",
        ),
        (
            "a,0.5 1_0 2 3 4",
            {"a": ([], [])},
            "row 2 (a), box 1: '0.5 1_0 2 3 4' is not five finite numbers; box skipped",
        ),
        (
            "a,0.5 1 2 3 4 0.4 1 2 3 0",
            {"a": ([BOX], [0.5])},
            "row 2 (a), box 2: width 3 and height 0 are not both above 0; box skipped",
        ),
        (
            "a,0.5 1 2 -3 4",
            {"a": ([], [])},
            "row 2 (a), box 1: width -3 and height 4 are not both above 0; box skipped",
        ),
        ("a,95 1 2 3 4", {"a": ([BOX], [95.0])}, "row 2 (a), box 1: confidence 95 is outside 0..1; kept as it is"),
        ("a,0.5 1 2 3 4,good,", {"a": ([BOX], [0.5])}, "row 2 (a): 'good' after the last column; left out"),
        (
            "C:\\xrays\\a.dcm,0.5 1 2 3 4",
            {"a": ([BOX], [0.5])},
            "row 2 (a): the id is 'C:\\xrays\\a.dcm'; read without the rest",
        ),
        ("a.DCM,", {"a": ([], [])}, "row 2 (a): the id is 'a.DCM'; read without the rest"),
        ("x/a.jpg,\na,", {"a": ([], [])}, ["row 2 (a): the id is 'x/a.jpg'", "row 3 (a): was in row 2"]),
    ],
)
def test_problems_are_named_and_the_rest_is_used(read, rows, expected, problem):
    predictions, problems = read(f"patientId,PredictionString\n{rows}\nlast,0.1 1 2 3 4\n")
    assert predictions == {**expected, "last": ([BOX], [0.1])}
    if isinstance(problem, str):
        assert problems == [f"sub.csv, {problem}"]
    else:
        assert len(problems) == len(problem)
        assert all(line.startswith(f"sub.csv, {start}") for line, start in zip(problems, problem, strict=True))


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_are_named_and_read(read, separator, name):
    text = "\ufeffpatientId,PredictionString\r\na,0.5 1 2 3 4\r\nb,\r\n".replace(",", separator)
    assert read(text) == (
        {"a": ([BOX], [0.5]), "b": ([], [])},
        [f"sub.csv, row 1: columns separated by {name}; a submission has commas"],
    )


SIZES = {"a": (1024, 1024), "b.png": (60, 80)}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,0.5 0 0 1024 1024", None),
        ("a,0.5 -0.0001 0 1024.0001 1024", None),
        ("a,0.5 1000 0 25 9", "row 2 (a), box 1: 1000 0 25 9 reaches out of the 1024 x 1024 image; kept as it is"),
        ("a,0.5 -1 0 25 9", "row 2 (a), box 1: -1 0 25 9 reaches out of the 1024 x 1024 image; kept as it is"),
        ("a,0.5 1 -2 25 9", "row 2 (a), box 1: 1 -2 25 9 reaches out of the 1024 x 1024 image; kept as it is"),
        ("b.png,0.5 0 0 60 80", None),
        ("b.png,0.5 0 0 60 81", "row 2 (b.png), box 1: 0 0 60 81 reaches out of the 60 x 80 image; kept as it is"),
    ],
)
def test_boxes_out_of_the_image_are_named_and_kept(read, row, problem):
    predictions, problems = read(f"patientId,PredictionString\n{row}\n", SIZES)
    name, _, box = row.partition(",")
    assert predictions[name] == ([[float(word) for word in box.split()[1:]]], [0.5])
    assert problems == ([f"sub.csv, {problem}"] if problem else [])


def test_ids_that_are_not_in_the_data_are_named_with_their_rows(read):
    predictions, problems = read("patientId,PredictionString\nz,0.5 1 2 3 4\na,\nd/b.png,\nb,\n", SIZES)
    # What is an id as it stands, "b.png", is not taken for a file.
    assert list(predictions) == ["a", "b.png"]
    assert problems == [
        "sub.csv, row 2 (z): is not among the images to score; row skipped",
        "sub.csv, row 5 (b): is not among the images to score; row skipped",
        "sub.csv, row 4 (b.png): the id is 'd/b.png'; read without the rest",
    ]


def test_a_flood_is_cut_kind_by_kind(read):
    rows = "".join(f"{number},0.5 1 2 3\n{number}b,2 1 2 3 4\n" for number in range(1000))
    predictions, problems = read(f"patientId,PredictionString\n{rows}x,0.5 1 2 3 0\n")
    assert len(predictions) == 1001
    assert len(problems) == 2 * (MOST_LINES + 1) + 1
    assert [line for line in problems if " more " in line] == [
        "sub.csv: and 980 more rows with a wrong number of values",
        "sub.csv: and 980 more confidences outside 0..1",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id,boxes\na,0.5 1 2 3 4\n", "found id, boxes"),
        ("a,0.5 1 2 3 4\n", "found a, 0.5 1 2 3 4"),
        ("patientId|PredictionString\na|\n", "found patientId|PredictionString"),
        ("patientId,PatientID,PredictionString\na,b,\n", "found patientId, PatientID, PredictionString"),
        ("", "found nothing"),
    ],
)
def test_a_file_without_the_columns(read, text, found):
    with pytest.raises(HilumError) as caught:
        read(text)
    message = str(caught.value)
    assert "sub.csv: expected the columns patientId and PredictionString in the first row" in message
    assert message.endswith(found)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe\x00PK", "not text in UTF-8"),
        (b'patientId,PredictionString\na,"' + b"1 " * 200_000, "line 2: not a table: field larger than"),
        (b"patientId,PredictionString\na,\0", "not a table: it holds zero bytes"),
    ],
)
def test_a_file_that_is_no_csv_text(read, data, why):
    with pytest.raises(HilumError, match=rf"sub\.csv: {why}"):
        read(data)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(HilumError, match=r"none\.csv: cannot be read: No such file"):
        read_submission(tmp_path / "none.csv")


def test_kaggles_sample_submission(shared):
    predictions, problems = read_submission(shared / "rsna_tables/stage_2_sample_submission.csv")
    assert problems == []
    assert len(predictions) == 3000
    for boxes, confidence in predictions.values():
        assert boxes.tolist() == [[0, 0, 100, 100]]
        assert confidence.tolist() == [0.5]
