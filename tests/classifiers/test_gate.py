import json
import shutil

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("timm")

import hilum
from hilum.classifiers.gate import GateClassifier
from hilum.classifiers.gate_network import GateNetwork
from hilum.comparison.evaluate import evaluate
from hilum.config import check_config
from hilum.datasets.folder import Dataset
from hilum.errors import HilumError
from hilum.eval.image_level import auroc
from hilum.train_run import train
from hilum.training.calibrating import Wish
from hilum.training.checkpoint import save_weights
from hilum.training.log import read_log
from hilum.training.pretrained import start_encoder
from hilum.tune_run import tune

GATE = {
    "backend": "gate",
    "image_size": 64,
    "target": "three_classes",
    "model": {"name": "test_resnet"},
    "train": {"epochs": 4, "batch_size": 8, "learning_rate": 0.003},
    "augmentation": {"translate": 0.03},
}


@pytest.fixture(scope="module")
def data(dataset):
    return Dataset.open(dataset)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate") / "run"
    train(check_config(GATE, "test"), data, folder)
    return folder


def config(**values):
    return check_config({**GATE, **values}, "test")


def test_it_learns_and_keeps_the_best_epoch(run, data):
    log = read_log(run)
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    val = data.split("val")
    positive = [len(boxes) > 0 for boxes in val.boxes_xyxy]
    said = [result.image_probability for result in hilum.load(run).predict(val.paths)]
    best = max(line["val_score"] for line in log)
    assert auroc(positive, said) == pytest.approx(best, abs=0.05)  # the squares of a batch, or one by one
    chosen = json.loads((run / "operating_point.json").read_text())
    assert chosen["figure"] == "image AUROC"
    assert chosen["val_score"] == pytest.approx(auroc(positive, said))
    assert 0 <= chosen["confidence"] <= 1


def test_a_batch_is_as_large_as_the_config_says(data, tmp_path, monkeypatch):
    images, seen = len(data.split("train")), []

    def record(*args, **settings):
        seen.extend(settings["batches"](0))
        raise HilumError("seen")

    monkeypatch.setattr("hilum.network_backend.fit", record)
    size = images // 2 + 1
    with pytest.raises(HilumError, match="seen"):
        train(config(train={"epochs": 1, "batch_size": size}), data, tmp_path)
    assert [len(batch) for batch in seen] == [size, images - size]
    assert sorted(np.concatenate(seen).tolist()) == list(range(images))


def test_an_image_has_one_probability_alone_and_in_company(run, data):
    backend = hilum.load(run).backend
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in data.split("train").paths[:4]]
    images.insert(1, np.ascontiguousarray(images[0][:, :300]))

    def probability(images):
        return np.array([found.metadata["image_probability"] for found in backend.predict_batch(images)])

    together = probability(images)
    assert together.shape == (5,)
    assert ((together > 0) & (together < 1)).all()
    assert len(set(together.round(6))) == 5
    np.testing.assert_allclose([probability([image])[0] for image in images], together, atol=1e-5)
    assert backend.predict_batch([]) == []


@pytest.mark.parametrize("wish", [None, Wish("fp_per_image", 0.25)])
def test_what_has_no_boxes_has_no_operating_point_of_boxes(run, data, wish):
    before = (run / "operating_point.json").read_bytes()
    with pytest.raises(HilumError, match="nothing to tune"):
        tune(run, data, wish=wish)
    assert (run / "operating_point.json").read_bytes() == before


def test_its_results_have_no_box_and_a_probability(run, data):
    for result in hilum.load(run).predict(data.split("holdout").paths):
        assert len(result.detections) == 0
        assert 0 < result.image_probability < 1


def test_it_is_evaluated_like_any_backend(run, data):
    results, problems = evaluate(run, data, "holdout")
    (row,) = (row for row in results.entries if row.name == "run")
    holdout = data.split("holdout")
    said = [result.image_probability for result in hilum.load(run).predict(holdout.paths)]
    positive = [len(boxes) > 0 for boxes in holdout.boxes_xyxy]
    assert row.auroc.estimate == pytest.approx(auroc(positive, said))
    assert problems == []


def test_two_epochs_and_two_resumed_are_four(data, run, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    calls = []
    validate = GateClassifier.validate

    def killed_in_the_third(self, *args):
        calls.append(1)
        if len(calls) == 3:
            raise KilledError
        return validate(self, *args)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(GateClassifier, "validate", killed_in_the_third)
        with pytest.raises(KilledError):
            train(config(), data, folder)
    train(config(), data, folder)
    assert [line["epoch"] for line in read_log(folder)] == [1, 2, 3, 4]
    assert (folder / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()


def test_a_split_of_one_kind_is_refused(data, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    shutil.copytree(data.path, folder, ignore=shutil.ignore_patterns("splits", "cache"))
    coco = json.loads((folder / "annotations" / "val.json").read_text())
    (folder / "annotations" / "val.json").write_text(json.dumps({**coco, "annotations": []}))
    with pytest.raises(HilumError, match="the val split needs images with opacity, and without"):
        train(config(), Dataset.open(folder), tmp_path / "run")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"name": "resnet19"}}, "no 'resnet19' in timm .*did you mean 'resnet1"),
        ({"model": {"name": "test_resnet", "weight": "hub"}}, "did you mean 'weights'"),
        ({"target": "two"}, "target"),
        ({"train": {"epochs": 1, "batch_size": 1}}, "batch_size"),
        ({"augmentation": {"flips": 1}}, "did you mean 'flip'"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(HilumError, match=message):
        config(**values)


def test_a_size_that_the_network_does_not_take_is_named():
    with pytest.raises(HilumError, match="test_vit cannot be built for image_size 65"):
        config(model={"name": "test_vit"}, image_size=65).network()
    config(model={"name": "test_vit"}, image_size=96).network()


def test_pretrained_weights_go_into_all_but_the_last_layer(tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(1)
    colour = timm.create_model("test_resnet", pretrained=False, num_classes=10)
    path = tmp_path / "model.safetensors"
    save_file(colour.state_dict(), path)
    network = GateNetwork("test_resnet", 3, 0.0, 64).eval()
    head = network.head.weight.clone()
    start_encoder(network.encoder, str(path), "", lambda: ("", None))
    assert torch.equal(network.head.weight, head)
    grey = torch.rand(2, 1, 64, 64)
    features = colour.eval().forward_head(colour.forward_features(grey.expand(-1, 3, -1, -1)), pre_logits=True)
    torch.testing.assert_close(network.encoder(grey), features, atol=1e-4, rtol=1e-4)
    settings = config(model={"name": "test_resnet", "weights": str(path)})
    assert settings.pretraining == "model.safetensors"


def test_damaged_weights_are_named(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    network = config().network()
    with torch.no_grad():
        network.head.weight.fill_(torch.nan)
    save_weights(network, folder)
    with pytest.raises(HilumError, match="not finite"):
        list(hilum.load(folder).predict(np.zeros((64, 64), np.uint8)))
