"""One mutator a format: each knows what the format is made of, so that most of what it gives passes the first check.

Each takes the content of a good file and a source of chance, and returns another content.
"""

import csv
import io
import json
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hilum.sealed_lines import _seal

Mutator = Callable[[bytes, random.Random], bytes]

ESCAPES = "\x1b]0;owned\x07\x1b[2J\r\n\u202e[bold]"
_RAW = {"RAW:1e400": "1e400", "RAW:huge": "9" * 400, "RAW:nan": "NaN", "RAW:deep": "[" * 200 + "]" * 200}
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-320, 1e308, -1e308, 2**31, 2**63, -(2**63), 10**19),
    *_RAW,
    *(
        "",
        "x",
        "train",
        "nan",
        "1e999",
        "../../outside/keep.txt",
        "/dev/zero",
        "C:\\x",
        ESCAPES,
        "\ud800",
        "\0",
        "x" * 3000,
    ),
    *([], {}, [[]], [None], [1, 2, 3], {"": ""}, {"a": {"b": {}}}, [0] * 50, "y" * 300),
]
CELLS = [
    *(
        "",
        " ",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "-5",
        "0",
        "1",
        "1,5",
        "TRUE",
        "\u00fc",
        "\0",
        "../outside/keep.txt",
        '"',
    ),
    *(
        '""',
        "9" * 400,
        "\u2028",
        "1_0",
        ESCAPES,
        "x" * 140_000,
        "=1+1",
        "0x10",
        "\u0663",
        "\ud800",
        "predicted",
        "failed",
    ),
]
_BYTES = [
    b"\0",
    b"\xff",
    b"\n",
    b"\r",
    b'"',
    b",",
    b"{",
    b"}",
    b"[",
    b":",
    b"\x1b[2J",
    b"\xed\xa0\x80",
    b"\x80",
    b"&a",
    b"*a",
]


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """Of any format: bits, lengths, pieces."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.6 else rng.randrange(min(len(data), 256) + 1)
        kind = rng.randrange(9)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            data[at : at + 4] = rng.choice(
                [b"\xff" * 4, b"\xff\xff\xff\x7f", bytes(4), b"\0\0\0\x80", b"\x7f\xff\xff\xff"]
            )
        elif kind == 3:
            del data[at : at + rng.randint(1, 60)]
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.randint(1, 30))
        elif kind == 5:
            data[at:at] = data[at : at + rng.randint(4, 400)] * rng.choice([1, 1, 3, 100])
        elif kind == 6:
            data[at:at] = rng.choice(_BYTES)
        elif kind == 7:
            del data[at:]
        else:
            data += rng.choice([bytes(1000), rng.randbytes(50), bytes(data[: 1 << 16])])
    return bytes(data)


def _encoded(text: str, rng: random.Random) -> bytes:
    chance = rng.random()
    if chance < 0.9:
        return text.encode(errors="surrogatepass")
    encoding = rng.choice(["utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"])
    return text.encode(encoding, errors="replace")


def _in_tree(tree: Any, rng: random.Random) -> Any:
    """One change somewhere in nested lists and dicts."""
    places: list[tuple[Any, Any]] = []
    stack = [tree]
    while stack:
        node = stack.pop()
        inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in inner:
            places.append((node, key))
            stack.append(value)
    if not places or rng.random() < 0.03:
        return rng.choice(VALUES)
    # Of each kind of place one: a list of a thousand numbers shall not draw all the lots.
    kinds: dict[tuple[type, object], list[tuple[Any, Any]]] = {}
    for node, key in places:
        kinds.setdefault((type(node), key if isinstance(node, dict) else type(node[key])), []).append((node, key))
    node, key = rng.choice(kinds[rng.choice(list(kinds))])
    kind = rng.randrange(8)
    if kind <= 3:
        node[key] = rng.choice(VALUES)
    elif kind == 4:
        del node[key]
    elif kind == 5 and isinstance(node, dict):
        node[rng.choice([f"{key}x", "", ESCAPES, "__proto__", key])] = node.pop(key)
    elif kind == 5:
        node[:] = node * rng.choice([2, 2, 50])
    elif kind == 6:
        node[key] = rng.choice([[node[key]], {"a": node[key]}, str(node[key]), [node[key]] * 3])
    else:
        other, its = rng.choice(places)
        node[key] = other[its] if isinstance(other, dict) or its < len(other) else None
        try:
            json.dumps(tree)
        except ValueError:  # it holds itself
            node[key] = None
    return tree


def _dumped(tree: Any) -> str:
    text = json.dumps(tree)
    for name, raw in _RAW.items():
        text = text.replace(json.dumps(name), raw)
    return text


def of_json(content: bytes, rng: random.Random) -> bytes:
    """Of a JSON document: types, keys, numbers beyond their range, depth, encodings."""
    chance = rng.random()
    if chance < 0.1:
        return of_bytes(content, rng)
    if chance < 0.16:
        deep = rng.choice([900, 50_000])
        return rng.choice(
            [b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep, b"[" * deep, b"", b"null", b"1e400"]
        )
    try:
        tree = json.loads(content)
    except ValueError:
        return of_bytes(content, rng)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        tree = _in_tree(tree, rng)
    return _encoded(_dumped(tree), rng)


def of_json_lines(content: bytes, rng: random.Random) -> bytes:
    """Of a file with one document a line."""
    lines = content.splitlines(keepends=True)
    if not lines or rng.random() < 0.1:
        return of_bytes(content, rng)
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind <= 3:
        lines[at] = of_json(lines[at], rng).replace(b"\n", b" ") + b"\n"
    elif kind == 4:
        lines[at:at] = [lines[at]] * rng.choice([1, 1, 200])
    else:
        del lines[at]
    return b"".join(lines)


def of_sealed_lines(content: bytes, rng: random.Random) -> bytes:
    """Of a journal, whose lines end with a digest: mostly sealed anew, so that what is behind the seal is tried too."""
    if rng.random() < 0.2:
        return of_bytes(content, rng)
    bare = b"".join(line.rpartition(b" ")[0] + b"\n" for line in content.splitlines())
    sealed, seal = [], b""
    for line in of_json_lines(bare, rng).split(b"\n")[:-1]:
        seal = _seal(seal, line)
        sealed.append(line + b" " + seal + b"\n")
    return b"".join(sealed)


_YAML = [
    b"a: &a [x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n",
    b"&a backend: *a\n",
    b"a: &a [*a]\n",
    b"{" * 3000,
    b"[" * 3000 + b"]" * 3000,
    b"!!python/object/apply:os.system ['touch ../outside/ran']\n",
    b"backend: !!python/name:os.system\n",
    b"<<: [1, 2]\n",
    b"<<: {backend: unet}\n",
    b"? [a, b]\n: 1\n",
    b"seed: 2001-99-99\n",
    b"seed: 0o9\nimage_size: 1:2:3:99999999999999999999\n",
    b"seed: .inf\n",
    b"---\na: 1\n---\nb: 2\n",
    b"base: .\n",
    b"base: /dev/zero\n",
    b"base: ../../../../etc/passwd\n",
    b"backend: " + b"x" * 200_000,
    b"a: !!binary abc\nb: !!set {x}\nc: !!timestamp 9999-99-99\n",
    b"\t- a",
    b"seed: " + b"9" * 5000 + b"\n",
]


def of_yaml(content: bytes, rng: random.Random) -> bytes:
    """Of a YAML mapping: as JSON, and what only YAML has."""
    chance = rng.random()
    if chance < 0.12:
        return of_bytes(content, rng)
    if chance < 0.3:
        extra = rng.choice(_YAML)
        return rng.choice([extra, content + b"\n" + extra, extra + content])
    tree = _in_tree(yaml.safe_load(content), rng)
    if rng.random() < 0.3:
        tree = _in_tree(tree, rng)
    return _encoded(_dumped(tree) if rng.random() < 0.5 else yaml.safe_dump(tree, allow_unicode=True), rng)


def of_csv(content: bytes, rng: random.Random) -> bytes:
    """Of a table: cells, rows, columns, quotes, delimiters, encodings."""
    if rng.random() < 0.12:
        return of_bytes(content, rng)
    rows = list(csv.reader(io.StringIO(content.decode())))
    for _ in range(rng.choice([1, 1, 2, 5])):
        if not rows or not rows[0]:
            break
        at = 0 if rng.random() < 0.2 else rng.randrange(len(rows))
        kind = rng.randrange(8)
        if kind <= 3 and rows[at]:
            rows[at][rng.randrange(len(rows[at]))] = rng.choice(CELLS)
        elif kind == 4:
            rows.insert(at, list(rng.choice(rows)))
        elif kind == 5:
            del rows[at]
        elif kind == 6:
            rows[at] = rng.choice([[*rows[at], "more"], rows[at][:-1], [], rows[at] * 40])
        else:
            column = rng.randrange(len(rows[0]))
            value = rng.choice(CELLS)
            rows = [rows[0], *([*row[:column], value, *row[column + 1 :]] for row in rows[1:])]
    text = io.StringIO()
    quoting = rng.choice([csv.QUOTE_MINIMAL] * 3 + [csv.QUOTE_ALL])
    csv.writer(
        text, delimiter=rng.choice(",,,,;\t"), quoting=quoting, lineterminator=rng.choice(["\n", "\n", "\r\n", "\r"])
    ).writerows(rows)
    return _encoded(text.getvalue(), rng)


def of_lines(content: bytes, rng: random.Random) -> bytes:
    """Of a text of lines, such as paths."""
    if rng.random() < 0.15:
        return of_bytes(content, rng)
    lines = content.decode().splitlines()
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(len(lines) + 1)
        odd = rng.choice(
            [
                *CELLS,
                "/dev/zero",
                "/",
                ".",
                "..",
                "~",
                "../../outside/keep.txt",
                "x" * 300,
                "0 0.5 0.5 2 2",
                "0 nan 1 1 1",
            ]
        )
        if rng.random() < 0.6:
            lines[at : at + 1] = [odd]
        elif rng.random() < 0.5:
            lines[at:at] = lines[at : at + 1] * rng.choice([1, 500])
        else:
            del lines[at : at + 1]
    return _encoded("\n".join(lines) + rng.choice(["\n", "", "\r\n\r\n"]), rng)


def of_tensors(content: bytes, rng: random.Random) -> bytes:
    """Of a safetensors file: its header, where shapes and offsets are."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    length = int.from_bytes(content[:8], "little")
    header, body = of_json(content[8 : 8 + length], rng), content[8 + length :]
    said = rng.choice([len(header)] * 6 + [0, 2**63, 2**40, len(header) + len(body) + 1])
    if rng.random() < 0.2:  # values that are no numbers
        body = b"\xff\xff\xff\x7f" * (len(body) // 4)
    return said.to_bytes(8, "little") + header + body


def of_checkpoint(content: bytes, rng: random.Random) -> bytes:
    """Of what torch saved: plain values and tensors in it."""
    import torch

    if rng.random() < 0.25:
        return of_bytes(content, rng)
    stored = torch.load(io.BytesIO(content), weights_only=True)
    for _ in range(rng.choice([1, 1, 2])):
        if rng.random() < 0.15:
            stored = _in_plain(stored, rng)
        elif isinstance(stored, dict):  # what is not its envelope
            stored["state"] = _in_plain(stored.get("state"), rng)
    buffer = io.BytesIO()
    torch.save(stored, buffer)
    return buffer.getvalue()


def _in_plain(tree: Any, rng: random.Random) -> Any:
    """One change in nested values, which need not be JSON; the nearer the root, the likelier."""
    import torch

    odd = [
        None,
        -1,
        0,
        1e308,
        float("nan"),
        2**62,
        "x",
        "",
        [],
        {},
        (),
        True,
        torch.zeros(0),
        torch.zeros(3, 3),
        10**30,
    ]
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.15:
        return rng.choice(odd)
    key = rng.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
    if rng.random() < 0.12:
        del tree[key]
    else:
        tree[key] = _in_plain(tree[key], rng)
    return tree


def of_onnx(content: bytes, rng: random.Random) -> bytes:
    """Of an ONNX model: its nodes, shapes and weights."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    import numpy as np
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    kind = rng.randrange(7)
    if kind == 0 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        tensor.dims[:] = rng.choice([[2**31, 2**31], [2**40], [0], [-1], [1] * 100])
    elif kind == 1:
        graph.node.append(onnx.helper.make_node("ConstantOfShape", ["huge"], ["bomb"]))
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([2**34], np.int64), "huge"))
        graph.output[0].name = rng.choice([graph.output[0].name, "bomb"])
    elif kind == 2 and graph.node:
        rng.choice(graph.node).op_type = rng.choice(["Loop", "If", "Nothing", "Tile", "Expand", ESCAPES])
    elif kind == 3 and graph.node:
        del graph.node[rng.randrange(len(graph.node))]
    elif kind == 4:
        dims = (graph.input[0] if rng.random() < 0.5 else graph.output[0]).type.tensor_type.shape.dim
        rng.choice(dims).dim_value = rng.choice([0, -1, 7, 2**40])
    elif kind == 5 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", rng.choice(["../../outside/keep.txt", "/dev/zero", "/etc/passwd"])
    else:
        model.opset_import[0].version = rng.choice([0, 999, -1])
    return bytes(model.SerializeToString())


def of_dicom(content: bytes, rng: random.Random) -> bytes:
    """Of a DICOM file: values of its tags, and bytes."""
    import pydicom

    if rng.random() < 0.5:
        return of_bytes(content, rng)
    try:
        data = pydicom.dcmread(io.BytesIO(content), force=True)
        with pydicom.config.disable_value_validation():
            for _ in range(rng.choice([1, 1, 2, 3])):
                name, values = rng.choice(_TAGS)
                setattr(data, name, rng.choice(values))
            if rng.random() < 0.1:
                del data[rng.choice(list(data.keys()))]
            if rng.random() < 0.15:
                data.file_meta.TransferSyntaxUID = rng.choice(_SYNTAXES)
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, data)
    except Exception:  # noqa: BLE001 - it cannot be written so
        return of_bytes(content, rng)
    return buffer.getvalue()


_TAGS: list[tuple[str, list[Any]]] = [
    ("Rows", [0, 1, 65535, 7, 48, 4000]),
    ("Columns", [0, 1, 65535, 7, 64]),
    ("BitsAllocated", [0, 1, 8, 12, 16, 32, 64]),
    ("BitsStored", [0, 1, 8, 10, 16, 32]),
    ("HighBit", [0, 7, 15, 31]),
    ("PixelRepresentation", [0, 1, 7]),
    ("SamplesPerPixel", [0, 1, 3, 4]),
    ("NumberOfFrames", ["0", "1", "2", "99999999", "x"]),
    ("PhotometricInterpretation", ["MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL_422", "", ESCAPES]),
    ("WindowCenter", ["1e400", "nan", "", "0", "1\\2\\3", "x"]),
    ("WindowWidth", ["0", "-1", "1e-320", "1e308", "nan", ""]),
    ("RescaleSlope", ["0", "1e308", "nan", "-1", "x"]),
    ("RescaleIntercept", ["1e308", "-1e308", "inf"]),
    ("PixelSpacing", [["0", "0"], ["1", "1e-30"], ["1", "2"], ["nan", "1"], "1", ["1", "1000000"]]),
    ("PixelAspectRatio", [["1", "2"], ["0", "0"], ["1", "99999"]]),
    ("PatientAge", ["999Y", "095Y", "x", "", "-1", "1e9"]),
    ("PatientSex", ["O", "x" * 3000, ESCAPES]),
    ("ViewPosition", ["LL", ESCAPES, "x" * 3000]),
    ("Modality", ["CT", "MR", "SEG", "", ESCAPES]),
    ("SOPInstanceUID", ["", "1.2", "x" * 500, "../../outside/keep", ESCAPES]),
    ("SpecificCharacterSet", ["ISO_IR 192", "nothing", "ISO 2022 IR 87", ESCAPES]),
    ("PixelData", [b"", b"\0\0", b"\xff\xd8\xff\xd9", bytes(5000)]),
]
_SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5", "1.2.3"] + [
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 90, 100, 201)
]


def of_picture(content: bytes, rng: random.Random) -> bytes:
    """Of a JPEG, PNG, TIFF, BMP, WebP or JPEG 2000 file: the size that it says to have, and bytes."""
    side = rng.choice([0, 1, 7, 30_000, 65_535])
    chance = rng.random()
    if chance < 0.5:
        return of_bytes(content, rng)
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        depth = bytes([rng.choice([content[24], 1, 16, 3]), rng.choice([content[25], 2, 3, 6])])
        chunk = b"IHDR" + struct.pack(">II", side, rng.choice([side, 48])) + depth + content[26:29]
        return content[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + content[33:]
    for mark, skip in ((b"\xff\xc0", 5), (b"\xff\x51", 6), (b"BM", 18), (b"VP8 ", 14), (b"VP8L", 9)):
        at = content.find(mark)
        if at >= 0:
            word = struct.pack(">H" if mark == b"\xff\xc0" else ">I" if mark == b"\xff\x51" else "<I", side)
            return content[: at + skip] + word + content[at + skip + len(word) :]
    at = 8 + 12 * rng.randrange(12)  # an entry of a TIFF's directory
    return content[:at] + rng.randbytes(12) + content[at + 12 :] if len(content) > at + 12 else of_bytes(content, rng)


def put(path: Path, mutator: Mutator, rng: random.Random, outside: Path) -> str:
    """Put something else in a file's place; returns what, in words."""
    chance = rng.random()
    if chance < 0.85:
        content = mutator(path.read_bytes(), rng)
        path.unlink()
        path.write_bytes(content)
        return "content"
    what = rng.choice(
        ["pipe", "folder", "link", "link to nowhere", "link to zeros", "loop", "sparse", "gone", "socket", "empty"]
    )
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
        (path / "x").touch()
    elif what == "socket":
        here = os.getcwd()  # noqa: PTH109 - a socket's path is to be short
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name[:90])
        finally:
            os.chdir(here)
    elif what == "sparse":
        with path.open("wb") as file:
            file.truncate(1280 << 20)
    elif what == "empty":
        path.touch()
    elif what != "gone":
        targets = {"link": outside / "keep.txt", "link to zeros": Path("/dev/zero"), "loop": path}
        path.symlink_to(targets.get(what, path.parent / "nowhere"))
    return what
