import pytest
import yaml
from small_configs import RESNET

from hilum.config import check_config, dump_config
from hilum.errors import HilumError


def composed(**values):
    return check_config({"backend": "compose", "members": {"a": {"config": RESNET}}, **values}, "mine")


def test_a_config_inside_is_resolved_and_comes_back():
    config = composed(members={"a": {"config": "unet"}, "b": {"config": {"base": "unet", "image_size": 128}}})
    assert config.members["a"].config.image_size == 256
    assert config.members["b"].config.image_size == 128
    assert config.members["b"].config.model.depth == 4
    assert check_config(yaml.safe_load(dump_config(config)), "dump") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"members": {}}, "members"),
        ({"members": {"a": {}}}, "members.a: expected either config or run"),
        ({"members": {"a": {"config": RESNET, "run": "r"}}}, "either config or run"),
        ({"members": {"a": {"run": "r", "folds": 3}}}, "folds: a run is trained already"),
        ({"members": {"gate": {"config": RESNET}}}, "'gate' is no name"),
        ({"members": {"../x": {"config": RESNET}}}, "is no name"),
        ({"members": {"a": {"config": RESNET, "wieght": 2}}}, "members.a.wieght: unknown key; did you mean 'weight'"),
        ({"members": {"a": {"config": RESNET, "weight": 0}}}, "members.a.weight"),
        ({"members": {"a": {"config": "unett"}}}, "members.a.config: config 'unett'.*did you mean 'unet'"),
        ({"gate": {"config": RESNET, "threshold": 1.2}}, "gate.threshold"),
        ({"gate": {"config": RESNET, "mode": "add"}}, "gate.mode"),
        ({"views": {"scales": []}}, "views.scales"),
        ({"views": {"scales": [1.0, 3.0]}}, "from 0.5 to 2"),
        ({"fusion": {"iou": 1.5}}, "fusion.iou"),
        ({"fusion": {"method": "soft_nms", "iou": 0.6}}, "fusion: iou: soft_nms lowers boxes by any overlap"),
        ({"shrink": 0.1}, "shrink: expected a number from 0.5 to 1.5, or val"),
        ({"relative": "train"}, "relative"),
        ({"top_share": 0}, "top_share"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(HilumError, match=message):
        composed(**values)


def test_a_run_of_before_whose_fusion_had_an_idle_threshold_is_still_read():
    record = yaml.safe_load(dump_config(composed()))
    record["fusion"] |= {"method": "soft_nms", "iou": 0.6}
    assert check_config(record, "config.yaml", trust=None).fusion.iou == 0.6


def test_errors_in_all_parts_are_named_at_once():
    bad = {**RESNET, "image_sise": 3}
    with pytest.raises(HilumError) as error:
        composed(members={"a": {"config": bad}, "b": {"config": {**RESNET, "seed": -1}}})
    first, second = str(error.value).splitlines()
    assert first == "mine: members.a.config: image_sise: unknown key; did you mean 'image_size'?"
    assert second.startswith("mine: members.b.config: seed: ")


def test_views_are_every_scale_mirrored_and_not():
    views = composed(views={"flip": True, "scales": [1.0, 0.9]}).views.all()
    assert [(view.mirrored, view.scale) for view in views] == [(False, 1.0), (True, 1.0), (False, 0.9), (True, 0.9)]
    assert len(composed().views.all()) == 1
