"""Pictures with boxes: what is drawn stays a JPEG, and what an earlier prediction drew can be told from all else."""

from pathlib import Path

import cv2
import numpy as np

from hilum.comparison.pictures import NOT_A_DEVICE, clear_drawn, draw_boxes
from hilum.dicom.jpeg import parse_jpeg

GREY = np.full((40, 60), 90, np.uint8)
BOX = np.array([[10.0, 10.0, 30.0, 35.0]])


def drawn(path: Path) -> Path:
    draw_boxes(GREY, BOX, ["0.50"], path)
    return path


def test_a_drawn_picture_is_a_whole_jpeg_that_says_what_it_is_not(tmp_path: Path) -> None:
    content = drawn(tmp_path / "00001-x.jpg").read_bytes()
    parse_jpeg(content)
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (40, 60, 3)
    assert np.abs(pixels[38, 50].astype(int) - 90).max() <= 2  # far from the box
    assert np.ptp(pixels[22, 9:12].astype(int), axis=1).max() > 60  # its left side is coloured
    assert NOT_A_DEVICE.encode() in content


def test_only_what_was_drawn_is_cleared(tmp_path: Path) -> None:
    for name in ("00001-x.jpg", "123456-a-b.jpg"):
        drawn(tmp_path / name)
    theirs = [tmp_path / name for name in ("00002-x.jpg", "note.jpg", "00001-x.png", "00003-x.jpg")]
    cv2.imwrite(str(theirs[0]), GREY)  # named as if it were ours
    drawn(theirs[1])  # somebody's copy
    theirs[2].write_bytes(b"")
    theirs[3].write_bytes(b"\xff\xd8\xff")
    (tmp_path / "00004-folder.jpg").mkdir()
    clear_drawn(tmp_path)
    assert set(tmp_path.iterdir()) == {*theirs, tmp_path / "00004-folder.jpg"}
    clear_drawn(tmp_path / "none")
