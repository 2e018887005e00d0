"""What tests of several commands need."""

from pathlib import Path

import pytest


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a run folder's identity is read from."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "operating_point.json", "weights.safetensors"):
        (run / name).write_text("as it was")
    return run
