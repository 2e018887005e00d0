"""Experiment configs: YAML with `base:` and `a.b=value` overrides, checked against the backend's own model.

The backend is looked up first, so that a wrong key is named with its path and the nearest right one, and all wrong
keys are named at once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilum.backend import backend_class
from hilum.documents import parse_yaml, read_yaml
from hilum.errors import HilumError

SHIPPED = Path(__file__).parent / "configs"
# Names of earlier versions, a file for each size of each network.
_ONCE_SHIPPED = re.compile(r"yolo/((yolo|rtdetr)[\w-]+)(\.yaml)?")


class Table(BaseModel):
    """A part of a config: no unknown keys, no changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ExperimentConfig(Table):
    """What every experiment says; each backend's config adds its own keys."""

    backend: str
    seed: int = Field(default=0, ge=0)

    @property
    def pretraining(self) -> str | None:
        """Where the weights come from that training starts with; None for random ones."""
        return None


def shipped_configs() -> list[str]:
    """Names that stand for a file: `unet` for configs/unet.yaml, `sample/unet` for configs/sample/unet.yaml."""
    return sorted(path.relative_to(SHIPPED).with_suffix("").as_posix() for path in SHIPPED.rglob("*.yaml"))


def find_config(source: str) -> Path:
    """The file behind a path or the name of a shipped config.

    Raises:
        HilumError: neither a file nor a shipped name.
    """
    path = Path(source)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{source.removesuffix('.yaml')}.yaml"
    if shipped.is_file() and shipped.resolve().is_relative_to(SHIPPED.resolve()):
        return shipped
    if once := _ONCE_SHIPPED.fullmatch(source):
        base, model = "rtdetr" if once[2] == "rtdetr" else "yolo26n", f"{once[1]}.yaml"
        raise HilumError(
            f"config '{source}': is no file of its own any more; write `hilum train {base} DATA RUN model={model}`, "
            f"or in a file `base: {base}` and `model: {model}`"
        )
    near = get_close_matches(source, shipped_configs(), 1)
    hint = f"did you mean '{near[0]}'?" if near else f"shipped are {', '.join(shipped_configs())}"
    raise HilumError(f"config '{source}': neither a YAML file nor the name of a shipped config; {hint}")


def load_config(source: str, overrides: Sequence[str] = (), *, trust: bool | None = False) -> ExperimentConfig:
    """Read, merge, override and check a config.

    Args:
        source: path of a YAML file, or the name of a shipped one.
        overrides: `a.b=value`, the value in YAML.
        trust: the user says that a pickle which the config names may be read; nothing to a backend that reads none.
            None leaves it as it is written, in a run's own record, whose pickle is not read again.

    Raises:
        HilumError: one line a problem, each with the file and the key.
    """
    path = find_config(source)
    values = _read(path, ())
    for override in overrides:
        _override(values, override)
    return check_config(values, where=str(path), trust=trust)


def check_config(values: Mapping[str, Any], where: str, *, trust: bool | None = False) -> ExperimentConfig:
    """Check plain values against the model of the backend that they name.

    Raises:
        HilumError: one line a problem; `where` names the source.
    """
    name = values.get("backend")
    if not isinstance(name, str):
        raise HilumError(f"{where}: backend: expected the name of a backend, got {name!r}")
    try:
        model = backend_class(name).Config
    except HilumError as error:
        raise HilumError(f"{where}: {error}") from error
    if trust is False and values.get("trust"):
        raise HilumError(f"{where}: trust: is not taken from a file, which can come from anybody; say --trust")
    trusted = {"trust": True} if trust and "trust" in model.model_fields else {}
    try:
        return model.model_validate({**values, **trusted}, context={"trust": trust})
    except ValidationError as error:
        raise HilumError("\n".join(f"{where}: {line}" for line in _explain(error, model))) from error
    except HilumError as error:  # of a config inside this one
        raise HilumError("\n".join(f"{where}: {line}" for line in str(error).splitlines())) from error


def nested_config(values: str | Mapping[str, Any], where: str, *, trust: bool | None = False) -> ExperimentConfig:
    """A config inside another one.

    Args:
        values: the name or path of a config, or keys, which may go on a `base:` as in a file.
        where: of it in the other one.
        trust: as in `load_config`.

    Raises:
        HilumError: one line a problem.
    """
    keys = {"base": values} if isinstance(values, str) else dict(values)
    base = keys.pop("base", None)
    try:
        merged = keys if base is None else _merge(_read(find_config(str(base)), ()), keys)
    except HilumError as error:
        raise HilumError(f"{where}: {error}") from error
    return check_config(merged, where, trust=trust)


def dump_config(config: ExperimentConfig) -> str:
    """The resolved config as YAML, as it is stored in a run folder."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


ConfigT = TypeVar("ConfigT", bound=ExperimentConfig)


def read_config(run: Path, model: type[ConfigT]) -> ConfigT:
    """The config stored in a run folder, as a backend's own model.

    Raises:
        HilumError: missing, damaged, or of another backend.
    """
    config = load_config(str(run / "config.yaml"), trust=None)
    if not isinstance(config, model):
        raise HilumError(f"{run / 'config.yaml'}: backend: '{config.backend}' is not read by {model.__name__}")
    return config


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise HilumError(f"{path}: base: the file is its own base")
    values = _from_here(read_yaml(path), path.parent)
    base = values.pop("base", None)
    if base is None:
        return values
    try:
        found = find_config(str(base))
    except HilumError as error:
        raise HilumError(f"{path}: base: {error}") from error
    return _merge(_read(found, (*seen, path.resolve())), values)


def _from_here(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With the paths of configs inside a config that lie beside its file, which may be read from elsewhere."""
    found = dict(values)
    for key, value in values.items():
        if isinstance(value, dict):
            found[key] = _from_here(value, folder)
        elif key in {"base", "config"} and isinstance(value, str) and (folder / value).is_file():
            found[key] = str(folder / value)
    return found


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise HilumError(f"override '{override}': expected key=value or table.key=value")
    value = parse_yaml(text, f"override '{override}'")
    for part in parts[:-1]:
        inner = values.get(part)
        values[part] = dict(inner) if isinstance(inner, dict) else {}
        values = values[part]
    values[parts[-1]] = value


def _explain(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"]) or "config"
        if problem["type"] == "extra_forbidden":
            known = _fields_at(model, problem["loc"][:-1])
            near = get_close_matches(str(problem["loc"][-1]), known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
            yield f"{where}: unknown key; {hint}"
        elif problem["type"] == "missing":
            yield f"{where}: this key is missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = "" if isinstance(problem["input"], dict | list) else f", got {problem['input']!r}"
            yield f"{where}: {message[0].lower()}{message[1:]}{given}"


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    parts = iter(path)
    for part in parts:
        field = model.model_fields.get(str(part))
        if field is not None and get_origin(field.annotation) is dict:
            next(parts, None)  # a name of the user's
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)
