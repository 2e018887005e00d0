"""Tell whether a JPEG scan ends with its picture: bytes behind the last block are no part of it, and could be text.

Only decoding tells where the last block ends, and no decoder says. So the stream is decoded once with one row of blocks
more and its last byte taken away. Where that byte belongs to the last block, libjpeg runs out of data in it and leaves
the row below empty; where it does not, that row is decoded from what is left.
"""

from io import BytesIO

import numpy as np
from PIL import Image

from hilum.dicom.jpeg import JpegStream

_BLOCK = 8
_EMPTY = 128  # the grey of a block without coefficients
_BLOCKS_A_BYTE = 4  # the shortest block: a bit for its difference, a bit for its end
_ROWS = _BLOCKS_A_BYTE + 2  # of blocks that hold the last ones, and the one more
_LOUD = b"\x08" + b"\xff" * 63  # a quantization table that shows every coefficient that is not zero


def ends_with_its_picture(stream: JpegStream) -> bool:
    """Whether the scan holds all blocks of the picture and not a byte more.

    It costs what decoding costs. A picture whose last blocks are exactly mid-grey cannot be told apart from one that
    ends early: the answer is False.

    Args:
        stream: a plain one.
    """
    if not stream.is_plain or stream.size_wh[1] > 0xFFFF - 2 * _BLOCK:
        return False
    try:
        with Image.open(BytesIO(_probe(stream)), formats=["JPEG"]) as picture:
            width, height = picture.size
            last = np.asarray(picture.crop((0, max(0, height - _ROWS * _BLOCK), width, height))) != _EMPTY
    except (OSError, SyntaxError, ValueError):  # Pillow's ways to say that it is damaged
        return False
    starts = (np.arange(0, side, _BLOCK) for side in last.shape)
    for axis, at in enumerate(starts):
        last = np.logical_or.reduceat(last, at, axis=axis)
    drawn, behind = last[:-1].ravel(), last[-1]
    return bool(drawn[-_BLOCKS_A_BYTE - 1 :].any() and not behind.any())


def _probe(stream: JpegStream) -> bytes:
    """The stream with a row of blocks more, a byte less, and coefficients that nobody can overlook."""
    data = stream.data
    table, frame = data.index(b"\xff\xdb"), data.index(b"\xff\xc0")
    rows = -(-stream.size_wh[1] // _BLOCK) + 1
    probe = bytearray(data)
    probe[table + 5 : table + 5 + len(_LOUD)] = _LOUD
    probe[frame + 5 : frame + 7] = (_BLOCK * rows).to_bytes(2, "big")
    last = 2 if data[-4:-2] == b"\xff\x00" else 1  # a byte of ones is stuffed with a zero (B.1.1.5)
    del probe[-2 - last : -2]
    return bytes(probe)
