"""Read a dataset folder: which images are in a split, where their opacities are, whose they are."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hilum.class_names import class_names_of
from hilum.datasets.annotations import Coco, read_annotations
from hilum.datasets.boxes import xywh_to_xyxy, xyxy_to_xywh
from hilum.datasets.letterbox import Letterbox
from hilum.datasets.record import CONVERSION, PARENT, PARENT_PATH, Conversion, read_conversion
from hilum.documents import MAX_CSV_BYTES, MAX_JSON_BYTES, read_csv, shown
from hilum.errors import HilumError
from hilum.files import read_regular
from hilum.kinds import mistaken

if TYPE_CHECKING:
    import pandas as pd

SplitName = Literal["train", "val", "holdout"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
_AGAIN = "convert again"
_OF_ALL_IMAGES = {"name", "class_names"}  # what a split says once, and not of each image
_MAX_CELL = 256  # characters in metadata.csv


@dataclass(frozen=True)
class Split:
    """Images in the order of the split's COCO file; all sequences run in parallel.

    Attributes:
        name: "train", "val" or "holdout"; "all" of the three together.
        coco_ids: integer ids, the same in every split and further split of the folder.
        image_ids: the challenge's `patientId`, which names an image.
        paths: the pictures, 8-bit grayscale.
        sizes_wh: (images, 2) pixels.
        boxes_xyxy: one float64 (boxes, 4) an image, pixels; (0, 4) where there is no opacity.
        class_ids: one int64 (boxes,) an image: the place of each box's class in `class_names`.
        class_names: of what is looked for.
        kinds: Normal / No Lung Opacity / Not Normal / Lung Opacity; "" where unknown.
        patients: who the image is of, as "patient ..."; "image ..." with its own id where nobody said, so that the two
            never meet under one name.
        views, sexes, ages_years: as in `metadata.csv`; "" where unknown.
    """

    name: SplitName | Literal["all"]
    coco_ids: tuple[int, ...]
    image_ids: tuple[str, ...]
    paths: tuple[Path, ...]
    sizes_wh: NDArray[np.int64]
    boxes_xyxy: tuple[NDArray[np.float64], ...]
    class_ids: tuple[NDArray[np.int64], ...]
    class_names: tuple[str, ...]
    kinds: tuple[str, ...]
    patients: tuple[str, ...]
    views: tuple[str, ...]
    sexes: tuple[str, ...]
    ages_years: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def shows_opacity(self) -> bool:
        """Whether any image has a box: else there is nothing to learn from it, and nothing to choose on it."""
        return any(map(len, self.boxes_xyxy))

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(images,) whether each has a box."""
        return np.array([len(boxes) > 0 for boxes in self.boxes_xyxy], np.bool_)

    @property
    def boxes_xywh(self) -> tuple[NDArray[np.float64], ...]:
        """As the competition's metric takes them: left, top, width, height."""
        return tuple(xyxy_to_xywh(boxes) for boxes in self.boxes_xyxy)

    def of_class(self, class_id: int) -> "Split":
        """The same images with the boxes of one class alone, as the one class that is looked for."""
        if len(self.class_names) == 1:
            return self
        of_it = [ids == class_id for ids in self.class_ids]
        return replace(
            self,
            boxes_xyxy=tuple(boxes[mask] for boxes, mask in zip(self.boxes_xyxy, of_it, strict=True)),
            class_ids=tuple(np.zeros(int(mask.sum()), np.int64) for mask in of_it),
            class_names=(self.class_names[class_id],),
        )

    def by_class(self) -> dict[str, "Split"]:
        """The split as each class's, by its name."""
        return {name: self.of_class(class_id) for class_id, name in enumerate(self.class_names)}

    def letterbox(self, number: int, size: int) -> Letterbox:
        """Where an image lies in a square of `size` pixels."""
        width, height = self.sizes_wh[number].tolist()
        return Letterbox.fit((width, height), size)

    def boxes_in_square(self, number: int, size: int) -> NDArray[np.float64]:
        """(boxes, 4) xyxy of an image, in pixels of its square."""
        return self.letterbox(number, size).boxes_to_square(self.boxes_xyxy[number])


@dataclass(frozen=True)
class Dataset:
    """A folder that `hilum convert` wrote, or a further split of one, `DATA/splits/NAME`, that `hilum split` wrote.

    `Dataset.open` checks that it is one, and whole. A further split holds no picture: they stay in `DATA`, its `root`.

    Attributes:
        path: the folder.
        conversion: its record.
        scratch: a folder for what is made of it where the folder itself cannot be written; None where there is none.
    """

    path: Path
    conversion: Conversion
    scratch: Path | None = None
    _splits: "dict[SplitName, Split]" = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> "Dataset":
        """Open a dataset folder.

        Raises:
            HilumError: no such folder, not hilum's, its conversion did not finish, or it is a further split of data
                that have changed since.
        """
        marker = path / CONVERSION
        if not marker.is_file():
            what = "no such folder" if not path.is_dir() else f"not a dataset folder, {CONVERSION} is missing"
            root = path.parent.parent
            if path.parent.name == "splits" and (root / CONVERSION).is_file():
                there = sorted(split.parent.name for split in path.parent.glob(f"*/{CONVERSION}"))
                named = f"there are {', '.join(there)}" if there else "there is none yet"
                raise HilumError(f"{path}: {what}; {named}; `hilum split {root} NAME ...` makes one")
            raise HilumError(
                mistaken(path, "a dataset folder") or f"{path}: {what}; `hilum convert SRC {path}` makes one"
            )
        conversion = read_conversion(path)
        if not conversion["complete"]:
            raise HilumError(f"{path}: its conversion was interrupted; run the same `hilum convert` again")
        data = cls(path, conversion)
        if data.is_further_split:
            try:
                parent = cls.open(data.root)
            except HilumError as error:
                where = data.root if data.names_its_root else "two folders up"
                what = f"{path}: a split of the dataset {where}"
                raise HilumError(*(f"{what}; {line}" for line in error.lines)) from error
            if parent.is_further_split or parent.fingerprint != conversion[PARENT]:
                again = f"hilum split {data.root} {path.resolve().name} ... --overwrite"
                again += f" --out {path.resolve().parent}" if data.names_its_root else ""
                raise HilumError(f"{path}: {data.root} has been converted anew since it was split; `{again}` splits it")
        return data

    @property
    def is_further_split(self) -> bool:
        """Whether it is a split below another dataset folder."""
        return PARENT in self.conversion

    @property
    def names_its_root(self) -> bool:
        """Whether it is a further split that lies elsewhere, and says where the dataset folder is."""
        return self.is_further_split and PARENT_PATH in self.conversion

    @cached_property
    def root(self) -> Path:
        """The folder that holds the pictures: this one, or of a further split the one that it names, or two up."""
        if self.names_its_root:
            return Path(str(self.conversion[PARENT_PATH]))
        # Resolved, because behind a symbolic link `..` is not the folder that the path names before it.
        return self.path.resolve().parents[1] if self.is_further_split else self.path

    @property
    def yaml_path(self) -> Path:
        """By which ultralytics knows the folder."""
        return self.path / "data.yaml"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of what is looked for, in the order of their ids."""
        return class_names_of(self.conversion)

    @cached_property
    def bits(self) -> Literal[8, 16]:
        """16 where pictures were converted with more than 8 bits, as far as they have them."""
        record = read_conversion(self.root) if self.is_further_split else self.conversion
        return 16 if record.get("rendering", {}).get("bits") == 16 else 8

    @property
    def patients_known(self) -> bool:
        """Whether it was said whose the images are. Only some splits are by patient: see `datasets/leaks.py`."""
        return self.conversion.get("patients_known", False)

    def patients_shared(self, name: SplitName) -> int:
        """How many times a patient of a split is in another one too, as the leak check of a further split found."""
        shared = self.conversion.get("patients_on_both_sides", {})
        return sum(count or 0 for pair, count in shared.items() if name in pair.split("-"))

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any picture, box, class or split changes; ultralytics' caches beside the labels do not count."""
        digest = hashlib.sha256()
        for path in [self.path / "metadata.csv", *map(self.annotations_path, SPLITS)]:
            try:
                digest.update(read_regular(path, max(MAX_CSV_BYTES, MAX_JSON_BYTES)))
            except OSError as error:
                raise HilumError(f"{path}: cannot be read: {error.strerror}; {_AGAIN}") from error
            except HilumError as error:
                raise HilumError(f"{path}: {error}; {_AGAIN}") from error
        return digest.hexdigest()[:16]

    def family(self) -> set[str]:
        """Fingerprints of data of the same pictures: the folder, its further splits, what it was labelled anew from."""
        root = Dataset.open(self.root) if self.is_further_split else self
        found = {root.fingerprint, self.fingerprint, *filter(None, [root.conversion.get("relabelled_from")])}
        for marker in sorted(root.path.glob(f"splits/*/{CONVERSION}")):
            with suppress(HilumError):  # damaged, or of an earlier conversion: nothing was trained on it as it is
                found.add(Dataset.open(marker.parent).fingerprint)
        return found

    def annotations_path(self, name: SplitName) -> Path:
        """The COCO file of a split."""
        return self.path / "annotations" / f"{name}.json"

    def coco(self, name: SplitName) -> tuple[Coco, list[str]]:
        """The COCO file of a split, and the ids of its images.

        Raises:
            HilumError: a file of the folder is missing or damaged.
        """
        return read_annotations(self.annotations_path(name), self.metadata.index, self.class_names, remedy=_AGAIN)

    def split(self, name: SplitName) -> Split:
        """A split, which is read once.

        Raises:
            HilumError: a file of the folder is missing or damaged.
        """
        if name not in self._splits:
            self._splits[name] = self._read_split(name)
        return self._splits[name]

    def labelled(self) -> Split:
        """All labelled images, in the order of the splits; its name is "all".

        Raises:
            HilumError: a file of the folder is missing or damaged.
        """
        parts = [self.split(name) for name in SPLITS]
        joined: dict[str, Any] = {"name": "all"}
        for each in fields(Split):
            values = [getattr(part, each.name) for part in parts]
            if isinstance(values[0], np.ndarray):
                joined[each.name] = np.concatenate(values)
            elif each.name not in _OF_ALL_IMAGES:
                joined[each.name] = tuple(chain.from_iterable(values))
        return replace(parts[0], **joined)

    def _read_split(self, name: SplitName) -> Split:
        coco, image_ids = self.coco(name)
        images, rows, folder = coco["images"], self.metadata.loc[image_ids], self.root / "images"
        boxes: dict[int, list[list[float]]] = {image["id"]: [] for image in images}
        for annotation in coco["annotations"]:
            class_id = annotation.get("category_id", 1) - 1 if len(self.class_names) > 1 else 0
            boxes[annotation["image_id"]].append([*annotation["bbox"], class_id])
        flat = np.array([box for of_image in boxes.values() for box in of_image], np.float64).reshape(-1, 5)
        flat_xyxy, class_ids = xywh_to_xyxy(flat[:, :4]), flat[:, 4].astype(np.int64)
        ends = np.cumsum([len(of_image) for of_image in boxes.values()])

        def texts(column: str) -> tuple[str, ...]:
            return tuple(rows[column]) if column in rows else ("",) * len(rows)

        return Split(
            name=name,
            coco_ids=tuple(image["id"] for image in images),
            image_ids=tuple(image_ids),
            paths=tuple(folder / image["file_name"] for image in images),
            sizes_wh=np.array([(i["width"], i["height"]) for i in images], np.int64).reshape(-1, 2),
            boxes_xyxy=tuple(np.split(flat_xyxy, ends[:-1])) if images else (),
            class_ids=tuple(np.split(class_ids, ends[:-1])) if images else (),
            class_names=self.class_names,
            kinds=texts("class"),
            patients=tuple(people(rows)),
            views=texts("view"),
            sexes=texts("sex"),
            ages_years=texts("age_years"),
        )

    def unlabelled(self) -> list[Path]:
        """The pictures without labels (the challenge's test images), sorted by name."""
        return sorted((self.root / "unlabelled" / "images").glob("*.*"))

    @cached_property
    def metadata(self) -> "pd.DataFrame":
        """`metadata.csv` as text, a row an image, by its id, in the order of the file."""
        import pandas as pd

        path = self.path / "metadata.csv"
        rows = read_csv(path, ("image_id", "class", "patient"), remedy=_AGAIN)
        table = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["image_id", "class", "patient"], dtype=object)
        if (twice := table["image_id"].duplicated()).any():
            first = table["image_id"][twice].iloc[0]
            raise HilumError(f"{path}: image_id: {shown(first)} has two rows; {_AGAIN}")
        for column in table.columns:
            if (long := table[column].str.len() > _MAX_CELL).any():
                row = table[long].iloc[0]
                raise HilumError(
                    f"{path}: {column} of {shown(row['image_id'])}: {len(row[column]):,} characters, at most "
                    f"{_MAX_CELL} are read; {_AGAIN}"
                )
        return table.set_index("image_id", drop=False)


def people(images: "pd.DataFrame") -> list[str]:
    """Whose each image is, as `Split.patients` says it."""
    known = zip(images["image_id"], images["patient"], strict=True)
    return [f"patient {patient}" if patient else f"image {image_id}" for image_id, patient in known]
