"""`hilum export`: a run's network in another format."""

from pathlib import Path
from typing import Literal

from hilum.commands.arguments import RUN, check_order
from hilum.commands.terminal import say


def export(
    run: Path,
    *,
    format: Literal["onnx", "openvino"],  # noqa: A002
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write a run anew with its network in another format, for a CPU. It is used like the run itself.

    Parameters
    ----------
    run
        Run folder, of a finished training.
    format
        onnx for ONNX Runtime (hilum[onnx]), openvino for OpenVINO (hilum[openvino]).
    out
        Folder to write; RUN-onnx or RUN-openvino beside the run where not given.
    overwrite
        Replace an exported run that is there.
    """
    from hilum.export import export as run_export

    check_order("export", (RUN, run))
    folder = out or Path(f"{run.absolute()}-{format}" if run.name in {"", ".."} else f"{run}-{format}")
    difference = run_export(run, format, folder, overwrite=overwrite)
    compared = "only its outputs' shapes were compared" if difference is None else f"to {difference:.1g} of the value"
    say(f"{folder}: its network gives what that of {run} gives, {compared}")
