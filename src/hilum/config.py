"""Experiment configs: YAML with `base:` and `a.b=value` overrides, checked against the backend's own model.

The backend is looked up first, so that a wrong key is named with its path and the nearest right one, and all wrong
keys are named at once.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Final, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from hilum.class_names import ONE_CLASS, check_class_names
from hilum.config_problems import ConfigError, Origin, Override, Problem, explain
from hilum.documents import parse_yaml, read_yaml, shown
from hilum.errors import HilumError
from hilum.kinds import mistaken
from hilum.plugins import cannot_be_used, config_class

RUN_CONFIG: Final = "config.yaml"
"""The resolved config in a run folder."""
SHIPPED = Path(__file__).parent / "configs"
# Names of earlier versions, a file for each size of each network.
_ONCE_SHIPPED = re.compile(r"yolo/((yolo|rtdetr)[\w-]+)(\.yaml)?")
# What a table is said to be by: where one of these is given over a base, the base's others do not count.
_ALTERNATIVES: Final[dict[str, set[str]]] = {"run": {"config", "folds"}, "config": {"run"}}
_Layers = list[tuple[str, dict[str, Any]]]  # a config's file and its bases, by name, the config itself last


class Table(BaseModel):
    """A part of a config: no unknown keys, no changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ExperimentConfig(Table):
    """What every experiment says; each backend's config adds its own keys.

    Attributes:
        class_names: Of what is looked for, by their ids. Training takes them from the data, and the run keeps them.
    """

    start_key: ClassVar[str | None] = None
    """The key that names what training starts with, such as `model.weights`; it takes the folder of a finished run."""
    backend: str
    seed: int = Field(default=0, ge=0)
    class_names: tuple[str, ...] = Field(default=ONE_CLASS, exclude_if=lambda names: names == ONE_CLASS)

    @field_validator("class_names")
    @classmethod
    def _tell_apart(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return check_class_names(names)
        except HilumError as error:
            raise ValueError(str(error)) from error

    def with_classes(self, names: tuple[str, ...]) -> Self:
        """The same experiment on data of these classes.

        Raises:
            HilumError: it names others.
        """
        if "class_names" in self.model_fields_set and self.class_names != names:
            raise HilumError(
                f"class_names: {', '.join(self.class_names)} are not those of the data, {', '.join(names)}; leave this "
                "key out, or convert with --classes"
            )
        return self.model_copy(update={"class_names": names}) if names != self.class_names else self

    @property
    def start(self) -> str:
        """What training starts with, as the config names it; `none` is random weights."""
        return "none" if self.start_key is None else str(attrgetter(self.start_key)(self))

    @property
    def starts_from(self) -> Path | None:
        """The folder of the run whose weights training starts with; None where it starts with something else."""
        folder = Path(self.start)
        return folder if self.start != "none" and _is_file(folder / RUN_CONFIG) else None

    @property
    def pretraining(self) -> str | None:
        """Where the weights come from that training starts with; None for random ones."""
        return None if self.start == "none" else Path(self.start).absolute().name

    @property
    def reported(self) -> dict[str, Any]:
        """What a publication says of this experiment, for a table that shows it beside what is measured here."""
        return {}


def builds(info: ValidationInfo) -> bool:
    """Whether a check may build the network, or ask the library that does: both import torch."""
    return bool((info.context or {}).get("builds", True))


def shipped_configs() -> list[str]:
    """Names that stand for a file: `unet` for configs/unet.yaml, `sample/unet` for configs/sample/unet.yaml."""
    return sorted(path.relative_to(SHIPPED).with_suffix("").as_posix() for path in SHIPPED.rglob("*.yaml"))


def title_of(shipped: str) -> str:
    """What a shipped config is: the sentence that its file begins with."""
    first = (SHIPPED / f"{shipped}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ").removesuffix(".")


def find_config(source: str) -> Path:
    """The file behind a path or the name of a shipped config.

    Raises:
        HilumError: neither a file nor a shipped name.
    """
    path = Path(source)
    if _is_file(path):
        return path
    shipped = SHIPPED / f"{source.removesuffix('.yaml')}.yaml"
    if _is_file(shipped) and shipped.resolve().is_relative_to(SHIPPED.resolve()):
        return shipped
    if mistake := mistaken(path, "a config"):
        raise HilumError(mistake)
    if once := _ONCE_SHIPPED.fullmatch(source):
        base, model = "rtdetr" if once[2] == "rtdetr" else "yolo26n", f"{once[1]}.yaml"
        raise HilumError(
            f"config '{source}': is no file of its own any more; write `hilum train {base} DATA RUN model={model}`, "
            f"or in a file `base: {base}` and `model: {model}`"
        )
    near = get_close_matches(source, shipped_configs(), 1)
    hint = f"did you mean '{near[0]}'?" if near else f"shipped are {', '.join(shipped_configs())}"
    what = "no such file" if path.suffix in {".yaml", ".yml"} else "neither a YAML file nor a shipped config's name"
    raise HilumError(f"config '{source}': {what}; {hint}")


def load_config(
    source: str, overrides: Sequence[str] = (), *, trust: bool | None = False, builds: bool = True
) -> ExperimentConfig:
    """Read, merge, override and check a config.

    Args:
        source: path of a YAML file, or the name of a shipped one.
        overrides: `a.b=value`, the value in YAML.
        trust: the user says that a pickle which the config names may be read; nothing to a backend that reads none.
            None leaves it as it is written, in a run's own record, whose pickle is not read again.
        builds: whether to check what only its network and the libraries behind it can tell.

    Raises:
        HilumError: one line a problem, each with the file, or the override, and the key.
    """
    path = find_config(source)
    *bases, (_, own) = layers = _read(path, ())
    values = _merged(layers)
    given = tuple(_override(values, override) for override in overrides)
    return _checked(values, Origin(str(path), tuple(bases), own, given), {"trust": trust, "builds": builds})


def check_config(values: Mapping[str, Any], where: str, *, trust: bool | None = False) -> ExperimentConfig:
    """Check plain values against the model of the backend that they name.

    Raises:
        HilumError: one line a problem; `where` names the source.
    """
    return _checked(values, Origin(where), {"trust": trust})


def nested_config(values: str | Mapping[str, Any], where: str, context: Mapping[str, Any]) -> ExperimentConfig:
    """A config inside another one.

    Args:
        values: the name or path of a config, or keys, which may go on a `base:` as in a file.
        where: of it in the other one.
        context: in which the other one is checked: `trust` and `builds`, as in `load_config`.

    Raises:
        ConfigError: what is wrong, as problems of the other one.
    """
    place = tuple(where.split("."))
    try:
        *bases, (_, own) = layers = _nested(values)
    except HilumError as error:
        raise ConfigError(Problem((), (), line).within(place) for line in error.lines) from error
    origin = Origin(where, tuple(bases), own)
    try:
        return _valid(_merged(layers), context)
    except ConfigError as error:
        raise ConfigError(origin.told_of_base(problem).within(place) for problem in error.problems) from error


def _nested(values: str | Mapping[str, Any]) -> _Layers:
    keys = {"base": values} if isinstance(values, str) else dict(values)
    base = keys.pop("base", None)
    return [*(() if base is None else _read(find_config(str(base)), ())), ("", keys)]


def _checked(values: Mapping[str, Any], origin: Origin, context: Mapping[str, Any]) -> ExperimentConfig:
    try:
        return _valid(values, context)
    except ConfigError as error:
        raise ConfigError(error.problems, map(origin.tell, error.problems)) from error


def _valid(values: Mapping[str, Any], context: Mapping[str, Any]) -> ExperimentConfig:
    name = values.get("backend")
    if not isinstance(name, str):
        raise ConfigError([_problem("backend", f"backend: expected the name of a backend, got {shown(name)}")])
    try:
        model: type[ExperimentConfig] = config_class(name)
    except HilumError as error:
        raise ConfigError([_problem("backend", str(error))]) from error
    trust = context.get("trust", False)
    if trust is False and values.get("trust"):
        what = "trust: is not taken from a file, which can come from anybody; say --trust"
        raise ConfigError([_problem("trust", what)])
    trusted = {"trust": True} if trust and "trust" in model.model_fields else {}
    try:
        return model.model_validate({**values, **trusted}, context=dict(context))
    except ImportError as error:  # of what a check asks
        raise ConfigError([_problem("backend", str(cannot_be_used(name, error)))]) from error
    except ValidationError as error:
        raise ConfigError(explain(error, model, values, _inner)) from error


def _problem(key: str, said: str) -> Problem:
    return Problem((key,), (key,), said)


def _inner(model: type[BaseModel], values: Any) -> tuple[type[BaseModel], Any]:
    """The model of a config inside another one is that of the backend which its values name."""
    if model is ExperimentConfig and isinstance(values, Mapping | str):
        with suppress(HilumError):
            values = _merged(_nested(values))
            return config_class(str(values.get("backend"))), values
    return model, values


def dump_config(config: ExperimentConfig) -> str:
    """The resolved config as YAML, as it is stored in a run folder."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


ConfigT = TypeVar("ConfigT", bound=ExperimentConfig)


def read_config(run: Path, model: type[ConfigT]) -> ConfigT:
    """The config stored in a run folder, as a backend's own model.

    Raises:
        HilumError: missing, damaged, or of another backend.
    """
    config = load_config(str(run / RUN_CONFIG), trust=None)
    if not isinstance(config, model):
        raise HilumError(f"{run / RUN_CONFIG}: backend: '{config.backend}' is not read by {model.__name__}")
    return config


def _read(path: Path, seen: tuple[Path, ...]) -> _Layers:
    """A config's file and the bases that it goes on, the first of them first."""
    if path.resolve() in seen:
        raise HilumError(f"{path}: base: the file is its own base")
    values = _from_here(read_yaml(path), path.parent)
    base = values.pop("base", None)
    if base is None:
        return [(str(path), values)]
    try:
        found = find_config(str(base))
    except HilumError as error:
        raise error.within(f"{path}: base") from error
    return [*_read(found, (*seen, path.resolve())), (str(path), values)]


def _from_here(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With the paths of configs inside a config that lie beside its file, which may be read from elsewhere."""
    found = dict(values)
    for key, value in values.items():
        if isinstance(value, dict):
            found[key] = _from_here(value, folder)
        elif key in {"base", "config"} and isinstance(value, str) and _is_file(folder / value):
            found[key] = str(folder / value)
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file's
        return False


def _merged(layers: _Layers) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for _, values in layers:
        merged = _merge(merged, values)
    return merged


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Go on a base, table by table; null takes a key away that the base gave.

    What says anew what a table is, takes all away that the base's table was: see `_ALTERNATIVES`, and another `base` or
    `backend` of a config inside.
    """
    merged = dict(base)
    for key, given in over.items():
        its, value = _as_table(key, base.get(key)), _as_table(key, given)
        if value is None and its is not None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(its, dict) and not (key == "config" and _is_another(value, its)):
            _put(merged, key, _merge(its, value))
        else:
            _put(merged, key, value)
    return merged


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    for other in () if value is None else _ALTERNATIVES.get(key, ()):
        values.pop(other, None)
    values[key] = value


def _is_another(config: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    return any(base.get(key) != config[key] for key in ("base", "backend") if key in config)


def _as_table(key: str, value: Any) -> Any:
    """A config inside that is given by its name, as the table that means the same."""
    return {"base": value} if key == "config" and isinstance(value, str) else value


def _override(values: dict[str, Any], override: str) -> Override:
    """Put a value in its place; tables on the way are made where there are none."""
    given, equals, text = override.partition("=")
    *tables, name = parts = tuple(given.strip().split("."))
    if not equals or not all(parts):
        raise HilumError(f"override {shown(override)}: expected key=value or table.key=value")
    value = parse_yaml(text, f"override {shown(override)}")
    for part in tables:
        inner = _as_table(part, values.get(part))
        _put(values, part, dict(inner) if isinstance(inner, dict) else {})
        values = values[part]
    if value is None and values.get(name) is not None:
        del values[name]
    else:
        _put(values, name, value)
    return Override(override, parts)
