import pytest
import torch
import yaml

from hilum.config import check_config, dump_config, find_config, load_config, shipped_configs
from hilum.documents import read_yaml
from hilum.errors import HilumError


@pytest.fixture
def write(tmp_path):
    def write_yaml(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_yaml


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_config_loads_and_says_how_it_is_used(name):
    path = find_config(name)
    if read_yaml(path).get("backend") == "yolo" or read_yaml(path).get("base") == "yolo26n":
        pytest.importorskip("ultralytics")
    if read_yaml(path).get("backend") == "lungs":
        pytest.importorskip("torchxrayvision")
    config = load_config(name)
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"hilum train {name} " in line for line in header)
    assert path.read_text().startswith("#")
    assert check_config(yaml.safe_load(dump_config(config)), "dump") == config


REPORT = {
    # attempt: pixels, epochs, batch size, total and trainable parameters, images held out, printed pixel accuracy
    "resnet_try_1": (320, None, None, 14_957_729, 14_947_297, 2_560, 0.9739),
    "resnet_try_2": (320, 3, 16, 12_727_969, 12_718_305, 2_560, 0.9739),
    "resnet_try_3": (320, 2, 32, 12_727_969, 12_718_305, 2_560, 0.9739),
    "resnet_try_4": (256, 2, 48, 3_149_217, 3_144_673, 2_560, 0.9739),
    "unet_try_1": (256, 5, 16, 10_700_546, 10_694_658, 5_000, 0.9715),
    "unet_try_2": (320, 2, 16, 10_700_546, 10_694_658, 5_000, 0.9715),
}


@pytest.mark.parametrize("attempt", REPORT)
def test_the_reports_attempts_are_its_own(attempt):
    size, epochs, batch_size, total, trainable, held_out, accuracy = REPORT[attempt]
    config = load_config(f"report/{attempt}")
    with torch.device("meta"):
        network = config.network()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    running = sum(b.numel() for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var")))
    assert (parameters + running, parameters) == (total, trainable)
    name, _, number = attempt.partition("_try_")
    said = {"attempt": f"{'ResNet' if name == 'resnet' else 'UNet'} try {number}", "held_out": held_out}
    said |= {"parameters": total, "trainable": trainable, "pixel_accuracy": accuracy}
    assert config.report.model_dump() == said
    assert config.backend == name
    assert config.image_size == size
    if epochs:  # the report leaves try 1's open
        assert (config.train.epochs, config.train.batch_size) == (epochs, batch_size)
    schedule = "cosine" if name == "resnet" else "constant"
    assert (config.train.learning_rate, config.train.schedule, config.train.loss) == (1e-3, schedule, "iou_bce")
    off = dict.fromkeys(type(config.augmentation).model_fields, 0)
    assert config.augmentation.model_dump() == {**off, "flip": 0.5}
    boxes = {"threshold": 0.5, "min_area_px": 1, "connectivity": 8, "fill_holes": False, "confidence": "mean"}
    assert config.boxes.model_dump() == boxes
    header = "".join(line for line in find_config(f"report/{attempt}").read_text().splitlines() if line.startswith("#"))
    assert f"--report {held_out} " in header
    assert "What the report leaves open" in header


def test_the_reports_six_attempts_and_no_other_are_shipped():
    assert {name for name in shipped_configs() if name.startswith("report/")} == {f"report/{name}" for name in REPORT}
    second, third = (load_config(f"report/resnet_try_{number}") for number in (2, 3))
    assert second.model == third.model
    assert second.model.head_momentum == pytest.approx(1 - 0.9999)
    assert load_config("report/unet_try_1").model == load_config("report/unet_try_2").model


def test_shipped_names_include_those_in_folders():
    assert {"unet", "resnet", "yolo26n", "sample/unet"} <= set(shipped_configs())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("model.dephth=3", "did you mean 'model.depth'?"),
        ("image_sizes=3", "did you mean 'image_size'?"),
        ("train.learning_rat=1", "did you mean 'train.learning_rate'?"),
        ("epochs=3", "did you mean 'train.epochs'?"),
        ("learning_rates=3", "did you mean 'train.learning_rate'?"),
        ("alpha=3", "did you mean 'train.loss_options.alpha'?"),
        ("train.flips=1", "did you mean 'augmentation.flip'?"),
        ("train.zzz=1", "known here: "),
    ],
)
def test_an_unknown_key_is_blamed_on_its_override_with_the_nearest_whole_one(key, message):
    with pytest.raises(HilumError) as caught:
        load_config("unet", [key])
    assert str(caught.value).startswith(f"override '{key}': ")
    assert f"unknown key; {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {dephth: 3}", "model.dephth: unknown key; did you mean 'depth'?"),
        ("image_sizes: 3", "image_sizes: unknown key; did you mean 'image_size'?"),
        ("epochs: 3", "epochs: unknown key; did you mean 'train.epochs'?"),
    ],
)
def test_an_unknown_key_of_a_file_is_named_with_the_nearest_right_one(write, text, message):
    path = write(f"base: unet\n{text}\n")
    with pytest.raises(HilumError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_value_is_blamed_on_whoever_gave_it(write):
    path = write("base: unet\nimage_size: 1\ntrain: {loss_options: {gamma: 2}}\n")
    with pytest.raises(HilumError) as caught:
        load_config(path, ["train.epochs=many", "seed=-1", "train.batch_size=4"])
    size, epochs, seed = sorted(caught.value.lines)
    assert size.startswith(f"{path}: image_size: ")
    assert epochs == "override 'seed=-1': seed: input should be greater than or equal to 0, got -1"
    assert seed.startswith("override 'train.epochs=many': ")
    assert seed.endswith("got 'many'")
    with pytest.raises(HilumError) as caught:
        load_config(path, ["image_size=64", "train.loss=bce"])
    assert str(caught.value).startswith(f"{path} with override 'train.loss=bce': train: loss_options: the loss 'bce'")


@pytest.mark.parametrize("override", ["epochs=3", "members.unet.config.epochs=3", "lr0=0.1"])
def test_keys_of_configs_inside_are_found_too(override):
    pytest.importorskip("ultralytics")
    with pytest.raises(HilumError) as caught:
        load_config("sample/winners", [override])
    said, _, hint = str(caught.value).partition("; ")
    assert said == f"override '{override}': unknown key"
    inside = "ultralytics.lr0" if override.startswith("lr0") else "train.epochs"
    part = "unet" if "unet" in override else "yolo"
    assert f"'members.{part}.config.{inside}'" in hint.removeprefix("did you mean")


def test_what_a_base_gave_is_said_to_come_from_there_and_null_takes_it_away(write):
    parent = write("base: unet\nmodel: {dephth: 3}\n", "parent.yaml")
    child = write("base: parent.yaml\nseed: 3\n", "child.yaml")
    with pytest.raises(HilumError) as caught:
        load_config(child)
    wrong = "model.dephth: unknown key; did you mean 'depth'?"
    assert (
        str(caught.value)
        == f"{child}: {wrong}; it comes from the base {parent}, and `model.dephth: null` leaves it out"
    )
    write("base: parent.yaml\nseed: 3\nmodel: {dephth: null}\n", "child.yaml")
    assert load_config(child).seed == 3
    assert load_config(parent, ["model.dephth=null"]) == load_config("unet")


def test_options_of_a_base_that_another_architecture_lacks_are_named(write):
    pytest.importorskip("segmentation_models_pytorch")
    parent = write(
        "base: sample/segmenter\nmodel: {architecture: Unet, options: {decoder_channels: [16, 8, 8, 8, 8]}}\n", "a.yaml"
    )
    child = write("base: a.yaml\nmodel: {architecture: FPN}\n", "b.yaml")
    with pytest.raises(HilumError) as caught:
        load_config(child)
    (line,) = caught.value.lines
    assert line.startswith(f"{child}: model: options.decoder_channels: FPN with ")
    assert f"it comes from the base {parent}, and `model.options.decoder_channels: null` leaves it out" in line
    write("base: a.yaml\nmodel: {architecture: FPN, options: {decoder_channels: null}}\n", "b.yaml")
    assert "decoder_channels" not in load_config(child).model.options
    with pytest.raises(HilumError) as caught:
        load_config(parent, ["model.architecture=FPN"])
    assert str(caught.value).startswith(
        f"{parent} with override 'model.architecture=FPN': model: options.decoder_channels"
    )


@pytest.mark.parametrize("channels", ["[999999999,8,8,8,8]", "[[[[3]]]]", "[2048,2048,2048,2048,2048]"])
def test_options_that_fit_into_no_memory_are_refused_before_the_network_is_built(channels, monkeypatch):
    pytest.importorskip("hilum.segmenters.smp_network")
    monkeypatch.setattr("hilum.segmenters.smp_config.MOST_WEIGHTS", 2**26)
    with pytest.raises(HilumError, match=r"expected a number of at most|expected at most 67,108,864 weights"):
        load_config("sample/segmenter", [f"model.options.decoder_channels={channels}"])


COMPOSED = """
backend: compose
members:
  a: {config: {base: sample/unet, seed: 3, image_size: 64}, folds: 2, weight: 0.5}
  b: {config: sample/unet}
  c: {run: runs/c}
"""


@pytest.mark.parametrize(
    ("members", "overrides"),
    [
        ("a: {run: runs/a}", []),
        ("a: {config: sample/resnet}", []),
        ("a: {config: {base: sample/resnet}}", []),
        ("a: {config: {seed: 4}}", []),
        ("b: {config: {seed: 4}}", []),
        ("c: {config: sample/unet}", []),
        ("", ["members.a.run=runs/a"]),
        ("", ["members.a={run: runs/a}"]),
        ("", ["members.b.config.seed=4"]),
        ("", ["members.c.config=sample/unet"]),
    ],
)
def test_what_says_anew_what_a_part_is_takes_away_what_it_was(write, members, overrides):
    write(COMPOSED, "parent.yaml")
    found = load_config(write(f"base: parent.yaml\nmembers: {{{members}}}\n"), overrides).members
    (said,) = overrides or [members]
    part = found[said.removeprefix("members.")[0]]
    if "runs/a" in said:
        assert (part.config, part.run, part.folds) == (None, "runs/a", 1)
        assert part.weight == (1 if "={" in said else 0.5)
    elif "resnet" in said:
        assert (part.config, part.folds, part.weight) == (load_config("sample/resnet"), 2, 0.5)
    elif "seed" in said:
        size = load_config("sample/unet").image_size
        assert (part.config.backend, part.config.seed) == ("unet", 4)
        assert part.config.image_size == (64 if said.startswith("a") else size)
    else:
        assert (part.config, part.run) == (load_config("sample/unet"), None)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(HilumError) as caught:
        load_config("unet", ["model.dephth=3", "seed=-1", "train.epochs=many", "nothing=1"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("override '") for line in lines)
    assert any("seed=-1" in line and line.endswith("got -1") for line in lines)
    assert any("train.epochs=many" in line and line.endswith("got 'many'") for line in lines)


def test_bad_yaml_is_named_with_its_line(write):
    with pytest.raises(HilumError, match=r"mine.yaml: not valid YAML in line 3: "):
        load_config(write("backend: unet\nseed: 1\nmodel: [1,\n"[:-1] + " }\n"))


@pytest.mark.parametrize(("text", "line"), [("seed: 1\nseed: 2\n", 2), ("model:\n  depth: 1\n  depth: 2\n", 3)])
def test_a_key_given_twice_is_refused(write, text, line):
    with pytest.raises(HilumError, match=f"line {line}: key '(seed|depth)' is given twice"):
        load_config(write(text))


@pytest.mark.parametrize("text", ["- 1\n", "", "just text\n"])
def test_what_is_no_mapping_is_refused(write, text):
    with pytest.raises(HilumError, match="expected a YAML mapping"):
        load_config(write(text))


def test_overrides_are_yaml_and_reach_into_tables():
    plain = load_config("unet").model_dump()
    config = load_config("unet", ["train.epochs=2", "model.depth=3", "train.learning_rate=0.5", "seed=9"]).model_dump()
    assert (config["train"]["epochs"], config["model"]["depth"], config["seed"]) == (2, 3, 9)
    assert config["train"]["learning_rate"] == 0.5
    config["train"] |= {"epochs": plain["train"]["epochs"], "learning_rate": plain["train"]["learning_rate"]}
    config["model"]["depth"], config["seed"] = plain["model"]["depth"], plain["seed"]
    assert config == plain


@pytest.mark.parametrize("override", ["epochs", "=3", "train.=3", ".a=3", "train..epochs=3", "seed=[1"])
def test_an_override_that_is_none_is_named(override):
    with pytest.raises(HilumError) as caught:
        load_config("unet", [override])
    assert f"override '{override}'" in str(caught.value)


def test_a_base_is_merged_table_by_table(write):
    write("base: unet\nseed: 4\nmodel:\n  depth: 3\n", "parent.yaml")
    config = load_config(write("base: parent.yaml\nmodel:\n  start_channels: 4\n")).model_dump()
    unet = load_config("unet").model_dump()
    assert (config["seed"], config["model"]["depth"], config["model"]["start_channels"]) == (4, 3, 4)
    assert config["model"]["dropout"] == unet["model"]["dropout"]
    assert config["train"] == unet["train"]


def test_a_base_that_goes_round_is_refused(write):
    write("base: mine.yaml\n", "other.yaml")
    with pytest.raises(HilumError, match="its own base"):
        load_config(write("base: other.yaml\n"))


def test_neither_file_nor_name_gets_a_hint(tmp_path):
    with pytest.raises(HilumError, match="did you mean 'unet'"):
        find_config("unett")
    with pytest.raises(HilumError, match="shipped are"):
        find_config("qqqqqqqqqq")
    with pytest.raises(HilumError):
        find_config("../pyproject")


@pytest.mark.parametrize(
    ("once", "base", "model"),
    [
        ("yolo/yolov8n", "yolo26n", "yolov8n.yaml"),
        ("yolo/yolov3-tiny.yaml", "yolo26n", "yolov3-tiny.yaml"),
        ("yolo/rtdetr-resnet50", "rtdetr", "rtdetr-resnet50.yaml"),
    ],
)
def test_a_name_of_earlier_versions_says_what_to_write_in_its_place(write, once, base, model):
    said = f"write `hilum train {base} DATA RUN model={model}`, or in a file `base: {base}` and `model: {model}`"
    for source in (
        once,
        write(f"base: {once}\nseed: 3\n"),
        write(f"backend: compose\nmembers: {{a: {{config: {once}}}}}"),
    ):
        with pytest.raises(HilumError) as caught:
            load_config(source)
        assert str(caught.value).endswith(f"config '{once}': is no file of its own any more; {said}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\n", "backend: expected the name of a backend"),
        ("backend: 7\n", "backend: expected the name of a backend, got 7"),
        ("backend: unnet\n", "did you mean 'unet'"),
    ],
)
def test_the_backend_is_looked_up_first(write, text, message):
    with pytest.raises(HilumError, match=message):
        load_config(write(text))


def test_a_config_cannot_be_changed():
    config = load_config("unet")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


def test_a_config_inside_another_one_lies_beside_it(tmp_path, monkeypatch):
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "member.yaml").write_text("base: sample/unet\ntrain: {epochs: 3}\n")
    (tmp_path / "exp" / "both.yaml").write_text(
        "backend: compose\nmembers: {a: {config: member.yaml}, b: {config: {base: member.yaml, seed: 4}}}\n"
    )
    monkeypatch.chdir(tmp_path)
    members = load_config("exp/both.yaml").members
    assert [members[name].config.train.epochs for name in "ab"] == [3, 3]
    assert [members[name].config.seed for name in "ab"] == [0, 4]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("unet", "model.start_channels=10000"),
        ("unet", "model.growth=1000000000"),
        ("unet", "model.growth=8"),
        ("resnet", "model.channels=1000"),
        ("resnet", "model.blocks=100000"),
    ],
)
def test_a_network_that_no_machine_holds_is_refused_before_it_is_built(name: str, change: str) -> None:
    with pytest.raises(HilumError, match=r"model.*(at most|less than or equal to)"):
        load_config(name, [change])
