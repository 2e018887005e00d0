"""`hilum submit`: write a submission."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hilum.commands.arguments import IMAGES, NEW_FILE, RUN, check_order
from hilum.commands.options import Share
from hilum.commands.pictures import picture_paths
from hilum.commands.predict import IN_PART
from hilum.commands.terminal import bar, complain, say
from hilum.errors import HilumError


def submit(run: Path, images: Path, out: Path, *, confidence: Share = None, overwrite: bool = False) -> int:
    """Write a submission in Kaggle's form.

    The exit code is 0 where all images were predicted, 3 where some could not be read (they have an empty row), and 1
    where nothing was written.

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
    from hilum.eval.submission import submission_text
    from hilum.files import replacing
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
    _check_names(paths)
    predictor = load(run)
    results = []
    with replacing(out) as file, bar("predicting") as progress:  # whether it can be written is known at once
        for path, result in zip(paths, predictor.predict(paths, confidence=confidence), strict=True):
            results.append(result)
            progress(len(results), len(paths))
            if result.error:
                complain(f"{path}: {result.error}; it gets an empty row")
            elif result.warning:
                complain(f"{path}: {result.warning}")
        bad = sum(result.error is not None for result in results)
        if bad == len(paths):
            raise HilumError(f"{images}: none of its {bad} images could be read")
        ids = [result.image_id for result in results]
        boxes = [xyxy_to_xywh(result.detections.xyxy) for result in results]
        file.write(submission_text(ids, boxes, [result.detections.confidence for result in results]))
    say(f"{out}: {sum(map(len, boxes))} boxes on {len(ids)} images" + (f", {bad} not read" if bad else ""))
    return IN_PART if bad else 0


def _check_names(paths: Sequence[Path]) -> None:
    """Refuse files whose names a submission cannot hold, before anything is predicted."""
    from hilum.datasets.pictures import picture_name

    named = Counter(map(picture_name, paths))
    for path in paths:
        name = picture_name(path)
        if named[name] > 1:
            raise HilumError(f"{path}: another file has the same name, and a submission knows images by name")
        if name != name.strip():
            raise HilumError(f"{path}: its name begins or ends with a blank, which a submission cannot hold; rename it")
