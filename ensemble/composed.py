"""The backend `compose`: backends made one, which is a backend again."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hilum.backend import Backend
from hilum.config import ExperimentConfig, read_config
from hilum.datasets.bits import as_bits
from hilum.datasets.folder import Dataset, Split
from hilum.datasets.fusion import Boxes
from hilum.detections import Detections
from hilum.documents import advising, check
from hilum.ensemble.composed_config import GATE, LUNGS, ComposedConfig
from hilum.ensemble.composition import MemberPredictions, Parameters, choose_parameters, compose, operating_points
from hilum.ensemble.folds import deal_train, fold_datasets
from hilum.ensemble.lungs import lung_maps
from hilum.ensemble.manifest import check_manifest, write_manifest
from hilum.ensemble.views import View
from hilum.errors import HilumError
from hilum.files import PARTIAL, remove
from hilum.predict import load, read_batches
from hilum.result import by_class, image_probability, of_classes
from hilum.run import (
    MEMBERS,
    OPERATING_POINT,
    check_run,
    data_fingerprints,
    is_complete,
    read_operating_point,
)
from hilum.talk import log
from hilum.train_run import check_start, same_experiment, train
from hilum.training.distributed import is_rank_zero, rank_zero_first, wait
from hilum.training.validation import truth_by_class

COMPOSITION = "composition"
# Of a run, what only training needs, and may be large, stays where it is.
_LEFT_BEHIND = shutil.ignore_patterns("checkpoint.pt", "ultralytics", "tensorboard", "mlflow", ".*")


@dataclass(frozen=True)
class MemberView:
    """A trained part of the composition that sees images in one view.

    Attributes:
        member: which part it belongs to.
        backend: one of its folds.
        view: how it sees.
        classes: how many it looks for.
    """

    member: str
    backend: Backend
    view: View
    classes: int = 1

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[tuple[Boxes, float]]:
        """What its view shows of each class of each image, in its pixels, and how likely the image shows it."""
        bits = getattr(self.backend, "bits", 8)
        found = self.backend.predict_batch([self.view.show(as_bits(image, bits)) for image in images])
        return [
            (self.view.bring_back(boxes_of(each), (image.shape[1], image.shape[0])), image_probability(each))
            for one, image in zip(found, images, strict=True)
            for each in by_class(one, self.classes)
        ]


@dataclass(frozen=True)
class _Job:
    """A run below RUN/members: of a part, or of one of its folds."""

    part: str
    folder: Path
    config: ExperimentConfig | None  # None where it is copied
    fold: int | None


class Composed(Backend):
    """Members, and a gate, each seeing every view; fused, lungs first, gated and adjusted.

    It keeps nothing between calls.
    """

    Config = ComposedConfig
    distributed = True  # as far as its members are: they say so themselves
    tunable = False

    def __init__(
        self,
        views: Sequence[MemberView],
        config: ComposedConfig,
        parameters: Parameters,
        lungs: Backend | None = None,
    ) -> None:
        """Take member views in the order of the config's parts, those of the gate included."""
        self._lungs = lungs
        self.config = config
        self.parameters = parameters
        self._members = [view for view in views if view.member != GATE]
        self._gates = [view for view in views if view.member == GATE]
        self._classes = len(config.class_names)

    @property
    def bits(self) -> int:
        """The most that a part sees."""
        return max(part.backend.bits for part in (*self._members, *self._gates))

    @classmethod
    def check_start(cls, config: ComposedConfig, data: Dataset) -> None:
        """See `hilum.backend.Backend.train`: what any part would stop at.

        Raises:
            HilumError: of a part; or a run that the config names is not whole, or may have seen val or holdout of
                `data`.
        """
        _check_runs(config, data)
        for name, part in config.parts.items():
            if part.config is None:
                continue
            try:
                if part.folds > 1:
                    deal_train(data, part.folds, seed=config.seed)
                check_start(part.config, data)
            except HilumError as error:
                raise error.within(name) from error

    @classmethod
    def train(cls, config: ComposedConfig, data: Dataset, run: Path) -> Self:
        """Train every part that is not trained yet, each into a run folder of its own below `RUN/members`.

        See `hilum.backend.Backend.train`. What is to be chosen on val is not chosen here, but by `choose`.

        Raises:
            HilumError: a run that the config names is not whole, or may have seen val or holdout of `data`.
        """
        _check_runs(config, data)  # also of an interrupted training: they may have changed since
        jobs = list(_jobs(config, run))
        for number, job in enumerate(jobs, start=1):
            if is_rank_zero():
                log.info(f"{job.folder.name}, {number} of {len(jobs)}")
            part = config.parts[job.part]
            if job.config is None:
                with rank_zero_first():
                    _copy_run(Path(str(part.run)), job.folder)
                continue
            its_data = data
            if job.fold is not None:
                with rank_zero_first():
                    its_data = fold_datasets(data, part.folds, seed=config.seed)[job.fold]
            if is_complete(job.folder) and same_experiment(job.folder, job.config, its_data):
                continue
            train(job.config, its_data, job.folder)
        if is_rank_zero():
            write_manifest(run, [job.folder for job in jobs])
        wait()
        return cls(_load_members(config, run), config, _untuned(config), _load_lungs(config, run))

    @classmethod
    def load(cls, run: Path) -> Self:
        """See `hilum.backend.Backend.load`.

        Raises:
            HilumError: a member is missing, or is another one than when the composition was tuned.
        """
        config = read_config(run, ComposedConfig)
        check_manifest(run, [job.folder for job in _jobs(config, run)])
        return cls(_load_members(config, run), config, _read_parameters(run, config), _load_lungs(config, run))

    def predict_batch(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        if not images:
            return []
        predictions = self._predict([images])
        answers, likely, classes = (
            compose(predictions, self.parameters, self.config.fusion),
            predictions.probability,
            self._classes,
        )
        found = []
        for start in range(0, len(answers), classes):
            its = None if likely is None else likely[start : start + classes].tolist()
            found.append(of_classes(answers[start : start + classes], its[0] if its and classes == 1 else its))
        return found

    def member_probabilities(self, images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """(members and views, images, classes): how likely each thinks that each image shows each class; no gate."""
        said = [[probability for _, probability in view.predict_batch(images)] for view in self._members]
        return np.array(said, np.float64).reshape(len(said), len(images), -1)

    def choose(self, val: Split) -> dict[str, Any]:
        """Choose everything that the config leaves to val, the operating point last; as `operating_point.json` has it.

        Every part predicts val once.
        """
        predictions = self.predict_split(val)
        truth_xywh = truth_by_class(val)
        self.parameters = choose_parameters(self.config, predictions, truth_xywh)
        answers = compose(predictions, self.parameters, self.config.fusion)
        confidence, score = operating_points(truth_xywh, answers, self._classes)
        return {"confidence": confidence, "val_score": score, COMPOSITION: self.parameters.model_dump(mode="json")}

    def predict_split(self, split: Split) -> MemberPredictions:
        """What every member predicts of a split, in every view.

        Raises:
            HilumError: pictures that cannot be read, a line each.
        """
        return self._predict(read_batches(split.paths, bits=self.bits))

    def _predict(self, batches: Iterable[list[NDArray[np.uint8]]]) -> MemberPredictions:
        found: list[tuple[Boxes, ...]] = []
        sizes_wh, probabilities, lungs = [], [], []
        for images in batches:
            of_members = [[boxes for boxes, _ in view.predict_batch(images)] for view in self._members]
            found += zip(*of_members, strict=True)
            sizes_wh += [image.shape[::-1] for image in images for _ in range(self._classes)]
            probabilities.append([[likely for _, likely in gate.predict_batch(images)] for gate in self._gates])
            maps = lung_maps(self._lungs, images) if self._lungs else []
            lungs += [each for each in maps for _ in range(self._classes)]
        return MemberPredictions(
            tuple(view.member for view in self._members),
            found,
            np.array(sizes_wh),
            np.concatenate(probabilities, axis=1) if self._gates else None,
            lungs if self._lungs else None,
            self._classes,
        )


def _jobs(config: ComposedConfig, run: Path) -> Iterator[_Job]:
    for name, part in config.parts.items():
        folder = run / MEMBERS / name
        its = part.config
        if its is not None:
            its = its.model_copy(update={"seed": its.seed + config.seed})
        if part.folds == 1:
            yield _Job(name, folder, its, None)
        else:
            for fold in range(part.folds):
                yield _Job(name, folder.with_name(f"{name}.fold-{fold + 1}"), its, fold)


def _load_members(config: ComposedConfig, run: Path) -> list[MemberView]:
    views = config.views.all()
    loaded = [(job.part, _load_member(config, job.folder)) for job in _jobs(config, run) if job.part != LUNGS]
    return [MemberView(part, backend, view, len(config.class_names)) for part, backend in loaded for view in views]


def _load_member(config: ComposedConfig, folder: Path) -> Backend:
    predictor = load(folder)
    if (theirs := predictor.class_names) != (ours := config.class_names):
        raise HilumError(
            f"{folder}: looks for {', '.join(theirs)}, and the composition for {', '.join(ours)}; train again"
        )
    return predictor.backend


def _load_lungs(config: ComposedConfig, run: Path) -> Backend | None:
    if config.lungs is None:
        return None
    backend = load(run / MEMBERS / LUNGS).backend
    if not backend.draws_maps:
        raise HilumError(f"{LUNGS}: {config.lungs.run}: its backend draws no map; expected a segmenter, or lungs")
    return backend


def _check_runs(config: ComposedConfig, data: Dataset) -> None:
    for name, part in config.parts.items():
        if part.run is not None and name == LUNGS:
            check_run(Path(part.run))  # it knows nothing of opacities, so it may be of any data
        elif part.run is not None:
            check_origin(name, Path(part.run), data)


def check_origin(name: str, source: Path, data: Dataset) -> None:
    """Make sure that a run is whole and was trained, and tuned, on this data, this split.

    Raises:
        HilumError: it is not, or was not, and may have seen val or holdout.
    """
    check_run(source)
    if data_fingerprints(source) != {data.fingerprint}:
        raise HilumError(
            f"{name}: {source} was trained, or tuned, on other data or another split than {data.path}, and may have "
            "seen its val or holdout; train it on this one"
        )


def _copy_run(source: Path, folder: Path) -> None:
    """A copy, whole or not at all, so that the composition is one folder."""
    if is_complete(folder):
        return
    partial = folder.with_name(f".{folder.name}{PARTIAL}")
    try:
        remove(partial)
        shutil.copytree(source, partial, ignore=_left_behind)
        os.replace(partial, folder)  # noqa: PTH105 - over nothing, or an empty folder
    except (OSError, shutil.Error) as error:
        raise HilumError(f"{source}: cannot be copied to {folder} ({type(error).__name__})") from error


def _left_behind(folder: str, names: list[str]) -> set[str]:
    return set() if Path(folder).name == MEMBERS else _LEFT_BEHIND(folder, names)  # a member may have any name


def _untuned(config: ComposedConfig) -> Parameters:
    return Parameters(weights={name: member.weight for name, member in config.members.items()})


def _read_parameters(run: Path, config: ComposedConfig) -> Parameters:
    path = run / OPERATING_POINT
    values = read_operating_point(run).get("composition")
    with advising("train again"):
        parameters = check(values, Parameters, f"{path}: {COMPOSITION}")
    if parameters.weights.keys() != config.members.keys():
        raise HilumError(f"{path}: {COMPOSITION}.weights: expected one for each of {', '.join(config.members)}")
    return parameters


def boxes_of(detections: Detections) -> Boxes:
    """The boxes that a backend found in an image."""
    return Boxes(detections.xyxy.astype(np.float64), np.asarray(detections.confidence, np.float64))
