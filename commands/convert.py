"""`hilum convert`: DICOM files into a dataset folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hilum.commands.arguments import NEW_DATA, SOURCE, check_order
from hilum.commands.options import AnyPath, Positive, Seed, check_values, path_of
from hilum.commands.process_pool import process_pool
from hilum.commands.terminal import bar, table
from hilum.errors import HilumError
from hilum.talk import log

if TYPE_CHECKING:
    from hilum.datasets.folder import Dataset

SourceName = Literal["rsna", "csv", "coco", "yolo", "siim", "vinbigdata", "vindr", "nih", "mdai", "tree"]


def convert(
    src: AnyPath,
    data: AnyPath,
    *,
    source: SourceName | None = None,
    classes: str | None = None,
    readers: Literal["union", "fused"] | None = None,
    votes: Positive | None = None,
    patients: AnyPath | None = None,
    exclude_patients: AnyPath | None = None,
    seed: Seed = 0,
    size: Positive | None = None,
    format: Literal["jpg", "png"] | None = None,  # noqa: A002
    bits: Literal[8, 16] = 8,
    window: Positive = 1,
    key: AnyPath | None = None,
    overwrite: bool = False,
    workers: Positive | None = None,
    dask: str | None = None,
) -> "Dataset":
    """Convert DICOM and picture files, once, into a dataset folder: with YOLO and COCO labels where there are tables.

    Interrupted, the same command again goes on and ends with the same bytes.

    Args:
        src: Kaggle's download, as a folder or as the zip itself; pictures with labels of one's own, or those of another
            data set (see --source); or a folder of DICOM files, of any depth and names, whose pictures become
            unlabelled and are named by keyed hashes.
        data: Folder to write.
        source: What SRC is; told by what lies there where not given: the challenge (rsna), one's own tables (csv, coco,
            yolo), other data sets (siim, vinbigdata, vindr, nih, mdai), or DICOM files without labels (tree).
        classes: Class map: a YAML file, or opacity, opacity-wide: which classes of SRC are one of those that are looked
            for.
        readers: Where several readers drew boxes: take all (union, as where not given), or average those that overlap
            (fused).
        votes: With --readers fused: keep boxes that so many readers drew.
        patients: CSV that says whose each image is (columns patientId and patient, or nih_patient), so that nobody is
            on two sides of a split.
        exclude_patients: CSV (columns as of --patients) or dataset folder: images of these patients are left out.
        seed: Of the splits.
        size: Reduce pictures whose longer side has more pixels to this; boxes and spacing follow.
        format: Write all pictures so. Where not given, JPEG streams stay as they are and the rest becomes PNG.
        bits: 16 keeps what has more than 8 bits, as PNG.
        window: Which of a file's windows to apply, from 1.
        key: File with the key of the hashes, for the same names in several datasets; made where it is missing.
            DATA/sources.key where not given.
        overwrite: Convert again into a folder that already holds a dataset.
        workers: Processes; all cores where not given.
        dask: Address of a Dask scheduler (tcp://10.0.0.1:8786) whose workers convert, and see SRC and DATA under the
            same paths.

    Returns:
        The dataset folder; its `conversion` has what was counted and left out, its `split("train")` images and boxes.

    Examples:
        >>> import hilum
        >>> data = hilum.convert("KAGGLE", "MINE", patients="KAGGLE/patient_map.csv", workers=1)
        >>> data.conversion["images"], data.conversion["left_out"], len(data.split("train"))
        (24, {}, 21)
    """
    check_values(convert, locals())
    from hilum.cluster import cluster
    from hilum.converters.convert import convert as run
    from hilum.converters.journal import JOURNAL
    from hilum.converters.record import Choices
    from hilum.converters.rendering import Rendering
    from hilum.datasets.folder import Dataset

    src, data = Path(src), Path(data)
    if dask is not None and workers:
        raise HilumError("--workers counts processes of this machine; with --dask the cluster says how many there are")
    check_order("convert", (SOURCE, src), (NEW_DATA, data))
    rendering = Rendering(window, bits, size, format)
    pool = (
        process_pool(workers, None, "hilum.converters.picture")
        if dask is None
        else cluster(dask, [src, data / JOURNAL])
    )
    with pool as executor, bar("converting") as progress:
        run(
            src,
            data,
            rendering=rendering,
            seed=seed,
            patients=path_of(patients),
            key=path_of(key),
            kind=source,
            choices=Choices(classes, readers, votes, path_of(exclude_patients)),
            overwrite=overwrite,
            executor=executor,
            progress=progress,
            tell=log.warning,
        )
    converted = Dataset.open(data)
    _warn(converted)
    return converted


def show_conversion(converted: "Dataset", *_: object, **__: object) -> None:
    """Print what was counted."""
    data = converted.path
    record: dict[str, Any] = {**converted.conversion}
    rows, by_class = [], record.get("class_boxes", {})
    found = "with boxes" if by_class else "with opacity"
    for label, key in [
        ("rows in the label table", "label_rows"),
        ("images", "images"),
        (found, "positive_images"),
        ("boxes", "boxes"),
        ("unlabelled images", "unlabelled_images"),
        ("JPEG streams kept untouched", "untouched_jpeg"),
    ]:
        if record["images"] or key in {"unlabelled_images", "untouched_jpeg"}:
            rows.append((label, f"{record[key]:,}"))
    what = "kind" if "read_as" in record else "class"
    rows += [(f"{what} {name}", f"{count:,}") for name, count in record["classes"].items()]
    for name, counts in record["splits"].items() if record["images"] else ():
        rows.append((f"split {name}", f"{counts['images']:,} images, {counts['positive_images']:,} {found}"))
    rows += [
        (f"boxes of {name}", ", ".join(f"{n:,} {split}" for split, n in c.items())) for name, c in by_class.items()
    ]
    rows += [("notes" if what == "note" else f"left out: {what}", f"{n:,}") for what, n in record["left_out"].items()]
    table(("", str(data)), rows)


def _warn(converted: "Dataset") -> None:
    """Tell what is wrong with it, or may be."""
    data = converted.path
    record: dict[str, Any] = {**converted.conversion}
    for name, counts in record.get("class_boxes", {}).items():
        if missing := [split for split, boxes in counts.items() if not boxes]:
            log.warning(f"class {name!r} has no box in {' and '.join(missing)}")
    if not record["images"]:
        log.warning(f"{data / 'sources.csv'} and the key lead back to the files: do not share them with the pictures")
    elif not record["patients_known"]:
        log.warning(
            "no patient map was given: images of one person may lie on both sides of a split; "
            "--patients FILE keeps them together"
        )
    elif record["images_without_patient"]:
        log.warning(f"{record['images_without_patient']} images are not in the patient map; each counts as a person")
    if record["left_out"]:
        only_notes = record["left_out"].keys() == {"note"}
        log.warning(f"{data / 'left_out.csv'} {'holds the notes' if only_notes else 'says what was left out and why'}")
