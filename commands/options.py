"""Types of the values that several commands take."""

from typing import Annotated, Literal

from cyclopts import Parameter, validators

Split = Literal["train", "val", "holdout"]
Positive = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Seed = Annotated[int, Parameter(validator=validators.Number(gte=0))]
Share = Annotated[float | None, Parameter(validator=validators.Number(gte=0, lte=1))]
PickBy = Literal["mixed", "uncertainty", "disagreement", "diversity", "random"]
