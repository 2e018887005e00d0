"""Trackers of a training: what they are told, and that none of them can stop it."""

import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hilum.config import check_config, load_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.run import OPERATING_POINT
from hilum.train_run import train
from hilum.training.checkpoint import CHECKPOINT
from hilum.training.examples import draw_examples, examples
from hilum.training.log import read_log
from hilum.training.loggers import flat

PLUG_IN = """
told = []

class Keeping:
    def __init__(self, run, config, done):
        told.append(("open", run.name, config, done))

    def figures(self, epoch, figures):
        told.append(("figures", epoch, figures))

    def picture(self, name, pixels):
        told.append(("picture", name, pixels))

    def close(self):
        told.append(("close",))

class Failing(Keeping):
    def figures(self, epoch, figures):
        raise RuntimeError("no such host\\nat all")

class Closed:
    def __init__(self, run, config, done):
        raise OSError("no key")
"""
UNET = {"backend": "unet", "image_size": 32, "model": {"start_channels": 2, "depth": 2}}
YOLO = {
    "backend": "yolo",
    "image_size": 32,
    "model_yaml": {"scales": {"n": [0.33, 0.03125, 256]}},
    "ultralytics": {"workers": 0, "mosaic": 0.0},
}


@pytest.fixture
def told(install):
    install("keeping_logger", PLUG_IN, "hilum.loggers", ["Keeping", "Failing", "Closed"])
    import keeping_logger

    return keeping_logger.told


def config(loggers, values=UNET, epochs=2):
    return check_config({**values, "train": {"epochs": epochs, "batch_size": 16, "loggers": loggers}}, "test")


def test_loggers_get_config_figures_and_pictures_and_none_stops_a_training(told, dataset, tmp_path, caplog):
    logging.getLogger("hilum").addHandler(caplog.handler)
    try:
        train(config(["failing", "keeping", "closed"]), Dataset.open(dataset), tmp_path / "run")
    finally:
        logging.getLogger("hilum").removeHandler(caplog.handler)
    log = read_log(tmp_path / "run")
    kept = [what for what in told if what[0] != "open"][: len(log) + 4]
    figures = [what for what in kept if what[0] == "figures"]
    assert [epoch for _, epoch, _ in figures] == [1, 2]
    assert figures[0][2] == {name: value for name, value in log[0].items() if name != "epoch"}
    opened = [what for what in told if what[0] == "open"]
    assert [(run, done) for _, run, _, done in opened] == [("run", 0)] * 2 + [("run", 2)] * 2
    assert opened[0][2]["train.epochs"] == 2
    assert opened[0][2]["model.start_channels"] == 2
    pictures = {what[1]: what[2] for what in told if what[0] == "picture"}
    assert set(pictures) == {"curves", "val"}
    assert {(pixels.dtype, pixels.ndim, pixels.shape[2]) for pixels in pictures.values()} == {(np.dtype("u1"), 3, 3)}
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    goes_on = "training goes on without it"
    assert said[:2] == [f"logger 'closed': no key; {goes_on}", f"logger 'failing': no such host; {goes_on}"]
    train(config([]), Dataset.open(dataset), tmp_path / "without")
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("run", "without")]
    assert weights[0] == weights[1]


def test_one_that_is_not_there_is_told_before_anything_is_written(told, dataset, tmp_path):
    with pytest.raises(HilumError, match=r"^train\.loggers: logger: no logger is called 'keepin'.*mean 'keeping'\?$"):
        train(config(["keepin"]), Dataset.open(dataset), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("values", [UNET, pytest.param(YOLO, id="yolo")])
def test_the_key_of_before_is_read(values, tmp_path):
    assert config([], values).train.loggers == ()
    for said, meant in ((True, ("tensorboard",)), (False, ())):
        old = {**values, "train": {"epochs": 1, "batch_size": 2, "tensorboard": said}}
        assert check_config(old, "test").train.loggers == meant
    with pytest.raises(HilumError, match="tensorboard"):
        check_config({**values, "train": {"epochs": 1, "batch_size": 2, "tensorboard": "RUN"}}, "test")


def test_off_a_run_says_nothing_of_it(tiny_run):
    assert "loggers" not in (tiny_run / "config.yaml").read_text()
    assert load_config(str(tiny_run / "config.yaml")).train.loggers == ()


def mlflow_run(run: Path):
    """The one MLflow run in a run folder, and what asks for it."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = mlflow.MlflowClient(tracking_uri=(run / "mlflow" / "store").as_uri())
        (experiment,) = (found for found in client.search_experiments() if found.name == "hilum")
        (only,) = client.search_runs([experiment.experiment_id])
    return client, only


@pytest.mark.skipif(not find_spec("mlflow"), reason="needs the extra `mlflow`")
def test_mlflow_holds_the_run_and_nothing_twice(dataset, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run, data = tmp_path / "run", Dataset.open(dataset)
    from hilum.training import loop

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # in the first epoch, told already
        patch.setattr(loop, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config(["mlflow"]), data, run)
    assert not (run / CHECKPOINT).exists()
    train(config(["mlflow"]), data, run)
    client, found = mlflow_run(run)
    log = read_log(run)
    for name in ("train_loss", "val_score"):
        shown = [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, name)]
        assert shown == [(line["epoch"], pytest.approx(line[name])) for line in log]
    said = flat(config(["mlflow"]).model_dump(mode="json"))
    assert found.data.params == {name: str(value) for name, value in said.items()}
    assert found.info.status == "FINISHED"
    assert {each.path for each in client.list_artifacts(found.info.run_id)} == {"curves.png", "val.png"}


@pytest.mark.skipif(not find_spec("mlflow"), reason="needs the extra `mlflow`")
def test_a_store_that_the_user_names_is_taken(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "theirs").as_uri())
    train(config(["mlflow"], epochs=1), Dataset.open(dataset), tmp_path / "run")
    assert (tmp_path / "theirs").is_dir()
    assert [path.name for path in (tmp_path / "run" / "mlflow").iterdir()] == ["run_id"]


@pytest.mark.skipif(not find_spec("ultralytics"), reason="needs the extra `yolo`")
def test_yolo_tells_its_loggers(dataset, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loggers = ["tensorboard", *(["mlflow"] if find_spec("mlflow") else [])]
    train(config(loggers, YOLO), Dataset.open(dataset), tmp_path / "run")
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    log = read_log(tmp_path / "run")
    assert [(each.step, each.value) for each in events.Scalars("train_loss")] == [
        (line["epoch"], pytest.approx(line["train_loss"])) for line in log
    ]
    assert {"losses.box_loss", "learning_rate", "val_score"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == {"curves", "val"}
    assert events.Tags()["tensors"] == ["config/text_summary"]
    if "mlflow" in loggers:
        client, found = mlflow_run(tmp_path / "run")
        assert found.data.metrics["train_loss"] == pytest.approx(log[-1]["train_loss"])
        assert len(client.list_artifacts(found.info.run_id)) == 2
    assert (tmp_path / "run" / OPERATING_POINT).is_file()


def test_examples_show_truth_and_what_was_found(dataset, tiny_run):
    import hilum

    val = Dataset.open(dataset).split("val")
    numbers = examples(val, 6)
    assert [bool(val.positive[number]) for number in numbers] == sorted(val.positive[numbers], reverse=True)
    assert len(numbers) <= 6
    found = list(hilum.load(tiny_run).predict([val.paths[number] for number in numbers], confidence=1.0))
    sheet = draw_examples(val, numbers, found)
    assert sheet.shape[2] == 3
    assert ((sheet == (0, 158, 115)).all(axis=2)).any()  # the truth
    assert not ((sheet == (230, 159, 0)).all(axis=2)).any()  # nothing was kept
