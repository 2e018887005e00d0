"""Prediction as a stream: lazy, in order, in constant memory, whatever an input is."""

import gc
import os
import weakref
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from threading import Event, get_ident

import numpy as np
import pytest
from supervision import Detections

import hilum.predict as predict_module
from hilum.datasets.pictures import Radiograph
from hilum.errors import HilumError
from hilum.predict import Predictor
from hilum.result import no_detections


class Brightest:
    """A backend without a network: one box as bright as the picture's first pixel."""

    def predict_batch(self, images: list[np.ndarray]) -> list[Detections]:
        return [
            Detections(
                xyxy=np.array([[0.0, 0.0, image.shape[1], image.shape[0]]]),
                confidence=np.array([image[0, 0] / 255]),
                class_id=np.zeros(1, int),
            )
            for image in images
        ]


PREDICTOR = Predictor(Brightest(), 0.0)


@pytest.fixture
def _quick_to_collect() -> Iterator[None]:
    """What is in memory already, torch above all, is left out of `gc.collect`, which is called often."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_quick_to_collect")
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_inputs_are_taken_a_few_batches_ahead_and_let_go(batch_size: int) -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def pictures() -> Iterator[np.ndarray]:
        for number in range(12 * batch_size):
            picture = np.full((8, 8), number % 256, np.uint8)
            alive.append(weakref.ref(picture))
            yield picture

    for number, result in enumerate(PREDICTOR.predict(pictures(), batch_size=batch_size)):
        assert result.image_id == str(number)
        assert result.detections.confidence[0] == number % 256 / 255
        assert len(alive) - number <= 4 * batch_size + 1
        if number % batch_size == 0:
            gc.collect()
            assert sum(picture() is not None for picture in alive) <= 4 * batch_size + 1


def test_nothing_is_taken_before_the_first_result_is_asked_for() -> None:
    def pictures() -> Iterator[np.ndarray]:
        pytest.fail("taken")
        yield

    PREDICTOR.predict(pictures())


def test_files_are_decoded_while_the_network_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network waits here until the next batch's first picture has been decoded by another thread."""
    decoded, main = [Event() for _ in range(32)], get_ident()

    def decode(image: np.ndarray, _: int) -> Radiograph:
        assert get_ident() != main
        decoded[int(image[0, 0])].set()
        return Radiograph(image)

    class Waiting(Brightest):
        def predict_batch(self, images: list[np.ndarray]) -> list[Detections]:
            following = int(images[-1][0, 0]) + 1
            assert following == 32 or decoded[following].wait(10)
            return super().predict_batch(images)

    monkeypatch.setattr(predict_module, "_decode", decode)
    pictures = (np.full((8, 8), number, np.uint8) for number in range(32))
    assert len(list(Predictor(Waiting(), 0.0).predict(pictures, batch_size=8))) == 32


def test_one_picture_alone_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(image: np.ndarray, _: int) -> Radiograph:
        assert get_ident() == main
        return Radiograph(image)

    main = get_ident()
    monkeypatch.setattr(predict_module, "_decode", decode)
    (result,) = PREDICTOR.predict(np.full((8, 8), 51, np.uint8))
    assert (result.image_id, result.detections.confidence[0], result.error) == ("0", 0.2, None)


def test_whoever_stops_listening_stops_the_decoding() -> None:
    taken = []

    def pictures() -> Iterator[np.ndarray]:
        for number in range(1000):
            taken.append(number)
            yield np.zeros((8, 8), np.uint8)

    stream = PREDICTOR.predict(pictures(), batch_size=4)
    next(stream)
    stream.close()
    assert len(taken) <= 17


def test_no_detections_is_well_formed() -> None:
    nothing = no_detections()
    assert (nothing.xyxy.shape, nothing.confidence.shape, nothing.class_id.shape) == ((0, 4), (0,), (0,))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process as Linux tells it")
def test_ten_thousand_files_in_constant_memory(sample_folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"nothing")
    paths = [*sorted((sample_folder / "stage_2_train_images").glob("*.dcm"))[:15], bad]
    resident_mb, errors = [], 0
    for number, result in enumerate(PREDICTOR.predict(islice(cycle(paths), 10_000)), 1):
        errors += result.error is not None
        if number in {1_000, 10_000}:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident_mb.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
    assert errors == 10_000 // 16
    assert resident_mb[1] - resident_mb[0] < 20  # the pictures alone are 10 GB


class Stranger:
    """A backend that says of its box and its image what the run does not know."""

    def __init__(self, class_id: int, probability: object) -> None:
        self.class_id, self.probability = class_id, probability

    def predict_batch(self, images: list[np.ndarray]) -> list[Detections]:
        box = np.array([[0.0, 0, 4, 4]]), np.array([0.5])
        metadata = {} if self.probability is None else {"image_probability": self.probability}
        return [Detections(box[0], None, box[1], np.array([self.class_id]), metadata=metadata) for _ in images]


def test_a_class_that_the_run_does_not_have_is_an_error_in_a_line() -> None:
    picture = np.zeros((8, 8), np.uint8)
    for class_id, probability, names, what in [
        (1, None, ("opacity",), "a box of class 1, where the run has 1"),
        (3, 0.5, ("a", "b", "c"), "a box of class 3, where the run has 3"),
        (0, [0.1, 0.2], ("a", "b", "c"), "the probabilities of 2 classes, where the run has 3"),
    ]:
        with pytest.raises(HilumError, match=what):
            list(Predictor(Stranger(class_id, probability), 0.0, names).predict([picture]))
    (result,) = Predictor(Stranger(2, [0.1, 0.2, 0.3]), (0.9, 0.9, 0.5), ("a", "b", "c")).predict([picture])
    assert (result.detections.class_id.tolist(), result.class_probabilities) == ([2], (0.1, 0.2, 0.3))
