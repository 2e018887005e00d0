"""Check what a checkpoint holds against what the training that takes it up would store, before any of it is taken."""

import copy
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hilum.documents import shown
from hilum.errors import HilumError


def check_like(found: Any, like: Any, key: str) -> None:
    """Make sure that a stored state, tensors and plain values, is built as one that would be stored now.

    Tensors have the same shape and type, and are finite where those are; tables have the same keys; numbers are of the
    same kind, finite, and not below 0. A table's key that is a tensor's name may hold dots.

    Raises:
        HilumError: the key, what was found, and what was expected.
    """
    if isinstance(like, Tensor):
        _check_tensor(found, like, key)
    elif isinstance(like, Mapping):
        _check_keys(found, set(like), key)
        for name, value in like.items():
            check_like(found[name], value, f"{key}.{name}")
    elif isinstance(like, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(like):
            raise HilumError(f"{key}: expected {len(like)} values, found {_kind(found)}")
        for number, (one, value) in enumerate(zip(found, like, strict=True)):
            check_like(one, value, f"{key}.{number}")
            if isinstance(value, float) and value < 1 <= one:
                raise HilumError(f"{key}.{number}: expected a number below 1, found {shown(one)}")
    elif isinstance(like, bool | str | None):
        if type(found) is not type(like):
            raise HilumError(f"{key}: expected {_kind(like)}, found {_kind(found)}")
    elif type(found) not in ({int} if isinstance(like, int) else {int, float}):
        raise HilumError(f"{key}: expected {_kind(like)}, found {_kind(found)}")
    elif not 0 <= found < math.inf:
        raise HilumError(f"{key}: expected a finite number not below 0, found {shown(found)}")


def check_optimizer_state(found: Any, optimizer: torch.optim.Optimizer, key: str) -> None:
    """Make sure that an optimizer can go on from a stored state.

    What it keeps of a parameter is seen from a step with one of zeros; a parameter that never had a gradient has
    nothing.

    Raises:
        HilumError: the key, what was found, and what was expected.
    """
    like = optimizer.state_dict()
    _check_keys(found, {"state", "param_groups"}, key)
    check_like(found["param_groups"], like["param_groups"], f"{key}.param_groups")
    state, place = found["state"], f"{key}.state"
    if not isinstance(state, dict):
        raise HilumError(f"{place}: expected a table, found {_kind(state)}")
    expected: dict[int, tuple[Tensor, dict[str, Any]]] = {}
    for group, stored in zip(optimizer.param_groups, like["param_groups"], strict=True):
        kept = _kept_of_a_parameter(optimizer, group)
        expected |= {number: (each, kept) for number, each in zip(stored["params"], group["params"], strict=True)}
    for number, values in state.items():
        if number not in expected:
            raise HilumError(f"{place}: {shown(number)} is the number of no parameter")
        parameter, kept = expected[number]
        if values == {}:
            continue
        shaped = {
            name: torch.empty(parameter.shape, dtype=value.dtype, device="meta")
            if isinstance(value, Tensor) and value.shape == _TINY
            else value
            for name, value in kept.items()
        }
        check_like(values, shaped, f"{place}.{number}")
        for name, value in values.items():
            if isinstance(value, Tensor) and not value.ndim and not 0 <= float(value) < math.inf:
                raise HilumError(f"{place}.{number}.{name}: expected a finite number not below 0, found {float(value)}")


_TINY = torch.Size([2, 3])


def _kept_of_a_parameter(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> dict[str, Any]:
    """What an optimizer of this kind, with a group's options, keeps of a parameter of shape (2, 3)."""
    first = group["params"][0]
    tiny = torch.nn.Parameter(torch.zeros(_TINY, dtype=first.dtype, device=first.device))
    tiny.grad = torch.zeros_like(tiny)
    trial = copy.copy(optimizer)
    trial.state, trial.param_groups = defaultdict(dict), [{**group, "params": [tiny]}]
    trial.step()
    return dict(trial.state[tiny])


def _check_tensor(found: Any, like: Tensor, key: str) -> None:
    if not isinstance(found, Tensor):
        raise HilumError(f"{key}: expected a tensor, found {_kind(found)}")
    if found.shape != like.shape or found.dtype != like.dtype or found.layout != like.layout:
        raise HilumError(
            f"{key}: expected {tuple(like.shape)} of {like.dtype}, found {tuple(found.shape)} of {found.dtype}"
        )
    if found.is_meta or (found.is_floating_point() and not bool(found.isfinite().all())):
        if not like.is_meta and not bool(like.isfinite().all()):
            return
        raise HilumError(f"{key}: holds values that are not finite")


def _check_keys(found: Any, expected: set[Any], key: str) -> None:
    if not isinstance(found, dict):
        raise HilumError(f"{key}: expected a table, found {_kind(found)}")
    if missing := expected - found.keys():
        raise HilumError(f"{key}: {min(map(str, missing))} is missing")
    if strange := found.keys() - expected:
        raise HilumError(f"{key}: {min(shown(each, quote=False) for each in strange)} is not of it")


def _kind(value: object) -> str:
    names = {dict: "a table", list: "a list", tuple: "a list", Tensor: "a tensor", str: "text", bool: "true or false"}
    names |= {int: "a whole number", float: "a number", type(None): "nothing"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "something else")
