"""Fixtures that more than one folder of tests needs."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The contract suite is for plug-ins too: `from contract import BackendContract`. What several folders share is there.
sys.path.insert(0, str(Path(__file__).parent / "contract"))
pytest.register_assert_rewrite("commandline", "contract")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real tables, real submissions and metric cases, which is not part of the project."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder '{folder.name}' beside the checkout: the cases made of real data are left out")
    return folder


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated set in Kaggle's layout: 48 labelled images and 5 test images."""
    from hilum.sample.challenge import write_sample

    folder = tmp_path_factory.mktemp("kaggle")
    write_sample(folder, 48, 0, opacity_share=0.5)
    return folder


@pytest.fixture(scope="session")
def dataset(sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated set, converted."""
    from hilum.converters.convert import convert

    folder = tmp_path_factory.mktemp("converted") / "data"
    convert(sample_folder, folder, patients=sample_folder / "patient_map.csv")
    return folder


RESAMPLES = {"_RESAMPLES": 2000, "_AP_RESAMPLES": 500}
"""Of every interval; most tests do with a twentieth."""


@pytest.fixture(scope="session", autouse=True)
def _few_resamples() -> Iterator[None]:
    """Figures have the same estimates, and wider bounds: resampling takes most of the time of a benchmark."""
    from hilum.eval import measures

    with pytest.MonkeyPatch.context() as patch:
        for name, many in RESAMPLES.items():
            assert getattr(measures, name) == many
            patch.setattr(measures, name, many // 20)
        yield


@pytest.fixture
def all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as outside of tests."""
    for name, many in RESAMPLES.items():
        monkeypatch.setattr(f"hilum.eval.measures.{name}", many)
