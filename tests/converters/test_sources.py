"""What a dataset source can rely on, and what none of them can do, shown by one over pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hilum.converters import find_source
from hilum.converters.convert import convert
from hilum.converters.record import Record, Request, Source
from hilum.converters.rendering import Rendering
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError

BOXES = ((10.0, 20.0, 30.0, 15.0), (50.0, 40.0, 8.0, 9.0))
PICTURES = 13


class _Pictures(Source):
    picture_files = True

    def __init__(self, request: Request, values: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._files, self._values = request.files, values

    def records(self) -> Iterator[Record]:
        for file, values in zip(self._files, self._values, strict=True):
            yield Record(file, **{"image_id": file.stem, "labelled": True, **values})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten pictures of 8 bits, one of 16, one in grey colours, and a JPEG."""
    folder = tmp_path / "source"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        cv2.imwrite(str(folder / f"a{number}.png"), rng.integers(0, 256, (80, 100), np.uint8))
    deep = rng.integers(0, 1 << 16, (80, 100), np.uint16)
    cv2.imwrite(str(folder / "b.png"), deep)
    cv2.imwrite(str(folder / "c.png"), np.repeat(deep[:, :, None] >> 8, 3, axis=2).astype(np.uint8))
    cv2.imwrite(str(folder / "d.jpg"), cv2.GaussianBlur((deep >> 8).astype(np.uint8), (0, 0), 5))
    return folder


@pytest.fixture
def converted(monkeypatch, source, tmp_path):
    """Converts the source; what is given for its first pictures takes the place of a label's defaults."""

    def run(*values: dict[str, Any], **options: Any) -> Dataset:
        every = [*values, *({} for _ in range(PICTURES - len(values)))]
        monkeypatch.setattr(find_source, "FINDERS", {"pictures": lambda request: _Pictures(request, every)})
        convert(source, tmp_path / "data", **options)
        return Dataset.open(tmp_path / "data")

    return run


def test_picture_files_come_along_pixel_for_pixel(converted, source, tmp_path):
    data = converted({"boxes_xywh": BOXES, "rows": (2, 3)})
    assert (data.conversion["images"], data.conversion["boxes"]) == (PICTURES, 2)
    for path in source.iterdir():
        written = cv2.imread(str(tmp_path / "data" / "images" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert written.dtype == np.uint8
        if path.stem != "b":
            np.testing.assert_array_equal(written, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    label, _ = (tmp_path / "data" / "labels" / "a0.txt").read_text().splitlines()
    assert [float(cell) for cell in label.split()] == pytest.approx([0, 0.25, 27.5 / 80, 0.3, 15 / 80], abs=1e-5)


def test_they_are_reduced_and_keep_16_bits_if_asked(converted, tmp_path):
    rendering = Rendering(bits=16, longer_side_px=50)
    data = converted({"boxes_xywh": BOXES[:1], "rows": (2,)}, rendering=rendering)
    deep = cv2.imread(str(tmp_path / "data" / "images" / "b.png"), cv2.IMREAD_UNCHANGED)
    assert (deep.shape, deep.dtype) == ((40, 50), np.uint16)
    boxes = [found for name in ("train", "val", "holdout") for found in data.split(name).boxes_xywh if len(found)]
    np.testing.assert_allclose(boxes, [[[5, 10, 15, 7.5]]], atol=1e-3)


def test_one_that_is_no_picture_is_left_out(converted, source, tmp_path):
    (source / "a3.png").write_bytes((source / "a3.png").read_bytes()[:-20])
    (source / "a4.png").write_text("no picture")
    assert converted().conversion["images"] == PICTURES - 2
    told = (tmp_path / "data" / "left_out.csv").read_text().replace('"', "")
    assert "a3.png,,cannot be decoded as PNG: cut short" in told
    assert "a4.png,,not a picture file" in told


@pytest.mark.parametrize("image_id", ["../../evil", "/evil", "", ".hidden", "a b", "a\nb"])
def test_an_id_that_is_no_file_name_is_refused_before_a_picture_is_written(converted, tmp_path, image_id):
    with pytest.raises(HilumError, match=r"no image id: letters, digits"):
        converted({"image_id": image_id})
    assert {path.name for path in tmp_path.iterdir()} == {"source", "data"}
    assert not list((tmp_path / "data").rglob("*.png"))


@pytest.mark.parametrize("image_id", ["a1", "A1"])
def test_two_pictures_of_one_id_are_refused(converted, image_id):
    with pytest.raises(HilumError, match="two pictures of this id"):
        converted({"image_id": image_id})


def test_a_labelled_and_an_unlabelled_picture_may_share_an_id(converted):
    data = converted({"image_id": "a1", "labelled": False})
    assert (data.conversion["images"], data.conversion["unlabelled_images"]) == (PICTURES - 1, 1)


def test_a_source_that_labels_nothing_is_told_so(converted):
    with pytest.raises(HilumError, match=r"no labelled picture .* could be converted: the source gives labels to none"):
        converted(*[{"labelled": False}] * PICTURES)


def test_a_map_or_a_key_that_a_source_does_not_take_is_refused(converted, tmp_path):
    (tmp_path / "map.csv").write_text("patientId,patient\na1,x\n")
    with pytest.raises(HilumError, match="a patient map is for images that have labels"):
        converted(patients=tmp_path / "map.csv")
    with pytest.raises(HilumError, match="a key is for trees without labels"):
        converted(key=tmp_path / "key")
    assert not (tmp_path / "data").exists()


def test_a_box_has_a_row_of_the_table():
    with pytest.raises(ValueError, match="rows: expected one a box, 2, got 1"):
        Record(None, "a", boxes_xywh=BOXES, rows=(1,))
