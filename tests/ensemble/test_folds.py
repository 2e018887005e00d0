from collections import Counter
from dataclasses import replace

import pytest

from hilum.datasets.folder import Dataset
from hilum.datasets.resplit import Shares, resplit
from hilum.ensemble.folds import fold_datasets
from hilum.errors import HilumError


@pytest.mark.parametrize("further", [False, True])
def test_each_image_of_train_is_in_val_once_and_nothing_else_is(data, further):
    if further:  # a split of the folder is folded like the folder
        (folder,) = resplit(data.path, "folded", Shares((0.5, 0.25, 0.25)), seed=4, overwrite=True)
        data = Dataset.open(folder)
    train = data.split("train")
    folds = fold_datasets(data, 3, seed=0)
    in_val = Counter(image_id for fold in folds for image_id in fold.split("val").image_ids)
    assert in_val == Counter(train.image_ids)
    outside = set(data.split("val").image_ids) | set(data.split("holdout").image_ids)
    for fold in folds:
        its_train, its_val = fold.split("train"), fold.split("val")
        assert set(its_train.image_ids) | set(its_val.image_ids) == set(train.image_ids)
        assert not set(its_train.patients) & set(its_val.patients)
        assert set(fold.split("holdout").image_ids) == outside
        assert all(path.is_file() for path in its_val.paths)


def test_the_same_seed_gives_the_same_folds_and_they_are_used_again(data):
    first = fold_datasets(data, 2, seed=0)
    written = [(fold.path / "conversion.json").stat().st_mtime_ns for fold in first]
    again = fold_datasets(data, 2, seed=0)
    assert [fold.fingerprint for fold in again] == [fold.fingerprint for fold in first]
    assert [(fold.path / "conversion.json").stat().st_mtime_ns for fold in again] == written
    other = fold_datasets(data, 2, seed=1)  # of so few patients every seed may make the same folds
    assert not {fold.path for fold in other} & {fold.path for fold in first}


def test_folds_of_which_one_would_learn_from_no_opacity_are_refused(data, monkeypatch):
    train = data.split("train")
    only = next(at for at, boxes in enumerate(train.boxes_xyxy) if len(boxes))
    boxes = tuple(each if at == only else each[:0] for at, each in enumerate(train.boxes_xyxy))
    monkeypatch.setattr(Dataset, "split", lambda _, name: replace(train, name=name, boxes_xyxy=boxes))
    with pytest.raises(HilumError, match="one of 3 folds would be trained without any opacity"):
        fold_datasets(data, 3, seed=0)


def test_more_folds_than_patients_are_refused(data):
    with pytest.raises(HilumError, match="take fewer folds"):
        fold_datasets(data, 1000, seed=0)
