"""`hilum benchmark`: several configs side by side."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hilum.commands.arguments import CONFIG_OR_RUN, DATA, check_order
from hilum.commands.options import AnyPath, Positive, check_values, path_of
from hilum.commands.pictures import picture_paths
from hilum.commands.terminal import say, table
from hilum.errors import HilumError
from hilum.talk import log

if TYPE_CHECKING:
    from hilum.comparison.results import Change, Results
    from hilum.config import ExperimentConfig


@dataclass(frozen=True)
class Benchmarked:
    """What a benchmark found.

    Attributes:
        path: its folder.
        results: as `results.json` has them; an entry a baseline and a run, with its figures and their intervals.
        changes: since the earlier benchmark, one a name; empty where none was given.
    """

    path: Path
    results: "Results"
    changes: "tuple[Change, ...]" = ()


def benchmark(
    data: AnyPath,
    *configs: AnyPath,
    out: AnyPath = Path("benchmark"),
    seeds: Positive = 1,
    dicom: AnyPath | None = None,
    external: Annotated[list[str] | None, Parameter(negative="")] = None,
    against: AnyPath | None = None,
    trust: bool = False,
) -> Benchmarked:
    """Train or reuse several configs on the same data and put them side by side, with trivial baselines and bounds.

    Interrupted, the same command again goes on: what is there, runs, predictions, costs, is used.

    Args:
        data: Dataset folder.
        configs: Paths of YAML files, or names of shipped ones, or folders of finished runs, exported ones too; the
            file's or folder's name becomes the config's. None is needed with --against.
        out: Folder for runs, predictions, report.html, table.csv, table.md, results.json and comparison.png.
        seeds: Runs of each config, with seeds that count up from its own.
        dicom: Folder of DICOM files to measure throughput on; the dataset's own pictures where not given.
        external: NAME=FOLDER, a dataset folder of another source, once for each: every run is measured there too, as it
            was chosen at home, and report.html says whether it travels.
        against: The folder of an earlier benchmark on the same data: what changed, name by name, image by image.
        trust: Unpickle the .pt files that configs start from, which can run code; without, they are read as data.

    Examples:
        >>> import hilum
        >>> found = hilum.benchmark("DATA", "RUN", out="BENCHMARK")
        >>> [entry.name for entry in found.results.entries if not entry.is_baseline]
        ['RUN']
        >>> (found.path / "report.html").is_file()
        True
    """
    check_values(benchmark, locals())
    from hilum.comparison.against import compare_benchmarks
    from hilum.comparison.benchmark import benchmark as run
    from hilum.comparison.results import RESULTS, Results
    from hilum.datasets.folder import Dataset
    from hilum.documents import read_json
    from hilum.hub import folder_of, is_address
    from hilum.pages.report import write_report
    from hilum.run import write_json

    if not configs and against is None:
        raise HilumError("no config given; for example: hilum benchmark DATA resnet unet yolo26n")
    if not configs and external:
        raise HilumError("--external: no config given to be measured there; for example: hilum benchmark DATA unet ...")
    named = [str(folder_of(config) if is_address(config) else config) for config in configs]
    data, out, dicom, against = Path(data), Path(out), path_of(dicom), path_of(against)
    check_order("benchmark", (DATA, data), *((CONFIG_OR_RUN, config) for config in named))
    elsewhere = _external(external or [])
    loaded = _load(named, trust=trust)
    dataset = Dataset.open(data)
    if loaded:
        options = ["--out", str(out), "--seeds", str(seeds), *(["--dicom", str(dicom)] if dicom else [])]
        options += [word for given in external or [] for word in ("--external", given)]
        options += ["--trust"] if trust else []
        command = shlex.join(["hilum", "benchmark", str(data), *named, *options])
        files = picture_paths(dicom) if dicom else []
        found = run(
            dataset,
            loaded,
            out,
            seeds=seeds,
            tell=log.info,
            warn=log.warning,
            dicoms=files,
            command=command,
            external=elsewhere,
        )
        write_report(out / "report.html", found)
    changes = compare_benchmarks(out, against, dataset) if against else []
    if against:
        write_json(out / "against.json", {"against": against.name, "differences": [each.dump() for each in changes]})
    return Benchmarked(out, read_json(out / RESULTS, Results), tuple(changes))


def show_benchmark(found: Benchmarked, data: Path, *configs: str, against: Path | None = None, **_: object) -> None:
    """Print the figures, and what changed."""
    from hilum.comparison.away_tables import travel_notes, travel_table
    from hilum.comparison.tables import difference_table, short_table, table_rows

    out = found.path
    if configs:
        classes = found.results.classes
        title = f"{data}, holdout{found.results.mean_of}"
        table(*short_table(table_rows(found.results)), title=title, figures=True)
        for name, results in classes.items():
            table(*short_table(table_rows(results)), title=f"{data}, holdout, {name}", figures=True)
        for name, results in (classes or {"": found.results}).items():
            for away in results.external:
                which = f", {name}" if name else ""
                table(*travel_table(away.entries), title=f"{away.name} beside {data}, holdout{which}", figures=True)
                say(*travel_notes(away.entries))
        written = ("report.html", "table.md", "table.csv", "results.json", "classes" if classes else "comparison.png")
        say(*(str(out / name) for name in written))
    if against:
        title = f"{out} against {against}, competition score on holdout"
        table(*difference_table(found.changes), title=title)


def _load(configs: Sequence[str], *, trust: bool) -> "dict[str, ExperimentConfig | Path]":
    """The configs, and the folders of runs, by name.

    All are read before anything is trained: a typing error in the last shall not cost the first's hours.
    """
    from hilum.config import load_config

    runs = {config for config in configs if _is_run(config)}
    for config in configs:
        if config not in runs and _holds_run(config):
            log.warning("%s: the shipped config is meant; ./%s would be the run in this folder", config, config)
    names = [
        Path(config).absolute().name
        if config in runs
        else (Path(config).stem if Path(config).is_file() else config.replace("/", "-"))
        for config in configs
    ]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise HilumError(f"config '{twice[0]}' is given twice, or two files share this name; name each once")
    return {
        name: Path(config) if config in runs else load_config(config, trust=trust)
        for name, config in zip(names, configs, strict=True)
    }


def _external(given: Sequence[str]) -> dict[str, Path]:
    """The folders by name."""
    found: dict[str, Path] = {}
    for each in given:
        name, sign, folder = each.partition("=")
        if not sign or not folder:
            raise HilumError(f"--external {each}: expected NAME=FOLDER, as in --external siim=DATA2")
        if name in found:
            raise HilumError(f"--external {name}: is given twice; give each data set a name of its own")
        found[name] = Path(folder)
    return found


def _is_run(source: str) -> bool:
    from hilum.config import shipped_configs

    return source not in shipped_configs() and _holds_run(source)


def _holds_run(folder: str) -> bool:
    return (Path(folder) / "config.yaml").is_file()
