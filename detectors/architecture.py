"""What a model YAML of ultralytics may hold, whoever wrote it: layers of a closed list, plain numbers, within limits.

ultralytics evaluates `activation` as Python, takes any name of its own module for a layer, whole models of their own
YAML among them, and builds what the numbers say, however much that is. So names are of closed lists, arguments are
numbers or flat lists of them, and the network is built once without memory, where what it would take is counted.
"""

import json
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Self

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch.overrides import TorchFunctionMode

from hilum.class_names import MOST_CLASSES
from hilum.detectors.private_ultralytics import Detect, RTDETRDecoder, quietly, tasks, v10Detect
from hilum.documents import check, shown
from hilum.errors import HilumError

# Those with words for classes (YOLO-World, YOLOE) would need a text model.
HEADS: Final[dict[str, type[torch.nn.Module]]] = {head.__name__: head for head in (Detect, v10Detect, RTDETRDecoder)}
# All that ultralytics' own detectors are made of, and further blocks of convolutions that take numbers alone. None of
# them builds what an argument names, reads a file or downloads (`TorchVision` does).
LAYERS: Final = frozenset(
    [
        "A2C2f",
        "AConv",
        "ADown",
        "AIFI",
        "Bottleneck",
        "BottleneckCSP",
        "C1",
        "C2",
        "C2PSA",
        "C2f",
        "C2fCIB",
        "C2fPSA",
        "C3",
        "C3Ghost",
        "C3TR",
        "C3k2",
        "C3x",
        "CBFuse",
        "CBLinear",
        "Concat",
        "Conv",
        "Conv2",
        "ConvTranspose",
        "DWConv",
        "DWConvTranspose2d",
        "ELAN1",
        "Focus",
        "GhostBottleneck",
        "GhostConv",
        "HGBlock",
        "HGStem",
        "PSA",
        "RepC3",
        "RepConv",
        "RepNCSPELAN4",
        "RepVGGDW",
        "ResNetLayer",
        "SCDown",
        "SPP",
        "SPPELAN",
        "SPPF",
        "nn.AvgPool2d",
        "nn.BatchNorm2d",
        "nn.Conv2d",
        "nn.ConvTranspose2d",
        "nn.Identity",
        "nn.MaxPool2d",
        "nn.Upsample",
        "nn.ZeroPad2d",
    ]
)
# ultralytics reads `None` and the number of classes out of text, and `nearest` is how nn.Upsample fills.
_WORDS: Final = frozenset({"None", "nc", "nearest", "bilinear"})
_ACTIVATION: Final = re.compile(
    r"(torch\.)?nn\.(ELU|GELU|Hardswish|Identity|LeakyReLU|Mish|ReLU|ReLU6|SELU|SiLU)"
    r"\((inplace=(True|False)|0?\.[0-9]{1,6})?\)"
)
_MAX_NUMBER, _MAX_LIST, _MAX_REPEATS, _MAX_LAYERS = 4096, 16, 100, 200
# ultralytics' largest detectors, counted as below: 0.4 x 10^9 values, 11 x 10^6 of them in one tensor, 48 x 10^9
# products, 12,000 steps.
_MAX_VALUES, _MAX_VALUES_AT_ONCE, _MAX_PRODUCTS, _MAX_STEPS = 10**9, 5 * 10**7, 2 * 10**11, 40_000
_MULTIPLY: Final = {torch.conv2d, torch.conv_transpose2d, torch.nn.functional.linear}
SIDE: Final = 256
"""Of the picture that ultralytics itself shows a new network. Of a larger one, layers make values in proportion."""
_MAX_VALUES_PER_PIXEL = 200  # in one tensor: YOLO12x attends to as many at 2048 px
# Their fifth argument is the number of heads. The second is what a layer that learns no more calls.
_ATTENTION: Final = {
    torch.nn.functional.multi_head_attention_forward,
    torch._native_multi_head_attention,  # noqa: SLF001
}


def _row(row: Any) -> Any:
    if not isinstance(row, list) or len(row) != 4:
        raise ValueError("expected [from, repeats, layer, arguments]")
    source, repeats, layer, arguments = row
    sources = source if isinstance(source, list) and source else [source]
    if len(sources) > _MAX_LIST or not all(_is_whole(one) and abs(one) <= _MAX_LAYERS for one in sources):
        raise ValueError(f"expected the number of a layer before it, or a list of such, got {shown(source)}")
    if not (_is_whole(repeats) and 1 <= repeats <= _MAX_REPEATS):
        raise ValueError(f"expected 1 to {_MAX_REPEATS} repeats, got {shown(repeats)}")
    if not (isinstance(layer, str) and (layer in LAYERS or layer in HEADS)):
        raise ValueError(f"not a layer that may be built: {shown(layer)}")
    if not (isinstance(arguments, list) and len(arguments) <= _MAX_LIST):
        raise ValueError(f"expected a list of at most {_MAX_LIST} arguments of {layer}")
    for argument in arguments:
        flat = argument if isinstance(argument, list) and len(argument) <= _MAX_LIST else [argument]
        if not (all(map(_is_number, flat)) or argument is None or (isinstance(argument, str) and argument in _WORDS)):
            raise ValueError(
                f"expected numbers up to {_MAX_NUMBER}, or flat lists of them, as arguments of {layer}, "
                f"got {shown(argument)}"
            )
    return row


def _activation(text: str) -> str:
    if not _ACTIVATION.fullmatch(text):
        raise ValueError("expected something like nn.SiLU() or nn.LeakyReLU(0.1)")
    return text


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= _MAX_NUMBER


_Rows = Annotated[list[Annotated[Any, AfterValidator(_row)]], Field(min_length=1, max_length=_MAX_LAYERS)]
_Factor = Annotated[float, Field(gt=0, le=4)]
_Scale = Annotated[str, Field(max_length=16)]
_Scales = tuple[_Factor, _Factor, Annotated[int, Field(ge=1, le=_MAX_NUMBER)]]


class Architecture(BaseModel):
    """A model YAML that describes a detector in pictures of one channel.

    Attributes:
        scales: Depth, width and the most channels of each size that the YAML describes; `scale` says which it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    nc: int = Field(ge=1, le=MOST_CLASSES, strict=True)
    channels: Literal[1]
    backbone: _Rows
    head: _Rows
    activation: Annotated[str, AfterValidator(_activation)] | None = None
    end2end: bool | None = None
    reg_max: int = Field(default=16, ge=1, le=64)
    scales: dict[_Scale, _Scales] | None = Field(default=None, max_length=_MAX_LIST)
    scale: _Scale | None = None
    depth_multiple: _Factor = 1.0
    width_multiple: _Factor = 1.0

    @model_validator(mode="before")
    @classmethod
    def _detects(cls, values: Any) -> Any:
        match values:
            case {"head": [*_, [_, _, str(last), *_]]} if last not in HEADS:
                heads = ", ".join(HEADS)
                last = shown(last, quote=False)
                raise ValueError(f"expected a detection model, which ends in one of {heads}; this ends in {last}")
        return values

    @model_validator(mode="after")
    def _scale_is_known(self) -> Self:
        if self.scales and self.scale and self.scale not in self.scales:
            raise ValueError(f"scale: expected one of {shown(', '.join(self.scales))}, got {shown(self.scale)}")
        return self

    @model_validator(mode="after")
    def _has_one_head(self) -> Self:
        *layers, (_, _, last, arguments) = [*self.backbone, *self.head]
        if arguments not in (["nc"], [self.nc]):
            raise ValueError(f"expected the arguments [nc] of {last}")
        if inner := next((row[2] for row in layers if row[2] in HEADS), None):
            raise ValueError(f"only the last layer may be {inner}")
        return self


KEYS: Final = frozenset(Architecture.model_fields)


def check_architecture(values: dict[str, Any], where: str, size: int = SIDE) -> type[torch.nn.Module]:
    """Make sure that nothing but a detector is built, and not too large a one.

    Args:
        values: the YAML.
        where: it comes from, for errors.
        size: side in pixels of the squares that it is to see.

    Returns:
        The class of its head.

    Raises:
        HilumError: it holds what it may not, or describes a network that is too large or cannot be built.
    """
    check(values, Architecture, where)
    if problem := _problem_with_size(json.dumps(values), size):
        raise HilumError(f"{where}: {problem}")
    return HEADS[values["head"][-1][2]]


@lru_cache(maxsize=16)
def _problem_with_size(values: str, size: int) -> str | None:
    """What keeps a checked architecture from being built, found out without memory for it."""
    architecture = json.loads(values)
    try:
        with quietly(), torch.device("meta"), _Counted() as counted, torch.inference_mode():
            built(lambda: _show(tasks.parse_model(architecture, ch=1, verbose=False)[0].eval(), size, counted))
    except HilumError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - ultralytics checks little, so anything may come out of here
        return f"ultralytics cannot build this architecture: {first_line(error)}"
    return None


def built(build: Callable[[], Any]) -> Any:
    """What `build` builds with ultralytics, whose default activation stays what it is even where building fails.

    Torch warns of layers without weights: what such a network is worth shows later.
    """
    activation = tasks.Conv.default_act
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build()
    finally:
        tasks.Conv.default_act = activation


def first_line(error: Exception) -> str:
    """What an exception of ultralytics says, for a line of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shown(lines[0], 160, quote=False) if lines else "it gives no reason"


def _show(layers: Any, size: int, counted: "_Counted") -> None:
    """Show pictures to all layers but the head, which makes no larger tensors than it is given.

    One is of the size that ultralytics itself shows a new network, which takes memory in earnest.
    """
    for side in sorted({SIDE, size}):
        counted.size = side
        seen: Any = torch.zeros(1, 1, side, side)
        outputs: list[Any] = []
        for layer in layers[:-1]:
            if layer.f != -1:
                numbers = layer.f
                several = isinstance(numbers, list)
                seen = [outputs[n] if n != -1 else seen for n in numbers] if several else outputs[numbers]
            seen = layer(seen)
            outputs.append(seen)


class _Counted(TorchFunctionMode):
    """Counts what torch is asked for, the values that it gives, and what it multiplies for them.

    Attributes:
        size: side in pixels of the squares that it sees.

    Raises:
        HilumError: more than any detector of ultralytics needs for such squares.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size = SIDE
        self._steps = self._values = self._products = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        several = given if isinstance(given, tuple | list) else (given,)
        sizes = [one.numel() for one in several if isinstance(one, torch.Tensor)]
        if func in _ATTENTION:  # one weight for each head and pair of places, within
            query, key = args[0], args[1]
            sizes.append(query.shape[0] * query.shape[1] * max(key.shape[0], key.shape[1]) * args[4])
        self._steps += 1
        self._values += sum(sizes)
        if func in _MULTIPLY:
            seen = args[0].numel() if func is torch.conv_transpose2d else sizes[0]
            self._products += seen * args[1][0].numel()
        larger = max(1.0, self.size**2 / SIDE**2)
        if (
            max(sizes, default=0) > max(_MAX_VALUES_AT_ONCE, _MAX_VALUES_PER_PIXEL * self.size**2)
            or self._values > _MAX_VALUES * larger
            or self._products > _MAX_PRODUCTS * larger
            or self._steps > _MAX_STEPS
        ):
            raise HilumError(
                f"describes a network that is larger, for pictures of {self.size} px, than any detector of ultralytics"
            )
        return given
