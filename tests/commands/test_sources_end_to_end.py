"""Every source from its layout to a page: converted, explored, learned from, evaluated, and measured away from home."""

import json
from pathlib import Path

import pytest
from commandline import hilum

TINY = (
    *("model.channels=4", "model.blocks=1", "model.depth=2", "model.head=plain", "image_size=32"),
    *("train.epochs=1", "train.batch_size=8", "boxes.threshold=0.1"),
)
OTHERS = ("coco", "yolo", "siim", "vinbigdata", "nih", "mdai")


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of another hospital: SIIM's layout, whose one class is an opacity."""
    folder = tmp_path_factory.mktemp("away")
    hilum("sample", folder / "siim", "--layout", "siim", "--images", "24", "--seed", "9", "--opacity-share", "0.6")
    hilum("convert", folder / "siim", folder / "data", "--workers", "1")
    return folder / "data"


@pytest.mark.parametrize("layout", ["csv", "vindr", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_from_a_layout_to_a_page(layout: str, away: Path, tmp_path: Path) -> None:
    source, several, home = tmp_path / "source", tmp_path / "several", tmp_path / "home"
    hilum("sample", source, "--layout", layout, "--images", "40", "--opacity-share", "0.6")
    hilum("convert", source, several, "--workers", "1")
    hilum("explore", several)
    assert (several / "explore" / "index.html").is_file()
    hilum("train", "resnet", several, tmp_path / "run", *TINY)
    names = json.loads((several / "conversion.json").read_text()).get("class_names", ["opacity"])
    hilum("evaluate", tmp_path / "run", several, "--json", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures.get("classes", {})) == (names if len(names) > 1 else [])
    hilum("predict", tmp_path / "run", several, tmp_path / "found")
    assert (tmp_path / "found" / "worklist.html").is_file()
    hilum("convert", source, home, "--classes", "opacity", "--workers", "1")
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "base: resnet\nimage_size: 32\nmodel: {channels: 4, blocks: 1, depth: 2, head: plain}\n"
        "train: {epochs: 1, batch_size: 8}\nboxes: {threshold: 0.1}\n"
    )
    hilum("benchmark", home, config, "--out", tmp_path / "bench", "--external", f"siim={away}")
    assert "Does it travel?" in (tmp_path / "bench" / "report.html").read_text()
    results = json.loads((tmp_path / "bench" / "results.json").read_text())
    assert [external["name"] for external in results["external"]] == ["siim"]
