"""ultralytics' detection trainer, judged by the competition score and fed with square pictures.

Stock ultralytics keeps the epoch with the best mAP at IoU 0.50 to 0.95, validates on rectangles padded by half a
stride, and shrinks pictures by picking pixels. `CompetitionTrainer` keeps the epoch with the highest point of the
competition's threshold curve on val, and shows every picture exactly as `hilum.detectors.yolo` shows it later: the
whole picture in a square, area-averaged where it shrinks.

It also works from stock code, on a dataset folder of ours: `YOLO("yolo26n.yaml").train(trainer=CompetitionTrainer,
data="DATA/data.yaml", ...)`, and prints what stock training prints. Import it before ultralytics, so that importing
that keeps quiet.

Stock ultralytics acts on what a dataset folder says: it runs the code under `download:` in `data.yaml`, follows the
paths in `train.txt`, unpickles `labels.cache`, and reads arrays that lie beside pictures. A dataset folder can come
from anybody, so here it reads nothing of one: pictures and boxes are those of `hilum.datasets.folder.Dataset`, and
nothing is written there.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import copy
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.datasets.boxes import xywh_to_xyxy, xyxy_to_xywh
from hilum.datasets.folder import Dataset, Split, SplitName
from hilum.datasets.letterbox import Interpolation, Letterbox
from hilum.datasets.pictures import read_picture
from hilum.datasets.yolo import data_yaml
from hilum.detections import Detections
from hilum.detectors.labels import data_of, labels_of
from hilum.detectors.negatives import with_share_of_negatives
from hilum.detectors.private_ultralytics import (
    DEFAULT_CFG,
    RANK,
    TQDM,
    DetectionTrainer,
    DetectionValidator,
    YOLODataset,
    colorstr,
    nothing_leaves,
    scratch,
)
from hilum.detectors.yolo_network import is_rtdetr, queries_to_boxes
from hilum.documents import MAX_YAML_BYTES
from hilum.errors import HilumError
from hilum.eval.metrics import COMPETITION
from hilum.files import read_regular
from hilum.training.validation import choose_by_class, epoch_score

SCORE: Final = "competition/score"
CONFIDENCE: Final = "competition/confidence"
FILL: Final = 114  # the grey that ultralytics pads with, in its augmentation too


class CompetitionValidator(DetectionValidator):  # type: ignore[misc]
    """Adds the competition score to ultralytics' own figures, and makes it the fitness, or what `select` names."""

    select: str = COMPETITION

    def init_metrics(self, model: torch.nn.Module) -> None:
        """Start with no images."""
        super().init_metrics(model)
        self._queries = is_rtdetr(model)
        self._truth_xywh: list[NDArray[np.float64]] = []
        self._boxes_xywh: list[NDArray[np.float64]] = []
        self._confidence: list[NDArray[np.float64]] = []
        self._files: list[str] = []
        self._true_ids: list[NDArray[np.float32]] = []
        self._class_ids: list[NDArray[np.float32]] = []

    def postprocess(self, preds: Any) -> list[dict[str, torch.Tensor]]:
        """The network's output as boxes in pixels of the square."""
        boxes: list[dict[str, torch.Tensor]] = super().postprocess(
            queries_to_boxes(preds, self.args.imgsz) if self._queries else preds
        )
        return boxes

    def update_metrics(self, preds: list[dict[str, torch.Tensor]], batch: dict[str, Any]) -> None:
        """Collect a batch: truth and predictions in pixels of the original pictures."""
        size = int(batch["img"].shape[-1])
        for index, pred in enumerate(preds):
            height, width = batch["ori_shape"][index]
            letterbox = Letterbox.fit((int(width), int(height)), size)
            own = batch["batch_idx"].cpu() == index
            centre_xywh = batch["bboxes"].cpu()[own].double().numpy() * size
            truth_xyxy = np.hstack(
                [centre_xywh[:, :2] - centre_xywh[:, 2:] / 2, centre_xywh[:, :2] + centre_xywh[:, 2:] / 2]
            )
            truth_xywh, true = _to_original_xywh(letterbox, truth_xyxy)
            boxes_xywh, kept = _to_original_xywh(letterbox, pred["bboxes"].double().cpu().numpy())
            self._truth_xywh.append(truth_xywh)
            self._true_ids.append(batch["cls"].cpu()[own].numpy().ravel()[true])
            self._boxes_xywh.append(boxes_xywh)
            self._confidence.append(pred["conf"].double().cpu().numpy()[kept])
            self._files.append(batch["im_file"][index])
            self._class_ids.append(pred["cls"].cpu().numpy()[kept])
        super().update_metrics(preds, batch)

    def gather_stats(self) -> None:
        """With several GPUs, collect what the other processes have seen."""
        super().gather_stats()
        if RANK < 0:
            return
        mine = (
            *(self._truth_xywh, self._boxes_xywh, self._confidence),
            *(self._true_ids, self._class_ids, self._files),
        )
        everyones: list[Any] | None = [None] * torch.distributed.get_world_size() if RANK == 0 else None
        torch.distributed.gather_object(mine, everyones, dst=0)
        if everyones is not None:
            merged = [[image for part in parts for image in part] for parts in zip(*everyones, strict=True)]
            self._truth_xywh, self._boxes_xywh, self._confidence, *ids = merged
            self._true_ids, self._class_ids, self._files = ids

    def get_stats(self) -> dict[str, Any]:
        """Add the best score on the threshold curve, its confidence and the fitness to the other figures.

        Of several classes, the mean score, and the confidence of each by its number.
        """
        truth_xywh = _by_class(self._truth_xywh, self._true_ids, self.nc)
        boxes, sure = (_by_class(each, self._class_ids, self.nc) for each in (self._boxes_xywh, self._confidence))
        confidence, score = choose_by_class(truth_xywh, boxes, sure, self.nc)
        said: dict[str, Any] = {CONFIDENCE: confidence}
        if isinstance(confidence, tuple):
            said = {f"{CONFIDENCE}-{class_id}": least for class_id, least in enumerate(confidence)}
        fitness = score if self.select == COMPETITION else self._selected()
        return {**super().get_stats(), SCORE: score, **said, "fitness": fitness}

    def _selected(self) -> float:
        """What `select` says of the split, whose images were seen in another order."""
        split: Split = self.dataloader.dataset.split
        of_images = zip(self._boxes_xywh, self._confidence, self._class_ids, strict=True)
        found = dict(zip(self._files, of_images, strict=True))
        in_order = [found[str(path)] for path in split.paths]
        boxes = [Detections(xywh_to_xyxy(xywh), None, sure, ids.astype(int)) for xywh, sure, ids in in_order]
        return epoch_score(self.select, split, boxes)


class LetterboxDataset(YOLODataset):  # type: ignore[misc]
    """The pictures of a split as `Letterbox` shows them, in training, validation and prediction alike."""

    labels: list[dict[str, Any]]
    im_files: list[str]

    def __init__(
        self,
        split: Split,
        *,
        interpolation: Interpolation = "area",
        negatives: float = 1.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Take a split and what else ultralytics' dataset takes, and more.

        Args:
            split: The pictures, and the boxes in them.
            interpolation: How pictures shrink.
            negatives: The share of the pictures without a box that it holds.
            seed: Decides which.
            **kwargs: See ultralytics.

        Raises:
            HilumError: No picture is left.
        """
        self.split, self._interpolation, self._negatives, self._seed = split, interpolation, negatives, seed
        super().__init__(img_path=split.name, data=data_of(split.class_names), task="detect", rect=False, **kwargs)

    def get_img_files(self, img_path: str) -> list[str]:  # noqa: ARG002 - the split's name
        """The split's pictures in the order of their names, or the first of them: see ultralytics' `fraction`.

        Raises:
            HilumError: There is none.
        """
        files = sorted(str(path) for path in self.split.paths)
        if not files:
            raise HilumError(f"the {self.split.name} split has no image; convert more images")
        whole = isinstance(self.fraction, int)
        return files[: self.fraction if whole else max(1, round(len(files) * self.fraction))]

    def get_labels(self) -> list[dict[str, Any]]:
        """The split's boxes as ultralytics would read them off its label files."""
        of_split = labels_of(self.split)
        labels = [of_split[file] for file in self.im_files]
        empty = sum(len(label["bboxes"]) == 0 for label in labels)
        told = f"{self.prefix}Scanning {self.split.name}... {self.scan_summary(len(labels), empty, 0, 0)}"
        TQDM(None, desc=told, total=len(labels), initial=len(labels)).close()
        return labels

    def update_labels(self, include_class: list[int] | None) -> None:
        """Leave out pictures without a box; ultralytics calls this between reading labels and counting pictures."""
        super().update_labels(include_class)
        positive = [len(label["bboxes"]) > 0 for label in self.labels]
        kept = with_share_of_negatives(positive, self._negatives, self._seed)
        if not len(kept):
            raise HilumError(f"train.negatives: {self._negatives} leaves no picture to train on: none has an opacity")
        self.labels = [self.labels[i] for i in kept]
        self.im_files = [self.im_files[i] for i in kept]

    def load_image(
        self,
        i: int,
        rect_mode: bool = True,  # noqa: ARG002 - ultralytics passes it; every picture keeps its aspect here
        resize_short: bool = False,  # noqa: ARG002
    ) -> tuple[NDArray[np.uint8], tuple[int, int], tuple[int, int]]:
        """Read picture `i` and fit its longer side to the size.

        Returns:
            The picture (h, w, 1) without padding, its original (height, width), and (h, w).

        Raises:
            HilumError: It cannot be read.
        """
        if self.ims[i] is None:
            try:
                pixels = read_picture(self.im_files[i])
            except HilumError as error:
                raise HilumError(f"{self.im_files[i]}: {error}; convert again") from error
            original_hw = pixels.shape[:2]
            letterbox = Letterbox.fit(original_hw[::-1], self.imgsz)
            square = letterbox.apply(pixels, FILL, self._interpolation)
            fitted = np.ascontiguousarray(letterbox.crop(square))[..., None]
            if not self.augment or self.cache == "ram":
                return fitted, original_hw, fitted.shape[:2]
            # As in ultralytics: training holds the latest pictures, out of which it makes mosaics.
            self.ims[i], self.im_hw0[i], self.im_hw[i] = fitted, original_hw, fitted.shape[:2]
            self.buffer.append(i)
            if 1 < len(self.buffer) >= self.max_buffer_length:
                oldest = self.buffer.pop(0)
                if oldest != i:
                    self.ims[oldest] = self.im_hw0[oldest] = self.im_hw[oldest] = None
            return fitted, original_hw, fitted.shape[:2]
        return self.ims[i], self.im_hw0[i], self.im_hw[i]

    def cache_images(self) -> None:
        """`cache: ram` holds the fitted pictures, without a progress bar.

        Raises:
            HilumError: `cache: disk`, which would write an array beside every picture of the dataset folder.
        """
        if self.cache != "ram":
            raise HilumError("ultralytics.cache: 'disk' would write into the dataset folder; use 'ram' or false")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            loaded = list(pool.map(self.load_image, range(self.ni)))
        for i, (fitted, original_hw, fitted_hw) in enumerate(loaded):
            self.ims[i], self.im_hw0[i], self.im_hw[i] = fitted, original_hw, fitted_hw


class CompetitionTrainer(DetectionTrainer):  # type: ignore[misc]
    """Keeps the epoch with the best competition score on val; nothing leaves the machine.

    Attributes:
        interpolation: How pictures shrink: as they do in stock ultralytics, whose `predict` shall see the same.
        negatives: The share of the pictures without a box that it trains on.
        select: What the epoch is kept by, where it is not the competition score: `hilum.eval.metrics`.
    """

    interpolation: Interpolation = "bilinear"
    negatives: float = 1.0
    select: str = COMPETITION

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        """Take what ultralytics' trainers take.

        Raises:
            HilumError: The data are no dataset folder of ours.
        """
        self._threads = torch.get_num_threads()
        with nothing_leaves():
            super().__init__(cfg, overrides, _callbacks)

    def train(self) -> Any:
        """Train, as ultralytics does."""
        several = scratch(Path(self.save_dir).parent / ".ultralytics") if self.ddp else nullcontext()
        try:
            with nothing_leaves(), several:
                return super().train()
        finally:
            torch.set_num_threads(self._threads)  # on a CPU ultralytics takes one thread less than there are cores

    def get_dataset(self) -> dict[str, Any]:
        """What stock ultralytics reads off `data.yaml`, which says nothing here.

        Raises:
            HilumError: It does not lie in a dataset folder of ours.
        """
        self._dataset = Dataset.open(Path(self.args.data).parent)
        self._check_data_yaml()
        place = {"path": self._dataset.root, "yaml_file": str(self.args.data)}
        return data_of(self._dataset.class_names) | place | {"train": "train", "val": "val", "test": "holdout"}

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> LetterboxDataset:
        """The pictures of one split, always in squares."""
        training = mode == "train"
        return LetterboxDataset(
            self._dataset.split(cast("SplitName", img_path)),
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            cache=self.args.cache or None,
            prefix=colorstr(f"{mode}: "),
            fraction=self.args.fraction if training else 1.0,
            interpolation=self.interpolation,
            negatives=self.negatives if training else 1.0,
            seed=self.args.seed,
        )

    def _check_data_yaml(self) -> None:
        """Refuse one that somebody wrote, who would expect that it is heeded."""
        path = Path(self.args.data)
        try:
            ours = read_regular(path, MAX_YAML_BYTES) == data_yaml(self._dataset.class_names).encode()
        except OSError as error:
            raise HilumError(f"{path}: cannot be read: {error.strerror}") from error
        if not ours:
            raise HilumError(f"{path}: is not as hilum wrote it, and what it says is not heeded; convert again")

    def get_validator(self) -> CompetitionValidator:
        """The validator whose fitness is the competition score, or what `select` says."""
        validator = CompetitionValidator(
            self.test_loader, save_dir=Path(self.save_dir), args=copy(self.args), _callbacks=self.callbacks
        )
        validator.select = self.select
        return validator


def _by_class(
    of_images: Sequence[NDArray[np.float64]], class_ids: Sequence[NDArray[np.float32]], classes: int
) -> list[NDArray[np.float64]]:
    """What is of each class in each image, as `choose_by_class` takes it."""
    pairs = zip(of_images, class_ids, strict=True)
    return [each[ids == class_id] for each, ids in pairs for class_id in range(classes)]


def _to_original_xywh(
    letterbox: Letterbox, boxes_xyxy: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Boxes (N, 4) of the square as left, top, width, height of the picture (K, 4), and which N have an area there."""
    boxes = letterbox.boxes_to_original(boxes_xyxy)
    boxes_xywh = xyxy_to_xywh(boxes)
    kept: NDArray[np.bool_] = np.all(boxes_xywh[:, 2:] > 0, axis=1)
    return boxes_xywh[kept], kept
