"""A run's calibration changes what is said and nothing that is done; operating points by wish, worked out by hand."""

from dataclasses import dataclass

import numpy as np
import pytest

from hilum.calibration import Calibration
from hilum.detections import Detections
from hilum.errors import HilumError
from hilum.eval.platt import UNCHANGED, Platt
from hilum.result import IMAGE_PROBABILITY, at_or_above, image_probability
from hilum.training.calibrating import Wish, confidence_at, fit_calibration, read_wish

BOX = np.array([0.0, 0.0, 10.0, 10.0])


@dataclass
class Val:
    """As much of a split as is looked at: images of 100 px, the true box of each at most one."""

    boxes_xywh: list
    class_names: tuple = ("opacity",)

    def by_class(self):
        return {"opacity": self}

    def __len__(self):
        return len(self.boxes_xywh)

    @property
    def positive(self):
        return np.array([len(boxes) > 0 for boxes in self.boxes_xywh])

    @property
    def shows_opacity(self):
        return bool(self.positive.any())

    @property
    def patients(self):
        return [str(number // 2) for number in range(len(self))]


def found(*confidence, at=0.0, class_id=0):
    boxes = np.stack([BOX + at] * len(confidence)) if confidence else np.zeros((0, 4))
    return Detections(xyxy=boxes, confidence=np.array(confidence, float), class_id=np.full(len(confidence), class_id))


FOUR = Val([BOX[None], BOX[None], BOX[None], np.zeros((0, 4))])
# Three true boxes found at 0.9, 0.6, 0.3; false ones at 0.8 and 0.5.
ANSWERS = [found(0.9), found(0.6), found(0.3), found(0.8, 0.5, at=50)]


@pytest.mark.parametrize(
    ("wish", "confidence"),
    [
        ("sensitivity=0.3", 0.9),
        ("sensitivity=0.34", 0.6),
        ("sensitivity=0.95", 0.3),
        ("fp_per_image=0.25", 0.6),  # one false box in four images
        ("fp_per_image=0.2", 0.9),
        ("fp_per_image=0.5", 0.3),
    ],
)
def test_a_wish_gives_the_outermost_threshold_that_fulfils_it(wish, confidence):
    least, score, *_ = confidence_at(FOUR, ANSWERS, read_wish(wish))
    assert least == confidence
    kept = [len(at_or_above(each, least).xyxy) for each in ANSWERS]
    hits, false = sum(map(bool, kept[:3])), kept[3]
    assert score == pytest.approx(hits / (3 + (false > 0)))  # every hit is exact, whatever the IoU asked


def test_no_box_is_let_in_that_finds_nothing_though_the_wish_would_allow_it():
    more = [*ANSWERS[:3], found(0.8, 0.5, 0.1, at=50)]
    assert confidence_at(FOUR, more, read_wish("fp_per_image=0.9")) == (0.3, pytest.approx(3 / 4), 1.0, 0.5)


def test_without_a_true_box_among_all_a_wish_cannot_be_fulfilled():
    with pytest.raises(HilumError, match=r"--at sensitivity=0.9: all boxes of opacity on val together find 0.667"):
        confidence_at(FOUR, [found(0.9), found(), found(0.3), found(0.8)], Wish("sensitivity", 0.9))
    assert confidence_at(FOUR, [found(0.9, at=50)] * 4, Wish("fp_per_image", 0.5))[0] == 1.0


@pytest.mark.parametrize(
    "text", ["0.95", "sensitivity", "sensitivity=95", "sensitivity=0", "recall=0.9", "fp_per_image=-1"]
)
def test_what_is_no_wish_is_told(text):
    with pytest.raises(HilumError, match="expected sensitivity=SHARE or fp_per_image=NUMBER"):
        read_wish(text)


def test_the_same_boxes_are_kept_and_ranks_stay():
    calibration = Calibration((Platt(0.4, -1.0),), (Platt(2.0, 0.3),))
    for each in ANSWERS:
        after = calibration.apply(each)
        for least in (0.25, 0.5, 0.6, 0.85):
            kept = at_or_above(after, calibration.of_confidence(least))
            np.testing.assert_array_equal(kept.xyxy, at_or_above(each, least).xyxy)
    likely = [image_probability(calibration.apply(each)) for each in ANSWERS]
    assert np.argsort(likely).tolist() == np.argsort([image_probability(each) for each in ANSWERS]).tolist()
    assert image_probability(calibration.apply(found())) == pytest.approx(0, abs=1e-6)


def test_classes_are_calibrated_each_by_its_own_and_stay_in_order_of_confidence():
    both = Detections(
        xyxy=np.stack([BOX, BOX + 50]),
        confidence=np.array([0.9, 0.8]),
        class_id=np.array([0, 1]),
        metadata={IMAGE_PROBABILITY: [0.9, 0.8]},
    )
    after = Calibration((Platt(1.0, -3.0), UNCHANGED), (UNCHANGED, Platt(1.0, 1.0))).apply(both)
    assert after.class_id.tolist() == [1, 0]
    assert after.confidence[0] == 0.8
    assert after.confidence[1] == pytest.approx(9 / (9 + np.exp(3)))
    assert after.metadata[IMAGE_PROBABILITY] == pytest.approx([0.9, 4 * np.e / (1 + 4 * np.e)])
    assert Calibration((Platt(1.0, -3.0), UNCHANGED), (UNCHANGED,) * 2).of_confidence((0.9, 0.4))[1] == 0.4


def test_what_a_run_stores_is_fitted_and_says_what_it_gains():
    rng = np.random.default_rng(1)
    truth = rng.random(400)
    shows = rng.random(400) < truth
    val = Val([BOX[None] if each else np.zeros((0, 4)) for each in shows])
    answers = [found(float(p**3 / (p**3 + (1 - p) ** 3))) for p in truth]
    calibration, record = fit_calibration(val, answers)
    # One box an image, which hits where the image shows an opacity.
    assert calibration.images[0] == pytest.approx(calibration.boxes[0])
    assert calibration.images[0].slope == pytest.approx(1 / 3, rel=0.25)
    before, after = record["val_brier"]["images"]
    assert after < before
    assert record["images"] == [list(calibration.images[0])]
