"""The report's sections on where its figures are from."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from hilum.comparison.results import Results
from hilum.documents import MAX_RECORD_BYTES
from hilum.errors import HilumError
from hilum.files import read_regular
from hilum.pages.page import Fold, Section, Table
from hilum.pages.series import Series, runs
from hilum.pages.wording import MISSING, many
from hilum.run import CONFIG, ENVIRONMENT


def origin(results: Results, configs: Sequence[Series]) -> Iterator[Section]:
    """Everything that the figures depend on, and the command."""
    known = results.patients_known
    rows = [
        ("Data", f"fingerprint {results.data_fingerprint}, source {results.source or 'unknown'}"),
        ("Split", f"{_split_made(results)}; trained on {many(results.train_images, 'image')}"),
        (
            "Reported on",
            f"{results.split}: {many(results.images, 'image')}, {results.positive_images:,} with opacity, "
            + (f"{results.patients:,} patients" if known else "patients not known"),
        ),
        *[
            (
                f"Away: {away.name}",
                (
                    f"fingerprint {away.data_fingerprint}, source {away.source or 'unknown'}; "
                    f"{'all labelled' if away.split == 'all' else away.split}: {many(away.images, 'image')}, "
                    f"{away.positive_images:,} with opacity"
                ),
            )
            for away in results.external
        ],
        ("Chosen on", f"val, {many(results.val_images, 'image')}: {results.chosen or MISSING}"),
        (
            "Seeds",
            ", ".join(f"{run.name}: {MISSING if run.seed is None else run.seed}" for _, run in runs(configs))
            or MISSING,
        ),
        ("Intervals", f"bootstrap over {'patients' if known else 'images'}, 2,000 resamples (500 for AP), 95%"),
        ("Date", f"{results.date}, UTC" if results.date else MISSING),
        ("hilum", f"{results.hilum}, code {results.code or 'unknown'}{_other_code(results)}"),
        ("Machine", machine_of(results)),
    ]
    folds = [
        Fold(f"{each.name}: {name}", text)
        for config in configs
        for each in config.measured
        for name in (CONFIG, ENVIRONMENT)
        if each.run is not None and (text := _read(each.run / name))
    ]
    yield Section(
        "Data, split, seeds, machine",
        "Everything that the figures depend on.",
        table=Table(("", ""), rows),
        folds=folds,
    )
    yield Section(
        "The same page again",
        "This command makes it; what is trained and predicted already is reused.",
        widget=f"<pre>{escape(results.command or MISSING)}</pre>",
    )


def machine_of(results: Results) -> str:
    """What times were measured on."""
    machine = results.machine
    if machine is None:
        return "an unknown machine"
    parts = [
        machine.cpu,
        many(machine.cpu_cores, "core") if machine.cpu_cores else "",
        f"{machine.memory_gib:g} GiB" if machine.memory_gib > 0 else "",
        ", ".join(machine.gpus) or "no GPU",
        machine.system,
        f"torch {machine.torch}" if machine.torch else "",
        many(machine.torch_threads, "thread") if machine.torch_threads else "",
    ]
    return ", ".join(part for part in parts if part)


def _other_code(results: Results) -> str:
    return "".join(
        f"; {entry.name} trained by other code, {entry.trained_by}"
        for entry in results.entries
        if entry.trained_by not in ("", results.code)
    )


def _split_made(results: Results) -> str:
    made = results.split_made
    seed = MISSING if made.seed is None else made.seed
    if not made.name:
        return f"that of the conversion, seed {seed}"
    options = "".join(
        f", {key} {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in made.options.items()
    )
    return f"{made.name}: {made.kind or MISSING}{options}, seed {seed}"


def _read(path: Path) -> str:
    try:
        return read_regular(path, MAX_RECORD_BYTES).decode(errors="replace").strip()
    except (OSError, HilumError):
        return ""
