"""The card of a dataset folder: what is in it, where it comes from, what may leak, what was left out."""

from collections import Counter
from typing import Any, Final

from hilum import __version__
from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.leaks import check_dataset, leak_warnings
from hilum.datasets.left_out import read_left_out
from hilum.eval.strata_labels import age_group
from hilum.pages.card import NOT_KNOWN, card_text, licence, plain, points, table
from hilum.printable import as_text

# Of the kinds of source that are a data set which is known (docs/sources.md): what it is, and its terms.
_SOURCES: Final = {
    "rsna": ("the RSNA Pneumonia Detection Challenge", "the rules of the competition at Kaggle, RSNA's terms of use"),
    "siim": ("SIIM-FISABIO-RSNA COVID-19 Detection", "the rules of the competition at Kaggle"),
    "vinbigdata": ("VinBigData Chest X-ray Abnormalities Detection", "the rules of the competition at Kaggle"),
    "vindr": ("VinDr-CXR", "PhysioNet's credentialed access and data use agreement"),
    "nih": ("NIH ChestX-ray14", "open, with attribution to the NIH Clinical Center"),
    "mdai": ("RSNA's release of its challenge at MD.ai", "RSNA's terms of use"),
}
_MOST_REASONS: Final = 30
_DEIDENTIFIED: Final = (
    "Of DICOM files an allow-list came along: pixels, sex, age in years (above 89 as 90), view and pixel spacing.",
    "Ids are the source's own where its tables name pictures by them, else keyed hashes.",
    "Text in the pixels was not looked for: look at the pictures before you share them.",
)
_LIMITS: Final = (
    "Boxes are what readers of the source drew; how well these agree with others or with a diagnosis is not known here.",
    "Where no box was drawn may still be something: boxes are of the classes named above alone.",
    "How patients were chosen, and whom they stand for, is not recorded here; ask the source.",
    "Pictures are renderings of 8 or 16 bits, not the DICOM files; conversion.json tells how they were made.",
)
_LOAD: Final = """\
`hilum train unet DATA RUN` learns from the folder; `data.yaml` is read by ultralytics' `yolo` (AGPL-3.0),
`annotations/*.json` by whatever reads COCO, and `croissant.json` by whatever reads
[Croissant](https://mlcommons.org/croissant)."""


def data_card(data: Dataset, named_licence: str | None = None) -> str:
    """The card of a dataset folder, as Markdown.

    Raises:
        HilumError: a file of the folder is missing or damaged, or the licence is none.
    """
    images, unlabelled = data.labelled(), len(data.unlabelled())
    pictures = len(images) + unlabelled
    low, high = ("1K", "10K", "100K", "1M", "10M", "100M")[max(len(str(pictures)) - 4, 0) :][:2]
    front = {
        **licence(named_licence),
        "pretty_name": as_text(data.path.resolve().name),
        "task_categories": ["object-detection"],
        "size_categories": ["n<1K" if pictures < 1000 else f"{low}<n<{high}"],
        "tags": ["hilum", "chest-x-ray", "radiology", "medical", "croissant"],
    }
    ages = list(map(age_group, images.ages_years))
    told = {"kind": images.kinds, "view": images.views, "sex": images.sexes, "age": ages}
    counts = [(what, value, count) for what, of in told.items() for value, count in sorted(Counter(of).items())]
    left_out = Counter(read_left_out(data.path)).most_common()
    reasons = [f"{count:,} x {what}: {reason}" for (what, reason), count in left_out[:_MOST_REASONS]]
    more = len(left_out) - len(reasons)
    private = [name for name in ("sources.csv", "sources.key") if (data.path / name).exists()]
    leads_back = (
        [f"{' and '.join(private)} of this folder lead back to the files: do not share them."] if private else []
    )
    return card_text(data.path, front, {
        "": [
            f"Chest radiographs, {len(images):,} with labels and {unlabelled:,} without, converted by hilum "
            f"{plain(data.conversion.get('hilum', NOT_KNOWN))}. Boxes are of: {plain(', '.join(data.class_names))}. "
            f"Fingerprint {data.fingerprint}. Card by hilum {__version__}. {NOT_A_DEVICE}"
        ],
        "Origin and split": [origin(data), f"Licence of this folder: {named_licence or NOT_KNOWN}."],
        "Composition": [table(["of the images", "", "images"], [(w, v or NOT_KNOWN, f"{n:,}") for w, v, n in counts])],
        "Left out": [points([*reasons, *([f"and {more:,} reasons more"] if more else [])]) or "Nothing."],
        "De-identification": [points([*_DEIDENTIFIED, *leads_back])],
        "Limits": [points(_LIMITS)],
        "Load it": [_LOAD],
    })  # fmt: skip


def origin(data: Dataset) -> str:
    """Where data come from, and their terms as far as their record tells; images by split; what may leak."""
    leaks, record = check_dataset(data), dict[str, Any](data.conversion)
    kind = str(record.get("read_as") or ("rsna" if record.get("label_rows") else "tree"))
    what, terms = _SOURCES.get(kind, (f"a source of kind {kind}", ""))
    lines = [
        f"Converted from: {record.get('source', 'not told, for its name may be that of a person')}.",
        f"Laid out as {what}. Generated data may be laid out alike, which hilum cannot tell.",
        f"Terms, if it is that: {terms}." if terms else f"Terms: {NOT_KNOWN}; who publishes the data has to say them.",
        f"Split by {'patient' if leaks['patients_known'] else 'image'}, seed {record.get('seed', NOT_KNOWN)}.",
        *(leak_warnings(leaks) or ["No patient, and no two files of one checksum, are on two sides of the split."]),
        "Pictures that look alike were not searched for here.",
    ]
    rows = []
    for name in SPLITS:
        its, of_classes = leaks["splits"][name], data.split(name).by_class().values()
        boxes = [f"{sum(map(len, each.boxes_xyxy)):,}" for each in of_classes]
        patients = NOT_KNOWN if its["patients"] is None else f"{its['patients']:,}"
        rows.append([name, f"{its['images']:,}", f"{its['with_opacity']:,}", *boxes, patients, its["without_patient"]])
    header = ["split", "images", "with a box", *(f"boxes of {name}" for name in data.class_names), "patients"]
    return f"{points(lines)}\n\n{table([*header, 'images of nobody known'], rows)}"
