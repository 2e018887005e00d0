"""How pictures are written: which window, how many bits, how large, in which format; and the pixels so."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hilum.dicom.header import WINDOW_CENTRE, Header, has_more_than_8_bits
from hilum.dicom.jpeg import JpegStream
from hilum.errors import HilumError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom import Dataset

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Rendering:
    """How pictures are written.

    Attributes:
        window: which of a file's windows is applied, from 1.
        bits: 16 keeps what has more than 8, as PNG; a picture of 8 stays one of 8.
        longer_side_px: larger pictures are reduced to it; None leaves all as they are.
        format: "jpg" or "png" for all; None keeps JPEG streams as they are and writes the rest as PNG, without loss.
    """

    window: int = 1
    bits: Literal[8, 16] = 8
    longer_side_px: int | None = None
    format: Literal["jpg", "png"] | None = None

    def shows_as_stored(self, header: Header) -> bool:
        """Whether what is shown as stored in the file's first window, if it has any, is so in the one asked for."""
        return self.window == 1 or not header.get(WINDOW_CENTRE)

    def keeps_stream(self, header: Header, stream: JpegStream) -> bool:
        """Whether a JPEG stream that is shown as it is stored may stay as it is."""
        small = self.longer_side_px is None or max(stream.size_wh) <= self.longer_side_px
        return small and self.format != "png" and self.shows_as_stored(header)


AS_IS = Rendering()


def rendered(
    dataset: "Dataset", header: Header, stream: JpegStream | None, rendering: Rendering
) -> tuple["NDArray[np.uint8] | NDArray[np.uint16]", tuple[int, int], str | None]:
    """The pixels to write, the size (width, height) that the file itself has, and a note."""
    import cv2
    import numpy as np

    from hilum.dicom.reading import render_dicom
    from hilum.dicom.rendering import BLACK_BONES, has_black_bones

    cv2.setNumThreads(1)  # one picture a process is faster than one picture on all cores
    longer = rendering.longer_side_px
    pixels: NDArray[np.uint8] | NDArray[np.uint16] | None = None
    if stream is not None and longer is not None and rendering.shows_as_stored(header):
        pixels = _decode_reduced(stream, longer)
    if pixels is not None and stream is not None:
        source_size_wh = shown_size_wh = stream.size_wh
        note = BLACK_BONES if has_black_bones(pixels) else None
    else:
        deep = rendering.bits > 8 and has_more_than_8_bits(header)
        shown = render_dicom(dataset, window=rendering.window, bits=16 if deep else 8)
        pixels, note = shown.pixels, shown.note
        shown_size_wh = (pixels.shape[1], pixels.shape[0])
        source_size_wh = (round(shown_size_wh[0] / shown.scale_xy[0]), round(shown_size_wh[1] / shown.scale_xy[1]))
    return reduced(pixels, longer), source_size_wh, note


def reduced(
    pixels: "NDArray[np.uint8] | NDArray[np.uint16]", longer_side_px: int | None
) -> "NDArray[np.uint8] | NDArray[np.uint16]":
    import cv2
    import numpy as np

    height, width = pixels.shape
    longer = max(height, width)
    if longer_side_px is None or longer <= longer_side_px:
        return pixels
    reduced_wh = tuple(max(1, round(side * longer_side_px / longer)) for side in (width, height))
    return np.asarray(cv2.resize(pixels, reduced_wh, interpolation=cv2.INTER_AREA))


def _decode_reduced(stream: JpegStream, longer_side_px: int) -> "NDArray[np.uint8] | None":
    """Decode at an eighth, a quarter or half of the size, where that is still no smaller than what is wanted.

    JPEG gives these for less than the whole: the lower coefficients of each block are the smaller picture. Only where
    the sides divide, for else the picture would be wider than its boxes think, by a part of a pixel.
    """
    import cv2
    import numpy as np

    flags = {
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    }
    for divisor, flag in flags.items():
        if max(stream.size_wh) >= divisor * longer_side_px and not any(side % divisor for side in stream.size_wh):
            pixels = cv2.imdecode(np.frombuffer(stream.data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
            return None if pixels is None else np.asarray(pixels, np.uint8)
    return None


def encoded(pixels: "NDArray[np.uint8] | NDArray[np.uint16]", rendering: Rendering) -> tuple[bytes, str]:
    import cv2

    ending = rendering.format or "png"
    done, content = cv2.imencode(f".{ending}", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] * (ending == "jpg"))
    if not done:
        raise HilumError(f"{pixels.shape[1]} x {pixels.shape[0]} px do not go into a {ending} file")
    return content.tobytes(), ending
