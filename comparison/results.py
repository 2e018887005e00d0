"""What a benchmark or an evaluation found: typed, and `results.json` is its dump."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from hilum.comparison.cost import Cost
from hilum.comparison.meeting import Meeting
from hilum.documents import Count, FigureOrNaN
from hilum.eval.bootstrap import UNKNOWN, Interval
from hilum.eval.figures import NAN, Figures, ImagePoint, Record
from hilum.eval.travel import Travel
from hilum.training.log import Epoch

RESULTS = "results.json"
SCORE = "competition score"


class MaskFigures(Record):
    """What segmentation's figures say of masks."""

    pixel_accuracy: FigureOrNaN = NAN
    mean_iou: FigureOrNaN = NAN


class Reported(Record):
    """What the report that a config follows says of its own attempt."""

    model_config = ConfigDict(extra="allow")

    attempt: str = ""
    held_out: Count | None = None
    parameters: Count = 0
    trainable: Count = 0
    pixel_accuracy: FigureOrNaN = NAN


class About(Record):
    """What is known of a run besides what was measured of its answer; of a baseline nothing is.

    Attributes:
        backend: None for a baseline; "" where what was evaluated may be of none.
        val_figure: what its epoch was chosen by.
        pretraining: whose weights it starts from.
        trained_by: digest of the code.
    """

    backend: str | None = ""
    seed: int | None = None
    cost: Cost | None = None
    log: tuple[Epoch, ...] = ()
    val_figure: str = SCORE
    pretraining: str | None = None
    trained_by: str = ""
    reported: Reported = Reported()

    @property
    def kept_epoch(self) -> Epoch | None:
        """The epoch whose weights the run has: the best on val; None where none was measured there."""
        return max(
            (line for line in self.log if line["val_score"] is not None),
            key=lambda line: line["val_score"] or 0.0,
            default=None,
        )

    def without_masks(self) -> "About":
        """The same without the figures of masks that were logged."""
        names = {f"val_{name}" for name in MaskFigures.model_fields}
        log = tuple({key: value for key, value in line.items() if key not in names} for line in self.log)
        return self.model_copy(update={"log": log})

    @property
    def masks(self) -> MaskFigures:
        """A segmenter's masks on val, of the epoch that was kept."""
        kept: Mapping[str, Any] = self.kept_epoch or {}
        return MaskFigures.model_validate({name: kept.get(f"val_{name}") for name in MaskFigures.model_fields})


class _Named(Record):
    name: str
    group: str = ""


class _Above(Record):
    above_nothing: Interval = UNKNOWN
    above_average_boxes: Interval = UNKNOWN


class Entry(_Above, Figures, About, _Named):
    """A row of the table: a run, a baseline, or what was evaluated. Its fields are its bases', the last base's first.

    Attributes:
        name: of the config, with its seed where there are several; or of a baseline.
        group: of the config, or of the baseline.
        above_nothing, above_average_boxes: how much higher its score is than theirs, paired.
        metrics: further figures that were asked for, by their title.
        travel: how it compares with home, where the figures are of another source.
    """

    metrics: dict[str, FigureOrNaN] = Field(default={})
    travel: Travel | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether it was not trained."""
        return self.backend is None

    def point(self, name: str) -> ImagePoint:
        """How it calls images at a threshold; NaN where that is not known, and for a baseline, which means nothing."""
        return ImagePoint() if self.is_baseline else self.image_points.get(name, ImagePoint())


class Group(Record):
    """The runs of a config, one a seed; or a baseline."""

    name: str
    runs: Count = 1
    score: Interval = UNKNOWN
    sd_over_seeds: FigureOrNaN = NAN


class Difference(Record):
    """How much higher the score of one group is than that of another, paired over patients.

    Attributes:
        score: the difference by itself.
        simultaneous: with bounds that hold for all pairs of configs at once, where there are several such pairs.
        over_seeds: how far seeds alone may move it; NaN where nothing is known of them.
    """

    higher: str
    lower: str
    score: Interval = UNKNOWN
    simultaneous: Interval | None = None
    over_seeds: FigureOrNaN = NAN

    @property
    def interval(self) -> Interval:
        """That of all pairs at once where there are several, so that the best may be picked."""
        return self.simultaneous or self.score

    @property
    def is_above_zero(self) -> bool:
        """Whether all of the interval is above zero, whatever seeds do."""
        return self.interval.low > 0

    @property
    def is_below_zero(self) -> bool:
        """Whether all of the interval is below zero, whatever seeds do."""
        return self.interval.high < 0

    @property
    def is_sure(self) -> bool:
        """Whether all of the interval is above zero, and the difference beyond what seeds alone may do to it."""
        return self.is_above_zero and not abs(self.interval.estimate) <= self.over_seeds

    def turned(self) -> "Difference":
        """The same, of the lower above the higher."""
        its = self.interval
        return Difference(
            higher=self.lower,
            lower=self.higher,
            score=Interval(-its.estimate, -its.high, -its.low),
            simultaneous=self.simultaneous and Interval(-its.estimate, -its.high, -its.low),
            over_seeds=self.over_seeds,
        )


class External(Record):
    """What a benchmark found on images of another source; the attributes are those of `Results`.

    Attributes:
        name: what it is called.
        split: "all" labelled images; "holdout" where the data are those at home.
        meetings: what it shares with each split at home.
        differences: between configs away.
        entries: the figures away; of each run also its `travel`.
    """

    name: str
    data_fingerprint: str
    source: str | None = None
    split: str = "all"
    images: Count = 0
    patients: Count = 0
    patients_known: bool = False
    positive_images: Count = 0
    meetings: tuple[Meeting, ...] = ()
    groups: tuple[Group, ...] = ()
    differences: tuple[Difference, ...] = ()
    entries: tuple[Entry, ...] = ()


class SplitMade(Record):
    """How the split was made; `name` is None for that of the conversion."""

    name: str | None = None
    kind: str = ""
    seed: int | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Machine(Record):
    """What figures of time depend on (`hilum.comparison.cost.describe_machine`)."""

    cpu: str = ""
    cpu_cores: Count | None = None
    memory_gib: FigureOrNaN = NAN
    gpus: tuple[str, ...] = ()
    system: str = ""
    python: str = ""
    torch: str = ""
    torch_threads: Count = 0


class Results(Record):
    """What a benchmark found: `results.json`.

    Attributes:
        code: digest of the source that made it.
        chosen: on what epochs, operating points and thresholds were chosen.
        patients_on_both_sides: None where no patient is known.
        classes: each of several classes by its name; what stands beside them are means over those that the truth has.
    """

    hilum: str = ""
    code: str = ""
    command: str = ""
    date: str = ""
    data_fingerprint: str
    source: str | None = None
    split_made: SplitMade = SplitMade()
    patients_known: bool = False
    images_without_patient: Count = 0
    patients_on_both_sides: Count | None = None
    split: str = "holdout"
    images: Count = 0
    patients: Count = 0
    positive_images: Count = 0
    train_images: Count = 0
    val_images: Count = 0
    val_shows_opacity: bool = True
    chosen: str = ""
    seeds: Count = 1
    machine: Machine | None = None
    empty_mask_on_val: MaskFigures = MaskFigures()
    groups: tuple[Group, ...] = ()
    differences: tuple[Difference, ...] = ()
    entries: tuple[Entry, ...]
    external: tuple[External, ...] = ()
    classes: dict[str, "Results"] = Field(default={})

    @property
    def mask(self) -> MaskFigures:
        """Of an all-background mask."""
        return self.empty_mask_on_val

    @property
    def mean_of(self) -> str:
        """Over which of several classes its figures are the mean."""
        return _mean_of(self.classes)

    def difference(self, higher: str, lower: str) -> Difference:
        """How much higher one group's score is than another's; NaN where it is not known."""
        for each in self.differences:
            if (each.higher, each.lower) == (higher, lower):
                return each
            if (each.higher, each.lower) == (lower, higher):
                return each.turned()
        return Difference(higher=higher, lower=lower)


def _mean_of(classes: Mapping[str, "Results | Evaluation"]) -> str:
    shown = sum(each.positive_images > 0 for each in classes.values())
    return f", mean of the {shown} of {len(classes)} classes that the images show" if classes else ""


def mean_mask(of_classes: Sequence["Results | Evaluation"]) -> MaskFigures:
    """An all-background mask of each of several classes, on average."""
    return MaskFigures(
        pixel_accuracy=fmean(each.mask.pixel_accuracy for each in of_classes),
        mean_iou=fmean(each.mask.mean_iou for each in of_classes),
    )


class Evaluation(Record):
    """What `hilum evaluate` found of one answer; the attributes are those of `Results`, and of which run it is.

    `all_boxes` is false of predictions that hold no box below a confidence, where AP and FROC end.
    `family` has the fingerprints of all data of these pictures (`Dataset.family`), by which a run is known to have seen
    them. `home_fingerprint` and `meetings` are of the data that it was trained on, where these were given.
    `classes` has each of several classes by its name; what stands beside it are then means over those that the truth
    has.
    """

    hilum: str
    code: str
    of_run: str | None = None
    all_boxes: bool = True
    split: str
    images: Count
    positive_images: Count
    patients_known: bool
    images_without_patient: Count
    patients_on_both_sides: Count | None
    data_fingerprint: str
    family: tuple[str, ...] = ()
    chosen: str
    empty_mask: MaskFigures
    entries: tuple[Entry, ...]
    home_fingerprint: str | None = None
    meetings: tuple[Meeting, ...] = ()
    classes: dict[str, "Evaluation"] = Field(default={})
    val_images: ClassVar[int] = 0
    groups: ClassVar[tuple[Group, ...]] = ()

    @property
    def mask(self) -> MaskFigures:
        """Of an all-background mask."""
        return self.empty_mask

    @property
    def mean_of(self) -> str:
        """Over which of several classes its figures are the mean."""
        return _mean_of(self.classes)


class ImageCounts(Record):
    """On how many images the new one is better, worse and alike."""

    better: Count
    worse: Count
    alike: Count


class Change(Record):
    """What changed under one name: both scores, and their paired difference."""

    name: str
    new: Interval
    old: Interval
    difference: Interval
    images: ImageCounts
