"""Fixtures that more than one folder of tests needs."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["hilum.testing"]  # whose suite and data are for plug-ins too

settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("slow", max_examples=500, deadline=None)  # `make test-slow`
settings.load_profile("quick")

# What several folders of tests share.
sys.path.insert(0, str(Path(__file__).parent / "contract"))
pytest.register_assert_rewrite("commandline")

from dask_cluster import distributed, own, two_workers  # noqa: E402 - found through the path above
from dicom_files import (  # noqa: E402
    make_dicom,
    make_jpeg,
    make_picture,
    make_segment,
    make_small_source,
    planted_name,
    sample_source,
    tree_bytes,
    write_table,
)

__all__ = [
    "distributed",
    "make_dicom",
    "make_jpeg",
    "make_picture",
    "make_segment",
    "make_small_source",
    "own",
    "planted_name",
    "sample_source",
    "tree_bytes",
    "two_workers",
    "write_table",
]


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking torch and all tests over and over: a tenth of the time of the tests."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real tables, real submissions and metric cases, which is not part of the project."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder '{folder.name}' beside the checkout: the cases made of real data are left out")
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


@pytest.fixture(scope="session")
def tiny_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has hardly learned: what it finds does not matter here."""
    from hilum.config import check_config
    from hilum.datasets.folder import Dataset
    from hilum.train_run import train

    values = {
        "backend": "unet",
        "image_size": 32,
        "model": {"start_channels": 2, "depth": 2},
        "train": {"epochs": 1, "batch_size": 8},
    }
    run = tmp_path_factory.mktemp("tiny") / "run"
    train(check_config(values, "test"), Dataset.open(dataset), run)
    return run


@pytest.fixture
def install(tmp_path, monkeypatch):
    """What puts a package of one module on the path: its name, code, and the names that it declares in a group."""
    put = []

    def a_package(module, code, group, names):
        about = tmp_path / f"{module}-0.1.dist-info"
        about.mkdir()
        (tmp_path / f"{module}.py").write_text(code)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 0.1\n")
        points = "".join(f"{name.lower()} = {module}:{name}\n" for name in names)
        (about / "entry_points.txt").write_text(f"[{group}]\n{points}")
        monkeypatch.syspath_prepend(str(tmp_path))
        put.append(module)

    yield a_package
    for module in put:
        sys.modules.pop(module, None)
