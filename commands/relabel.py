"""`hilum relabel`: a dataset folder with new labels."""

from collections import Counter
from pathlib import Path

from hilum.commands.arguments import DATA, LABELS, NEW_FOLDER, check_order
from hilum.commands.terminal import complain, say


def relabel(data: Path, labels: Path, out: Path) -> None:
    """Take labels that were drawn in CVAT or Label Studio into a new dataset folder.

    Images keep their ids and splits; those that had no labels go to train. What changed is listed in changed.csv.

    Parameters
    ----------
    data
        The dataset folder whose pictures were labelled; it stays as it is.
    labels
        What the tool exported: COCO (CVAT's COCO 1.0 as a zip or its JSON), or Label Studio's JSON.
    out
        The dataset folder to write.
    """
    from hilum.datasets.folder import Dataset
    from hilum.datasets.label_tasks import read_labels
    from hilum.datasets.relabel import CHANGED, sizes_of
    from hilum.datasets.relabel import relabel as write

    check_order("relabel", (DATA, data), (LABELS, labels), (NEW_FOLDER, out))
    dataset = Dataset.open(data)
    found, left_out = read_labels(labels, sizes_of(dataset), dataset.class_names)
    changes = write(dataset, found, left_out, out)
    complain(*(f"{labels}: {entry.image_id}: {entry.reason}; left out" for entry in left_out[:20]))
    if len(left_out) > 20:
        complain(f"{labels}: {len(left_out) - 20} more were left out; {out / 'left_out.csv'} has them all")
    counts = Counter(change.what for change in changes)
    boxes = sum(change.came for change in changes), sum(change.went for change in changes)
    say(
        f"{out}: {counts['labelled']} pictures newly labelled, {counts['relabelled']} changed; {boxes[0]} boxes came, "
        f"{boxes[1]} went; see {CHANGED}"
    )
