"""What a config with `backend: compose` says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetCoreSchemaHandler, SerializeAsAny, ValidationInfo, field_validator, model_validator
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function

from hilum.config import ExperimentConfig, Table, nested_config
from hilum.config_problems import ConfigError, Problem
from hilum.ensemble.adjustments import GateMode
from hilum.ensemble.views import View
from hilum.run import ENVIRONMENT, read_environment

GATE = "gate"
LUNGS = "lungs"
OnVal = Literal["val"]
"""In the place of a value: choose it on val."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class _Within:
    """Limits of a number, which the reference of the docs reads too; `val` is beyond them."""

    ge: float
    le: float
    what: str = "a number"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: float | OnVal) -> float | OnVal:
        if value != "val" and not self.ge <= value <= self.le:
            raise ValueError(f"expected {self.what} from {self.ge} to {self.le}, or val")
        return value


class Part(Table):
    """A backend in the composition: trained with it, or there already.

    Attributes:
        config: Its experiment: the name or path of a config, or keys on a `base:`. Its seed is counted up by the
            composition's, so that seeds of a composition are seeds of its parts.
        run: Folder of a run that was trained on the same data, in place of `config`; it is copied.
        folds: Train so many times, each time without another part of the train split, by patient, on which that
            fold's epoch is chosen instead of on val; 1 trains once, on all of it.
    """

    config: SerializeAsAny[ExperimentConfig] | None = None
    run: str | None = None
    folds: int = Field(default=1, ge=1, le=20)

    @property
    def pretraining(self) -> str | None:
        """Where its weights come from that training starts, or started, with; None for random ones."""
        if self.config is not None:
            return self.config.pretraining
        run = Path(str(self.run))
        return read_environment(run).get("pretraining") if (run / ENVIRONMENT).is_file() else None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.config is None) == (self.run is None):
            raise ValueError("expected either config or run")
        if self.run is not None and self.folds > 1:
            raise ValueError("folds: a run is trained already; expected config with folds")
        return self


class Member(Part):
    """A detector or segmenter.

    Attributes:
        weight: Of its answers in the fusion, shared by its folds and views.
    """

    weight: float = Field(default=1.0, gt=0)


class Gate(Part):
    """A backend whose probability of the image decides with; a classifier as a rule. See `adjustments.gate`.

    Attributes:
        mode: `threshold` leaves boxes of images that pass as they are, `multiply` lowers their confidences by the
            probability too.
        threshold: An image of a lower probability gets no box.
    """

    mode: GateMode | OnVal = "val"
    threshold: Annotated[float | OnVal, _Within(0, 1, "a probability")] = "val"


class Lungs(Part):
    """A backend that says where the lungs are: `config: {backend: lungs}`, or the run of any segmenter of lungs.

    It learns nothing of opacities, so its run may be of other data. See `lungs.lungs_first`.

    Attributes:
        outside: Factor on the confidence of a box outside the lungs.
    """

    outside: Annotated[float | OnVal, _Within(0, 1, "a factor")] = "val"

    @model_validator(mode="after")
    def _not_of_opacities(self) -> Self:
        if self.folds > 1:
            raise ValueError("folds: lungs learn nothing here; leave this out")
        if self.config is not None and self.config.backend != LUNGS:
            raise ValueError(
                f"config: {self.config.backend} would learn where opacities are; expected backend: lungs, or in its "
                "place the run of a segmenter of lungs"
            )
        return self


class Views(Table):
    """Test-time augmentation: every member, and the gate, sees each image at every scale, mirrored too if `flip`.

    Attributes:
        flip: Whether each is seen mirrored, too, which doubles the time.
        scales: Factors of the picture's size, from 0.5 to 2, one look each.
    """

    flip: bool = False
    scales: tuple[float, ...] = Field(default=(1.0,), min_length=1)

    @field_validator("scales")
    @classmethod
    def _scales(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.5 <= value <= 2 for value in values) or len(set(values)) < len(values):
            raise ValueError("expected different factors from 0.5 to 2")
        return values

    def all(self) -> list[View]:
        """The views."""
        return [View(mirrored, scale) for scale in self.scales for mirrored in (False, True)[: 1 + self.flip]]


class Fusion(Table):
    """How several answers become one; see `fusion`. An answer that is alone is left as it is.

    Attributes:
        method: `weighted_boxes` averages boxes that overlap, `soft_nms` lowers the less sure of them, `votes` averages
            those that enough answers agree on.
        iou: From which overlap on two boxes are one; `soft_nms` asks for none.
        votes: With `votes`, from how many answers on a result counts.
        floor: Boxes of lower confidence take no part.
        choose_weights: Whether to choose the members' weights on val, starting from those given.
    """

    method: Literal["weighted_boxes", "soft_nms", "votes"] = "weighted_boxes"
    iou: float = Field(default=0.4, ge=0, lt=1)
    votes: int = Field(default=1, ge=1)
    floor: float = Field(default=0.01, ge=0, lt=1)
    choose_weights: bool = False

    @model_validator(mode="after")
    def _no_idle_threshold(self, info: ValidationInfo) -> Self:
        stored = (info.context or {}).get("trust", False) is None  # a run's own record, which may be of before this
        if self.method == "soft_nms" and self.iou != type(self).model_fields["iou"].default and not stored:
            raise ValueError(f"iou: soft_nms lowers boxes by any overlap; leave this out, not {self.iou}")
        return self


class ComposedConfig(ExperimentConfig):
    """A config with `backend: compose`.

    Members -> views -> fusion -> lungs -> gate -> top share -> relative -> shrink.

    Attributes:
        members: By name, in the order in which the ablation adds them.
        lungs: Where boxes keep their confidence; without it everywhere. They are looked for in the plain image alone.
        gate: Which images get boxes; without it all.
        views: What each of them sees.
        fusion: Of all that they find.
        top_share: Answer only images as likely as this share of the images of val; 1 answers all.
        relative: Drop boxes whose confidence is below this share of the image's highest.
        shrink: Factor on width and height of every box.
    """

    members: dict[str, Member] = Field(min_length=1)
    lungs: Lungs | None = None
    gate: Gate | None = None
    views: Views = Views()
    fusion: Fusion = Fusion()
    top_share: Annotated[float | OnVal, _Within(0.001, 1)] = 1.0
    relative: Annotated[float | OnVal, _Within(0, 1)] = 0.0
    shrink: Annotated[float | OnVal, _Within(0.5, 1.5)] = 1.0

    @property
    def parts(self) -> dict[str, Part]:
        """The members, and lungs and gate by their names."""
        others = {LUNGS: self.lungs, GATE: self.gate}
        return {**self.members, **{name: part for name, part in others.items() if part is not None}}

    @property
    def pretraining(self) -> str | None:
        """Of every part that is not trained from random weights."""
        told = {part.pretraining for part in self.parts.values()}
        return ", ".join(sorted(name for name in told if name)) or None

    @model_validator(mode="before")
    @classmethod
    def _read_parts(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Read the configs inside, and name all that is wrong in any of them at once."""
        problems: list[Problem] = []

        def read(part: Any, where: str) -> Any:
            if not isinstance(part, Mapping) or not isinstance(part.get("config"), Mapping | str):
                return part
            try:
                return {**part, "config": nested_config(part["config"], f"{where}.config", info.context or {})}
            except ConfigError as error:
                problems.extend(error.problems)
                return part

        read_values = dict(values)
        if isinstance(members := values.get("members"), Mapping):
            read_values["members"] = {name: read(part, f"members.{name}") for name, part in members.items()}
        read_values |= {name: read(values.get(name), name) for name in (LUNGS, GATE)}
        if problems:
            raise ConfigError(problems)
        return read_values

    @field_validator("members")
    @classmethod
    def _names(cls, members: dict[str, Member]) -> dict[str, Member]:
        for name in members:
            if name in (LUNGS, GATE) or not _NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}' is no name for a member; use letters, digits, '_' and '-', and not 'lungs' or 'gate'"
                )
        return members
