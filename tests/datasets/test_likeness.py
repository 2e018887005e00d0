"""Signatures of pictures: what is found again, what is not, and that all pairs that look alike are found."""

import shutil

import cv2
import numpy as np
import pytest

from hilum.commands import split as split_command
from hilum.datasets.folder import Dataset
from hilum.datasets.leaks import check_between, check_dataset, pair_warnings
from hilum.datasets.likeness import MOST_BITS, look_alike, same_pixels, signature, signatures


@pytest.fixture(scope="module")
def data(dataset):
    return Dataset.open(dataset)


@pytest.fixture(scope="module")
def pictures(data):
    return [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in data.split("train").paths]


def jpeg(pixels, quality):
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


COPIES = {
    "compressed": lambda pixels: jpeg(pixels, 30),
    "shrunk": lambda pixels: cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_AREA),
    "shrunk and not square": lambda pixels: cv2.resize(pixels, (600, 400), interpolation=cv2.INTER_AREA),
    "enlarged": lambda pixels: cv2.resize(pixels, None, fx=1.5, fy=1.5),
    "brighter": lambda pixels: (255 * (pixels / 255) ** 0.8).astype(np.uint8),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_and_no_other_picture(pictures, how):
    known = np.array([signature(each) for each in pictures])
    copies = np.array([signature(COPIES[how](each)) for each in pictures[:6]])
    assert look_alike(known, copies).tolist() == list(range(6))
    assert (same_pixels(known, copies) == -1).all()
    assert (look_alike(known[6:], copies) == -1).all()
    assert (look_alike(known[::2], known[1::2]) == -1).all()  # the next image, often of the same patient


def test_pixels_are_compared_whatever_file_they_are_in(pictures):
    known = np.array([signature(each) for each in pictures])
    stored = cv2.imdecode(cv2.imencode(".png", pictures[3])[1], cv2.IMREAD_GRAYSCALE)
    other = pictures[3].copy()
    other[0, 0] ^= 1
    assert same_pixels(known, np.array([signature(stored), signature(other)])).tolist() == [3, -1]
    flat = np.zeros((8, 32), np.uint8)
    assert not np.array_equal(signature(flat), signature(flat.reshape(16, 16)))


def test_it_finds_what_comparing_all_pairs_finds():
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (300, 64), dtype=np.uint8) for _ in range(2))
    first[:, 32:36] = second[:, 32:36] = 7  # rows that all share, as bright borders make them
    for number in range(150):
        bits = np.unpackbits(first[number, 32:])
        bits[rng.choice(256, number // 3, replace=False)] ^= 1
        second[number, 32:] = np.packbits(bits)
    apart = np.bitwise_xor(first[:, None, 32:], second[None, :, 32:])
    near = np.unpackbits(apart, axis=2).sum(axis=2, dtype=int) <= MOST_BITS
    found = look_alike(first, second)
    assert (near.any(axis=0) == (found >= 0)).all()
    assert 70 < (found >= 0).sum() < 150
    assert all(near[found[at], at] for at in np.flatnonzero(found >= 0))


def test_many_of_one_hash_are_compared_once(monkeypatch):
    one = np.tile(np.arange(64, dtype=np.uint8), (5000, 1))
    monkeypatch.setattr("hilum.datasets.likeness._AT_ONCE", 1)
    assert (look_alike(one, one) == 0).all()
    assert look_alike(one[:0], one[:2]).tolist() == [-1, -1]
    assert look_alike(one[:2], one[:0]).tolist() == []


def copy_of(dataset, folder):
    shutil.copytree(dataset, folder)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return Dataset.open(folder)


def test_splits_that_share_a_shrunk_picture_are_told(dataset, tmp_path, capsys):
    data = copy_of(dataset, tmp_path / "data")
    train, holdout = data.split("train"), data.split("holdout")
    pixels = cv2.imread(str(train.paths[2]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(holdout.paths[1]), COPIES["shrunk"](pixels))
    assert "look_alike" not in check_dataset(data)["pairs"][0]
    pairs = {tuple(pair["between"]): pair for pair in check_dataset(data, look=True)["pairs"]}
    assert {between: pair["look_alike"] for between, pair in pairs.items()} == {
        ("train", "val"): 0,
        ("train", "holdout"): 1,
        ("val", "holdout"): 0,
    }
    assert pairs["train", "holdout"]["alike_example"] == [train.image_ids[2], holdout.image_ids[1]]
    split_command.show_splits(split_command.split(data.path, check=True, look=True))
    told = capsys.readouterr()
    assert "that look alike" in told.out
    ids = f"({train.image_ids[2]} and {holdout.image_ids[1]})"
    assert f"LEAK: pictures in both train and holdout, once decoded: 0 the same, 1 that look alike {ids}" in " ".join(
        told.err.split()
    )


def test_signatures_are_kept_beside_the_pictures_or_nowhere(dataset, tmp_path, monkeypatch):
    data = copy_of(dataset, tmp_path / "data")
    data.path.chmod(0o555)
    paths = data.split("val").paths
    monkeypatch.setattr("hilum.datasets.derived.os.access", lambda *_: False)
    before = signatures(data, paths)
    assert not list(data.path.glob("cache/*"))
    data.path.chmod(0o755)
    monkeypatch.undo()
    assert (signatures(data, paths) == before).all()
    (kept,) = data.path.glob("cache/signatures-*.npy")
    time = kept.stat().st_mtime_ns
    assert (signatures(data, paths[::-1]) == before[::-1]).all()
    assert kept.stat().st_mtime_ns == time


def test_names_of_patients_alone_are_no_leak_and_with_a_picture_they_are(dataset, tmp_path):
    home = Dataset.open(dataset)
    away = copy_of(dataset, tmp_path / "away")
    some = home.split("train").patients[0].removeprefix("patient ")
    rng = np.random.default_rng(0)
    for path in away.labelled().paths:  # other pictures
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (9, 9), dtype=np.uint8), (64, 64)))
    away.metadata["patient"] = some
    away.metadata["sha256"] = ""
    split = away.split("val")
    pairs = check_between(home, away, split, "siim")
    ids = [pair.pop("same_ids") for pair in pairs]
    assert ids == [0, len(split), 0]  # the same ids in val
    assert [pair["patients"] for pair in pairs] == [1, 0, 0]
    (line,) = pair_warnings({**pairs[0], "same_ids": 0})
    assert line.startswith("patients in both train and siim: 1, ")
    assert "each set may number its own patients" in line
    known = {**pairs[0], "same_ids": 0, "same_patient": 1}
    assert pair_warnings(known)[0].startswith("LEAK: patients in both train and siim: 1, ")
    assert pair_warnings({**pairs[1], "same_ids": 3})[-1].endswith(
        "one id in both val and siim: 3; figures of siim flatter"
    )
    assert "the two are not independent" in pair_warnings({**pairs[2], "same_ids": 3})[-1]


def test_a_data_set_that_holds_pictures_of_home_under_other_names(dataset, tmp_path):
    """As NIH ChestX-ray14 holds those of the challenge."""
    home, away = Dataset.open(dataset), copy_of(dataset, tmp_path / "away")
    for path in away.labelled().paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), COPIES["shrunk"](pixels))
    away.metadata["sha256"] = ""
    split = away.labelled()
    pairs = check_between(home, away, split, "nih")
    assert [pair["between"][0] for pair in pairs] == ["train", "val", "holdout"]
    for pair, name in zip(pairs, ("train", "val", "holdout"), strict=True):
        assert pair["look_alike"] == len(home.split(name)) == pair["same_patient"]
        assert pair["same_pixels"] == 0
    assert sum(line.startswith("LEAK") for pair in pairs for line in pair_warnings({**pair, "same_ids": 0})) == 6
