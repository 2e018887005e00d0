import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.datasets.folder import Dataset
from hilum.datasets.leaks import check_dataset, leak_check, leak_warnings


def image(image_id, patient="", sha256="", kind="Normal", view="PA", opacity=False):
    values = {"patient": patient, "sha256": sha256, "class": kind, "view": view, "opacity": opacity}
    return {"image_id": image_id, **values}


def check(splits):
    """The leak check of splits given as lists of images."""
    return leak_check({name: pd.DataFrame(side, columns=list(image(""))) for name, side in splits.items()})


def test_clean_splits_by_hand():
    leaks = check(
        {
            "train": [image("a", "1", "A"), image("b", "1", "B", "Lung Opacity", "AP", opacity=True)],
            "holdout": [image("c", "2", "C", "", "")],
        }
    )
    assert leaks == {
        "patients_known": True,
        "splits": {
            "train": {
                "images": 2,
                "with_opacity": 1,
                "patients": 1,
                "without_patient": 0,
                "classes": {"Lung Opacity": 1, "Normal": 1},
                "views": {"AP": 1, "PA": 1},
            },
            "holdout": {
                "images": 1,
                "with_opacity": 0,
                "patients": 1,
                "without_patient": 0,
                "classes": {"unknown": 1},
                "views": {"unknown": 1},
            },
        },
        "pairs": [
            {
                "between": ["train", "holdout"],
                "patients": 0,
                "their_images": [0, 0],
                "same_pictures": 0,
                "example": None,
            }
        ],
    }
    assert leak_warnings(leaks) == []


def test_what_leaks_is_counted_and_said():
    leaks = check(
        {
            "train": [image("a", "1", "A"), image("b", "1", "B"), image("c", "2", "C")],
            "val": [image("d", "3", "D")],
            "holdout": [image("e", "1", "E"), image("f", "4", "C"), image("g", "5", "C")],
        }
    )
    clean, leaky, also_clean = leaks["pairs"]
    assert leaky == {
        "between": ["train", "holdout"],
        "patients": 1,
        "their_images": [2, 1],
        "same_pictures": 1,
        "example": ["c", "f"],
    }
    assert (clean["patients"], clean["same_pictures"], also_clean["patients"], also_clean["same_pictures"]) == (0,) * 4
    patients, pictures = leak_warnings(leaks)
    assert patients == "LEAK: patients in both train and holdout: 1, with 2 and 1 images; figures of holdout flatter"
    assert pictures == (
        "LEAK: pictures in both train and holdout, byte for byte: 1 (c is f); figures of holdout flatter"
    )


def test_unknown_patients_are_neither_shared_nor_checked():
    leaks = check({"train": [image("a"), image("b")], "holdout": [image("c")]})
    assert not leaks["patients_known"]
    assert leaks["splits"]["train"]["patients"] is None
    assert (leaks["pairs"][0]["patients"], leaks["pairs"][0]["same_pictures"]) == (None, None)
    assert "cannot be checked" in leak_warnings(leaks)[0]
    leaks = check({"train": [image("a", "1"), image("b")], "holdout": [image("c")]})
    assert leaks["pairs"][0]["patients"] == 0
    assert leak_warnings(leaks) == ["2 images are of unknown patients, each counts as a person of its own"]


SIDE = st.lists(st.tuples(st.sampled_from(["", *"12345"]), st.sampled_from(["", *"ABCDEFG"])), max_size=12)


@given(SIDE, SIDE, SIDE, st.integers(0, 99))
def test_counts_agree_with_comparing_all_pairs_of_images_in_any_order(train, val, holdout, seed):
    splits = {
        name: [image(f"{name} {n}", patient, sha256) for n, (patient, sha256) in enumerate(side)]
        for name, side in [("train", train), ("val", val), ("holdout", holdout)]
    }
    leaks = check(splits)
    for pair in leaks["pairs"]:
        first, second = (splits[name] for name in pair["between"])
        meetings = [(a, b) for a in first for b in second]
        shared = {a["patient"] for a, b in meetings if a["patient"] and a["patient"] == b["patient"]}
        assert (pair["patients"] or 0) == len(shared)
        here = {a["image_id"] for a, b in meetings if a["patient"] and a["patient"] == b["patient"]}
        there = {b["image_id"] for a, b in meetings if a["patient"] and a["patient"] == b["patient"]}
        assert pair["their_images"] == [len(here), len(there)]
        same = {a["sha256"] for a, b in meetings if a["sha256"] and a["sha256"] == b["sha256"]}
        assert (pair["same_pictures"] or 0) == len(same)
    shuffled = {name: random.Random(seed).sample(side, len(side)) for name, side in splits.items()}
    again = check(shuffled)
    assert again["splits"] == leaks["splits"]
    for pair in [*leaks["pairs"], *again["pairs"]]:
        pair.pop("example")
    assert again["pairs"] == leaks["pairs"]


def test_a_folder_is_checked_and_a_later_map_counts_before_what_it_says(dataset):
    data = Dataset.open(dataset)
    leaks = check_dataset(data)
    assert leaks["patients_known"]
    assert [pair["patients"] for pair in leaks["pairs"]] == [0, 0, 0]
    assert [pair["same_pictures"] for pair in leaks["pairs"]] == [0, 0, 0]
    for name, described in leaks["splits"].items():
        split = data.split(name)
        assert described["images"] == len(split)
        assert described["with_opacity"] == sum(kind == "Lung Opacity" for kind in split.kinds)
        assert described["patients"] == len(set(split.patients))
    train, holdout = data.split("train").image_ids[0], data.split("holdout").image_ids[0]
    leaks = check_dataset(data, {train: "nobody else", holdout: "nobody else"})
    assert [pair["patients"] for pair in leaks["pairs"]] == [0, 1, 0]


@pytest.mark.parametrize("column", ["sha256", "view"])
def test_a_table_without_a_column_is_one_that_does_not_know(dataset, column):
    data = Dataset.open(dataset)
    del data.metadata[column]
    leaks = check_dataset(data)
    assert leaks["pairs"][0]["same_pictures"] == (None if column == "sha256" else 0)
    assert set(leaks["splits"]["train"]["views"]) == ({"unknown"} if column == "view" else {"AP", "PA"})
