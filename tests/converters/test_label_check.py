"""A label table that cannot be of the pictures beside it is refused before anything is written, in one line."""

import csv
import shutil

import pytest

from hilum.converters.convert import convert
from hilum.errors import HilumError

TABLE = "stage_2_train_labels.csv"
COLUMNS = ("x", "y", "width", "height")


@pytest.fixture
def source(make_small_source, tmp_path):
    """Twelve pictures of 64 x 48 px, four of them with two boxes."""
    return make_small_source(tmp_path / "source")


def rewrite(source, change):
    """Change every row of the label table that has a box: its numbers (x, y, width, height) to others."""
    path = source / TABLE
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["Target"] == "1":
            row |= dict(zip(COLUMNS, change(*(float(row[name]) for name in COLUMNS)), strict=True))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def refused(source, out, **options):
    """The one line that is said; nothing is written, neither at first nor over a dataset that is there."""
    with pytest.raises(HilumError) as caught:
        convert(source, out, **options)
    (line,) = str(caught.value).splitlines()
    assert not out.exists()
    return line


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y, w, h: (x / 64, y / 48, w / 64, h / 48),
        lambda x, y, w, h: ((x + w / 2) / 64, (y + h / 2) / 48, w / 64, h / 48),
        lambda x, y, w, h: (x / 64, y / 48, (x + w) / 64, (y + h) / 48),
    ],
    ids=["corner", "centre", "corners"],
)
def test_relative_boxes(source, tmp_path, change):
    rewrite(source, change)
    said = refused(source, tmp_path / "data")
    assert said.startswith(
        f"{TABLE}: all 8 boxes lie within 1 px, as relative ones (0 to 1) do; expected are left, top"
    )


def test_right_and_bottom_in_the_place_of_width_and_height(source, tmp_path):
    rewrite(source, lambda x, y, w, h: (x, y, x + w, y + h))
    said = refused(source, tmp_path / "data")
    assert "boxes reach out of their images, yet read as left, top, right, bottom they lie inside" in said


@pytest.mark.parametrize(
    ("factor", "told"),
    [(0.25, "are they in pixels of a reduced picture?"), (4, "are they in pixels of a larger picture, or right and")],
)
def test_boxes_of_another_scale_are_questioned_before_anything_is_written(source, tmp_path, factor, told):
    rewrite(source, lambda *box: tuple(factor * value for value in box))
    said = []

    def tell(line):
        said.append(line)
        assert list((tmp_path / "data").iterdir()) == []

    convert(source, tmp_path / "data", tell=tell)
    (line,) = said
    assert line.startswith(f"{TABLE}: ")
    assert told in line


def test_right_boxes_are_not_questioned(source, sample_source, tmp_path):
    for number, folder in enumerate((source, sample_source)):
        convert(folder, tmp_path / str(number), tell=pytest.fail)


def test_nor_are_those_of_the_challenge(shared, tmp_path):
    source = tmp_path / "source"
    (source / "stage_2_train_images").mkdir(parents=True)
    shutil.copy(shared / "rsna_sample" / TABLE, source)
    for path in sorted((shared / "rsna_sample" / "stage_2_train_images").iterdir())[:40]:
        shutil.copy(path, source / "stage_2_train_images")
    record = convert(source, tmp_path / "data", tell=pytest.fail)
    assert (record["images"], record["left_out"].get("box")) == (40, None)


@pytest.mark.parametrize("name", ["p07_xyxy_in_width_height", "p08_leading_zeros_lost", "p08d_normalised_boxes"])
def test_tables_that_went_wrong_in_other_hands(shared, source, tmp_path, name, make_dicom, make_picture):
    """Each with pictures of 1,024 px that have its ids, or those that it lost the zeros of."""
    shutil.copy(shared / "faults" / "tables" / name / TABLE, source / TABLE)
    with (source / TABLE).open(newline="") as file:
        ids = {row["patientId"] for row in csv.DictReader(file)}
    content = make_dicom(make_picture(0, 1024, 1024))
    for image_id in ids:
        (source / "stage_2_train_images" / f"{image_id:0>5}.dcm").write_bytes(content)
    said = refused(source, tmp_path / "data")
    expected = {
        "p07_xyxy_in_width_height": "read as left, top, right, bottom they lie inside",
        "p08_leading_zeros_lost": "expected '00012', found '12': save the ids as text, with their leading zeros",
        "p08d_normalised_boxes": "boxes lie within 1 px, as relative ones (0 to 1) do",
    }[name]
    assert expected in said


def renamed(source, name):
    """The pictures under other names, the labels under the old ones."""
    for path in list((source / "stage_2_train_images").iterdir()):
        path.rename(path.with_name(f"{name(path.stem)}.dcm"))


def test_ids_that_match_nothing_show_one_of_each_side(source, tmp_path):
    renamed(source, lambda stem: f"patient-{stem}")
    said = refused(source, tmp_path / "data")
    assert said == (f"{TABLE}: none of its 12 images is among the 12 pictures: expected 'patient-img00', found 'img00'")


@pytest.mark.parametrize("all_of_them", [True, False])
def test_ids_that_lost_their_zeros_even_some(source, tmp_path, all_of_them):
    table = source / TABLE
    for number, digits in enumerate(("00345", "08", "0") if not all_of_them else [f"0{n}1" for n in range(12)]):
        (source / "stage_2_train_images" / f"img{number:02d}.dcm").rename(
            source / "stage_2_train_images" / f"{digits}.dcm"
        )
        table.write_text(table.read_text().replace(f"img{number:02d},", f"{int(digits)},"))
    said = refused(source, tmp_path / "data")
    assert said.endswith(": save the ids as text, with their leading zeros")
    assert (
        "none of its 12 images" if all_of_them else "2 of its 12 ids lost zeros: expected '00345', found '345'"
    ) in said


def test_a_patient_map_of_other_images_shows_one_of_each_side(source, tmp_path):
    (tmp_path / "map.csv").write_text("patientId,patient\nstranger,p\n")
    said = refused(source, tmp_path / "data", patients=tmp_path / "map.csv")
    assert said.endswith("has none of the 12 images of stage_2_train_labels.csv: expected 'img00', found 'stranger'")


def test_a_table_that_is_refused_leaves_a_dataset_as_it_is(source, tmp_path, tree_bytes):
    convert(source, tmp_path / "data")
    before = tree_bytes(tmp_path / "data")
    rewrite(source, lambda x, y, w, h: (x / 64, y / 48, w / 64, h / 48))
    with pytest.raises(HilumError, match="within 1 px"):
        convert(source, tmp_path / "data", overwrite=True)
    assert tree_bytes(tmp_path / "data") == before


def test_pictures_that_cannot_be_read_are_no_reason_to_stop(source, tmp_path):
    for name in ("img00", "img03", "img06", "img09"):
        (source / "stage_2_train_images" / f"{name}.dcm").write_bytes(b"no DICOM")
    assert convert(source, tmp_path / "data")["images"] == 8
