"""Networks that ONNX Runtime or OpenVINO runs, in the place of PyTorch's: what `hilum.export` wrote.

Exported files can come from anybody. They are read from memory, so that none leads to another file; neither runtime is
given a library of operations, and an ONNX file may use only those of the standard, without loops and branches.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.errors import HilumError
from hilum.run import FORMATS, exported_format, read_environment

_Call = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]
_LOOPS: Final = {"If", "Loop", "TensorIterator"}


class ExportedNetwork(nn.Module):
    """Calls another runtime. It runs on the CPU, with as many threads as torch has when it is loaded."""

    def __init__(self, call: _Call, path: Path) -> None:
        """Take what computes arrays from an array, and the file that it comes from."""
        super().__init__()
        # Backends ask a network's parameters on which device they are.
        self.device = nn.Parameter(torch.empty(0), requires_grad=False)
        self._call, self._path, self._lock = call, path, Lock()

    def forward(self, batch: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As the network that was exported: a tensor, or several.

        Raises:
            HilumError: the runtime does not take this batch.
        """
        try:
            with self._lock:  # a request of OpenVINO's is for one thread at a time
                arrays = self._call(batch.contiguous().numpy())
        except Exception as error:  # each runtime has exceptions of its own
            raise HilumError(f"{self._path}: cannot be run: {_first_line(error)}; export again") from error
        outputs = tuple(torch.from_numpy(np.array(array)) for array in arrays)
        return outputs[0] if len(outputs) == 1 else outputs


@contextmanager
def few_threads(network: nn.Module) -> Iterator[None]:
    """Around what torch computes from an exported network's output: with one thread.

    Others, once woken, wait busily for more, on the cores where the other runtime computes the next image.
    """
    threads = torch.get_num_threads()
    if isinstance(network, ExportedNetwork):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def load_exported(run: Path) -> ExportedNetwork:
    """The network of an exported run.

    Raises:
        HilumError: its runtime is not installed; or the files are damaged, not those that were exported, or hold what
            they must not.
    """
    kind = exported_format(run)
    if kind is None:
        raise HilumError(f"{run}: not an exported run; `hilum export` makes one")
    paths = [run / name for name in FORMATS[kind]]
    try:
        contents = [path.read_bytes() for path in paths]
    except OSError as error:
        raise HilumError(f"{run}: cannot be read ({error.strerror}); export again") from error
    _check_digests(run, dict(zip(paths, contents, strict=True)))
    try:
        call = _onnx_call(*contents) if kind == "onnx" else _openvino_call(*contents)
    except HilumError as error:
        raise HilumError(f"{paths[0]}: {error}") from error
    except Exception as error:  # each runtime has exceptions of its own
        raise HilumError(f"{paths[0]}: not a network that can be run: {_first_line(error)}; export again") from error
    return ExportedNetwork(call, paths[0])


def import_onnx() -> ModuleType:
    """The package `onnx`, which reads ONNX files.

    Raises:
        HilumError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise HilumError('onnx (Apache-2.0) is missing: pip install "hilum[onnx]"') from error
    return cast("ModuleType", onnx)


def import_openvino() -> ModuleType:
    """The package `openvino`, without what reports to its makers as soon as it is imported.

    That is its converter, which is not needed: models come as ONNX.

    Raises:
        HilumError: it is not installed.
    """
    sys.modules.setdefault("openvino.tools.ovc", cast("ModuleType", None))
    try:
        import openvino
    except ImportError as error:
        raise HilumError('openvino (Apache-2.0) is missing: pip install "hilum[openvino]"') from error
    return cast("ModuleType", openvino)


def digest(content: bytes) -> str:
    """As `environment.json` holds it for each file of an exported network."""
    return hashlib.sha256(content).hexdigest()


def _check_digests(run: Path, contents: dict[Path, bytes]) -> None:
    known = read_environment(run).get("exported", {}).get("sha256", {})
    for path, content in contents.items():
        if known.get(path.name) != digest(content):
            raise HilumError(f"{path}: damaged, or not the file that was exported; export again")


def _onnx_call(content: bytes) -> _Call:
    model = import_onnx().load_model_from_string(content)
    _check_onnx(model)
    try:
        import onnxruntime
    except ImportError as error:
        raise HilumError('onnxruntime (MIT) is missing: pip install "hilum[onnx]"') from error
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors, which are raised as well
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return lambda array: session.run(None, {taken.name: array})


def _check_onnx(model: Any) -> None:
    graph = model.graph
    if model.functions:
        raise HilumError("holds functions of its own, which are not run")
    tensors = [*graph.initializer, *(part for both in graph.sparse_initializer for part in (both.values, both.indices))]
    for node in graph.node:
        if node.domain not in {"", "ai.onnx"}:
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


def _openvino_call(xml: bytes, weights: bytes) -> _Call:
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
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    # One image at a time, which suits a CPU: where OpenVINO knows how many there are it is up to a fifth faster.
    shape = model.inputs[0].partial_shape
    shape[0] = 1
    model.reshape(shape)
    compiled = core.compile_model(model, "CPU", settings)

    def call(batch: NDArray[Any]) -> Sequence[NDArray[Any]]:
        # Copied, because the next image's outputs come to lie in the same place.
        ones = [[np.array(output) for output in compiled(batch[at : at + 1]).values()] for at in range(len(batch))]
        return [np.concatenate(parts) for parts in zip(*ones, strict=True)]

    return call


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
