"""`hilum predict`: find opacities."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from hilum import __version__
from hilum.commands.options import Positive, Share, Split
from hilum.commands.pictures import picture_names, picture_paths
from hilum.commands.terminal import bar, complain, say
from hilum.errors import HilumError


def predict(
    run: Path,
    images: Path,
    out: Path,
    *,
    split: Split = "holdout",
    confidence: Share = None,
    pictures: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 24,
    batch_size: Positive = 16,
) -> None:
    """Find opacities: COCO results, a CSV, a table of images, and pictures with boxes.

    An image is named by its file, without the ending; images of one name by their path in IMAGES.

    Parameters
    ----------
    run
        Run folder.
    images
        A DICOM, JPEG or PNG file, a folder of them, a text file that lists them, or a dataset folder.
    out
        Folder to write.
    split
        Of a dataset folder.
    confidence
        Keep boxes from here on; the run's operating point where not given; 0 keeps all.
    pictures
        Draw the first this many.
    batch_size
        Images that the network sees at once.
    """
    from hilum.datasets.folder import Dataset
    from hilum.datasets.pictures import picture_name, read_picture
    from hilum.eval.pictures import clear_drawn, draw_boxes
    from hilum.eval.predictions import write_predictions
    from hilum.predict import load

    if (out / "conversion.json").exists() or (out / "config.yaml").exists():
        raise HilumError(f"{out}: is a dataset or a run folder; give OUT a folder of its own")
    coco_ids = None
    dataset = Dataset.open(images) if (images / "conversion.json").is_file() else None
    if dataset is None:
        paths = picture_paths(images)
    elif dataset.conversion["images"]:
        chosen = dataset.split(split)
        paths, coco_ids = list(chosen.paths), chosen.coco_ids
    else:  # a converted tree without labels
        paths = dataset.unlabelled()
    if not paths:
        raise HilumError(f"{images}: " + ("lists no image" if coco_ids is None else f"the {split} split has no image"))
    names = picture_names(paths, images)
    predictor = load(run)
    clear_drawn(out / "pictures")
    results = []
    with bar("predicting") as progress:
        stream = predictor.predict(paths, confidence=confidence, batch_size=batch_size)
        for path, name, result in zip(paths, names, stream, strict=True):
            results.append(replace(result, image_id=name))
            progress(len(results), len(paths))
            if result.error:
                complain(f"{path}: {result.error}")
            elif len(results) <= pictures:
                (out / "pictures").mkdir(parents=True, exist_ok=True)
                found = result.detections
                draw_boxes(
                    read_picture(path),
                    found.xyxy,
                    found.confidence,
                    out / "pictures" / f"{len(results):05d}-{picture_name(path)}.jpg",
                )
    about: dict[str, Any] = {
        "run": run.name,
        "hilum": __version__,
        "confidence": predictor.confidence if confidence is None else confidence,
        "floor": predictor.confidence if confidence is None else confidence,
    }
    if dataset is not None:
        about |= {"split": split, "data_fingerprint": dataset.fingerprint}
    write_predictions(out, results, coco_ids, about)
    failed = sum(result.error is not None for result in results)
    boxes = sum(len(result.detections) for result in results)
    say(f"{out}: {boxes} boxes on {len(results) - failed} images" + (f", {failed} not read" if failed else ""))
    if failed == len(results):
        raise HilumError(f"{images}: none of its {failed} images could be read")
