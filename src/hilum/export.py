"""Export a run: the same folder, whose network ONNX Runtime or OpenVINO runs on a CPU, in the place of PyTorch.

Only the network is replaced. Letterbox, NMS, boxes from masks stay the backend's own code, which loads the exported run
like any other.
"""

import errno
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from hilum.backend import Backend
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError, first_line
from hilum.files import PARTIAL, remove, write_atomically
from hilum.predict import load
from hilum.private_libraries import environment_variable, quiet
from hilum.quantize import Quantization, network_input, quantize
from hilum.run import (
    CONFIG,
    ENVIRONMENT,
    EXPORTED,
    FORMATS,
    MEMBERS,
    OPERATING_POINT,
    Format,
    exported_format,
    parameter_count,
    read_environment,
    run_config,
    write_json,
)
from hilum.runtimes import digest, load_exported
from hilum.sessions import import_onnx, import_openvino

_TOLERANCE: Final = 5e-4  # a third of a pixel at 640, half of a thousandth of a confidence
_MADE_BY: Final = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
}


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        difference: the largest between an output of the exported network, in float32, and of the run's, relative to 1 +
            the output, on drawn pictures, one and three at once. None where the network sorts what it finds: equals
            may change places there, so that only the outputs' shapes are compared.
        quantization: what 8 bits cost and save, where it is in them.
    """

    difference: float | None
    quantization: Quantization | None = None


def export(run: Path, kind: Format, out: Path, *, overwrite: bool = False, int8: Dataset | None = None) -> Export:
    """Write the run anew, with its network in another format; whole or not at all.

    Args:
        run: a finished run, of a backend with a `network_to_export`.
        kind: what shall run it.
        out: the folder to write.
        overwrite: replace an exported run that is there.
        int8: the data that the run was trained on, to have the network in 8-bit integers, calibrated on its train
            split; with OpenVINO alone.

    Raises:
        HilumError: not a finished run, exported already, its backend's networks cannot be exported, what was exported
            gives other outputs, the extra is missing, or `out` is there.
    """
    if int8 is not None and kind != "openvino":
        raise HilumError(f"--int8: {kind} is written in float32 alone; give --format openvino")
    _check_free(out, run, overwrite=overwrite)
    predictor = load(run)
    if exported_format(run):
        raise HilumError(f"{run}: is exported already; export the run that it came from")
    if (run / MEMBERS).is_dir():
        raise HilumError(
            f"{run}: is composed; export the runs below {run / MEMBERS}, each to an --out of its own, and compose those"
        )
    example = _example(predictor.backend)
    network = predictor.backend.network_to_export()
    if network is None:
        raise HilumError(f"{run}: networks of the backend '{run_config(run).backend}' cannot be exported")
    network = network.cpu().eval()
    with torch.inference_mode():
        expected = {images: _outputs(network(example[:images])) for images in (1, 3)}
    content, sorts = _to_onnx(network, example, run)
    place = out.resolve() if out.is_symlink() else out
    partial = place.with_name(f".{place.name}{PARTIAL}")
    try:
        remove(partial)
        partial.mkdir(parents=True)
        for name in (CONFIG, OPERATING_POINT):
            shutil.copy(run / name, partial / name)
        _write_network(content, kind, partial)
        write_json(partial / ENVIRONMENT, {**read_environment(run), EXPORTED: _about(run, kind, partial)})
        difference = _difference(load_exported(partial), example, expected, sorts=sorts)
        if difference is not None and not difference <= _TOLERANCE:
            raise HilumError(
                f"{run}: exported, its network gives other outputs, by {difference:.2g} where {_TOLERANCE} is allowed; "
                "keep to PyTorch"
            )
        quantization = None if int8 is None else quantize(partial, int8)
        _put(partial, place)
    except OSError as error:
        raise HilumError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Export(difference, quantization)


def _about(run: Path, kind: Format, written: Path) -> dict[str, Any]:
    """What is noted of an exported network whose files are written."""
    return {
        "format": kind,
        "sha256": {name: digest((written / name).read_bytes()) for name in FORMATS[kind]},
        "parameters": parameter_count(run),
        "versions": {name: version(name) for name in _MADE_BY[kind]},
    }


def _check_free(out: Path, run: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise HilumError(f"{out}: is there already; give a new folder, or --overwrite to replace an exported run")
    exported = (out / ENVIRONMENT).is_file() and EXPORTED in read_environment(out)
    if out.resolve() == run.resolve() or not exported:
        raise HilumError(f"{out}: is not an exported run, and is not overwritten; give a new folder")


def _example(backend: Backend) -> Tensor:
    """What the backend shows its network of three drawn pictures, each alone, as one batch."""
    rng = np.random.default_rng(0)
    seen: list[Tensor] = []
    for _ in range(3):
        picture = cv2.resize(rng.integers(0, 256, (9, 9), np.uint8), (512, 512), interpolation=cv2.INTER_CUBIC)
        seen.append(network_input(backend, picture).cpu())
    return torch.from_numpy(torch.cat(seen).numpy().copy())  # else it remembers that it comes out of inference mode


def _outputs(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else outputs


def _to_onnx(network: nn.Module, example: Tensor, run: Path) -> tuple[bytes, bool]:
    """The network as an ONNX file, for any number of images; and whether it sorts what it finds."""
    import_onnx()
    try:
        # transformers' checks of shapes have no form in ONNX.
        with quiet(), torch.no_grad(), environment_variable("TRANSFORMERS_DISABLE_TORCH_CHECK", "1"):
            program = torch.onnx.export(_traced(network, example), dynamo=True, verbose=False)
    except ImportError as error:
        raise HilumError('onnxscript (MIT) is missing: pip install "hilum[onnx]"') from error
    except Exception as error:  # whatever a network may do that cannot be exported
        reason = first_line(error.__cause__ or error)
        raise HilumError(f"{run}: its network cannot be exported: {reason}") from error
    if program is None:
        raise HilumError(f"{run}: its network cannot be exported")
    model = program.model_proto
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")  # paths and lines of code on this machine
        part.ClearField("doc_string")
    return model.SerializeToString(), any(node.op_type == "TopK" for node in model.graph.node)


def _traced(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The network for any number of images; read instruction by instruction where Python's own `len` would fix it."""
    shapes = ({0: torch.export.Dim("images")},)
    try:
        return torch.export.export(network, (example,), dynamic_shapes=shapes, strict=False)
    except torch._dynamo.exc.UserError:  # noqa: SLF001 - raised by what is public
        return torch.export.export(network, (example,), dynamic_shapes=shapes, strict=True)


def _write_network(content: bytes, kind: Format, folder: Path) -> None:
    if kind == "onnx":
        write_atomically(folder / "model.onnx", content)
    else:
        openvino = import_openvino()
        model = openvino.Core().read_model(content)
        try:
            openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
        except RuntimeError as error:  # all that it says of a full disk
            raise OSError(errno.EIO, "OpenVINO could not write its model; is the disk full?") from error


def _difference(
    exported: nn.Module, example: Tensor, expected: dict[int, tuple[Tensor, ...]], *, sorts: bool
) -> float | None:
    """See `export`; infinite where the shapes differ, or what is found is not finite."""
    largest = 0.0
    for images, outputs in expected.items():
        found = _outputs(exported(example[:images]))
        if [output.shape for output in found] != [output.shape for output in outputs]:
            return float("inf")
        for ours, theirs in zip(found, outputs, strict=True):
            if not bool(torch.isfinite(ours).all()):
                return float("inf")
            largest = max(largest, float(((ours - theirs).abs() / (1 + theirs.abs())).max()))
    return None if sorts else largest


def _put(partial: Path, out: Path) -> None:
    """Give a folder its name; one that has it is moved out of the way first."""
    replaced = partial.with_name(f".{out.name}.old{PARTIAL}")
    remove(replaced)
    if out.exists():
        os.replace(out, replaced)  # noqa: PTH105
    os.replace(partial, out)  # noqa: PTH105 - over nothing, or an empty folder
    shutil.rmtree(replaced, ignore_errors=True)
