import random

import cv2
import numpy as np
import pytest

from hilum.dicom.header import tags_of
from hilum.dicom.plain import read_plain
from hilum.dicom.reading import header_of, plain_jpeg, read_dicom
from hilum.errors import HilumError


def full(content):
    """What the full parse says of a file: its stream and tags; None where it would not keep the stream."""
    try:
        dataset = read_dicom(content)
        stream = plain_jpeg(dataset)
        return None if stream is None else (stream, tags_of(header_of(dataset)))
    except HilumError:
        return None


def quick(content):
    plain = read_plain(content)
    return None if plain is None else (plain.stream, tags_of(plain.header))


def test_generated_files_are_plain(sample_source):
    for path in sorted(sample_source.glob("*_images/*.dcm")):
        content = path.read_bytes()
        assert quick(content) is not None
        assert quick(content) == full(content)


def test_the_challenges_files_are_plain(shared):
    paths = sorted((shared / "rsna_sample").glob("*_images/*.dcm"))
    assert len(paths) == 764
    for number, path in enumerate(paths):
        content = path.read_bytes()
        assert quick(content) is not None, path.name
        if number % 8 == 0:  # the full parse is the slow one
            assert quick(content) == full(content), path.name


@pytest.mark.parametrize(
    "tags",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"NumberOfFrames": "2"},
        {"WindowCenter": "100", "WindowWidth": "50"},
        {"RescaleSlope": "2", "RescaleIntercept": "0"},
        {"Rows": 47},
        {"SamplesPerPixel": 3},
    ],
)
def test_what_is_shown_otherwise_than_stored_is_not_plain(make_dicom, make_picture, make_jpeg, tags):
    pixels = make_picture(1)
    assert read_plain(make_dicom(pixels, jpeg=make_jpeg(pixels))) is not None
    assert read_plain(make_dicom(pixels, jpeg=make_jpeg(pixels), **tags)) is None


def test_what_the_quick_parse_accepts_the_full_parse_accepts_too(make_dicom, make_picture, make_jpeg):
    pixels = make_picture(2)
    original = make_dicom(pixels, jpeg=make_jpeg(pixels))
    rng = random.Random(7)
    agreed = 0
    for _ in range(1500):
        content = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(132, len(content) if rng.random() < 0.3 else 900)
            kind = rng.random()
            if kind < 0.6:
                content[at % len(content)] = rng.choice([0, 1, 0xFF, 0xFE, rng.randrange(256)])
            elif kind < 0.8:
                del content[at : at + rng.randint(1, 40)]
            else:
                content[at:at] = rng.randbytes(rng.randint(1, 12))
        answer = quick(bytes(content))
        if answer is not None:
            assert answer == full(bytes(content))
            decoded = cv2.imdecode(np.frombuffer(answer[0].data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert decoded is not None
            assert decoded.shape == pixels.shape
            agreed += 1
    assert agreed > 100  # else the mutations were too coarse to show anything
