import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.dicom.jpeg import parse_jpeg

SECRET = b"Quixotic^Zebulon"


@pytest.fixture(scope="module")
def stream(make_jpeg, make_picture):
    return make_jpeg(make_picture(1))


def decode(stream):
    return cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)


def test_a_plain_stream_comes_back_as_it_is(stream):
    parsed = parse_jpeg(stream)
    assert parsed.data == stream
    assert (parsed.process, parsed.bits, parsed.components, parsed.size_wh) == (0, 8, 1, (64, 48))


@pytest.mark.parametrize("marker", [0xFE, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF])
def test_segments_that_can_carry_text_are_dropped(stream, make_segment, marker):
    scan = stream.index(b"\xff\xda")
    planted = stream[:scan] + make_segment(marker, SECRET) + stream[scan:]
    parsed = parse_jpeg(planted)
    assert parsed.data == stream
    assert np.array_equal(decode(parsed.data), decode(planted))


def test_adobes_segment_stays_as_it_says_how_colours_are_coded(stream, make_segment):
    adobe = make_segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x00")
    planted = stream[:2] + adobe + stream[2:]
    assert parse_jpeg(planted).data == planted


@pytest.mark.parametrize("marker", [0xFE, 0xE1])
def test_text_behind_the_scan_is_dropped_too(stream, make_segment, marker):
    planted = stream[:-2] + make_segment(marker, SECRET) + stream[-2:]
    assert decode(planted) is not None
    assert parse_jpeg(planted).data == stream


def test_a_second_end_of_image_does_not_bring_along_what_lies_between(stream):
    assert parse_jpeg(stream + SECRET + b"\xff\xd9").data == stream


@pytest.mark.parametrize("mode", ["progressive", "restart", "colour"])
def test_other_ways_of_coding_keep_their_pixels(make_picture, make_segment, mode):
    pixels = make_picture(2)
    options = {"progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], "restart": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]}
    pixels = cv2.merge([pixels, 255 - pixels, pixels]) if mode == "colour" else pixels
    stream = cv2.imencode(".jpg", pixels, options.get(mode, []))[1].tobytes()
    parsed = parse_jpeg(stream[:2] + make_segment(0xFE, SECRET) + stream[2:])
    assert parsed.data == stream
    assert parsed.process == (2 if mode == "progressive" else 0)
    assert parsed.components == (3 if mode == "colour" else 1)
    assert (b"\xff\xd0" in stream) == (mode == "restart")


@pytest.mark.parametrize("padding", [b"\x00", b"\x00\x00\x00", b"\xff"])
def test_padding_behind_the_end_is_dropped(stream, padding):
    assert parse_jpeg(stream + padding).data == stream


def test_fill_bytes_before_a_marker_are_legal(stream):
    at = stream.index(b"\xff\xdb")
    for count in (1, 2, 1 << 24):
        parsed = parse_jpeg(stream[:at] + b"\xff" * count + stream[at:])
        assert np.array_equal(decode(parsed.data), decode(stream))


def test_every_stream_that_is_cut_short_is_refused(stream):
    for length in range(len(stream)):
        with pytest.raises(ValueError, match="JPEG"):
            parse_jpeg(stream[:length] + b"\x00" * (length % 2))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_a_value_error_and_nothing_else(content):
    with pytest.raises(ValueError, match="JPEG"):
        parse_jpeg(b"\xff\xd8" + content)


@pytest.mark.parametrize("marker", [0x02, 0x4F, 0xC8, 0xDC, 0xDE, 0xDF, 0xF7, 0xFD])
def test_segments_that_no_decoder_of_radiographs_needs_are_dropped(stream, make_segment, marker):
    scan = stream.index(b"\xff\xda")
    for at in (2, scan, len(stream) - 2):
        assert parse_jpeg(stream[:at] + make_segment(marker, SECRET) + stream[at:]).data == stream


def test_fields_of_adobes_segment_that_nothing_reads_hold_no_text(stream, make_segment):
    planted = stream[:2] + make_segment(0xEE, b"Adobe" + SECRET[:6] + b"\x01") + stream[2:]
    parsed = parse_jpeg(planted)
    assert SECRET[:6] not in parsed.data
    assert b"Adobe\x00\x64\x00\x00\x00\x00\x01" in parsed.data


def test_tables_to_spare_could_hold_text(stream, make_segment):
    assert parse_jpeg(stream).is_plain
    text = (SECRET * 5)[:64]
    for spare in (make_segment(0xDB, b"\x03" + text), make_segment(0xC4, b"\x13" + bytes([0, 64] + [0] * 14) + text)):
        assert not parse_jpeg(stream[:2] + spare + stream[2:]).is_plain
    with pytest.raises(ValueError, match="damaged"):
        parse_jpeg(stream[:2] + make_segment(0xDB, text) + stream[2:])


def segments_of(stream):
    at = 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        yield stream[at:end]
        at = end


def variants(stream, make_segment):
    """Streams that decoders show as the same picture or nearly so, each with a place for text."""
    scan = stream.index(b"\xff\xda")
    head, header, data = stream[:scan], stream[scan : scan + 10], stream[scan + 10 : -2]
    quantization, dc, ac = (
        next(part for part in segments_of(stream) if part[1] == marker and part[4] == number)
        for marker, number in ((0xDB, 0), (0xC4, 0x00), (0xC4, 0x10))
    )
    text = (SECRET * 5)[:64]
    restarted = cv2.imencode(".jpg", decode(stream), [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()
    at = restarted.index(b"\xff\xd0") + 2
    long_scan = make_segment(0xDA, header[4:] + SECRET)
    frame = stream.index(b"\xff\xc0")
    long_frame = make_segment(0xC0, stream[frame + 4 : frame + 13] + SECRET)
    table = bytearray(ac)
    table[-9:] = SECRET[:9]
    second = header + SECRET
    progressive = cv2.imencode(".jpg", decode(stream), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    return {
        "behind a restart marker": restarted[:at] + SECRET + restarted[at:],
        "restart markers": restarted,
        "a restart marker that nothing asked for": head + header + data + b"\xff\xd0" + SECRET + b"\xff\xd9",
        "an interval": head + make_segment(0xDD, b"JO") + header + data + b"\xff\xd9",
        "an interval of none": head + make_segment(0xDD, bytes(2)) + header + data + b"\xff\xd9",
        "a second scan": head + header + data + second + b"\xff\xd9",
        "tables behind the scan": head + header + data + dc + b"\xff\xd9",
        "arithmetic conditioning": head + make_segment(0xCC, SECRET) + header + data + b"\xff\xd9",
        "a long scan header": head + long_scan + data + b"\xff\xd9",
        "a short scan header": head + b"\xff\xda\x00\x02" + header[4:] + data + b"\xff\xd9",
        "a long frame header": stream[:frame] + long_frame + stream[frame + 13 :],
        "a quantization table of text": stream.replace(quantization[5:], text),
        "quantization of 16 bits": stream.replace(quantization, make_segment(0xDB, b"\x10" + bytes([0, 9]) * 64)),
        "a Huffman table twice": head + dc + header + data + b"\xff\xd9",
        "a Huffman table of text": stream.replace(ac, bytes(table)),
        "a Huffman table without codes": stream.replace(dc, make_segment(0xC4, bytes(17))),
        "a Huffman table of too many codes": stream.replace(dc, make_segment(0xC4, b"\0\3" + bytes(15) + b"\0\1\2")),
        "Huffman tables of other numbers": stream.replace(dc[:5], dc[:4] + b"\x01"),
        "other parameters of the scan": head + header[:-1] + b"J" + data + b"\xff\xd9",
        "fill bytes": head + header + data + b"\xff\xff\xff\xd9",
        "sampling factors": stream[: frame + 11] + b"\x22" + stream[frame + 12 :],
        "progressive": progressive,
    }


def test_only_the_form_of_the_challenges_files_is_plain(stream, make_segment, make_picture):
    assert parse_jpeg(stream).is_plain
    for name, content in variants(stream, make_segment).items():
        assert content != stream, name
        assert not parse_jpeg(content).is_plain, name
    for quality in (1, 30, 75, 100):
        for optimized in (0, 1):
            options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, optimized]
            assert parse_jpeg(cv2.imencode(".jpg", make_picture(2), options)[1].tobytes()).is_plain
    one_segment = b"".join(part[4:] for part in segments_of(stream) if part[1] == 0xC4)
    first, last = stream.index(b"\xff\xc4"), stream.index(b"\xff\xda")
    assert parse_jpeg(stream[:first] + make_segment(0xC4, one_segment) + stream[last:]).is_plain


def test_application_segments_are_written_anew(stream, make_segment):
    jfif = make_segment(0xE0, b"JFIF\x00" + SECRET[:9])
    parsed = parse_jpeg(stream[:2] + jfif + jfif + stream[20:])
    assert parsed.is_plain
    assert parsed.data == stream
    adobe = make_segment(0xEE, b"Adobe" + SECRET[:7])
    parsed = parse_jpeg(stream[:2] + adobe * 3 + stream[2:])
    assert parsed.is_plain
    assert parsed.data.count(b"Adobe\x00\x64\x00\x00\x00\x00\x02") == 1


def test_a_scan_too_short_for_its_picture_is_cut_short(make_jpeg):
    stream = make_jpeg(np.zeros((64, 64), np.uint8))
    frame = stream.index(b"\xff\xc0")
    assert parse_jpeg(stream).size_wh == (64, 64)
    with pytest.raises(ValueError, match=r"JPEG stream is cut short: .* 30000 x 64 px"):
        parse_jpeg(stream[: frame + 7] + (30000).to_bytes(2, "big") + stream[frame + 9 :])


def test_a_second_frame_is_damage(stream):
    frame = stream.index(b"\xff\xc0")
    with pytest.raises(ValueError, match="frame header"):
        parse_jpeg(stream[:frame] + stream[frame : frame + 13] + stream[frame:])


def test_segments_without_number_are_refused(stream, make_segment):
    with pytest.raises(ValueError, match="more segments"):
        parse_jpeg(stream[:2] + make_segment(0xC4, b"") * 2000 + stream[2:])
