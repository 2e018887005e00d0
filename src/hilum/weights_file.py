"""The header of a `.safetensors` file: which tensors it holds, told without reading them."""

import math
import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from hilum.documents import RECORD, Count, advising, check, parse_json
from hilum.errors import HilumError
from hilum.files import open_regular

MAX_HEADER_BYTES: Final = 1 << 24  # of tens of thousands of tensors
_METADATA: Final = "__metadata__"


@with_config(RECORD)
class TensorHeader(TypedDict):
    """A tensor's type, shape, and first and last byte behind the header."""

    dtype: str
    shape: Annotated[list[Count], Field(max_length=16)]
    data_offsets: Annotated[list[Count], Field(min_length=2, max_length=2)]


_TENSORS: Final = TypeAdapter(dict[str, TensorHeader])
_TEXTS: Final = TypeAdapter(dict[str, str])


def read_header(path: Path) -> dict[str, TensorHeader]:
    """The tensors of a file, by name.

    Raises:
        HilumError: not readable, not such a file, or one that holds less than it says.
    """
    with advising("train again"):
        tensors, _ = _read(path)
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a file holds beside its tensors.

    Raises:
        HilumError: as `read_header` does.
    """
    with advising("train again"):
        _, texts = _read(path)
    return texts


def _read(path: Path) -> tuple[dict[str, TensorHeader], dict[str, str]]:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            content = file.read(min(length, MAX_HEADER_BYTES))
    except OSError as error:
        raise HilumError(f"{path}: cannot be read: {error.strerror}") from error
    except HilumError as error:
        raise HilumError(f"{path}: {error}") from error
    where = f"{path}: its header"
    if len(content) < length or not length:
        raise HilumError(f"{path}: not a safetensors file")
    header = check(parse_json(content, where), dict, where)
    texts = check(header.pop(_METADATA, {}), _TEXTS, f"{where}: {_METADATA}")
    tensors = check(header, _TENSORS, where)
    for name, tensor in tensors.items():
        first, last = tensor["data_offsets"]
        if not first <= last <= size - 8 - length or math.prod(tensor["shape"]) > 8 * (last - first):
            raise HilumError(f"{where}: {name[:80]!r}: holds less than its shape says")
    return tensors, texts
