"""What a config with `backend: yolo` says."""

from pathlib import Path
from typing import Any, ClassVar, Final, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict

from hilum.config import ExperimentConfig, Table, builds
from hilum.datasets.letterbox import Interpolation
from hilum.training.settings import Told

# ultralytics' keys that hilum sets itself, and where they are said here.
_OURS: Final = {
    "batch": "train.batch_size",
    "conf": "nothing: every box above a low floor is kept, and the operating point is chosen on val",
    "data": "the DATA argument",
    "epochs": "train.epochs",
    "exist_ok": "the RUN argument",
    "imgsz": "image_size",
    "iou": "boxes.nms_iou",
    "max_det": "nothing: at most 100 boxes an image are kept",
    "mode": "nothing: `hilum train` trains",
    "model": "model",
    "name": "the RUN argument",
    "nms": "boxes.end_to_end",
    "pretrained": "model",
    "project": "the RUN argument",
    "rect": "nothing: pictures are always shown in squares",
    "resume": "nothing: the same `hilum train` again goes on with an interrupted run",
    "save": "nothing: a run is always stored",
    "save_dir": "the RUN argument",
    "seed": "seed",
    "split": "nothing: epochs are chosen on val",
    "task": "nothing: this backend detects",
}
_REFUSED: Final = {
    "augmentations": "would build classes of another package by their names",
    "cfg": "would read another file of settings; write them here",
    "classes": "would leave out boxes; the classes are those of the data",
    "distill_model": "would unpickle a checkpoint",
    "quantize": "runs are stored in full precision",
    "single_cls": "would make all classes one; convert with --classes",
}


def _theirs(schema: JsonDict) -> None:
    """The keys that the table may have."""
    from hilum.detectors.private_ultralytics import get_cfg

    schema["properties"] = {name: {} for name in sorted(vars(get_cfg()).keys() - _OURS.keys() - _REFUSED.keys())}


class Training(Told):
    """How long, and in which steps.

    Attributes:
        epochs: Passes over the train split.
        batch_size: Images a batch; ultralytics collects gradients until `ultralytics.nbs` images are seen.
        negatives: The share of the images without opacity that are trained on. Stock recipes leave them out, which
            is 0; then nothing teaches the detector to stay silent.
        select: What the epoch that is kept is chosen by, on val: `competition`, `ap`, `froc`, `auroc`, `siim`,
            `vinbigdata`, or a metric of a plug-in (`hilum.eval.metrics`).
    """

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    negatives: float = Field(default=1.0, ge=0, le=1)
    select: str = Field(default="competition", min_length=1, exclude_if=lambda name: name == "competition")


class Boxes(Table):
    """How the network's output becomes boxes, in validation and prediction alike.

    Attributes:
        nms_iou: Of boxes that overlap by more than this IoU only the most confident is kept. Opacities hardly overlap,
            and a second box on one costs as much as a false alarm, so this is lower than ultralytics' 0.7.
        end_to_end: Use the network's one-to-one head, which needs no such step (YOLO26 and YOLOv10 have one).
    """

    nms_iou: float = Field(default=0.3, ge=0, le=1)
    end_to_end: bool = False


class YOLOConfig(ExperimentConfig):
    """A config with `backend: yolo`.

    Attributes:
        model: A detection model of ultralytics (`yolo26n.yaml`), or the path of a model YAML: both start from random
            weights. Or what to start from: the path of a checkpoint (`.pt`), or of the folder of a finished run.
        model_yaml: Keys of the model YAML with other values, such as `scales: {n: [0.33, 0.125, 512]}`.
        trust: A `.pt` file is a pickle and can run code: it is read as data, and unpickled only with --trust, which
            sets this.
        image_size: Side in pixels of the square that a picture is shown in.
        interpolation: How a larger picture is made to fit: `area` averages, so that no pixel goes unseen; `bilinear` is
            what stock ultralytics shows, for weights that were trained on that.
        train: How long, and in which steps.
        boxes: How the network's output becomes boxes.
        ultralytics: Any other training setting of ultralytics, checked by ultralytics.
    """

    start_key: ClassVar[str] = "model"
    model: str = "yolo26n.yaml"
    model_yaml: dict[str, Any] = Field(default_factory=dict)
    trust: bool = False
    image_size: int = Field(ge=32, le=4096, multiple_of=32)
    interpolation: Interpolation = "area"
    train: Training
    boxes: Boxes = Boxes()
    ultralytics: dict[str, Any] = Field(default_factory=dict, json_schema_extra=_theirs)

    @property
    def from_checkpoint(self) -> bool:
        """Whether training starts from the weights of a `.pt` file."""
        return self.model.lower().endswith(".pt")

    @property
    def pretraining(self) -> str | None:
        """The checkpoint or run that training starts from."""
        return Path(self.model).name if self.from_checkpoint or self.starts_from else None

    @field_validator("ultralytics")
    @classmethod
    def _check_by_ultralytics(cls, table: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for key in table:
            if key in _OURS:
                raise ValueError(f"'{key}' is set by {_OURS[key]}")
            if key in _REFUSED:
                raise ValueError(f"'{key}' {_REFUSED[key]}")
        if table.get("cache") == "disk":
            raise ValueError("'cache: disk' would write into the dataset folder; use 'ram' or false")
        if not table or not builds(info):
            return table
        from hilum.detectors.private_ultralytics import get_cfg, quietly

        try:
            with quietly():
                get_cfg(overrides=dict(table))
        except (SyntaxError, TypeError, ValueError) as error:  # SyntaxError is what it raises for an unknown key
            raise ValueError(str(error).strip().splitlines()[0]) from error
        return table

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if (self.from_checkpoint or self.starts_from) and self.model_yaml:
            raise ValueError(f"model_yaml: {self.model} brings its own architecture; leave this out")
        return self
