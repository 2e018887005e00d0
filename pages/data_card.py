"""The card of a dataset folder: what is in it, where it comes from, what may leak, what was left out."""

import re
from collections import Counter
from typing import Any, Final

from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.leaks import check_dataset, leak_warnings
from hilum.datasets.left_out import read_left_out
from hilum.datasets.record import read_conversion
from hilum.eval.strata_labels import age_group
from hilum.pages.card import NOT_KNOWN, card_text, licence, name_of, points, table

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


def data_card(data: Dataset, named_licence: str | None = None) -> str:
    """The card of a dataset folder, as Markdown.

    Raises:
        HilumError: a file of the folder is missing or damaged, or the licence is none.
    """
    images, unlabelled = data.labelled(), len(data.unlabelled())
    pictures = len(images) + unlabelled
    low, high = ("1K", "10K", "100K", "1M", "10M", "100M")[min(max(len(str(pictures)) - 4, 0), 4) :][:2]
    front = {
        **licence(named_licence),
        "pretty_name": name_of(data.path),
        **({"task_categories": ["object-detection"]} if len(images) else {}),
        "size_categories": ["n<1K" if pictures < 1000 else f"{low}<n<{high}"],
        "tags": ["hilum", "chest-x-ray", "radiology", "medical", "croissant"],
    }
    ages = list(map(age_group, images.ages_years))
    told = {"kind": images.kinds, "view": images.views, "sex": images.sexes, "age": ages}
    counts = [(what, value, count) for what, of in told.items() for value, count in sorted(Counter(of).items())]
    # What stands behind a colon names readers and cells; numbers differ from row to row.
    kinds = [(what, re.sub(r"[\d,]*\d", "N", reason.split(":")[0])) for what, reason in read_left_out(data.path)]
    left_out = Counter(kinds).most_common()
    reasons = [f"{count:,} x {what}: {reason}" for (what, reason), count in left_out[:_MOST_REASONS]]
    reasons += [f"{more:,} reasons more"] if (more := len(left_out) - len(reasons)) else []
    private = [name for name in ("sources.csv", "sources.key") if (data.path / name).exists()]
    words = {
        "labelled": f"{len(images):,}",
        "unlabelled": f"{unlabelled:,}",
        "classes": ", ".join(data.class_names) if len(images) else "none",
        "hilum": data.conversion.get("hilum", NOT_KNOWN),
        "fingerprint": data.fingerprint,
        "licence": named_licence or NOT_KNOWN,
        "private": ", ".join(private) or "none",
    }
    blocks = {
        "origin": origin(data),
        "composition": table(["", "", "images"], [(w, v or NOT_KNOWN, f"{n:,}") for w, v, n in counts]),
        "left_out": points(reasons) or "Nothing.",
    }
    return card_text("data_card.md", data.path, front, words, blocks)


def origin(data: Dataset) -> str:
    """Where data come from, and their terms as far as their record tells; images by split; what may leak."""
    leaks, record = check_dataset(data), dict[str, Any](read_conversion(data.root))
    kind = str(record.get("read_as") or ("rsna" if record.get("label_rows") else "tree"))
    what, terms = _SOURCES.get(kind, (f"a source of kind {kind}", ""))
    warnings = [f"{line[:1].upper()}{line[1:]}." for line in leak_warnings(leaks)]
    lines = [
        f"Converted from: {record.get('source', 'not told, for its name may be that of a person')}.",
        f"Laid out as {what}{'; generated data may be, too, which hilum cannot tell' if terms else ''}.",
        f"Terms, if it is that: {terms}." if terms else f"Terms: {NOT_KNOWN}; who publishes the data has to say them.",
        *([f"Boxes of several readers: {record['readers']}."] if "readers" in record else []),
        f"Split by {'patient' if leaks['patients_known'] else 'image'}, seed {data.conversion.get('seed', NOT_KNOWN)}.",
        *(warnings or ["No patient, and no two files of one checksum, are on two sides of the split."]),
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
