"""Every labelled image of a dataset folder as one table, in memory, for pages that describe it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hilum.converters.challenge_tables import OPACITY
from hilum.datasets.folder import SPLITS, Dataset
from hilum.documents import shown
from hilum.errors import HilumError

if TYPE_CHECKING:
    import pandas as pd

METADATA = "metadata.csv"
_LARGEST = 1_000_000  # of an age or a spacing, the wrong ones too
NORMAL, OTHER_FINDING = "Normal", "No Lung Opacity / Not Normal"
_HEALTHY_FIRST = (NORMAL, OTHER_FINDING, "No opacity")
_OPACITY_LAST = ("other classes", "class unknown", "Opacity", OPACITY)


@dataclass(frozen=True)
class Collection:
    """Images sorted by id, each once; all sequences run in parallel.

    Attributes:
        image_ids: names of the images.
        paths: of the pictures.
        sizes_wh: (images, 2) pixels.
        boxes_xyxy: one float64 (boxes, 4) an image, pixels; (0, 4) where there is no opacity.
        splits: which split each image is in.
        classes: as the class table says; "" where it does not.
        patients: whose each image is; "" where nobody said.
        sexes: "F", "M" or "O"; "" where unknown.
        views: such as "PA" or "AP"; "" where unknown.
        ages_years: float64 as recorded, the impossible too; NaN where unknown.
        spacing_mm: float64, of a pixel; NaN where unknown.
    """

    image_ids: tuple[str, ...]
    paths: tuple[Path, ...]
    sizes_wh: NDArray[np.int64]
    boxes_xyxy: tuple[NDArray[np.float64], ...]
    splits: NDArray[np.str_]
    classes: NDArray[np.str_]
    patients: NDArray[np.str_]
    sexes: NDArray[np.str_]
    views: NDArray[np.str_]
    ages_years: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(images,) whether each has a box."""
        return self.box_counts > 0

    @property
    def box_counts(self) -> NDArray[np.int64]:
        """(images,) boxes on each."""
        return np.array([len(boxes) for boxes in self.boxes_xyxy], np.int64)

    @property
    def box_fractions(self) -> NDArray[np.float64]:
        """(all boxes, 4) left, top, right, bottom as fractions of their picture's width and height."""
        scaled = [boxes / np.tile(wh, 2) for boxes, wh in zip(self.boxes_xyxy, self.sizes_wh, strict=True)]
        return np.concatenate(scaled).reshape(-1, 4)


def read_collection(dataset: Dataset, class_id: int | None = None) -> Collection:
    """Read all splits of a dataset folder and what metadata.csv adds to them; of several classes one, or all boxes.

    Raises:
        HilumError: a file is missing or damaged, or nothing is labelled.
    """
    parts = [dataset.split(name) for name in SPLITS]
    if class_id is not None:
        parts = [part.of_class(class_id) for part in parts]
    ids = [image_id for part in parts for image_id in part.image_ids]
    if not ids:
        raise HilumError(f"{dataset.path}: no labelled image in it, so nothing to explore; convert images with labels")
    order = sorted(range(len(ids)), key=ids.__getitem__)
    paths = [path for part in parts for path in part.paths]
    boxes = [found for part in parts for found in part.boxes_xyxy]
    texts = ["class", "patient", "sex", "view", "age_years", "spacing_mm"]
    rows = dataset.metadata.reindex(columns=texts, fill_value="").loc[[ids[at] for at in order]]
    spacing = _numbers(dataset, rows["spacing_mm"])
    classes, patients, sexes, views = (rows[column].to_numpy(np.str_) for column in texts[:4])
    return Collection(
        image_ids=tuple(ids[at] for at in order),
        paths=tuple(paths[at] for at in order),
        sizes_wh=np.concatenate([part.sizes_wh for part in parts])[order],
        boxes_xyxy=tuple(boxes[at] for at in order),
        splits=np.array([part.name for part in parts for _ in part.image_ids], np.str_)[order],
        classes=classes,
        patients=patients,
        sexes=sexes,
        views=views,
        ages_years=_numbers(dataset, rows["age_years"]),
        spacing_mm=np.where(spacing > 0, spacing, np.nan),
    )


def _numbers(dataset: Dataset, cells: "pd.Series[str]") -> NDArray[np.float64]:
    import pandas as pd

    values = pd.to_numeric(cells.replace("", "nan"), errors="coerce")
    unread = values.isna() & ~cells.str.lower().isin(["", "nan"])
    for wrong, expected in ((unread, ""), (values.abs() > _LARGEST, f" of at most {_LARGEST:,}")):
        if wrong.any():
            name, cell = shown(cells.index[wrong][0], quote=False), cells[wrong].iloc[0]
            raise HilumError(
                f"{dataset.path / METADATA}: image {name}: {cells.name} is {cell[:20]!r}, expected a number{expected}"
            )
    return values.to_numpy(np.float64)


def shown_classes(images: Collection, most: int = 7) -> NDArray[np.str_]:
    """The class of each image, or what its boxes say where no image has one; rare classes beyond `most` as one."""
    if not (images.classes != "").any():
        return np.where(images.positive, "Opacity", "No opacity")
    kinds = np.where(images.classes == "", "class unknown", images.classes)
    return common_values(kinds, "other classes", most)


def class_order(kinds: NDArray[np.str_]) -> list[str]:
    """The classes from healthy to opacity, as the challenge names them; others between."""

    def place(kind: str) -> int:
        if kind in _HEALTHY_FIRST:
            return _HEALTHY_FIRST.index(kind)
        return 20 + _OPACITY_LAST.index(kind) if kind in _OPACITY_LAST else 10

    return sorted(set(kinds.tolist()), key=lambda kind: (place(kind), kind))


def common_values(values: NDArray[np.str_], other: str, most: int) -> NDArray[np.str_]:
    """The values, those beyond the `most` frequent replaced by `other`."""
    common = [name for name, _ in Counter(sorted(values.tolist())).most_common(most)]
    return np.where(np.isin(values, common), values, other)
