"""Fixtures that more than one folder of tests needs."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real tables, real submissions and metric cases, which is not part of the project."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder '{folder.name}' beside the checkout: the cases made of real data are left out")
    return folder
