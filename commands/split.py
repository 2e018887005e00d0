"""`hilum split`: split a dataset folder anew, or say what leaks in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from cyclopts import Parameter, validators

from hilum.commands.arguments import DATA, NAME, check_order
from hilum.commands.options import AnyPath, Seed, check_values, path_of
from hilum.commands.terminal import complain, say, table
from hilum.errors import HilumError

if TYPE_CHECKING:
    from hilum.datasets.folder import Dataset


@dataclass(frozen=True)
class CheckedSplit:
    """A split, and what leaks in it.

    Attributes:
        data: the folder, which `train`, `evaluate` and the others take for a dataset folder.
        leaks: what `hilum.datasets.leaks.leak_check` found.
        warnings: a line on each thing in it that flatters.
    """

    data: "Dataset"
    leaks: dict[str, Any]
    warnings: tuple[str, ...]


def split(
    data: AnyPath,
    name: str | None = None,
    *,
    seed: Seed = 0,
    by: Literal["patient", "image"] | None = None,
    shares: Annotated[tuple[float, float, float] | None, Parameter(negative="")] = None,
    folds: Annotated[int, Ge(3), Parameter(validator=validators.Number(gte=3))] | None = None,
    stage1: AnyPath | None = None,
    report: Literal[2560, 5000] | None = None,
    holdout_list: AnyPath | None = None,
    val_list: AnyPath | None = None,
    val_share: Annotated[float, Gt(0), Lt(1), Parameter(validator=validators.Number(gt=0, lt=1))] | None = None,
    keep_shared: Annotated[bool, Parameter(negative="")] = False,
    patients: AnyPath | None = None,
    out: AnyPath | None = None,
    overwrite: bool = False,
    check: Annotated[bool, Parameter(negative="")] = False,
    look: Annotated[bool, Parameter(negative="")] = False,
) -> list[CheckedSplit]:
    """Split a dataset folder anew, into DATA/splits/NAME, and say what leaks; no picture is moved or converted again.

    Without --folds, --stage1, --report or --holdout-list: train, val and holdout by --shares, the images of a patient
    together, stratified by class, view, sex and decade of life. Every command takes DATA/splits/NAME for DATA.

    Args:
        data: Dataset folder.
        name: Of the split to write, or with --check of the one to look at.
        seed: The same seed gives the same split.
        by: What stays together: the images of a patient, or only each image.
        shares: Of train, val and holdout; 0.7 0.15 0.15 where not given.
        folds: Write so many splits, NAME-0, NAME-1, ...; each image is in the holdout of one.
        stage1: The challenge's stage_1_train_labels.csv: hold out the images that it lacks, which were stage 1's test
            set. Images that share a patient with them leave train and val.
        report: Hold out as many as the report did, at random by image: 2560 (its ResNet) or 5000 (its UNet).
        holdout_list: Hold out the images that this file lists: ids, one a line, or a CSV with a column patientId.
            Images that share a patient with them leave train and val.
        val_list: The same for val; all other images are train then.
        val_share: Share of val in what is not held out; 0.15 where not given.
        keep_shared: Keep images in train and val though they share a patient with holdout.
        patients: CSV that says whose each image is, where DATA does not know it or is wrong.
        out: Write FOLDER/NAME in the place of DATA/splits/NAME, where DATA is read-only; every command takes it for
            DATA.
        overwrite: Replace the split of this name.
        check: Write nothing; only say what leaks in DATA, or in its split NAME.
        look: Decode all pictures, once, and tell also of those on two sides that are the same or look alike.

    Returns:
        The split, one a fold; with `check` that which is there.

    Examples:
        >>> import hilum
        >>> folds = hilum.split("DATA", "three", folds=3)
        >>> [str(fold.data.path) for fold in folds], folds[0].warnings
        (['DATA/splits/three-0', 'DATA/splits/three-1', 'DATA/splits/three-2'], ())
    """
    check_values(split, locals())
    from hilum.datasets.folder import Dataset
    from hilum.datasets.patients import read_patient_map
    from hilum.datasets.resplit import Folds, Kind, Lists, Report, Shares, Stage1, resplit

    data, out, patients = Path(data), path_of(out), path_of(patients)
    check_order("split", (DATA, data), *(() if name is None else ((NAME, name),)))
    every = {
        "--by": by,
        "--shares": shares,
        "--folds": folds,
        "--stage1": stage1,
        "--report": report,
        "--holdout-list": holdout_list,
        "--val-list": val_list,
        "--val-share": val_share,
        "--keep-shared": keep_shared or None,
        "--overwrite": overwrite or None,
    }
    _check_options([key for key, value in every.items() if value is not None], check=check)
    if shares and not (min(shares) > 0 and abs(sum(shares) - 1) < 1e-6):
        raise HilumError(f"--shares {' '.join(map(str, shares))}: expected three numbers above 0 that add up to 1")
    if check:
        folder = (out or data / "splits") / name if name else data
        dataset = Dataset.open(folder)
        known = read_patient_map(patients, dataset.metadata.index, str(folder))[0] if patients else None
        return [_checked(dataset, known, look=look)]
    if name is None:
        raise HilumError("the split needs a name: hilum split DATA NAME ...; --check instead looks at that of DATA")
    share = {} if val_share is None else {"val_share": val_share}
    kind: Kind
    if folds:
        kind = Folds(folds, by or "patient")
    elif stage1:
        kind = Stage1(Path(stage1), **share, keep_shared=keep_shared)
    elif report:
        kind = Report(report, **share)
    elif holdout_list:
        kind = Lists(Path(holdout_list), path_of(val_list), **share, keep_shared=keep_shared)
    else:
        kind = Shares(shares or Shares.shares, by or "patient")
    folders = resplit(data, name, kind, seed=seed, patients=patients, out=out, overwrite=overwrite)
    return [_checked(Dataset.open(folder), look=look) for folder in folders]


def _checked(data: "Dataset", known: Mapping[str, str] | None = None, *, look: bool) -> CheckedSplit:
    from hilum.datasets.leaks import check_dataset, leak_warnings

    leaks = check_dataset(data, known, look=look)
    return CheckedSplit(data, leaks, tuple(leak_warnings(leaks)))


_KINDS = ("--folds", "--stage1", "--report", "--holdout-list")
_FITTING = {
    "--check": (),
    "a split by shares": ("--overwrite", "--by", "--shares"),
    "--folds": ("--overwrite", "--by"),
    "--stage1": ("--overwrite", "--val-share", "--keep-shared"),
    "--report": ("--overwrite", "--val-share"),
    "--holdout-list": ("--overwrite", "--val-share", "--val-list", "--keep-shared"),
}
"""What goes with each kind of split."""


def _check_options(options: Sequence[str], *, check: bool) -> None:
    """Refuse options that do not go together."""
    kinds = [key for key in _KINDS if key in options]
    if len(kinds) > 1:
        raise HilumError(f"{' and '.join(kinds)}: each makes a split of its own; give one of them")
    what = "--check" if check else kinds[0] if kinds else "a split by shares"
    fitting = {what, *_FITTING[what]} - ({"--val-share"} if "--val-list" in options else set())
    if wrong := [key for key in options if key not in fitting]:
        raise HilumError(f"{', '.join(wrong)}: does not go with {what}; see hilum split --help")


def show_splits(checked: Sequence[CheckedSplit], *_: object, **__: object) -> None:
    """Print what is in each split, and what leaks."""
    for each in checked:
        _show_split(each.data, each.leaks)
        complain(*(f"{each.data.path}: {line}" for line in each.warnings))


def _show_split(data: "Dataset", leaks: dict[str, Any]) -> None:
    sides = leaks["splits"]
    say(str(data.path))
    rows = [["images", *(f"{side['images']:,}" for side in sides.values())]]
    if leaks["patients_known"]:
        rows.append(["patients", *(f"{side['patients']:,}" for side in sides.values())])
    rows.append(["with opacity", *(_share(side["with_opacity"], side["images"]) for side in sides.values())])
    for what, key in [("class", "classes"), ("view", "views")]:
        for value in sorted({value for side in sides.values() for value in side[key]}):
            cells = (_share(side[key].get(value, 0), side["images"]) for side in sides.values())
            rows.append([f"{what} {value}", *cells])
    table(["", *sides], rows)
    looked = {"same_pixels": "the same once decoded", "look_alike": "that look alike"}
    looked = {key: told for key, told in looked.items() if key in leaks["pairs"][0]}
    rows = []
    for pair in leaks["pairs"]:
        known = pair["patients"] is not None
        row = [
            " and ".join(pair["between"]),
            f"{pair['patients']:,}" if known else "not known",
            " and ".join(f"{count:,}" for count in pair["their_images"]) if known else "not known",
            "not known" if pair["same_pictures"] is None else f"{pair['same_pictures']:,}",
            *(f"{pair[key]:,}" for key in looked),
        ]
        rows.append(row)
    table(["on both sides of", "patients", "their images", "identical pictures", *looked.values()], rows)
    if data.is_further_split:
        for reason, count in data.conversion.get("left_out", {}).items():
            say(f"{count:,} images are in none of them, listed in {data.path / 'left_out.csv'}: each {reason}")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
