"""Networks that ONNX Runtime or OpenVINO runs, in the place of PyTorch's: what `hilum.export` wrote."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from hilum.errors import HilumError
from hilum.files import open_regular, read_regular
from hilum.run import FORMATS, exported_format, read_environment, run_config
from hilum.sessions import Call, first_line, session
from hilum.trial import USUAL_SIZE, try_out

MAX_BYTES: Final = 1 << 31  # of a file, as ONNX's own format allows


class ExportedNetwork(nn.Module):
    """Calls another runtime. It runs on the CPU, with as many threads as torch has when it is loaded."""

    def __init__(self, call: Call, path: Path) -> None:
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
            raise HilumError(f"{self._path}: cannot be run: {first_line(error)}; export again") from error
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
    known = read_environment(run).get("exported", {}).get("sha256", {})
    contents = [_content(path, known.get(path.name)) for path in paths]
    try:
        try_out(kind, contents, getattr(run_config(run), "image_size", USUAL_SIZE))
        call, _ = session(kind, contents, torch.get_num_threads())
    except HilumError as error:
        raise HilumError(f"{paths[0]}: {error}") from error
    except Exception as error:  # each runtime has exceptions of its own
        raise HilumError(f"{paths[0]}: not a network that can be run: {first_line(error)}; export again") from error
    return ExportedNetwork(call, paths[0])


def digest(content: bytes) -> str:
    """As `environment.json` holds it for each file of an exported network."""
    return hashlib.sha256(content).hexdigest()


def _content(path: Path, known: str | None) -> bytes:
    """A file whose digest is known; it is not in memory before that is shown."""
    try:
        with open_regular(path) as file:
            found = hashlib.sha256()
            while piece := file.read(1 << 20):
                found.update(piece)
        content = read_regular(path, MAX_BYTES) if found.hexdigest() == known else None
    except OSError as error:
        raise HilumError(f"{path}: cannot be read: {error.strerror}; export again") from error
    except HilumError as error:
        raise HilumError(f"{path}: {error}") from error
    if content is None:
        raise HilumError(f"{path}: damaged, or not the file that was exported; export again")
    return content
