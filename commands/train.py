"""`hilum train`: train a backend."""

import os
from dataclasses import dataclass
from pathlib import Path

from hilum.class_names import Confidence, confidence_words
from hilum.commands.arguments import CONFIG, DATA, NEW_RUN, check_order
from hilum.commands.options import AnyPath, check_values
from hilum.commands.terminal import say
from hilum.errors import HilumError


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        path: its folder, which `load`, `tune`, `evaluate` and the others take.
        confidence: from which on boxes are kept; of several classes one each.
        val_score: the figure by which that was chosen on val; None where it is not known.
        figure: which that is.
    """

    path: Path
    confidence: Confidence
    val_score: float | None
    figure: str


def train(config: AnyPath, data: AnyPath, run: AnyPath, *overrides: str, trust: bool = False) -> TrainedRun:
    """Train a backend; on a run that was interrupted, go on with it.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m hilum train CONFIG DATA RUN. The processes share each
    batch of train.batch_size images, and see DATA and RUN under the same paths; YOLO has ultralytics.device instead.

    Args:
        config: Path of a YAML file, or the name of a shipped one (see `hilum config`).
        data: Dataset folder.
        run: Run folder to write.
        overrides: Keys with other values: train.epochs=3 image_size=256
        trust: Unpickle the .pt file that the config starts from, which can run code; without, it is read as data.

    Examples:
        >>> import hilum
        >>> run = hilum.train("sample/unet", "DATA", "NEW", "train.epochs=1", "image_size=64", "model.start_channels=2")
        >>> str(run.path), run.figure, 0 <= run.val_score <= 1
        ('NEW', 'competition score', True)
    """
    check_values(train, locals())
    from hilum.config import load_config
    from hilum.datasets.folder import Dataset
    from hilum.run import operating_confidence, read_operating_point
    from hilum.train_run import train as run_training
    from hilum.training.distributed import processes

    config, data, run = str(config), Path(data), Path(run)
    if "=" in run.name:
        raise HilumError(f"'{run}' was read as RUN, which seems to be forgotten: hilum train CONFIG DATA RUN key=value")
    check_order("train", (CONFIG, config), (DATA, data), (NEW_RUN, run))
    with processes():
        run_training(load_config(config, overrides, trust=trust), Dataset.open(data), run)
    chosen = read_operating_point(run)
    figure = chosen.get("figure", "competition score")
    return TrainedRun(run, operating_confidence(run), chosen.get("val_score"), figure)


def show_run(run: TrainedRun, config: str, data: Path, *_: object, **__: object) -> None:
    """Print how good it is on val."""
    del config
    if int(os.environ.get("RANK", "0")):  # of the processes that `torchrun` started, the first one prints
        return
    say(
        f"{run.path}: {run.figure} {'unknown' if run.val_score is None else f'{run.val_score:.3f}'} on val "
        f"at confidence >= {confidence_words(run.confidence)}, "
        f"which was chosen there; hilum evaluate {run.path} {data} tells that of holdout"
    )
