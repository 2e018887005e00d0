import pytest

from hilum.datasets.folder import Dataset


@pytest.fixture(scope="session")
def data(dataset):
    return Dataset.open(dataset)
