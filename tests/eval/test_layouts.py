"""Submissions to SIIM-FISABIO-RSNA COVID-19 and to VinBigData: round trips, and files as people write them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.errors import HilumError
from hilum.eval.layouts import LAYOUTS, RSNA, SIIM, VINBIGDATA
from hilum.eval.submission import read_rows, read_submission, rows_text, submission_text
from hilum.eval.submission_row import Row

# The examples that the challenges' own pages give.
THEIR_SIIM = """Id,PredictionString
2b95d54e4be65_study,negative 1 0 0 1 1
2b95d54e4be67_study,indeterminate 1 0 0 1 1 atypical 1 0 0 1 1
2b95d54e4be68_image,none 1 0 0 1 1
2b95d54e4be69_image,opacity 0.5 100 100 200 200 opacity 0.7 10 10 20 20
"""
THEIR_VINBIGDATA = """image_id,PredictionString
004f33259ee4aef671c2b95d54e4be68,14 1 0 0 1 1
004f33259ee4aef671c2b95d54e4be69,11 0.5 100 100 200 200 13 0.7 10 10 20 20
"""


@pytest.fixture
def read(tmp_path):
    """Writes the text to sub.csv and returns the layout, {id: [(class, confidence, box)]} and the problems."""

    def read_text(text, sizes_wh=None):
        (tmp_path / "sub.csv").write_text(text)
        layout, rows, problems = read_rows(tmp_path / "sub.csv", sizes_wh)
        return layout, {name: boxes_of(row) for name, row in rows.items()}, problems

    return read_text


def boxes_of(row):
    return list(zip(row.classes, row.confidence.tolist(), row.boxes_xywh.tolist(), strict=True))


def test_their_own_examples(read):
    whole = [0, 0, 1, 1]
    layout, rows, problems = read(THEIR_SIIM)
    assert (layout, problems) == (SIIM, [])
    assert rows == {
        "2b95d54e4be65_study": [("negative", 1, whole)],
        "2b95d54e4be67_study": [("indeterminate", 1, whole), ("atypical", 1, whole)],
        "2b95d54e4be68": [("none", 1, whole)],
        "2b95d54e4be69": [("opacity", 0.5, [100, 100, 100, 100]), ("opacity", 0.7, [10, 10, 10, 10])],
    }
    layout, rows, problems = read(THEIR_VINBIGDATA)
    assert (layout, problems) == (VINBIGDATA, [])
    assert rows == {
        "004f33259ee4aef671c2b95d54e4be68": [("No finding", 1, whole)],
        "004f33259ee4aef671c2b95d54e4be69": [
            ("Pleural thickening", 0.5, [100, 100, 100, 100]),
            ("Pulmonary fibrosis", 0.7, [10, 10, 10, 10]),
        ],
    }


def test_the_header_tells_whose_a_file_is(read):
    for layout in LAYOUTS.values():
        assert read(f"\ufeffrow;{layout.id_column.upper()};predictionstring\n")[0] is layout
    assert read("id,patientId,PredictionString\n1,a,0.5 1 2 3 4\n")[:2] == (RSNA, {"a": [("", 0.5, [1, 2, 3, 4])]})
    for header in ("id,image_id,x", "id,id,PredictionString", "patientId,patientId,image_id,PredictionString"):
        with pytest.raises(HilumError, match=r"sub\.csv: expected the columns patientId and PredictionString"):
            read(header + "\n")


def test_another_challenges_file_is_no_submission_to_rsna(tmp_path):
    (tmp_path / "s.csv").write_text(THEIR_SIIM)
    with pytest.raises(HilumError, match=r"s\.csv: expected a submission to rsna, with patientId, not to siim"):
        read_submission(tmp_path / "s.csv")


corner, side = (
    st.floats(0, 1024) | st.integers(0, 1024).map(float),
    st.floats(0.01, 1024) | st.integers(1, 99).map(float),
)
box = st.tuples(st.floats(0, 1), corner, corner, side, side)
ids = st.text("abc-019,\"' é#", min_size=1).filter(lambda s: s == s.strip())


@pytest.mark.parametrize("layout", [SIIM, VINBIGDATA])
@given(data=st.data())
def test_what_is_written_is_read_to_a_millionth_of_a_pixel(tmp_path_factory, layout, data):
    boxes = st.lists(st.tuples(st.sampled_from(sorted(set(layout.words) - {layout.nothing})), box), max_size=4)
    rows = {
        layout.row_id(name): Row(
            np.array([numbers[1:] for _, numbers in given_boxes], float).reshape(-1, 4),
            np.array([numbers[0] for _, numbers in given_boxes], float),
            tuple(name for name, _ in given_boxes),
        )
        for name, given_boxes in data.draw(st.dictionaries(ids, boxes)).items()
    }
    path = tmp_path_factory.mktemp("round_trip") / "s.csv"
    path.write_text(rows_text(layout, rows))
    found, there, problems = read_rows(path)
    assert (found, problems) == (layout, [])
    assert [layout.row_id(name) for name in there] == list(rows)
    for one, other in zip(there.values(), rows.values(), strict=True):
        assert one.classes == other.classes
        np.testing.assert_array_equal(one.confidence, other.confidence)
        np.testing.assert_allclose(one.boxes_xywh, other.boxes_xywh, atol=2.1e-6)


@pytest.mark.parametrize("text", [THEIR_SIIM.replace("Id", "id", 1), THEIR_VINBIGDATA])
def test_their_own_examples_are_written_to_the_byte(tmp_path, text):
    (tmp_path / "s.csv").write_text(text)
    layout, rows, _ = read_rows(tmp_path / "s.csv")
    written = {name if name.endswith("_study") else layout.row_id(name): row for name, row in rows.items()}
    assert rows_text(layout, written) == text


NUMBERS = "is not a class and five finite numbers; box skipped"


@pytest.mark.parametrize(
    ("row", "expected", "problem"),
    [
        ("a_image,opacity 0.5 1 2 4", {}, "row 2 (a): 5 values, expected six a box; row skipped"),
        ("a_image,0.5 1 2 3 4 5", {"a": []}, "row 2 (a), box 1: '0.5' is none of opacity, none; box skipped"),
        ("a_image,opacity x 1 2 4 6", {"a": []}, f"row 2 (a), box 1: 'opacity x 1 2 4 6' {NUMBERS}"),
        ("a_image,opacity 0.5 1 2 4 1e9", {"a": []}, f"row 2 (a), box 1: 'opacity 0.5 1 2 4 1e9' {NUMBERS}"),
        (
            "a_image,Opacity 0.5 1 2 4 6",
            {"a": []},
            "row 2 (a), box 1: 'Opacity' is none of opacity, none; box skipped",
        ),
        # Swapped corners, and width and height in their place.
        (
            "a_image,opacity 0.5 4 6 1 2",
            {"a": []},
            "row 2 (a), box 1: width -3 and height -4 are not both above 0; box skipped",
        ),
        (
            "a_image,opacity 0.5 90 2 4 6",
            {"a": []},
            "row 2 (a), box 1: width -86 and height 4 are not both above 0; box skipped",
        ),
        (
            "a_image,opacity 7 1 2 4 6",
            {"a": [("opacity", 7, [1, 2, 3, 4])]},
            "row 2 (a), box 1: confidence 7 is outside 0..1; kept as it is",
        ),
        (
            "a_image,opacity 0.5 1 2 104 6",
            {"a": [("opacity", 0.5, [1, 2, 103, 4])]},
            "row 2 (a), box 1: 1 2 104 6 reaches out of the 100 x 80 image; kept as it is",
        ),
        (
            "a_image,none 0.5 0 0 100 80",
            {"a": [("none", 0.5, [0, 0, 100, 80])]},
            "row 2 (a), box 1: none has the box 0 0 100 80, expected 0 0 1 1; kept as it is",
        ),
        (
            "s_study,opacity 0.5 0 0 1 1",
            {"s_study": []},
            "row 2 (s_study), box 1: 'opacity' is none of negative, typical, indeterminate, atypical; box skipped",
        ),
        ("a,none 1 0 0 1 1", {}, "row 2 (a): is neither .._image nor .._study; row skipped"),
        ("_image,none 1 0 0 1 1", {}, "row 2: no id; row skipped"),
        ("z_image,none 1 0 0 1 1", {}, "row 2 (z): is not among the images to score; row skipped"),
        ("a_image,\na_image,none 1 0 0 1 1", {"a": []}, "row 3 (a): was in row 2 already; row skipped"),
    ],
)
def test_problems_are_named_and_the_rest_is_used(read, row, expected, problem):
    _, rows, problems = read(f"id,PredictionString\n{row}\nb_image,none 1 0 0 1 1\n", {"a": (100, 80), "b": (100, 80)})
    assert rows == {**expected, "b": [("none", 1, [0, 0, 1, 1])]}
    assert problems == [f"sub.csv, {problem}"]


@pytest.mark.parametrize(
    ("row", "expected", "problem"),
    [
        # pandas writes a column of whole numbers and gaps so.
        ("a,14.0 1 0 0 1 1", [("No finding", 1, [0, 0, 1, 1])], None),
        ("a,15 0.5 1 2 4 6", [], "row 2 (a), box 1: '15' is none of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14"),
        ("a,7.5 0.5 1 2 4 6", [], "row 2 (a), box 1: '7.5' is none of"),
        ("a,-1 0.5 1 2 4 6", [], "row 2 (a), box 1: '-1' is none of"),
    ],
)
def test_a_class_is_its_number(read, row, expected, problem):
    _, rows, problems = read(f"image_id,PredictionString\n{row}\n")
    assert rows == {"a": expected}
    assert [line.startswith(f"sub.csv, {problem}") for line in problems] == ([True] if problem else [])


def test_classes_are_named_by_the_challenge():
    assert VINBIGDATA.classes_of(("opacity",)) == ("Lung Opacity",)
    assert VINBIGDATA.classes_of(("nodule/mass", "ild", "Edema")) == ("Nodule/Mass", "ILD", "Edema")
    assert SIIM.classes_of(("Lung Opacity",)) == ("opacity",)
    for layout in LAYOUTS.values():
        layout.check_classes(("opacity",))
    VINBIGDATA.check_classes(("Atelectasis", "Lung Opacity"))


@pytest.mark.parametrize(
    ("layout", "names", "message"),
    [
        (RSNA, ("opacity", "effusion"), "a submission to rsna has one class, not 2: opacity, effusion"),
        (SIIM, ("effusion",), "class 'effusion': a submission to siim has the classes opacity, each once"),
        (SIIM, ("none",), "class 'none': a submission to siim has the classes opacity, each once"),
        (VINBIGDATA, ("opacity", "Lung Opacity"), "class 'opacity': a submission to vinbigdata has the classes Aortic"),
        (VINBIGDATA, ("7",), "class '7': a submission to vinbigdata has"),
    ],
)
def test_classes_that_the_challenge_lacks(layout, names, message):
    with pytest.raises(HilumError) as caught:
        layout.check_classes(names)
    assert caught.value.lines[0].startswith(message)


def test_what_cannot_be_written():
    row = Row(np.array([[0, 0, 1, 1.0]]), np.array([1.5]), ("none",))
    with pytest.raises(ValueError, match=r"confidence: expected values from 0 to 1, got 1\.5"):
        rows_text(SIIM, {"a_image": row})
    with pytest.raises(ValueError, match="'a ' of image 0"):
        rows_text(SIIM, {"a ": row._replace(confidence=np.ones(1))})
    with pytest.raises(ValueError, match="boxes_xywh: expected one entry an image, 1, got 0"):
        submission_text(["a"], [], [])


def test_classes_that_a_challenge_would_not_tell_apart_keep_their_own_names() -> None:
    assert VINBIGDATA.classes_of(["opacity", "Consolidation"]) == ("Lung Opacity", "Consolidation")
    assert VINBIGDATA.classes_of(["opacity", "Lung Opacity"]) == ("opacity", "Lung Opacity")
    assert SIIM.nothing not in SIIM.classes_of(["none", "mass"])
