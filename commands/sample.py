"""`hilum sample`: generate a data set."""

from functools import partial
from pathlib import Path
from typing import Literal

from hilum.commands.options import Positive, Seed, Share
from hilum.commands.process_pool import process_pool
from hilum.commands.terminal import bar, say
from hilum.errors import HilumError


def sample(
    out: Path,
    *,
    images: Positive = 200,
    seed: Seed = 0,
    opacity_share: Share = None,
    layout: Literal["rsna", "csv", "coco", "yolo", "siim", "vinbigdata", "vindr", "nih", "mdai"] = "rsna",
    workers: Positive | None = None,
) -> None:
    """Generate a data set in the shape of Kaggle's download (DICOM files, tables), or of another source of pictures.

    The pictures are drawn: phantoms that look like radiographs, with soft opacities of the real sizes and places.

    Parameters
    ----------
    out
        Folder to write; a new or an empty one.
    images
        Labelled images; a ninth as many unlabelled test images come on top.
    seed
        The same seed gives the same files.
    opacity_share
        Share of images with opacity; the challenge's 22.5% where not given.
    layout
        Whose folders, tables and files: the challenge's, or those of another source of `hilum convert --source`.
    workers
        Processes; all cores where not given.
    """
    from hilum.sample.challenge import PATIENT_MAP, write_sample
    from hilum.sample.layouts import write_layout

    if out.is_dir() and any(out.iterdir()):
        raise HilumError(f"{out}: is not empty; give a new folder")
    with process_pool(workers, images, "hilum.sample.challenge") as executor, bar("drawing") as progress:
        write = write_sample if layout == "rsna" else partial(write_layout, name=layout)
        write(out, images=images, seed=seed, opacity_share=opacity_share, executor=executor, progress=progress)
    patients = f" --patients {out / PATIENT_MAP}" if layout == "rsna" else ""
    say(f"{out}: {images} labelled images; hilum convert {out} DATA{patients}")
