"""`hilum train`: train a backend."""

from pathlib import Path

from hilum.class_names import confidence_words
from hilum.commands.arguments import CONFIG, DATA, NEW_RUN, check_order
from hilum.commands.terminal import say
from hilum.errors import HilumError


def train(config: str, data: Path, run: Path, *overrides: str, trust: bool = False) -> None:
    """Train a backend; on a run that was interrupted, go on with it.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m hilum train CONFIG DATA RUN. The processes share each
    batch of train.batch_size images, and see DATA and RUN under the same paths; YOLO has ultralytics.device instead.

    Parameters
    ----------
    config
        Path of a YAML file, or the name of a shipped one (see `hilum config`).
    data
        Dataset folder.
    run
        Run folder to write.
    overrides
        Keys with other values: train.epochs=3 image_size=256
    trust
        Unpickle the .pt file that the config starts from, which can run code; without, it is read as data.
    """
    from hilum.config import load_config
    from hilum.datasets.folder import Dataset
    from hilum.run import operating_confidence, read_operating_point
    from hilum.train_run import train as run_training
    from hilum.training.distributed import is_rank_zero, processes

    if "=" in run.name:
        raise HilumError(f"'{run}' was read as RUN, which seems to be forgotten: hilum train CONFIG DATA RUN key=value")
    check_order("train", (CONFIG, config), (DATA, data), (NEW_RUN, run))
    with processes():
        run_training(load_config(config, overrides, trust=trust), Dataset.open(data), run)
        if not is_rank_zero():
            return
    chosen = read_operating_point(run)
    score = chosen.get("val_score")
    say(
        f"{run}: {chosen.get('figure', 'competition score')} {'unknown' if score is None else f'{score:.3f}'} on val "
        f"at confidence >= {confidence_words(operating_confidence(run))}, "
        f"which was chosen there; hilum evaluate {run} {data} tells that of holdout"
    )
