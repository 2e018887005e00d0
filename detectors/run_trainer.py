"""Trains an ultralytics model into a run folder of ours: plain tensors, our log, exact resume.

Stock ultralytics stores pickles in half precision, and resumes from the moving average. Here the best epoch goes to
`weights.safetensors` in full precision, and `checkpoint.pt` holds tensors and plain values only. On a CPU, with every
batch an optimizer step (`nbs` at most the batch size) and mosaic off, two epochs and a resumed run of two more end
exactly as four in one go.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from hilum.config import read_config
from hilum.detectors.competition_trainer import CONFIDENCE, CompetitionTrainer
from hilum.detectors.private_ultralytics import DEFAULT_CFG, RANK, quietly
from hilum.detectors.yolo_config import YOLOConfig
from hilum.detectors.yolo_network import read_network
from hilum.errors import HilumError
from hilum.run import START
from hilum.training.checkpoint import load_checkpoint, save_checkpoint, save_weights, take_up
from hilum.training.log import EpochLog
from hilum.training.meter import Meter, tell_start


class RunTrainer(CompetitionTrainer):
    """Works on the run folder that holds its `save_dir`, where `model.yaml` lies.

    It takes all it needs from there, because with several GPUs ultralytics makes it anew in every process.
    """

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        """Take what ultralytics' trainers take; `save_dir` must be `RUN/ultralytics`."""
        with quietly():
            super().__init__(cfg, overrides, _callbacks)
        self._run = Path(self.save_dir).parent
        config = read_config(self._run, YOLOConfig)
        self.interpolation, self.negatives = config.interpolation, config.train.negatives
        self.select, self._size, self._class_names = config.train.select, config.image_size, config.class_names
        self._loggers = config.train.loggers
        self._log: EpochLog | None = None
        self._meter: Meter | None = None
        self._steps = 0
        if RANK in {-1, 0}:
            for event, call in (("epoch_start", self._open), ("batch_end", self._tell), ("epoch_end", self._close)):
                self.add_callback(f"on_train_{event}", call)

    def train(self) -> Any:
        """Train; hilum's own log tells how it goes."""
        try:
            with quietly():
                trained = super().train()
        finally:
            self._close()
        if self._log is not None:
            self._log.close()
        return trained

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> nn.Module:  # noqa: ARG002
        """The run's architecture, with the weights to start from where there are some."""
        network = read_network(self._run, self._size, self._class_names)
        if (self._run / START).is_file():
            network.load_state_dict(load_file(self._run / START), strict=False)
        return network

    def resume_training(self, ckpt: Any) -> None:  # noqa: ARG002 - a stock checkpoint, which there never is
        """Go on from the run's checkpoint, and open the log."""
        state = load_checkpoint(self._run)
        if state is not None:
            network = _bare(self.model)
            like = {
                "network": network.state_dict(),
                "average": self.ema.ema.state_dict(),
                "updates": self.ema.updates,
                "scaler": self.scaler.state_dict(),
            }
            progress = take_up(self._run, state, like, self.optimizer, self._take)
            self.best_fitness = progress["best"]
            self.stopper.best_fitness, self.stopper.best_epoch = progress["best"], progress["best_epoch"]
            self.start_epoch = progress["epochs"]
            # YOLO26 weighs its two heads by the epoch.
            criterion: Any = network.init_criterion()  # type: ignore[operator]
            if hasattr(criterion, "update"):
                criterion.updates = self.start_epoch - 1
                criterion.update()
            network.criterion = criterion
        if RANK in {-1, 0}:
            self._log = EpochLog(self._run, self.epochs, done=self.start_epoch, loggers=self._loggers)
            images = len(self.train_loader.dataset), len(self.test_loader.dataset)
            steps = self.epochs, len(self.train_loader)
            tell_start(self._run.name, _bare(self.model), self.device, images, steps)

    def _open(self, _: Any = None) -> None:
        self._steps = 0
        self._meter = Meter(f"epoch {self.epoch + 1}/{self.epochs}", len(self.train_loader.dataset))
        self._meter.__enter__()

    def _tell(self, _: Any = None) -> None:
        self._steps += 1
        images = min(self._steps * self.batch_size, len(self.train_loader.dataset))
        if self._meter is not None:
            self._meter.seen(images, lambda: sum(float(part) for part in self.tloss.values()))

    def _close(self, _: Any = None) -> None:
        if self._meter is not None:
            self._meter.__exit__(None, None, None)
            self._meter = None

    def _take(self, state: dict[str, Any]) -> None:
        _bare(self.model).load_state_dict(state["network"])
        self.ema.ema.load_state_dict(state["average"])
        self.ema.updates = state["updates"]
        self.scaler.load_state_dict(state["scaler"])

    def _check_data_yaml(self) -> None:
        """Nothing: no backend reads `data.yaml`, so nobody expects that it is heeded."""

    def _model_train(self) -> None:
        """Seed everything random in the epoch that starts, so that it does not depend on those before it."""
        super()._model_train()
        seed = self.args.seed * 100_003 + self.epoch * 64 + max(RANK, 0)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that ultralytics' augmentation draws from
        torch.manual_seed(seed)
        self.train_loader.generator.manual_seed(seed)
        self.train_loader.reset()

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the epoch to the run's log, and to ultralytics' own table."""
        super().save_metrics(metrics)
        if self._log is not None:
            parts = {name: float(value) for name, value in self.tloss.items()}
            rate = next(iter(self.lr.values()))
            of_classes = [value for name, value in metrics.items() if name.startswith(f"{CONFIDENCE}-")]
            extra = {"losses": parts, "confidence": of_classes or metrics.get(CONFIDENCE), "learning_rate": rate}
            score = None if self.fitness is None else float(self.fitness)
            self._log.epoch(self.epoch + 1, train_loss=sum(parts.values()), val_score=score, **extra)

    def save_model(self) -> bool:
        """Store the epoch where it is the best so far, then what resuming needs."""
        if self.fitness is not None and self.fitness == self.best_fitness:
            save_weights(self.ema.ema, self._run)
        save_checkpoint(
            {
                "network": _bare(self.model).state_dict(),
                "average": self.ema.ema.state_dict(),
                "updates": self.ema.updates,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "best": None if self.best_fitness is None else float(self.best_fitness),
                "best_epoch": self.stopper.best_epoch,
                "epochs": self.epoch + 1,
                "finished": bool(self.stop),
            },
            self._run,
        )
        return True

    def final_eval(self) -> None:
        """Nothing: the best epoch has been validated already."""

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Stop where ultralytics would go back an epoch and try the same again.

        Raises:
            HilumError: The loss is not finite.
        """
        if self.loss is not None and not bool(torch.isfinite(self.loss).all()):
            raise HilumError(f"the loss is not finite in epoch {epoch + 1}; try a lower ultralytics.lr0")
        return False


def _bare(network: nn.Module) -> nn.Module:
    """Without the wrappers of `torch.compile` and of several GPUs, whose tensors have other names."""
    while (inner := getattr(network, "_orig_mod", getattr(network, "module", None))) is not None:
        network = inner
    return network
