import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels.processing import apply_windowing

from hilum.dicom.rendering import (
    Display,
    LookUpTable,
    Rescale,
    Stored,
    Window,
    gray_table,
    has_black_bones,
    percentile_range,
    render,
)
from hilum.errors import HilumError

RAMP = np.linspace(0, 4095, 4096).astype(np.uint16).reshape(64, 64)


def stored12(patterns=RAMP, *, signed=False):
    return Stored(patterns, 12, signed, 12)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=400))
def test_percentiles_of_counts_are_numpys(values):
    distinct, counts = np.unique(np.array(values, np.float64), return_counts=True)
    shuffled = np.random.default_rng(len(values)).permutation(len(distinct))
    ours = percentile_range(distinct[shuffled], counts[shuffled])
    assert ours == pytest.approx(percentile_range(np.array(values, np.float64)), abs=1e-9)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@given(centre=st.floats(-500, 5000), width=st.floats(1.5, 9000))
def test_windows_agree_with_pydicom(function, centre, width):
    dataset = pydicom.Dataset()
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = [centre], [width], function
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 12, 0
    values = np.arange(4096)
    with np.errstate(over="ignore"):
        theirs = apply_windowing(values, dataset) / 4095
    centre, width = float(dataset.WindowCenter), float(dataset.WindowWidth)  # a DS has 16 characters
    assert np.allclose(Window(centre, width, function)(values.astype(float)), theirs, atol=1e-6)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("voi", [None, Window(1000, 900), Window(1000, 900, "SIGMOID")])
@pytest.mark.parametrize("slope", [1.0, -2.5])
def test_laws_of_every_display(signed, inverse, voi, slope):
    stored = stored12(signed=signed)
    display = Display(Rescale(slope, 7), voi, inverse=inverse)
    eight, sixteen = render(stored, display), render(stored, display, bits=16)
    assert (eight.pixels.dtype, sixteen.pixels.dtype) == (np.uint8, np.uint16)
    # 8 bits are 16 in coarser steps.
    assert np.abs(sixteen.pixels / 257 - eight.pixels).max() <= 0.5 + 1 / 257
    # Grey follows the value; a negative slope and low-is-white each turn it round.
    order = np.argsort(stored.values()[stored.patterns.ravel()], kind="stable")
    steps = np.diff(sixteen.pixels.ravel()[order].astype(int))
    assert (steps >= 0).all() if (slope > 0) != inverse else (steps <= 0).all()
    # Turned round is the negative, to the grey level.
    turned = render(stored, Display(Rescale(slope, 7), voi, inverse=not inverse))
    assert np.abs(turned.pixels.astype(int) + eight.pixels - 255).max() <= 1


def test_sixteen_bits_keep_each_stored_value_apart():
    assert len(np.unique(render(stored12(), Display(voi=Window(2048, 4096)), bits=16).pixels)) == 4096


def test_up_to_eight_bits_use_the_whole_range():
    patterns = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(render(Stored(patterns, 8, False, 8), Display()).pixels, patterns)
    assert np.array_equal(render(Stored(patterns, 6, False, 6), Display()).pixels, np.rint(patterns * (255 / 63)))
    shifted = render(Stored(patterns, 8, False, 8), Display(Rescale(1, -1024))).pixels
    assert np.array_equal(shifted, patterns)


def test_a_table_begins_at_its_first_value_and_ends_flat():
    table = LookUpTable(-2, np.array([5.0, 6, 7]), 8)
    assert table(np.array([-9.0, -2, -1, 0, 8])).tolist() == [5, 5, 6, 7, 7]
    # A table that says 8 bits but holds 12 is not clipped.
    wrong = LookUpTable(0, np.arange(4096.0), 8)
    assert len(np.unique(render(stored12(), Display(voi=wrong), bits=16).pixels)) == 4096


def test_a_window_of_one_value_is_a_threshold():
    assert Window(10, 1)(np.array([9.0, 9.5, 10])).tolist() == [0, 0, 1]
    assert not Window(10, 0.5).is_usable
    assert Window(10, 0.5, "LINEAR_EXACT").is_usable
    assert not Window(10, 0, "SIGMOID").is_usable


def test_a_picture_of_one_value_is_shown_without_a_warning():
    for value in (0, 700, 4095):
        flat = np.full((70, 80), value, np.uint16)
        for voi in (None, Window(700, 300), Window(90000, 2)):
            assert len(np.unique(render(stored12(flat), Display(voi=voi, inverse=True)).pixels)) == 1


def test_values_that_do_not_occur_do_not_count():
    values = np.arange(4096.0)
    counts = np.zeros(4096, np.int64)
    counts[1000:1101] = 5
    gray = gray_table(values, lambda: counts, Display(), 12)
    assert (gray[1000], gray[1050], gray[1100], gray[4095]) == (0, pytest.approx(0.5), 1, 1)


def test_only_a_chest_has_black_bones():
    """A drawn chest: dark air at the sides and in the lungs, a bright middle and belly."""
    chest = np.full((128, 128), 120, np.uint8)
    chest[:, :8] = chest[:, -8:] = 10
    chest[:16, :40] = chest[:16, -40:] = 10
    chest[28:80, 20:52] = chest[28:80, 76:108] = 50
    chest[:, 56:72] = 200
    chest[100:, 16:112] = 200
    assert not has_black_bones(chest)
    assert has_black_bones(255 - chest)
    assert has_black_bones((255 - chest).astype(np.uint16) * 257)
    rng = np.random.default_rng(0)
    ramp = np.tile(np.linspace(0, 255, 128), (128, 1))
    for other in (ramp, ramp.T, 255 - ramp, rng.integers(0, 255, (128, 128)), np.zeros((128, 128)), chest[:40, :40]):
        assert not has_black_bones(other.astype(np.uint8))
    # Tagged low-is-white: turned as told, not turned where that would blacken the bones, turned where told twice.
    stored = Stored(chest, 8, False, 8)
    assert np.array_equal(render(Stored(255 - chest, 8, False, 8), Display(inverse=True)).pixels, chest)
    kept = render(stored, Display(inverse=True))
    assert np.array_equal(kept.pixels, chest)
    assert "was not followed" in (kept.note or "")
    assert np.array_equal(render(stored, Display(inverse=True, inverse_is_sure=True)).pixels, 255 - chest)
    assert np.array_equal(render(Stored(255 - chest, 8, False, 8), Display()).pixels, 255 - chest)


@pytest.mark.parametrize("rescale", [Rescale(1e308), Rescale(-1e305, 3.0), Rescale(1.0, float("inf"))])
def test_a_rescale_beyond_the_range_of_numbers_is_told(rescale):
    with pytest.raises(HilumError, match="beyond the range of numbers"):
        render(stored12(), Display(rescale))
