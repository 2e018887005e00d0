"""Train or reuse every config on the same data, measure all on holdout, and put them side by side.

Whatever takes long is kept below the benchmark's folder as soon as it is there, runs, predictions and costs, each with
what it was made from: the same command again goes on where it was interrupted, and does again only what has changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from hilum import __version__
from hilum.comparison.cost import Cost, describe_machine
from hilum.comparison.kept import cost_of, predicted
from hilum.comparison.pairwise import compare_groups
from hilum.comparison.pictures import choose_images, draw_comparison
from hilum.comparison.results import RESULTS, SCORE, About, Entry, Machine, MaskFigures, Results, SplitMade
from hilum.comparison.tables import table_csv, table_markdown, table_rows
from hilum.config import ExperimentConfig
from hilum.datasets.boxes import xyxy_to_xywh
from hilum.datasets.folder import Dataset, Split
from hilum.documents import read_json
from hilum.ensemble.composed import check_origin
from hilum.errors import HilumError
from hilum.eval.answer import Answer, Threshold, everywhere, image_thresholds, nothing
from hilum.eval.baselines import average_boxes, empty_mask
from hilum.eval.bootstrap import Resampled
from hilum.eval.measures import Measures, measure
from hilum.files import refuse_links, write_atomically
from hilum.predict import Predictor, load, predict_all
from hilum.result import of_class
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
from hilum.train import check_start, has_learned, same_experiment, train
from hilum.training.log import read_log

AVERAGE = "two average boxes"
NOTHING = "nothing predicted"
CHOSEN_ON_VAL = "epochs, operating points and thresholds were chosen on val"


@dataclass(frozen=True)
class Measured:
    """What an entry of the results is made from.

    Attributes:
        name, group: as in the results.
        answer: on holdout.
        measures: of that answer.
        run: its folder; None for a baseline.
        about: what else is known of the run.
    """

    name: str
    group: str
    answer: Answer
    measures: Measures
    run: Path | None
    about: About


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark found.

    Attributes:
        holdout: the split that is reported.
        measured: the baselines, then the configs in their order; the entries of the results are in the same order.
        results: all of it, as in `results.json`.
    """

    holdout: Split
    measured: Sequence[Measured]
    results: Results


def benchmark(
    data: Dataset,
    configs: Mapping[str, ExperimentConfig | Path],
    out: Path,
    *,
    seeds: int = 1,
    tell: Callable[[str], None],
    dicoms: Sequence[Path] = (),
    cost_seconds: float = 20.0,
    command: str = "",
) -> Benchmark:
    """Train what is not trained yet, predict, measure on holdout, write the files.

    Args:
        data: the dataset folder.
        configs: name -> config, or the folder of a finished run, which is measured as it is.
        out: folder for `runs/<name>`, `predictions/<name>`, `results.json`, `table.csv`, `table.md`, `comparison.png`.
        seeds: how many runs of each config, with seeds that count up from the config's own; a finished run is one.
        tell: called with a line now and then.
        dicoms: files that throughput is measured on; the dataset's own pictures where there are none.
        cost_seconds: for timing, a run.
        command: that makes this again, for the record.

    Raises:
        HilumError: a run in `out` is of another config, of other data, or of another version of hilum.
    """
    data = data if data.scratch else replace(data, scratch=out)
    holdout, val, training = data.split("holdout"), data.split("val"), data.split("train")
    if not len(holdout):
        raise HilumError(f"{data.path}: the holdout split has no image; convert more images")
    planned = list(_planned(configs, seeds, out / "runs"))
    _check_all(planned, configs, data, out)  # before the first is trained
    baselines = {NOTHING: nothing(holdout), AVERAGE: everywhere(average_boxes(training, holdout))}
    measured = [
        Measured(name, name, answer, measure(holdout, answer, {}), None, About(backend=None))
        for name, answer in baselines.items()
    ]
    for name, group, config, run in planned:
        kept = out / "predictions" / name
        predictor = _trained(name, config, data, run, tell)
        answers = {
            split.name: predicted(predictor, run, data, split, kept / split.name, name, tell)
            for split in (val, holdout)
        }
        thresholds: Mapping[str, Threshold] = image_thresholds(val, answers["val"])
        tell(f"{name}: is measured")
        cost = cost_of(predictor, run, holdout, dicoms, kept / "cost.json", cost_seconds)
        measures = measure(holdout, answers["holdout"], thresholds)
        measured.append(Measured(name, group, answers["holdout"], measures, run, _about(config, run, cost)))
    results = _dated(results_of(data, holdout, val, measured, seeds, command), out / RESULTS)
    _write(out, holdout, measured, results)
    return Benchmark(holdout, measured, results)


def predict_split(predictor: Predictor, split: Split) -> Answer:
    """The answer of a predictor of one class; see `predict_answers`."""
    (answer,) = predict_answers(predictor, split).values()
    return answer


def predict_answers(predictor: Predictor, split: Split) -> dict[str, Answer]:
    """Every box of a split above the backend's floor, by its class, with the predictor's operating point.

    Raises:
        HilumError: pictures that cannot be read, a line each: a score over the others would flatter.
    """
    results = predict_all(predictor, split.paths)
    names, least = predictor.class_names, predictor.confidence
    answers = {}
    for class_id, name in enumerate(names):
        found = [r.detections if len(names) == 1 else of_class(r.detections, class_id) for r in results]
        shows = [r.class_probabilities[class_id] if len(names) > 1 else r.image_probability for r in results]
        answers[name] = Answer(
            [xyxy_to_xywh(each.xyxy) for each in found],
            [np.asarray(each.confidence, np.float64) for each in found],
            least[class_id] if isinstance(least, tuple) else least,
            np.array(shows, np.float64),
        )
    return answers


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
        refuse_links(out, *(f"predictions/{name}/{split}" for split in ("val", "holdout")))
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
    return About(
        backend=config.backend,
        seed=config.seed,
        cost=cost,
        log=read_log(run),
        val_figure=read_operating_point(run).get("figure", SCORE),
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
    data: Dataset, holdout: Split, val: Split, measured: Sequence[Measured], seeds: int, command: str
) -> Results:
    """All that is told, of today."""
    scores = {each.name: each.measures.score for each in measured}
    runs: dict[str, list[Resampled]] = {}
    for each in measured:
        runs.setdefault(each.group, []).append(scores[each.name])
    groups, differences = compare_groups(runs, {each.group for each in measured if each.about.backend is not None})
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
        patients_on_both_sides=data.patients_shared(holdout.name),
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
        entries=tuple(
            Entry(
                name=each.name,
                group=each.group,
                **each.about.given(),
                **each.measures.figures.given(),
                above_nothing=(scores[each.name] - scores[NOTHING]).interval(),
                above_average_boxes=(scores[each.name] - scores[AVERAGE]).interval(),
            )
            for each in measured
        ),
    )


def _dated(results: Results, path: Path) -> Results:
    """The results; with the date of those that are there already, where nothing else has changed."""
    try:
        kept = date.fromisoformat(read_json(path, Results).date).isoformat()
        before = results.model_copy(update={"date": kept})
        return before if json_text(before.dump()) == path.read_text(encoding="utf-8") else results
    except (HilumError, OSError, ValueError):  # not there, or damaged: it is written anew
        return results


def _write(out: Path, holdout: Split, measured: Sequence[Measured], results: Results) -> None:
    write_json(out / RESULTS, results.dump())
    rows = table_rows(results)
    write_atomically(out / "table.csv", table_csv(rows))
    write_atomically(out / "table.md", table_markdown(rows, results))
    shown = {each.name: each.answer for each in measured if each.run is not None}
    draw_comparison(holdout, shown, choose_images(holdout, 4, 2), out / "comparison.png")
