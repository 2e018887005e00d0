"""Nothing outside a folder that the user names is written or removed, whatever links were planted in it."""

import shutil
from importlib.util import find_spec

import pytest

from hilum.comparison.benchmark import benchmark
from hilum.comparison.pictures import _DRAWN, _HEADER, clear_drawn
from hilum.config import check_config
from hilum.converters.convert import convert
from hilum.converters.journal import JOURNAL as CONVERSION_JOURNAL
from hilum.converters.journal import Journal
from hilum.converters.rendering import AS_IS
from hilum.datasets.cache import square_pictures
from hilum.datasets.folder import Dataset
from hilum.datasets.resplit import Shares, resplit
from hilum.errors import HilumError
from hilum.eval.prediction_journal import JOURNAL, PredictionJournal
from hilum.pages.explore import explore
from hilum.run import MEMBERS, OUTPUTS
from hilum.sample.challenge import write_sample
from hilum.train_run import train
from hilum.training.log import LOG, EpochLog
from hilum.training.loggers import MLFLOW, TENSORBOARD

RESNET = check_config(
    {
        "backend": "resnet",
        "image_size": 32,
        "model": {"channels": 4, "blocks": 1, "depth": 2},
        "train": {"epochs": 1, "batch_size": 8},
    },
    "resnet",
)


@pytest.fixture
def elsewhere(tmp_path):
    """Somebody's folder, with the names that hilum would write to or clear away."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "00001-somebody.jpg").write_bytes(b"\xff\xd8" + bytes(_HEADER - 2) + _DRAWN)
    for name in ("img00.jpg", "img00.txt", "stray.txt", ".half.part", "32-0123.npy", "index.html", "config.yaml"):
        (folder / name).write_text(name)
    (folder / "below").mkdir()
    (folder / "below" / "deep.txt").write_text("deep")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield folder
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.fixture
def data(dataset, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(dataset, folder, ignore=shutil.ignore_patterns("cache", "splits", "explore"))
    return folder


def plant(link, target):
    """Put a link in the place of whatever is there."""
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    return link


@pytest.mark.parametrize("name", ["images", "labels", "annotations", "unlabelled", "unlabelled/images", ".unpacked"])
def test_convert_refuses_a_link_in_its_folder_before_anything_is_written(sample_folder, data, elsewhere, name):
    link = plant(data / name, elsewhere)
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    with pytest.raises(HilumError, match=f"^{link}: is a link; nothing outside {data} is written or removed"):
        convert(sample_folder, data, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()} == before


def test_convert_takes_the_place_of_links_to_files_and_of_its_cache(sample_folder, data, elsewhere, tree_of):
    expected = tree_of(data)
    for name in ("metadata.csv", "conversion.json", "data.yaml", "train.txt", "left_out.csv"):
        (data / name).rename(data.parent / name)
        plant(data / name, elsewhere / "stray.txt" if name != "conversion.json" else data.parent / name)
    first = next((data / "images").iterdir())
    plant(first, elsewhere / "img00.jpg")
    plant(data / "images" / "stray.jpg", elsewhere / "img00.jpg")
    plant(data / "images" / "dangling.jpg", elsewhere / "nothing")
    plant(data / "cache", elsewhere)
    convert(sample_folder, data, patients=sample_folder / "patient_map.csv", overwrite=True)
    assert tree_of(data) == expected
    assert not any(path.is_symlink() for path in data.rglob("*"))


def test_the_dataset_folder_itself_may_be_a_link(sample_folder, data, tree_of, tmp_path):
    expected = tree_of(data)
    named = plant(tmp_path / "named", data)
    convert(sample_folder, named, patients=sample_folder / "patient_map.csv", overwrite=True)
    assert named.is_symlink()
    assert tree_of(data) == expected


def test_split_follows_no_link(data, elsewhere):
    link = plant(data / "splits", elsewhere)
    with pytest.raises(HilumError, match=f"^{link}: is a link"):
        resplit(data, "mine", Shares())
    link.unlink()
    for name in (".mine.0123abcd.old", ".mine.0123abcd.part"):
        plant(data / "splits" / name, elsewhere)
    resplit(data, "mine", Shares())
    assert [path.name for path in (data / "splits").iterdir()] == ["mine"]
    plant(data / "splits" / "mine", elsewhere)
    with pytest.raises(HilumError, match="give another name"):
        resplit(data, "mine", Shares(), overwrite=True)


def test_explore_follows_no_link(data, elsewhere):
    link = plant(data / "explore", elsewhere)
    with pytest.raises(HilumError, match=f"^{link}: is a link"):
        explore(data)


def test_the_cache_follows_no_link(data, elsewhere, tmp_path, capsys):
    plant(data / "cache", elsewhere)
    with pytest.raises(HilumError, match=r"cache: cannot be written: cache/ is a link"):
        square_pictures(Dataset.open(data), "train", 32)
    squares = square_pictures(Dataset(data, Dataset.open(data).conversion, tmp_path / "run"), "train", 32)
    assert squares.mapped.base.filename.parent == tmp_path / "run" / "cache"
    assert "cache/ is a link" in capsys.readouterr().err


NAMES = [MEMBERS, MLFLOW, OUTPUTS, TENSORBOARD, f"{OUTPUTS}/weights", f"{MEMBERS}/resnet", "cache"]


@pytest.mark.parametrize("name", NAMES)
def test_a_training_follows_no_link(dataset, elsewhere, tmp_path, name):
    link = plant(tmp_path / "run" / name, elsewhere)
    with pytest.raises(HilumError, match=f"^{link}: is a link"):
        train(RESNET, Dataset.open(dataset), tmp_path / "run")


def test_the_log_of_a_run_is_its_own(elsewhere, tmp_path):
    plant(tmp_path / "run" / LOG, elsewhere / "stray.txt")
    EpochLog(tmp_path / "run", 1).epoch(1, train_loss=1.0, val_score=0.5)
    assert not (tmp_path / "run" / LOG).is_symlink()


@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
def test_no_journal_is_written_elsewhere(elsewhere, tmp_path, kind):
    out = tmp_path / "out"
    out.mkdir()
    for name in (JOURNAL, CONVERSION_JOURNAL):
        getattr(out / name, kind)(elsewhere / "stray.txt")
    for begin in (lambda: PredictionJournal(out, {"run": "r"}, []), lambda: Journal(out, AS_IS)):
        try:
            with begin():
                pass
        except HilumError as error:
            assert "link" in str(error)  # noqa: PT017 - either is right: to refuse it, and to take its place


def test_drawn_pictures_are_cleared_in_the_folder_of_predictions_alone(elsewhere, tmp_path):
    link = plant(tmp_path / "out" / "pictures", elsewhere)
    with pytest.raises(HilumError, match=f"^{link}: is a link"):
        clear_drawn(link)


@pytest.mark.parametrize("name", ["runs/resnet", "runs", "predictions", "predictions/resnet/holdout"])
def test_a_benchmark_follows_no_link_and_says_so_before_it_trains(dataset, elsewhere, tmp_path, name):
    link = plant(tmp_path / "out" / name, elsewhere)
    told = []
    with pytest.raises(HilumError, match=f"^{link}: is a link"):
        benchmark(Dataset.open(dataset), {"resnet": RESNET}, tmp_path / "out", tell=told.append)
    assert told == []


@pytest.mark.skipif(not find_spec("onnxruntime"), reason="needs the extra `onnx`")
def test_an_export_removes_no_folder_behind_a_link(elsewhere, tmp_path):
    from hilum.export import _put

    partial = tmp_path / ".out.part"
    partial.mkdir()
    (partial / "model.onnx").write_text("new")
    (tmp_path / "out").mkdir()
    plant(tmp_path / ".out.old.part", elsewhere)
    plant(tmp_path / "out" / "inside", elsewhere)
    _put(partial, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "out"]


def test_generated_files_go_through_no_link(elsewhere, tmp_path):
    link = plant(tmp_path / "kaggle" / "stage_2_test_images", elsewhere)
    with pytest.raises(HilumError, match=f"^{link}: is a link"):
        write_sample(tmp_path / "kaggle", 2, 0)


@pytest.fixture
def tree_of():
    def read(folder):
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read
