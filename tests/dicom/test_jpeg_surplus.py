from dataclasses import replace

import cv2
import numpy as np
import pytest

from hilum.dicom.jpeg import parse_jpeg
from hilum.dicom.jpeg_surplus import ends_with_its_picture
from hilum.dicom.plain import read_plain

BEHIND = [b"\x00", b"1", b"\x7f", b"\xff\x00", b"AB", b"JOHN^DOE", "Ö·ツ".encode("utf-16"), b"A" * 1000]


def parsed(pixels, quality=92, *, optimized=False):
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, int(optimized)]
    stream = parse_jpeg(cv2.imencode(".jpg", pixels, options)[1].tobytes())
    assert stream.is_plain
    return stream


def with_bytes_behind(stream, content):
    return replace(stream, data=stream.data[:-2] + content + b"\xff\xd9")


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (7, 9), (40, 3), (64, 64), (100, 130)])
@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("what", ["noise", "grey", "black"])
def test_a_byte_behind_the_last_block_is_found(size, optimized, what):
    noise = np.random.default_rng(0).integers(0, 256, size)
    pixels = {"noise": noise, "grey": np.full(size, 200), "black": np.zeros(size)}[what].astype(np.uint8)
    for quality in (50, 92):
        stream = parsed(pixels, quality, optimized=optimized)
        assert ends_with_its_picture(stream)
        for content in BEHIND:
            assert not ends_with_its_picture(with_bytes_behind(stream, content)), content


def test_a_picture_whose_end_cannot_be_told_is_not_proved():
    # Every bit pattern decodes to empty blocks, so nobody knows where the last one ends.
    stream = parsed(np.full((40, 40), 128, np.uint8), optimized=True)
    assert not ends_with_its_picture(stream)


def test_a_scan_that_ends_early_does_not_end_with_its_picture(make_picture):
    stream = parsed(make_picture(1))
    assert not ends_with_its_picture(replace(stream, data=stream.data[:-300] + b"\xff\xd9"))


def test_generated_streams_end_with_their_pictures_and_others_are_none(sample_source, make_jpeg, make_picture):
    for path in sorted(sample_source.glob("*_test_images/*.dcm")):
        plain = read_plain(path.read_bytes())
        assert plain is not None
        assert ends_with_its_picture(plain.stream)
        assert not ends_with_its_picture(with_bytes_behind(plain.stream, b"\x31"))
    assert not ends_with_its_picture(parse_jpeg(make_jpeg(cv2.merge([make_picture(1)] * 3))))


def test_the_challenges_streams_end_with_their_pictures(shared):
    for path in sorted((shared / "rsna_sample").glob("*_images/*.dcm"))[::20]:
        plain = read_plain(path.read_bytes())
        assert plain is not None
        assert ends_with_its_picture(plain.stream), path.name
        assert not ends_with_its_picture(with_bytes_behind(plain.stream, b"JOHN^DOE")), path.name
