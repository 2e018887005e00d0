"""The suite that every backend passes. A plug-in subclasses `BackendContract` and gives a tiny config.

In `conftest.py`, `pytest_plugins = ["hilum.testing"]`; pytest and scipy are needed. The config must give boxes after an
epoch or two (a low mask threshold, say): the checks would hold on nothing as well, so `found` insists on boxes first.
"""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import hilum
from hilum.datasets.coco import categories
from hilum.datasets.yolo import data_yaml
from hilum.errors import HilumError


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


@pytest.fixture(scope="session")
def three_classes(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converted set, its opacities told apart: left and right in the picture's upper half, and low ones."""
    folder = tmp_path_factory.mktemp("classes") / "data"
    shutil.copytree(dataset, folder)
    names = ["left", "right", "low"]
    record = json.loads((folder / "conversion.json").read_text())
    (folder / "conversion.json").write_text(json.dumps({**record, "class_names": names}))
    (folder / "data.yaml").write_text(data_yaml(names))
    for path in (folder / "annotations").glob("*.json"):
        coco = json.loads(path.read_text())
        images = {image["id"]: image for image in coco["images"]}
        for each in coco["annotations"]:
            (left, top, width, height), image = each["bbox"], images[each["image_id"]]
            is_low = top + height / 2 > image["height"] / 2
            each["category_id"] = 3 if is_low else 1 + (left + width / 2 > image["width"] / 2)
        coco["categories"] = categories(names)
        path.write_text(json.dumps(coco))
    return folder


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth, random grey picture (height, width)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 9), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def grey(path: Path) -> NDArray[np.uint8]:
    """A converted picture, as another library reads it."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def assert_same(ours: Any, theirs: Any, *, box_px: float, confidence: float = 1e-4) -> None:
    """The same boxes of the same classes with the same confidences.

    That these fall is checked elsewhere; equal ones have no order.
    """
    from scipy.optimize import linear_sum_assignment

    assert len(ours) == len(theirs)
    apart_px = np.abs(ours.xyxy[:, None] - theirs.xyxy[None]).max(axis=2)
    unlike = ours.class_id[:, None] != theirs.class_id[None]
    _, partner = linear_sum_assignment(apart_px + 1e6 * unlike)
    np.testing.assert_array_equal(ours.class_id, theirs.class_id[partner])
    np.testing.assert_allclose(ours.xyxy, theirs.xyxy[partner], atol=box_px)
    np.testing.assert_allclose(ours.confidence, theirs.confidence[partner], atol=confidence)


class BackendContract:
    """Subclass it, give `values`, and call the class Test..."""

    values: ClassVar[dict[str, Any]]
    box_px: ClassVar[float] = 0.05
    suffixes: ClassVar[set[str]] = {".yaml", ".json", ".jsonl", ".safetensors", ".png", ".csv"}
    """Of the files of a run; none of them can run code."""

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, dataset: Path) -> Path:
        """The dataset folder that it learns from."""
        return dataset

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A run of the tiny config."""
        from hilum.config import check_config
        from hilum.datasets.folder import Dataset
        from hilum.train_run import train

        run = tmp_path_factory.mktemp("contract") / "run"
        train(check_config(cls.values, "contract"), Dataset.open(data), run)
        return run

    @pytest.fixture(scope="class")
    @classmethod
    def predictor(cls, run: Path) -> Any:
        """The run, loaded."""
        return hilum.load(run)

    @pytest.fixture(scope="class")
    @classmethod
    def paths(cls, data: Path) -> list[Path]:
        """Four pictures that it was trained on."""
        from hilum.datasets.folder import Dataset

        return list(Dataset.open(data).split("train").paths[:4])

    def found(self, predictor: Any, *images: Any, batch_size: int = 16) -> list[Any]:
        """The boxes of each image, whatever their confidence.

        Raises:
            AssertionError: an image cannot be read, or no image has a box.
        """
        results = list(predictor.predict(images, confidence=0.0, batch_size=batch_size))
        assert all(result.error is None for result in results)
        assert sum(len(result.detections) for result in results) > 0, "no box: the contract would hold on nothing"
        return [result.detections for result in results]

    def test_the_same_boxes_alone_and_in_a_batch(self, predictor: Any, paths: list[Path]) -> None:
        alone = self.found(predictor, *paths, batch_size=1)
        for one, other in zip(alone, self.found(predictor, *paths), strict=True):
            assert_same(one, other, box_px=self.box_px)

    def test_the_same_boxes_among_other_sizes(self, predictor: Any, paths: list[Path]) -> None:
        mixed = [picture(500, 1024), paths[0], picture(300, 200, 1), paths[1]]
        together = self.found(predictor, *mixed)
        for image, boxes in zip(mixed, together, strict=True):
            alone = next(iter(predictor.predict([image], confidence=0.0))).detections
            assert_same(alone, boxes, box_px=self.box_px)

    def test_the_same_boxes_from_a_path_and_its_array(self, predictor: Any, paths: list[Path]) -> None:
        pixels = [grey(path) for path in paths]
        three_channels = [np.repeat(image[:, :, None], 3, axis=2) for image in pixels]
        for arrays in (pixels, three_channels):
            for one, other in zip(self.found(predictor, *paths), self.found(predictor, *arrays), strict=True):
                assert_same(one, other, box_px=0)

    def test_the_same_boxes_from_dicom_and_from_the_converted_picture(
        self, predictor: Any, paths: list[Path], sample_folder: Path
    ) -> None:
        dicom = [sample_folder / "stage_2_train_images" / f"{path.stem}.dcm" for path in paths]
        for one, other in zip(self.found(predictor, *dicom), self.found(predictor, *paths), strict=True):
            assert_same(one, other, box_px=0)

    def test_boxes_are_in_pixels_of_the_picture(self, predictor: Any, paths: list[Path]) -> None:
        """A picture of 512 x 1024 is seen as the square that it is padded to; its boxes only move."""
        tall = np.ascontiguousarray(grey(paths[0])[:, 256:768])
        fill = self.fill()
        square = cv2.copyMakeBorder(tall, 0, 0, 256, 256, cv2.BORDER_CONSTANT, value=fill)
        moved = self.found(predictor, square)[0].xyxy - [256, 0, 256, 0]
        boxes = self.found(predictor, tall)[0].xyxy
        assert (boxes >= 0).all()
        assert (boxes <= [512, 1024, 512, 1024]).all()
        # Cut at the picture's edge, boxes may meet or vanish; those that keep off the edge must be the same.
        margin = 2 * 1024 / self.image_size()
        for some, others in ((moved, boxes), (boxes, moved)):
            clear = some[(some[:, 0] > margin) & (some[:, 2] < 512 - margin)][:10]
            for box in clear:
                assert np.abs(others - box).max(axis=1).min() <= 1.5
        cut = np.clip(moved, 0, [512, 1024, 512, 1024])
        cut = cut[(cut[:, 2:] - cut[:, :2] > margin).all(axis=1)]
        assert len(cut) > 0
        nearest = [np.abs(boxes - box).max(axis=1).min() for box in cut]
        assert min(nearest) <= margin

    def image_size(self) -> int:
        """Side in pixels of the square that this backend shows pictures in."""
        return int(self.values["image_size"])

    def fill(self) -> int:
        """The grey that this backend pads with."""
        return 0

    def test_boxes_lie_inside_500_by_1024(self, predictor: Any) -> None:
        boxes = self.found(predictor, picture(500, 1024), picture(1024, 500))
        assert (boxes[0].xyxy <= [500, 1024, 500, 1024]).all()
        assert (boxes[1].xyxy <= [1024, 500, 1024, 500]).all()
        for found in boxes:
            assert (found.xyxy >= 0).all()
            assert (found.xyxy[:, 2:] > found.xyxy[:, :2]).all()

    def test_well_formed(self, predictor: Any, paths: list[Path]) -> None:
        for found in self.found(predictor, *paths):
            assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
            assert (np.diff(found.confidence) <= 0).all()
            assert ((found.class_id >= 0) & (found.class_id < len(predictor.class_names))).all()

    def test_an_empty_result_is_well_formed(self, predictor: Any, paths: list[Path]) -> None:
        (result,) = predictor.predict(paths[0], confidence=1.1)
        assert result.error is None
        assert result.detections.xyxy.shape == (0, 4)
        assert result.detections.confidence.shape == (0,)
        assert result.detections.class_id.shape == (0,)
        assert result.detections.class_id.dtype.kind == "i"

    def test_nothing_is_kept_between_calls(self, predictor: Any, paths: list[Path]) -> None:
        first = self.found(predictor, paths[0])[0]
        list(predictor.predict([picture(700, 300, 3), paths[1]]))
        assert_same(first, self.found(predictor, paths[0])[0], box_px=0, confidence=0)

    def test_loaded_again_it_finds_the_same(self, run: Path, predictor: Any, paths: list[Path]) -> None:
        for one, other in zip(self.found(predictor, *paths), self.found(hilum.load(run), *paths), strict=True):
            assert_same(one, other, box_px=0, confidence=0)

    def test_one_result_an_input_in_order_with_a_bad_file_among_them(
        self, predictor: Any, paths: list[Path], tmp_path: Path
    ) -> None:
        bad = tmp_path / "bad.dcm"
        bad.write_bytes(b"not a radiograph")
        inputs = [paths[0], bad, paths[1], tmp_path / "missing.jpg", paths[2]]
        for batch_size in (1, 2, 16):
            results = list(predictor.predict(inputs, confidence=0.0, batch_size=batch_size))
            assert [result.image_id for result in results] == [path.stem for path in inputs]
            assert [result.error is not None for result in results] == [False, True, False, True, False]
            assert "not a DICOM file" in results[1].error
            assert "\n" not in results[1].error + results[3].error
            assert_same(results[2].detections, self.found(predictor, paths[1])[0], box_px=self.box_px)

    def test_image_probability_ignores_the_operating_point(self, predictor: Any, paths: list[Path]) -> None:
        (everything,) = predictor.predict(paths[0], confidence=0.0)
        (nothing,) = predictor.predict(paths[0], confidence=1.1)
        assert len(nothing.detections) == 0
        assert everything.image_probability == nothing.image_probability
        assert 0 <= everything.image_probability <= 1
        if not predictor.backend.draws_maps:  # a map says more of the image than its boxes do
            highest = everything.detections.confidence.max() if everything.detections else 0
            assert everything.image_probability == highest

    def test_the_operating_point_is_applied(self, predictor: Any, paths: list[Path]) -> None:
        for result, all_of_it in zip(predictor.predict(paths), self.found(predictor, *paths), strict=True):
            least = np.broadcast_to(predictor.confidence, len(predictor.class_names))[all_of_it.class_id]
            assert len(result.detections) == (all_of_it.confidence >= least).sum()

    def test_no_images_no_results(self, predictor: Any) -> None:
        assert list(predictor.predict([])) == []

    def test_a_run_holds_no_pickle(self, run: Path) -> None:
        assert {path.suffix for path in run.rglob("*") if path.is_file()} <= self.suffixes

    def test_on_a_gpu_no_tensor_is_left_on_the_cpu(self, data: Path) -> None:
        from hilum.backend import backend_named
        from hilum.datasets.folder import Dataset
        from hilum.network_backend import NetworkBackend
        from hilum.pretended_gpu import check_on_gpu

        kind = backend_named(self.values["backend"])
        if not issubclass(kind, NetworkBackend):
            pytest.skip("not a NetworkBackend: it moves its tensors itself")
        check_on_gpu(kind, self.values, Dataset.open(data))

    def test_an_incomplete_run_is_named(self, run: Path, tmp_path: Path) -> None:
        for name in ("config.yaml", "operating_point.json"):
            (tmp_path / name).write_bytes((run / name).read_bytes())
        with pytest.raises(HilumError, match=r"weights\.safetensors"):
            hilum.load(tmp_path)

    def test_sixteen_bits_over_the_same_range_give_the_same_boxes(self, predictor: Any) -> None:
        # Its percentiles are 0 and 255 exactly, so that scaling 16 bits down gives the 8-bit picture again.
        pixels = picture(512, 512, 5)
        pixels[:8], pixels[-8:] = 0, 255
        wide = self.found(predictor, pixels.astype(np.uint16) * 257)[0]
        assert_same(wide, self.found(predictor, pixels)[0], box_px=self.box_px)
