"""Exported networks as functions of arrays, computed by ONNX Runtime or OpenVINO on a CPU.

An exported file can come from anybody. It is read from memory, so that none leads to another file; neither runtime is
given a library of operations, and an ONNX file may use only those of the standard, without loops and branches. What it
takes to run is found out in a process of its own, see `hilum.trial`, which imports this module and no torch.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from hilum.errors import HilumError

Call = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]
_ORT_TAGS: Final = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |\[\w+(?:Error|Exception)\] ?")
_LOOPS: Final = {"If", "Loop", "TensorIterator"}
_OF_SHAPES: Final = {"Cast", "Gather", "Identity", "Squeeze"}  # none of which gives more numbers than it takes
_FEW: Final = 16
_MOST_ROUNDS: Final = 16


def session(kind: str, contents: Sequence[bytes], threads: int) -> tuple[Call, list[int | None]]:
    """Make a network that can be called.

    Args:
        kind: `onnx` or `openvino`.
        contents: of its files, in the order of `hilum.run.FORMATS`.
        threads: that it may compute with.

    Returns:
        What computes arrays from a batch, images first; and the batch's shape, None for any number of images.

    Raises:
        HilumError: its runtime is not installed, or the files hold what they must not.
        Exception: whatever the runtime raises of files that are no network.
    """
    if kind == "onnx":
        (content,) = contents
        return _onnx(content, threads)
    xml, weights = contents
    return _openvino(xml, weights, threads)


def import_onnx() -> ModuleType:
    """The package `onnx`, which reads ONNX files.

    Raises:
        HilumError: it is not installed.
    """
    return _imported("onnx", "Apache-2.0", "onnx")


def import_openvino() -> ModuleType:
    """The package `openvino`, without what reports to its makers as soon as it is imported.

    That is its converter, which is not needed: models come as ONNX.

    Raises:
        HilumError: it is not installed.
    """
    sys.modules.setdefault("openvino.tools.ovc", cast("ModuleType", None))
    return _imported("openvino", "Apache-2.0", "openvino")


def import_nncf() -> ModuleType:
    """The package `nncf`, without what reports to its makers.

    Raises:
        HilumError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", cast("ModuleType", None))
    return _imported("nncf", "Apache-2.0", "int8")


def _imported(package: str, licence: str, extra: str) -> ModuleType:
    try:
        return import_module(package)
    except ImportError as error:
        raise HilumError(f'{package} ({licence}) is missing: pip install "hilum[{extra}]"') from error


def check_onnx(content: bytes) -> None:
    """Make sure that an ONNX file holds nothing but operations of the standard, one after another, and their tensors.

    How large each array is must be known before any picture is seen, so that what one picture takes, all take.

    Raises:
        HilumError: it does.
    """
    model = import_onnx().load_model_from_string(content)
    _check_graph(model)
    _check_sizes(model)


def _onnx(content: bytes, threads: int) -> tuple[Call, list[int | None]]:
    check_onnx(content)
    onnxruntime = _imported("onnxruntime", "MIT", "onnx")
    onnxruntime.disable_telemetry_events()  # in case that somebody imported it before hilum: see `private_libraries`
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # it raises errors, and need not print them as well
    made = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (taken,) = made.get_inputs()
    shape = [side if isinstance(side, int) else None for side in taken.shape]
    return lambda array: made.run(None, {taken.name: array}), shape


def _check_graph(model: Any) -> None:
    graph = model.graph
    if model.functions:
        raise HilumError("holds functions of its own, which are not run")
    tensors = [*graph.initializer, *(part for both in graph.sparse_initializer for part in (both.values, both.indices))]
    is_known = import_onnx().defs.has
    for node in graph.node:
        if node.domain not in {"", "ai.onnx"} or not is_known(node.op_type):
            raise HilumError(f"uses '{node.op_type}' of '{node.domain}'; only operations of the ONNX standard are run")
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise HilumError(f"holds a loop or a branch ('{node.op_type}'), which is not run")
            sparse = [attribute.sparse_tensor, *attribute.sparse_tensors]
            tensors += [
                attribute.t,
                *attribute.tensors,
                *(part for both in sparse for part in (both.values, both.indices)),
            ]
    if any(tensor.data_location or tensor.external_data for tensor in tensors):
        raise HilumError("keeps tensors in another file, which is not read")


def _check_sizes(model: Any) -> None:
    for taken in model.graph.input[:1]:
        taken.type.tensor_type.shape.dim[0].dim_value = 1
    # What the file itself says of sizes is left out: they are worked out anew.
    del model.graph.value_info[:]
    for given in model.graph.output:
        given.type.tensor_type.ClearField("shape")
    sizes = _sizes(model)
    for _ in range(_MOST_ROUNDS):
        if not _replace_by_numbers(model, sizes):
            break
        sizes = _sizes(model)
    for node in model.graph.node:
        for name in filter(None, node.output):
            if sizes.get(name) is None:
                raise HilumError(_depends(node.op_type))


def _sizes(model: Any) -> dict[str, tuple[int, ...] | None]:
    """How large each array is, for one image; None where that is not known."""
    graph = import_onnx().shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found: dict[str, tuple[int, ...] | None] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        is_known = kind.HasField("shape") and all(side.HasField("dim_value") for side in kind.shape.dim)
        found[value.name] = tuple(side.dim_value for side in kind.shape.dim) if is_known else None
    return found


def _replace_by_numbers(model: Any, sizes: Mapping[str, tuple[int, ...] | None]) -> bool:
    """Give each `Range` whose length is not known numbers in the place of what works them out from the sizes of arrays.

    ONNX's inference of shapes follows such numbers through most operations, and of `Range` asks that they be constants.
    Whether there was one.
    """
    if not any(node.op_type == "Range" and sizes.get(node.output[0]) is None for node in model.graph.node):
        return False
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    is_replaced = False
    known = {part.name: numpy_helper.to_array(part) for part in model.graph.initializer if math.prod(part.dims) <= _FEW}
    for node in model.graph.node:
        (made, *_) = node.output
        if node.op_type == "Shape" and (size := sizes.get(node.input[0])) is not None:
            ends = {attribute.name: attribute.i for attribute in node.attribute}
            known[made] = np.array(size[ends.get("start", 0) : ends.get("end")])
        elif not all(name in known for name in node.input):
            continue
        elif node.op_type in _OF_SHAPES:
            (known[made],) = ReferenceEvaluator(node).run(None, {name: known[name] for name in node.input})
        elif node.op_type == "Range" and sizes.get(made) is None:
            is_replaced = True
            for at, name in enumerate(list(node.input)):
                node.input[at] = f"{made} {at}"
                model.graph.initializer.append(numpy_helper.from_array(known[name], node.input[at]))
    return is_replaced


def _depends(operation: str) -> str:
    return f"how much '{operation}' gives depends on what a picture shows, and so does the memory that it takes"


def _openvino(xml: bytes, weights: bytes, threads: int) -> tuple[Call, list[int | None]]:
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(xml, weights)
    if loop := next((op.get_type_name() for op in model.get_ops() if op.get_type_name() in _LOOPS), None):
        raise HilumError(f"holds a loop or a branch ('{loop}'), which is not run")
    if len(model.inputs) != 1:
        raise HilumError(f"takes {len(model.inputs)} inputs; expected one")
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 on processors that have it
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    # One image at a time, which suits a CPU: where OpenVINO knows how many there are it is up to a fifth faster.
    shape = model.inputs[0].partial_shape
    shape[0] = 1
    model.reshape(shape)
    for op in model.get_ops():
        if any(not output.get_partial_shape().is_static for output in op.outputs()):
            raise HilumError(_depends(op.get_type_name()))
    compiled = core.compile_model(model, "CPU", settings)

    def call(batch: NDArray[Any]) -> Sequence[NDArray[Any]]:
        # Copied, because the next image's outputs come to lie in the same place.
        ones = [[np.array(output) for output in compiled(batch[at : at + 1]).values()] for at in range(len(batch))]
        return [np.concatenate(parts) for parts in zip(*ones, strict=True)]

    return call, [None, *(side.get_length() if side.is_static else None for side in list(shape)[1:])]


def first_line(error: Exception) -> str:
    """What an exception of a runtime says, without the code line of OpenVINO's and the tags of ONNX Runtime's."""
    lines = [line for line in str(error).strip().splitlines() if line.strip() and not line.startswith("Exception from")]
    return _ORT_TAGS.sub("", lines[0].strip()) if lines else "it gives no reason"
