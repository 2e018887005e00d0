"""What examples in docstrings and in docs/python.md name, in a folder where they run."""

import shutil
from pathlib import Path

import pytest
from _pytest.doctest import DoctestItem

TINY = ("train.epochs=1", "image_size=64", "model.start_channels=2", "model.depth=2")


@pytest.fixture(scope="session")
def made_for_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """KAGGLE, of 24 generated images; DATA, converted; RUN, a minute UNet after an epoch; STUDIES and a.dcm of two."""
    import hilum
    from hilum.sample.challenge import write_sample
    from hilum.talk import talking

    folder = tmp_path_factory.mktemp("examples")
    kaggle, data = folder / "KAGGLE", folder / "DATA"
    write_sample(kaggle, 24, 0, opacity_share=0.5)
    with talking(quiet=True):
        hilum.convert(kaggle, data, patients=kaggle / "patient_map.csv", workers=1)
        hilum.train("sample/unet", data, folder / "RUN", *TINY)
    (folder / "STUDIES" / "inner").mkdir(parents=True)
    for name, path in zip("ab", sorted((kaggle / "stage_2_train_images").iterdir()), strict=False):
        shutil.copy(path, folder / "STUDIES" / "inner" / f"{name}.dcm")
    shutil.copy(folder / "STUDIES" / "inner" / "a.dcm", folder)
    return folder


@pytest.fixture
def example_folder(made_for_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with all of it; a benchmark measures there for a moment only."""
    from hilum.comparison.benchmark import benchmark

    shutil.copytree(made_for_examples, tmp_path / "examples")
    monkeypatch.chdir(tmp_path / "examples")
    monkeypatch.setitem(benchmark.__kwdefaults__, "cost_seconds", 0.1)
    return tmp_path / "examples"


@pytest.fixture(autouse=True)
def _where_examples_run(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, DoctestItem) and ">>> import hilum" in (request.node.dtest.docstring or ""):  # type: ignore[union-attr] # it has one
        request.getfixturevalue("example_folder")
