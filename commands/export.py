"""`hilum export`: a run's network in another format."""

from pathlib import Path
from typing import Literal

from hilum.commands.arguments import DATA, RUN, check_order
from hilum.commands.terminal import complain, say, table


def export(
    run: Path,
    *,
    format: Literal["onnx", "openvino"],  # noqa: A002
    out: Path | None = None,
    overwrite: bool = False,
    int8: Path | None = None,
) -> None:
    """Write a run anew with its network in another format, for a CPU. It is used like the run itself.

    Parameters
    ----------
    run
        Run folder, of a finished training.
    format
        onnx for ONNX Runtime (hilum[onnx]), openvino for OpenVINO (hilum[openvino]).
    out
        Folder to write; RUN-onnx, RUN-openvino or RUN-openvino-int8 beside the run where not given.
    overwrite
        Replace an exported run that is there.
    int8
        Dataset folder that it was trained on: the network is in 8-bit integers, calibrated on pictures of train
        (hilum[int8]), and a table tells its score on val, speed and size beside those of float32. With openvino.
    """
    from hilum.datasets.folder import Dataset
    from hilum.export import export as run_export

    check_order("export", (RUN, run), *([] if int8 is None else [(DATA, int8)]))
    name = format if int8 is None else f"{format}-int8"
    folder = out or Path(f"{run.absolute()}-{name}" if run.name in {"", ".."} else f"{run}-{name}")
    done = run_export(run, format, folder, overwrite=overwrite, int8=None if int8 is None else Dataset.open(int8))
    difference, quantization = done.difference, done.quantization
    compared = "only its outputs' shapes were compared" if difference is None else f"to {difference:.1g} of the value"
    in_float = "" if quantization is None else "in float32 "
    say(f"{folder}: {in_float}its network gives what that of {run} gives, {compared}")
    if quantization is not None:
        complain(*quantization.problems)
        one, other = quantization.float32, quantization.int8
        rows = [
            (f"{quantization.figure} on val", f"{one.val_score:.3f}", f"{other.val_score:.3f}"),
            ("ms a picture, to its boxes", f"{one.alone_ms:.1f}", f"{other.alone_ms:.1f}"),
            ("times as fast", "1.00", f"{one.alone_ms / other.alone_ms:.2f}"),
            ("ms in the network", f"{one.network_ms:.1f}", f"{other.network_ms:.1f}"),
            ("times as fast", "1.00", f"{one.network_ms / other.network_ms:.2f}"),
            ("MB", f"{one.network_mb:.1f}", f"{other.network_mb:.1f}"),
        ]
        table((f"on {quantization.val_images} images", "float32", "INT8"), rows)
        say(f"{folder}: calibrated on {quantization.pictures} pictures of train; the confidence was chosen on val anew")
