"""How challenges write boxes in a submission, and the IoU at which two of them scored those by VOC's mAP.

RSNA's has `confidence x y width height` a box, and an empty string for an image without one. The other two have
`class confidence xmin ymin xmax ymax`, and a class of images without a box, whose box is `0 0 1 1`: "none" in SIIM, 14,
"No finding", in VinBigData. SIIM's rows are of images, `ID_image`, and of studies, `ID_study`, which have classes of
their own, with that box too.

Sources: https://www.kaggle.com/c/siim-covid19-detection/overview/evaluation,
https://www.kaggle.com/c/vinbigdata-chest-xray-abnormalities-detection/overview/evaluation
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hilum.errors import HilumError

IMAGE, STUDY = "_image", "_study"


@dataclass(frozen=True)
class Layout:
    """A form of submissions.

    Attributes:
        name: as options call it.
        id_column: its first column, which is read in any case.
        iou: for VOC's mAP a box needs more than this to be right.
        words: how each class is written, by its name; empty where boxes have none.
        nothing: the class of images without a box, also among `words`.
        aliases: other names of classes, in lower case.
        study_classes: the class of a study by its kind in `metadata.csv`; empty where all rows are of images.
    """

    name: str
    id_column: str
    iou: float = 0.5
    words: Mapping[str, str] = field(default_factory=dict)
    nothing: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    study_classes: Mapping[str, str] = field(default_factory=dict)

    @property
    def values_per_box(self) -> int:
        """How many words a box has in the string."""
        return 6 if self.words else 5

    def row_id(self, image_id: str) -> str:
        """The id of an image's row."""
        return image_id + IMAGE if self.study_classes else image_id

    def names_by_word(self, *, study: bool) -> dict[str, str]:
        """The classes that a row may have, of a study or of an image, by how each is written; none in RSNA."""
        if study:
            return {name: name for name in self.study_classes.values()}
        return {word: name for name, word in self.words.items()}

    def classes_of(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """The challenge's names of the classes of some data.

        What it lacks keeps its own name, and so do two that it would not tell apart, or not from images without a box.
        """
        known = {name.casefold(): name for name in self.words} | dict(self.aliases)
        found = [known.get(name.casefold(), name) for name in class_names]
        return tuple(
            f"{name} " if its == self.nothing else its if found.count(its) == 1 else name
            for name, its in zip(class_names, found, strict=True)
        )

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Make sure that a submission can name the classes of some data.

        Raises:
            HilumError: it cannot, or not apart; a line a class.
        """
        found = self.classes_of(class_names) if self.words else ()
        there = ", ".join(name for name in self.words if name != self.nothing)
        lines = [
            f"class '{name}': a submission to {self.name} has the classes {there}, each once"
            for name, known in zip(class_names, found, strict=bool(found))
            if known not in self.words or known == self.nothing or found.count(known) > 1
        ]
        if not self.words and len(class_names) > 1:
            lines = [f"a submission to {self.name} has one class, not {len(class_names)}: {', '.join(class_names)}"]
        if lines:
            raise HilumError(*lines)


RSNA: Final = Layout("rsna", "patientId")
SIIM: Final = Layout(
    "siim",
    "id",
    iou=0.5,
    words={"opacity": "opacity", "none": "none"},
    nothing="none",
    aliases={"lung opacity": "opacity"},
    study_classes={
        "Negative for Pneumonia": "negative",
        "Typical Appearance": "typical",
        "Indeterminate Appearance": "indeterminate",
        "Atypical Appearance": "atypical",
    },
)
VINBIGDATA: Final = Layout(
    "vinbigdata",
    "image_id",
    iou=0.4,
    words={
        "Aortic enlargement": "0",
        "Atelectasis": "1",
        "Calcification": "2",
        "Cardiomegaly": "3",
        "Consolidation": "4",
        "ILD": "5",
        "Infiltration": "6",
        "Lung Opacity": "7",
        "Nodule/Mass": "8",
        "Other lesion": "9",
        "Pleural effusion": "10",
        "Pleural thickening": "11",
        "Pneumothorax": "12",
        "Pulmonary fibrosis": "13",
        "No finding": "14",
    },
    nothing="No finding",
    aliases={"opacity": "Lung Opacity"},
)
LAYOUTS: Final = {layout.name: layout for layout in (RSNA, VINBIGDATA, SIIM)}
"""In the order in which a header is compared with them: an `id` beside another id is a number."""
