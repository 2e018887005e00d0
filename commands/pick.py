"""`hilum pick`: which pictures to label next."""

from pathlib import Path
from typing import TYPE_CHECKING

from hilum.class_names import check_same_classes
from hilum.commands.arguments import DATA, NEW_FOLDER, RUN, check_order
from hilum.commands.options import PickBy, Positive, Seed
from hilum.commands.terminal import bar, say
from hilum.errors import HilumError

if TYPE_CHECKING:
    from hilum.comparison.picking import Candidates
    from hilum.predict import Predictor


def pick(run: Path, data: Path, out: Path, *, images: Positive = 50, by: PickBy = "mixed", seed: Seed = 0) -> None:
    """Pick pictures without labels that are worth labelling, as a task for CVAT and Label Studio.

    What the run finds in them is there as boxes to start from. `hilum relabel` takes the labels back.

    Parameters
    ----------
    run
        Run folder.
    data
        A dataset folder; of its pictures without labels some are picked.
    out
        The folder to write: images, instances_default.json for CVAT, label_studio.json and label_config.xml for Label
        Studio, and picked.csv.
    images
        How many.
    by
        uncertainty: those that the run is least sure of. disagreement: those on which the members of a composed run
        differ. diversity: those least like all labelled and picked ones. mixed: different ones among the least sure.
        random: to compare with.
    seed
        Of random.
    """
    from hilum.comparison.picking import look_at, looks_of
    from hilum.comparison.picking import pick as choose
    from hilum.datasets.folder import Dataset
    from hilum.datasets.relabel import sizes_of
    from hilum.predict import load

    check_order("pick", (RUN, run), (DATA, data), (NEW_FOLDER, out))
    dataset = Dataset.open(data)
    predictor = load(run)
    check_same_classes(predictor.class_names, dataset.class_names, str(run))
    paths = dataset.unlabelled()
    if not paths:
        raise HilumError(
            f"{data}: has no picture without labels to pick from; convert with those too, as test images, or give a "
            "dataset of a folder of DICOM files"
        )
    if out.exists():
        raise HilumError(f"{out}: is there already; give a new folder")
    with bar("looking at pictures") as progress:
        candidates = look_at(predictor, paths, progress)
    known = looks_of(dataset.split("train").paths) if by in {"mixed", "diversity"} else looks_of([])
    chosen = choose(candidates, images, by, known=known, seed=seed)
    sizes = sizes_of(dataset)
    missing = [paths[number].name for number in chosen if paths[number].stem not in sizes]
    if missing:
        raise HilumError(f"{data}: unlabelled/metadata.csv has no row of {missing[0]}; convert again")
    _write(out, chosen, candidates, paths, sizes, predictor, run)
    say(f"{out}: {len(chosen)} of {len(paths)} pictures, by {by}")


def _write(
    out: Path,
    chosen: "list[int]",
    candidates: "Candidates",
    paths: "list[Path]",
    sizes: "dict[str, tuple[int, int]]",
    predictor: "Predictor",
    run: Path,
) -> None:
    import shutil

    from hilum.datasets.boxes import xyxy_to_xywh
    from hilum.datasets.label_tasks import Labels, write_tasks
    from hilum.files import csv_text, write_atomically
    from hilum.result import at_or_above, image_probability

    (out / "images").mkdir(parents=True)
    for number in chosen:
        shutil.copyfile(paths[number], out / "images" / paths[number].name)
    kept = [at_or_above(candidates.found[number], predictor.confidence) for number in chosen]
    found = [(Labels(xyxy_to_xywh(each.xyxy), each.class_id), each.confidence.tolist()) for each in kept]
    names = [paths[number].name for number in chosen]
    write_tasks(
        out, names, [sizes[Path(name).stem] for name in names], found, predictor.class_names, run.absolute().name
    )
    apart = candidates.disagreement
    rows = [
        [
            paths[number].stem,
            f"{image_probability(candidates.found[number]):.4f}",
            f"{candidates.uncertainty[number]:.4f}",
            "" if apart is None else f"{apart[number]:.4f}",
            str(len(boxes.boxes_xywh)),
        ]
        for number, (boxes, _) in zip(chosen, found, strict=True)
    ]
    header = ["image_id", "probability", "uncertainty", "disagreement", "boxes"]
    write_atomically(out / "picked.csv", csv_text(header, rows))
