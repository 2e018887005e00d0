"""How a network is trained: the one table of settings that all network backends share. It needs no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from hilum.config import ExperimentConfig, Table
from hilum.datasets.augmentation_config import Augmentation

if TYPE_CHECKING:
    from torch import nn

    from hilum.datasets.folder import Split

Precision = Literal["auto", "float32", "bfloat16"]


class Told(Table):
    """Who is told how a training goes.

    Attributes:
        loggers: Trackers beside the log, such as `tensorboard` and `mlflow`; of other packages, by their names among
            the entry points `hilum.loggers`.
    """

    loggers: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)

    @model_validator(mode="before")
    @classmethod
    def _read_old_key(cls, table: Any) -> Any:
        """Runs and configs of before have `tensorboard: true` or `false`."""
        if not isinstance(table, dict) or not isinstance(table.get("tensorboard"), bool):
            return table
        rest = {key: value for key, value in table.items() if key != "tensorboard"}
        return {"loggers": ["tensorboard"], **rest} if table["tensorboard"] else rest


class TrainSettings(Told):
    """How a network is trained.

    Attributes:
        epochs: Passes over the train split.
        batch_size: Images a step; of several processes, of all together. More need more memory.
        learning_rate: Of the optimizer, at its highest.
        weight_decay: Of AdamW: how much each step shrinks the weights, in units of the learning rate.
        schedule: `cosine` lowers the learning rate to 0 by the last epoch; `constant` keeps it.
        precision: What the network computes in: `auto` is bfloat16 on a GPU and float32 on a CPU, where bfloat16 makes
            learning faster too if the CPU has instructions for it. Weights, losses and predictions on a CPU are float32
            anyhow; on a GPU predictions are so with `float32`.
        select: What the epoch that is kept is chosen by, on val: `competition`, `ap`, `froc`, `auroc`, `siim`,
            `vinbigdata`, or a metric of a plug-in (`hilum.eval.metrics`).
        patience: Stop after so many epochs without a better score; 0: never.
        ema: Decay of the moving average of the weights, which then is what is kept; 0: none.
        freeze_batchnorm: Leave BatchNorm's statistics as they are, which small batches would spoil.
        compile: `torch.compile`: a slow first step, then faster ones.
        device: `auto` is a GPU where there is one; a command's --device comes first.
        deterministic: On a GPU, the same digits each time, more slowly.
    """

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    select: str = Field(default="competition", min_length=1, exclude_if=lambda name: name == "competition")
    patience: int = Field(default=0, ge=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    freeze_batchnorm: bool = Field(default=False)
    precision: Precision = "auto"
    compile: bool = Field(default=False)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")
    deterministic: bool = Field(default=False)


class NetworkConfig(ExperimentConfig):
    """A config of a `hilum.network_backend.NetworkBackend`; a subclass builds the network, and adds keys of its own.

    Attributes:
        image_size: Side in pixels of the square that a picture is shown in.
        bits: Of the pictures that the network sees. Training takes them from the data, and the run keeps them.
        train: How it is trained.
        augmentation: How training pictures are varied.
    """

    image_size: int = Field(ge=16, le=2048)
    bits: Literal[8, 16] = Field(default=8, exclude_if=lambda bits: bits == 8)
    train: TrainSettings
    augmentation: Augmentation = Augmentation()

    def network(self) -> "nn.Module":
        """The network with random weights."""
        raise NotImplementedError

    def starting_network(self) -> "nn.Module":
        """The network that training starts with: that of a finished run, or one that may be pretrained.

        Raises:
            HilumError: its weights cannot be had, or are not of this network.
        """
        network = self.network()
        if self.starts_from is None:
            self.pretrain(network)
        else:
            from hilum.run import run_config
            from hilum.training.checkpoint import start_from_run, take_what_fits

            if len(theirs := run_config(self.starts_from).class_names) == len(self.class_names):
                start_from_run(network, self.starts_from)
            else:  # what tells classes apart starts anew, and training says so
                whole = self.model_copy(update={"class_names": theirs}).network()
                start_from_run(whole, self.starts_from)
                take_what_fits(network, whole.state_dict())
        return network

    def pretrain(self, network: Any) -> None:
        """Put in what training starts with beside a run's weights, in place: a file of tensors, unless overridden.

        Raises:
            HilumError: they cannot be had, or are not of this network.
        """
        if self.start != "none":
            from hilum.training.pretrained import load_encoder
            from hilum.training.tensors import read_tensors

            tensors = read_tensors(Path(self.start), str(self.start_key), "none, the folder of a finished run")
            load_encoder(network, tensors, Path(self.start).name, "network")

    def first_network(self, train: "Split") -> "nn.Module":
        """The network that training starts with, fitted to the train split where it has something to fit."""
        del train
        return self.starting_network()
