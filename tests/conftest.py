"""Fixtures that more than one folder of tests needs."""

import sys
from pathlib import Path

import pytest

# The contract suite is for plug-ins too: `from contract import BackendContract`. What several folders share is there.
sys.path.insert(0, str(Path(__file__).parent / "contract"))
pytest.register_assert_rewrite("contract")


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
