"""Train or reuse every config on the same data, measure all on holdout, and put them side by side.

Whatever takes long is kept below the benchmark's folder as soon as it is there, runs, predictions and costs, each with
what it was made from: the same command again goes on where it was interrupted, and does again only what has changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.backend import epochs_chosen_by
from hilum.class_names import class_slug
from hilum.comparison.away_tables import away_markdown, away_rows
from hilum.comparison.cost import Cost, describe_machine
from hilum.comparison.external import Place, open_places
from hilum.comparison.kept import cost_of, predicted
from hilum.comparison.measured import Measured, compare_measured, entries_of, mean_measured
from hilum.comparison.of_class import OfClass
from hilum.comparison.pictures import choose_images, draw_comparison
from hilum.comparison.results import (
    RESULTS,
    SCORE,
    About,
    External,
    Machine,
    MaskFigures,
    Results,
    SplitMade,
    mean_mask,
)
from hilum.comparison.tables import table_csv, table_markdown, table_rows
from hilum.config import ExperimentConfig
from hilum.datasets.folder import Dataset, Split
from hilum.documents import read_json
from hilum.ensemble.composed import check_origin
from hilum.errors import HilumError
from hilum.eval.baselines import empty_mask
from hilum.files import refuse_links, write_atomically
from hilum.predict import Predictor, load
from hilum.run import (
    CONFIG,
    ENVIRONMENT,
    is_complete,
    json_text,
    read_environment,
    read_operating_point,
    run_config,
    write_json,
)
from hilum.source_digest import source_digest
from hilum.train_run import check_start, has_learned, same_experiment, train
from hilum.training.log import read_log

CHOSEN_ON_VAL = "epochs, operating points and thresholds were chosen on val"


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark found.

    Attributes:
        holdout: the split that is reported.
        measured: the baselines, then the configs in their order; the entries of the results are in the same order.
        results: all of it, as in `results.json`.
        classes: each of several classes by its name; the others are then of their mean, and `measured` sorts no
            mistakes. Empty where there is one class.
    """

    holdout: Split
    measured: Sequence[Measured]
    results: Results
    classes: Mapping[str, "Benchmark"] = field(default_factory=dict)


def benchmark(
    data: Dataset,
    configs: Mapping[str, ExperimentConfig | Path],
    out: Path,
    *,
    seeds: int = 1,
    tell: Callable[[str], None],
    warn: Callable[[str], None] | None = None,
    dicoms: Sequence[Path] = (),
    cost_seconds: float = 20.0,
    command: str = "",
    external: Mapping[str, Path] | None = None,
) -> Benchmark:
    """Train what is not trained yet, predict, measure on holdout, write the files.

    Args:
        data: the dataset folder.
        configs: name -> config, or the folder of a finished run, which is measured as it is.
        out: folder for `runs/<name>`, `predictions/<name>`, `results.json`, `table.csv`, `table.md`, `comparison.png`.
        seeds: how many runs of each config, with seeds that count up from the config's own; a finished run is one.
        tell: called with a line now and then.
        warn: called with a line on what flatters; `tell` where None.
        dicoms: files that throughput is measured on; the dataset's own pictures where there are none.
        cost_seconds: for timing, a run.
        command: that makes this again, for the record.
        external: name -> dataset folder of another source, where every run is measured too, as it was chosen at home.

    Raises:
        HilumError: a run in `out` is of another config, of other data, or of another version of hilum.
    """
    data = data if data.scratch else replace(data, scratch=out)
    holdout, val, training = data.split("holdout"), data.split("val"), data.split("train")
    if not len(holdout):
        raise HilumError(f"{data.path}: the holdout split has no image; convert more images")
    planned = list(_planned(configs, seeds, out / "runs"))
    places = open_places(external or {}, data, out)
    refuse_links(out, *(f"classes/{class_slug(name)}" for name in holdout.class_names))
    folders = ("val", "holdout", *(place.folder for place in places))
    refuse_links(out, *(f"predictions/{name}/{folder}" for name, *_ in planned for folder in folders))
    _check_all(planned, configs, data, out)  # before the first is trained
    for place in places:
        place.look(data, tell, warn)
    sides = [OfClass.begin(class_id, holdout, val, training, places) for class_id in range(len(holdout.class_names))]
    for name, group, config, run in planned:
        kept = out / "predictions" / name
        predictor = _trained(name, config, data, run, tell)
        chosen_on, at_home = (
            predicted(predictor, run, data, split, kept / split.name, name, tell) for split in (val, holdout)
        )
        away = [
            predicted(predictor, run, place.data, place.split, kept / place.folder, f"{name} at {place.name}", tell)
            for place in places
        ]
        tell(f"{name}: is measured")
        about = _about(config, run, cost_of(predictor, run, holdout, dicoms, kept / "cost.json", cost_seconds))
        for class_id, side in enumerate(sides):
            on_val, on_holdout, *elsewhere = (each[class_id] for each in (chosen_on, at_home, *away))
            side.measure(name, group, run, about, (on_val, on_holdout, elsewhere))

    def results(split: Split, on: Split, measured: Sequence[Measured], places: Sequence[Place], **more: Any) -> Results:
        found = [place.found(split, measured) for place in places]
        return results_of(data, split, on, measured, seeds, command, found, **more)

    of_classes = {}
    for name, side in zip(holdout.class_names, sides, strict=True):
        measured = side.measured
        if len(sides) > 1:  # masks were logged for all classes together
            measured = [replace(each, about=each.about.without_masks()) for each in measured]
        of_classes[name] = Benchmark(side.holdout, measured, results(side.holdout, side.val, measured, side.places))
    found = of_classes[holdout.class_names[0]]
    if len(sides) > 1:
        measured = mean_measured([side.measured for side in sides])
        for at, place in enumerate(places):
            place.measured += mean_measured([side.places[at].measured for side in sides])
        told = {name: each.results for name, each in of_classes.items()}
        masks = {"empty_mask_on_val": mean_mask([*told.values()])}
        mean = results(holdout, val, measured, places, classes=told)
        found = Benchmark(holdout, measured, mean.model_copy(update=masks), of_classes)
    found = replace(found, results=_dated(found.results, out / RESULTS))
    _write(out, found)
    return found


def _planned(
    configs: Mapping[str, ExperimentConfig | Path], seeds: int, runs: Path
) -> Iterator[tuple[str, str, ExperimentConfig, Path]]:
    """Name of the run, name of the config, config, folder of the run."""
    for group, config in configs.items():
        if isinstance(config, Path):
            yield group, group, run_config(config), config
            continue
        for more in range(seeds):
            seed = config.seed + more
            name = group if seeds == 1 else f"{group}-seed{seed}"
            yield name, group, config.model_copy(update={"seed": seed}), runs / name


def _check_all(
    planned: Sequence[tuple[str, str, ExperimentConfig, Path]],
    configs: Mapping[str, ExperimentConfig | Path],
    data: Dataset,
    out: Path,
) -> None:
    """Make sure that every config can be trained, or has a run that can be used."""
    checked = set()
    for name, group, config, run in planned:
        read_log(run)
        if run == configs[group]:
            check_origin(group, run, data)
            continue
        if not is_complete(run):
            refuse_links(out, f"runs/{name}")
        _check_reusable(run, config, data)
        if group not in checked and not same_experiment(run, config, data):  # seeds start alike
            checked.add(group)
            try:
                check_start(config, data)
            except HilumError as error:
                raise error.within(group) from error


def _about(config: ExperimentConfig, run: Path, cost: Cost) -> About:
    chosen_by = epochs_chosen_by(config)
    return About(
        backend=config.backend,
        seed=config.seed,
        cost=cost,
        log=read_log(run),
        val_figure=chosen_by if chosen_by != SCORE else read_operating_point(run).get("figure", SCORE),
        pretraining=config.pretraining,
        trained_by=read_environment(run).get("code") or "unknown",
        reported=config.reported,
    )


def _check_reusable(run: Path, config: ExperimentConfig, data: Dataset) -> None:
    begun = (run / CONFIG).is_file() and (run / ENVIRONMENT).is_file()
    if begun and has_learned(run) and not same_experiment(run, config, data):
        raise HilumError(
            f"{run}: a run of another config, other data or another version ({run_config(run).backend}, "
            f"hilum {read_environment(run).get('hilum')}); delete it or give another --out"
        )


def _trained(name: str, config: ExperimentConfig, data: Dataset, run: Path, tell: Callable[[str], None]) -> Predictor:
    other = _other_code(run)
    if is_complete(run):
        tell(f"{name}: reuses {run}{other}")
        return load(run)
    tell(f"{name}: trains {config.backend} into {run}{other}")
    return train(config, data, run)


def _other_code(run: Path) -> str:
    """What to say of a run that other code trained, or began to: this code may not train it alike."""
    if not (run / ENVIRONMENT).is_file():
        return ""
    about = read_environment(run)
    if (code := about.get("code")) == source_digest():
        return ""
    return f", trained by other code of hilum {about.get('hilum')} (digest {code or 'unknown'}, now {source_digest()})"


def results_of(
    data: Dataset,
    holdout: Split,
    val: Split,
    measured: Sequence[Measured],
    seeds: int,
    command: str,
    external: Sequence[External] = (),
    classes: Mapping[str, Results] | None = None,
) -> Results:
    """All that is told, of today."""
    groups, differences = compare_measured(measured)
    record = data.conversion
    made = {key: record[key] for key in ("kind", "seed", "options") if key in record}
    return Results(
        hilum=__version__,
        code=source_digest(),
        command=command,
        date=datetime.now(UTC).date().isoformat(),
        data_fingerprint=data.fingerprint,
        source=Dataset.open(data.root).conversion.get("source"),
        split_made=SplitMade(name=data.path.resolve().name if data.is_further_split else None, **made),
        patients_known=data.patients_known,
        images_without_patient=record.get("images_without_patient", 0),
        patients_on_both_sides=data.patients_shared("holdout"),
        split=holdout.name,
        images=len(holdout),
        patients=len(set(holdout.patients)),
        positive_images=int(holdout.positive.sum()),
        train_images=len(data.split("train")),
        val_images=len(val),
        val_shows_opacity=val.shows_opacity,
        chosen=CHOSEN_ON_VAL,
        seeds=seeds,
        machine=Machine(**describe_machine()),
        empty_mask_on_val=MaskFigures(**empty_mask(val.boxes_xyxy, val.sizes_wh)._asdict()),
        groups=groups,
        differences=differences,
        entries=entries_of(measured, {}),
        **({"external": tuple(external)} if external else {}),
        **({"classes": dict(classes)} if classes else {}),
    )


def _dated(results: Results, path: Path) -> Results:
    """The results; with the date of those that are there already, where nothing else has changed."""
    try:
        kept = date.fromisoformat(read_json(path, Results).date).isoformat()
        before = results.model_copy(update={"date": kept})
        return before if json_text(before.dump()) == path.read_text(encoding="utf-8") else results
    except (HilumError, OSError, ValueError):  # not there, or damaged: it is written anew
        return results


def class_folder(out: Path, name: str) -> Path:
    """Where the report, tables and pictures of one class of several lie."""
    return out / "classes" / class_slug(name)


def _write(out: Path, found: Benchmark) -> None:
    write_json(out / RESULTS, found.results.dump())
    _write_tables(out, found)
    for name, each in found.classes.items():
        _write_tables(class_folder(out, name), each)


def _write_tables(out: Path, found: Benchmark) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = table_rows(found.results)
    write_atomically(out / "table.csv", table_csv([*rows, *away_rows(found.results)]))
    write_atomically(out / "table.md", table_markdown(rows, found.results, away_markdown(found.results)))
    if not found.classes:
        shown = {each.name: each.answer for each in found.measured if each.run is not None}
        draw_comparison(found.holdout, shown, choose_images(found.holdout, 4, 2), out / "comparison.png")
