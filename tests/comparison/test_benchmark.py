"""The benchmark: its files, its figures, that what is there is reused, and that two benchmarks can be compared."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from hilum.comparison import benchmark as benchmark_module
from hilum.comparison import cost, kept
from hilum.comparison.against import compare_benchmarks
from hilum.comparison.benchmark import Benchmark, benchmark
from hilum.comparison.measured import AVERAGE, NOTHING, predict_answers
from hilum.comparison.peak_memory import PeakMemory
from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.comparison.results import Entry, Results
from hilum.config import ExperimentConfig, check_config
from hilum.datasets.folder import Dataset
from hilum.documents import read_json
from hilum.errors import HilumError
from hilum.eval.answer import image_thresholds
from hilum.eval.measures import measure, scores_of
from hilum.predict import load
from hilum.run import json_text, write_json
from hilum.source_digest import digest_of, source_digest


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """One thread, each cost from a single call, and no process of its own for the memory: `test_cost.py` has that."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "peak_memory", lambda run, files: PeakMemory(1, float("nan")))
        patch.setattr(cost, "_AT_LEAST", 1)
        patch.setattr(cost, "_WARM_UP", 0)
        patch.setattr(cost, "BATCH_SIZE", 4)
        yield
    torch.set_num_threads(threads)


def configs(**changes: Any) -> dict[str, ExperimentConfig]:
    common = {"image_size": 32, "train": {"epochs": 1, "batch_size": 4}, "boxes": {"threshold": 0.3}} | changes
    return {
        "small resnet": check_config(
            {"backend": "resnet", "model": {"channels": 4, "blocks": 1, "depth": 2, "head": "plain"}} | common, "a.yaml"
        ),
        "small unet": check_config({"backend": "unet", "model": {"start_channels": 2, "depth": 2}} | common, "b.yaml"),
    }


def run(dataset: Path, out: Path, told: list[str] | None = None, **options: Any) -> Benchmark:
    tell = (told if told is not None else []).append
    wanted = options.pop("configs", None) or configs()
    return benchmark(Dataset.open(dataset), wanted, out, tell=tell, cost_seconds=0.0, **options)


@pytest.fixture(scope="module")
def done(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Benchmark]:
    out = tmp_path_factory.mktemp("benchmark")
    return out, run(dataset, out, command="hilum benchmark DATA")


def test_no_config_is_trained_before_all_can_start(dataset: Path, tmp_path: Path) -> None:
    wrong = {"backbone": "mobilenet_v3_small", "channels": 64, "weights": "/nowhere/w.pth"}
    detector = check_config({"backend": "torchvision", "image_size": 64, "model": wrong}, "c.yaml")
    with pytest.raises(HilumError, match=r"^detector: .*/nowhere/w\.pth"):
        run(dataset, tmp_path, configs={**configs(), "detector": detector})
    assert not list(tmp_path.rglob("*"))


def test_its_files(done: tuple[Path, Benchmark]) -> None:
    out, found = done
    table = (out / "table.md").read_text()
    assert NOT_A_DEVICE in table
    header = table.splitlines()[2]
    for name in (NOTHING, "all-background mask", AVERAGE, "small resnet", "small unet"):
        assert f"| {name} |" in header
    assert [entry.name for entry in found.results.entries] == [NOTHING, AVERAGE, "small resnet", "small unet"]
    assert len((out / "table.csv").read_text().splitlines()) == 6
    assert (out / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((out / "results.json").read_text())["command"] == "hilum benchmark DATA"


def test_its_figures_are_those_computed_directly(done: tuple[Path, Benchmark], dataset: Path) -> None:
    out, _ = done
    data = Dataset.open(dataset)
    holdout, val = data.split("holdout"), data.split("val")
    results = json.loads((out / "results.json").read_text())
    assert results["images"] == len(holdout)
    assert results["data_fingerprint"] == data.fingerprint
    by_name = {entry["name"]: entry for entry in results["entries"]}
    assert by_name[NOTHING]["score"]["estimate"] == 0
    for name in configs():
        predictor = load(out / "runs" / name)
        thresholds = image_thresholds(val, predict_answers(predictor, val)[0])
        figures = measure(holdout, predict_answers(predictor, holdout)[0], thresholds).figures
        expected = json.loads(json.dumps(figures.dump()))
        for key in ("score_at_or_above", "ap_coco", "images", "images_scored", "bounds", "mistakes"):
            assert by_name[name][key] == expected[key], (name, key)
        for key in ("score", "sensitivity", "auroc", "brier", "ap_competition", "sooner_share"):
            for part, value in expected[key].items():
                found = by_name[name][key][part]
                assert np.isnan(value) if found is None else found == pytest.approx(value), (name, key, part)
        assert by_name[name]["least_confidence"] == predictor.confidence
        assert by_name[name]["cost"]["latency_alone"]["p50_ms"] > 0
        assert len(by_name[name]["log"]) == 1
        difference = by_name[name]["above_nothing"]["estimate"]
        assert difference == pytest.approx(by_name[name]["score"]["estimate"])


def test_it_says_which_is_better_and_how_sure(done: tuple[Path, Benchmark]) -> None:
    results = done[1].results
    means = {group.name: group.score.estimate for group in results.groups}
    assert len(results.differences) == 6  # pairs of four
    for each in results.differences:
        assert each.score.estimate == pytest.approx(means[each.higher] - means[each.lower])
        assert each.score.estimate >= 0
        assert each.score.low <= each.score.estimate <= each.score.high


def test_again_it_reuses_runs_predictions_and_costs(
    done: tuple[Path, Benchmark], dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = done
    before = {path: path.stat().st_mtime_ns for part in ("runs", "predictions") for path in out.glob(f"{part}/**/*")}
    monkeypatch.setattr(kept, "predict_all", None)  # would be called
    monkeypatch.setattr(kept, "measure_cost", None)
    told: list[str] = []
    text = (out / "results.json").read_text()
    run(dataset, out, told, command="hilum benchmark DATA")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sum("reuses" in line for line in told) == 2
    assert (out / "results.json").read_text() == text


def test_predictions_of_other_weights_are_made_again(
    done: tuple[Path, Benchmark], dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(done[0], out)
    shutil.copytree(out / "predictions" / "small unet", out / "other")
    shutil.rmtree(out / "predictions" / "small resnet")
    shutil.move(out / "other", out / "predictions" / "small resnet")
    told: list[str] = []
    again = run(dataset, out, told)
    assert sum("predicts" in line for line in told) == 2  # val and holdout of the one
    assert [e.score for e in again.results.entries] == [e.score for e in done[1].results.entries]


def test_runs_of_other_code_are_reused_and_told_and_what_is_cheap_is_made_again(
    done: tuple[Path, Benchmark], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(done[0], out)
    path = out / "runs" / "small unet" / "environment.json"
    environment = json.loads(path.read_text())
    now = environment.pop("code")
    assert now == source_digest()
    path.write_text(json.dumps(environment))  # as of a run from before there was a digest
    told: list[str] = []
    found = run(dataset, out, told)
    assert not any("trains" in line or "predicts" in line for line in told)
    (line,) = [line for line in told if "other code" in line]
    assert line.startswith("small unet: reuses ")
    assert line.endswith(f"trained by other code of hilum {environment['hilum']} (digest unknown, now {now})")
    assert "- small unet was trained by other code, unknown." in (out / "table.md").read_text()
    assert found.results.code == now

    for module in (benchmark_module, kept):
        monkeypatch.setattr(module, "source_digest", lambda: "another")
    costs = []

    def count(*arguments: Any, **options: Any) -> cost.Cost:
        costs.append(arguments)
        return cost.measure_cost(*arguments, **options)

    monkeypatch.setattr(kept, "measure_cost", count)
    told.clear()
    run(dataset, out, told)
    assert sum("predicts" in line for line in told) == 4
    assert sum(f"(digest {now}, now another)" in line for line in told) == 1
    assert not any("trains" in line for line in told)
    assert len(costs) == 2


def test_costs_are_of_these_files(tmp_path: Path) -> None:
    one, other = tmp_path / "a.dcm", tmp_path / "b.dcm"
    one.write_bytes(b"12")
    other.write_bytes(b"12")
    keys = [kept._names_and_sizes(paths) for paths in ([one], [other], [one, other], [])]
    one.write_bytes(b"123")
    assert len({*keys, kept._names_and_sizes([one])}) == 5


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    package, inside = tmp_path / "package", tmp_path / "inside"
    package.mkdir()
    inside.mkdir()
    (package / "a.py").write_text("1")
    digests = [digest_of(package)]
    (package / "part").symlink_to(inside)
    (inside / "b.txt").write_text("no code")
    assert digest_of(package) == digests[0]
    for path, text in ((inside / "b.py", "2"), (inside / "b.py", "3"), (package / "c.py", "")):
        path.write_text(text)
        digests.append(digest_of(package))
    (package / "c.py").rename(package / "d.py")
    assert len({*digests, digest_of(package)}) == 5


def test_a_run_of_another_config_is_refused(done: tuple[Path, Benchmark], dataset: Path) -> None:
    with pytest.raises(HilumError, match="another config"):
        run(dataset, done[0], configs=configs(seed=9))


def test_the_order_of_keys_makes_no_other_config(done: tuple[Path, Benchmark], dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(done[0], out)
    for path in out.glob("runs/*/config.yaml"):
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()), sort_keys=True))
    told: list[str] = []
    run(dataset, out, told)
    assert sum("reuses" in line for line in told) == 2
    assert not any("predicts" in line for line in told)


def test_a_begun_run_of_another_config_is_refused_before_any_training(
    done: tuple[Path, Benchmark], dataset: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "runs" / "small unet"
    begun.mkdir(parents=True)
    for name in ("config.yaml", "environment.json", "log.jsonl"):
        shutil.copy(done[0] / "runs" / "small resnet" / name, begun)
    with pytest.raises(HilumError, match="small unet: a run of another config"):
        run(dataset, tmp_path)
    assert not (tmp_path / "runs" / "small resnet").exists()


def test_several_seeds_are_runs_of_their_own_and_one_group(dataset: Path, tmp_path: Path) -> None:
    one = {"net": configs()["small resnet"]}
    found = run(dataset, tmp_path, configs=one, seeds=3)
    assert [entry.name for entry in found.results.entries[2:]] == ["net-seed0", "net-seed1", "net-seed2"]
    assert [entry.seed for entry in found.results.entries[2:]] == [0, 1, 2]
    scores = [entry.score.estimate for entry in found.results.entries[2:]]
    group = next(group for group in found.results.groups if group.name == "net")
    assert group.runs == 3
    assert group.score.estimate == pytest.approx(np.mean(scores))
    assert group.sd_over_seeds == pytest.approx(np.std(scores, ddof=1))
    weights = [(tmp_path / "runs" / f"net-seed{seed}" / "weights.safetensors").read_bytes() for seed in range(3)]
    assert len(set(weights)) == 3


def test_two_benchmarks_are_compared_name_by_name(done: tuple[Path, Benchmark], dataset: Path, tmp_path: Path) -> None:
    other = run(dataset, tmp_path / "other", configs={"small resnet": configs(seed=4)["small resnet"]})
    same = compare_benchmarks(done[0], done[0], Dataset.open(dataset))
    assert [each.name for each in same] == ["small resnet", "small unet"]
    assert all(each.difference.estimate == each.difference.high == 0 for each in same)
    images = len(done[1].holdout)
    assert all(each.images.dump() == {"better": 0, "worse": 0, "alike": images} for each in same)
    (changed,) = compare_benchmarks(tmp_path / "other", done[0], Dataset.open(dataset))
    assert changed.new.estimate == pytest.approx(other.results.entries[2].score.estimate)
    assert changed.old.estimate == pytest.approx(done[1].results.entries[2].score.estimate)
    assert changed.difference.estimate == pytest.approx(changed.new.estimate - changed.old.estimate)
    answers = [found.measured[2].answer for found in (other, done[1])]
    new, old = (np.nan_to_num(scores_of(done[1].holdout, answer), nan=1) for answer in answers)
    counts = {"better": (new > old).sum(), "worse": (new < old).sum(), "alike": (new == old).sum()}
    assert changed.images.dump() == counts
    assert sum(counts.values()) == images
    results = json.loads((tmp_path / "other" / "results.json").read_text())
    (tmp_path / "other" / "results.json").write_text(json.dumps(results | {"data_fingerprint": "0"}))
    with pytest.raises(HilumError, match="other data"):
        compare_benchmarks(tmp_path / "other", done[0], Dataset.open(dataset))


def test_the_date_is_that_of_the_results_until_they_change(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    entry = Entry(name="a", score_at_or_above=float("nan"))
    results = Results(data_fingerprint="0", date="2026-02-03", images=3, entries=(entry,))
    assert benchmark_module._dated(results, path) == results
    write_json(path, results.model_copy(update={"date": "2025-12-31"}).dump())
    assert benchmark_module._dated(results, path).date == "2025-12-31"
    assert benchmark_module._dated(results.model_copy(update={"images": 4}), path).date == "2026-02-03"
    for text in ('{"images": 3}', "[]", "{", '{"data_fingerprint": "0", "entries": [], "date": 7}'):
        path.write_text(text)
        assert benchmark_module._dated(results, path) == results


def test_results_are_written_as_they_are_read(done: tuple[Path, Benchmark]) -> None:
    """Nothing is lost, added or moved: not what is null, nor what only some entries have."""
    path = done[0] / "results.json"
    assert json_text(read_json(path, Results).dump()) == path.read_text() == json_text(done[1].results.dump())


def test_results_of_an_older_version_are_read(tmp_path: Path) -> None:
    """They lack figures, which are NaN then, and are compared as any."""
    path = tmp_path / "results.json"
    entries = [{"name": "nothing predicted", "backend": None}, {"name": "a", "backend": "unet", "latency_ms": 3.5}]
    path.write_text(json.dumps({"hilum": "0.0.1", "data_fingerprint": "0", "entries": entries}))
    results = read_json(path, Results)
    assert [entry.is_baseline for entry in results.entries] == [True, False]
    assert np.isnan(results.entries[1].score.estimate)
    assert list(results.dump()["entries"]) == [entries[0], {"name": "a", "backend": "unet"}]
