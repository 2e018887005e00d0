"""`hilum submit`: write a submission."""

from collections import Counter
from pathlib import Path

from hilum.commands.arguments import IMAGES, NEW_FILE, RUN, check_order
from hilum.commands.options import Share
from hilum.commands.pictures import picture_paths
from hilum.commands.terminal import bar, complain, say
from hilum.errors import HilumError


def submit(run: Path, images: Path, out: Path, *, confidence: Share = None, overwrite: bool = False) -> None:
    """Write a submission in Kaggle's form.

    Parameters
    ----------
    run
        Run folder.
    images
        A dataset folder, whose unlabelled images are meant, or a folder of pictures.
    out
        The CSV file to write.
    confidence
        Keep boxes from here on; the run's operating point where not given.
    overwrite
        Write over an existing file.
    """
    from hilum.datasets.boxes import xyxy_to_xywh
    from hilum.datasets.folder import Dataset
    from hilum.datasets.pictures import picture_name
    from hilum.eval.submission import write_submission
    from hilum.predict import load

    check_order("submit", (RUN, run), (IMAGES, images), (NEW_FILE, out))
    dataset = (images / "conversion.json").is_file()
    paths = Dataset.open(images).unlabelled() if dataset else picture_paths(images)
    if not paths:
        raise HilumError(f"{images}: the dataset has no unlabelled images; give a folder of pictures")
    if not out.absolute().parent.is_dir():
        raise HilumError(f"{out}: its folder does not exist")
    if out.is_dir() or (out.exists() and not overwrite):
        raise HilumError(f"{out}: is there already; give a new file, or --overwrite to replace one")
    named = Counter(map(picture_name, paths))
    if twice := next((path for path in paths if named[picture_name(path)] > 1), None):
        raise HilumError(f"{twice}: another file has the same name, and a submission knows images by name")
    predictor = load(run)
    results = []
    with bar("predicting") as progress:
        for result in predictor.predict(paths, confidence=confidence):
            results.append(result)
            progress(len(results), len(paths))
    bad = [f"{path}: {result.error}" for path, result in zip(paths, results, strict=True) if result.error]
    for line in bad:
        complain(f"{line}; it gets an empty row")
    if len(bad) == len(paths):
        raise HilumError(f"{images}: none of its {len(bad)} images could be read")
    ids = [result.image_id for result in results]
    boxes = [xyxy_to_xywh(result.detections.xyxy) for result in results]
    write_submission(out, ids, boxes, [result.detections.confidence for result in results])
    say(f"{out}: {sum(map(len, boxes))} boxes on {len(ids)} images")
