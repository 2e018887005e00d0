import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from commandline import complaint, hilum

from hilum.comparison.pictures import NOT_A_DEVICE
from hilum.datasets.folder import SPLITS, Dataset
from hilum.datasets.resplit import Stage1, resplit
from hilum.errors import HilumError
from hilum.pages import explore_traps as traps
from hilum.pages.collection import Collection
from hilum.pages.explore import NAMES, explore, stage1_test
from hilum.pages.explore_images import age_by_class
from hilum.pages.facts import impossible_ages

ALWAYS = {"classes", "contact-1"}


def words(page):
    """What is to be read on the page, without markup, style and pictures."""
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


def figures(page):
    return {path.stem for path in page.parent.glob("*.png")}


@pytest.fixture(scope="module")
def labels_of_stage1(dataset, tmp_path_factory):
    """A label table that lacks every fourth image."""
    ids = sorted(path.stem for path in (dataset / "images").iterdir())
    path = tmp_path_factory.mktemp("stage1") / "stage_1_train_labels.csv"
    path.write_text("patientId,x,y,width,height,Target\n" + "".join(f"{i},,,,,0\n" for n, i in enumerate(ids) if n % 4))
    return path


@pytest.fixture(scope="module")
def page(dataset, labels_of_stage1, tmp_path_factory):
    return explore(dataset, tmp_path_factory.mktemp("page") / "new", stage1=labels_of_stage1)


@pytest.fixture
def undrawn(monkeypatch):
    """A pixel in the place of each figure, for tests of what is said and which files there are."""
    pixel = cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes()
    monkeypatch.setattr("hilum.pages.explore_figures.to_png", lambda figure: pixel)


def test_every_figure_is_made_and_can_be_read(page):
    assert figures(page) == NAMES - {f"contact-{number}" for number in range(4, 9)}
    for name in figures(page):
        assert cv2.imread(str(page.with_name(f"{name}.png"))).std() > 1, name
    assert page.read_text().count("<img ") == len(figures(page))


def test_the_numbers_are_those_of_the_tables(page, sample_folder):
    labels = pd.read_csv(sample_folder / "stage_2_train_labels.csv")
    joined = labels.merge(pd.read_csv(sample_folder / "stage_2_detailed_class_info.csv"), on="patientId")
    text = words(page)
    positive = labels[labels.Target == 1].patientId.nunique()
    assert f"{positive} of {labels.patientId.nunique()} images" in text
    assert f"{len(joined):,} rows from {labels.patientId.nunique()} images" in text
    assert f"{joined.Target.sum():,} of them with opacity" in text


def test_once_not_a_medical_device(page):
    assert words(page).count(NOT_A_DEVICE) == 1


def test_nobody_can_be_told_from_the_page(page, dataset):
    text = page.read_text()
    metadata = pd.read_csv(dataset / "metadata.csv", dtype=str)
    for name in {*metadata.image_id, *metadata.sha256, dataset.parent.name}:
        assert name not in text


def test_the_same_folder_gives_the_same_bytes(page, dataset, labels_of_stage1, tmp_path):
    again = explore(dataset, tmp_path / "again", stage1=labels_of_stage1)
    assert again.read_bytes() == page.read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_an_earlier_page_is_replaced_and_nothing_else_is(dataset, labels_of_stage1, tmp_path):
    page = explore(dataset, tmp_path / "out", stage1=labels_of_stage1)
    assert "stage-1-test" in figures(page)
    explore(dataset, tmp_path / "out")
    assert "stage-1-test" not in figures(page)
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    with pytest.raises(HilumError, match=r"holds mine\.txt"):
        explore(dataset, tmp_path / "out")
    with pytest.raises(HilumError, match="holds annotations"):
        explore(dataset, dataset)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "index.html").write_text("<html>mine</html>")
    with pytest.raises(HilumError, match=r"holds index\.html"):
        explore(dataset, tmp_path / "theirs")
    with pytest.raises(HilumError, match="is a file"):
        explore(dataset, labels_of_stage1)


@pytest.mark.usefixtures("undrawn")
def test_progress_ends_at_its_total(dataset, tmp_path):
    seen = []
    explore(dataset, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))
    assert {total for _, total in seen} == {len(seen)}


@pytest.mark.usefixtures("undrawn")
def test_a_split_that_holds_out_the_first_stages_test_set_tells_which_it_is(dataset, labels_of_stage1, page, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    assert "is not known here" in words(explore(copy))
    resplit(copy, "stage1-test", Stage1(labels_of_stage1, keep_shared=True))
    said = re.search(r"Of its \d+ images [^.]*\.", words(page))[0]
    assert said in words(explore(copy))
    assert said in words(explore(copy / "splits" / "stage1-test"))


def test_stage_1_labels_of_other_images(dataset, tmp_path):
    (tmp_path / "labels.csv").write_text("patientId,x,y,width,height,Target\nsomebody,,,,,0\n")
    with pytest.raises(HilumError, match="names none of the 48 images"):
        explore(dataset, tmp_path / "out", stage1=tmp_path / "labels.csv")
    assert not (tmp_path / "out").exists()


def test_without_patients_tags_and_classes(make_dataset):
    data = make_dataset([{"boxes": [[8, 8, 16, 32]]}, {"boxes": [[8, 8, 16, 32], [40, 8, 16, 32]]}, {}])
    text = words(explore(data))
    for line in (
        "2 of 3 images (67%) show opacity.",
        "How the pictures were taken is not recorded.",
        "No age is recorded.",
        "no box can be given in millimetres",
        "Whose the images are is not known",
        "There is no class table",
        "Not known of every image: class, patient, sex, age, view and pixel spacing.",
    ):
        assert line in text
    assert figures(data / "explore" / "index.html") == {
        *ALWAYS,
        "contact-2",
        "boxes-per-image",
        "box-sizes",
        "box-positions",
    }


def test_without_any_positive(make_dataset):
    tags = {"class": "Normal", "sex": "F", "age_years": 40, "view": "PA", "spacing_mm": 0.143, "patient": "p"}
    data = make_dataset([tags, tags | {"split": "holdout"}])
    text = words(explore(data))
    assert "0 of 2 images (0%) show opacity." in text
    assert "No image has an opacity box" in text
    assert "No image shows opacity, in whatever view." in text
    assert "100% of the 1 outside training" in text
    assert "In the split of this folder 1 of them is." in text
    assert "millimetres" in figures(data / "explore" / "index.html")


def test_a_single_image(make_dataset):
    data = make_dataset([{"class": "Lung Opacity", "view": "AP", "boxes": [[0, 0, 64, 64]], "age_years": 123}])
    text = words(explore(data))
    assert "1 of 1 image (100%) show opacity." in text
    assert "No age is recorded that can be true." in text


def test_spacing_that_can_be_true_is_believed(make_dataset):
    row = {"boxes": [[8, 8, 16, 32]], "spacing_mm": 400 / 64}
    assert "A typical box is 100 x 200 mm." in words(explore(make_dataset([row])))


def test_names_from_files_are_neither_markup_nor_mathematics(make_dataset):
    rows = [{"class": name} for name in ("<b>$\\frac{</b>", "&amp;", "正常", "a" * 200)]
    page = explore(make_dataset(rows, left_out=[("<i>", "", "", "", "<img src=x onerror=alert(1)>")]))
    assert "<b>" not in page.read_text()
    assert "onerror=alert(1)>" not in page.read_text()
    assert "<b>$\\frac{</b>" in words(page)


def test_many_classes_and_views_are_gathered(make_dataset):
    rows = [{"class": f"kind {n}", "view": f"V{n}"} for n in range(12)]
    page = explore(make_dataset(rows))
    assert "Examples: other classes" in words(page)
    assert sum(name.startswith("contact") for name in figures(page)) == 8


def test_pictures_that_cannot_be_read(make_dataset):
    data = make_dataset([{"class": "Normal"}] * 3, pictures=False)
    assert "There are 3 images; none of those picked could be read." in words(explore(data))
    cv2.imwrite(str(data / "images" / "image-001.png"), np.zeros((64, 48), np.uint8))
    assert "2 pictures could not be read." in words(explore(data))


def test_what_was_left_out_is_told_without_names(make_dataset):
    left_out = [
        ("image", f"smith-{n}", f"smith-{n}.dcm", "", f"no row for smith-{n}.dcm in the table") for n in range(3)
    ]
    rows = [{"image_id": "smith-9", "patient": "smith"}]
    text = words(explore(make_dataset(rows, left_out=[*left_out, ("note", "", "t.csv", 4, "read as 0")])))
    assert "3 images, rows or boxes did not come along" in text
    assert "image no row for (name) in the table 3" in text
    assert "smith" not in text


def test_nothing_labelled(make_dataset):
    with pytest.raises(HilumError, match="no labelled image in it, so nothing to explore"):
        explore(make_dataset([]))


@pytest.mark.parametrize("age", ["old", "inf"])
def test_a_damaged_table(make_dataset, age):
    data = make_dataset([{"age_years": age}])
    with pytest.raises(HilumError, match=r"metadata\.csv: image image-000: age_years"):
        explore(data)
    assert not (data / "explore").exists()


def test_the_command(make_dataset, tmp_path):
    data = make_dataset([{"class": "Normal"}])
    command = ("explore", data, "--out", tmp_path / "out")
    done = hilum(*command)
    assert done.stdout.strip() == str(tmp_path / "out" / "index.html")
    (tmp_path / "out" / "mine").mkdir()
    assert complaint(*command)


@pytest.fixture(scope="module")
def challenge(shared):
    """The challenge's own tables as a collection, without a picture."""
    tables = shared / "rsna_tables"
    headers = pd.read_csv(tables / "stage_2_train_dicom_headers.csv.gz").set_index("PatientID").sort_index()
    classes = pd.read_csv(tables / "stage_2_detailed_class_info.csv").drop_duplicates().set_index("patientId")["class"]
    owners = pd.read_csv(tables / "patient_map.csv", dtype=str).set_index("patientId").nih_patient
    labels = pd.read_csv(tables / "stage_2_train_labels.csv")
    boxes = {name: np.zeros((0, 4)) for name in headers.index}
    for name, rows in labels[labels.Target == 1].groupby("patientId"):
        xywh = rows[["x", "y", "width", "height"]].to_numpy()
        boxes[name] = np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
    ids, count = tuple(headers.index), len(headers)
    return Collection(
        image_ids=ids,
        paths=(),
        sizes_wh=np.full((count, 2), 1024),
        boxes_xyxy=tuple(boxes.values()),
        splits=np.where(np.arange(count) % 10 < 7, "train", "holdout"),
        classes=classes.reindex(ids).to_numpy(str),
        patients=owners.reindex(ids).to_numpy(str),
        sexes=headers.PatientSex.to_numpy(str),
        views=headers.ViewPosition.to_numpy(str),
        ages_years=headers.PatientAge.to_numpy(float),
        spacing_mm=headers.PixelSpacing.to_numpy(float),
    )


def test_the_challenges_own_tables(challenge, shared):
    assert int(impossible_ages(challenge.ages_years).sum()) == 5
    assert "5 recorded ages cannot be true" in " ".join(age_by_class(challenge).text)
    joined = traps.join(challenge)
    assert "37,629 rows from 26,684 images, 16,957 of them with opacity" in " ".join(joined.text)
    assert joined.finding.endswith("45% show opacity; 23% do.")
    assert traps.shortcut(challenge).finding == "Opacity is on 9% of PA and 38% of AP images."
    assert traps.patients(challenge).finding == "26,684 images are of 11,439 patients, up to 65 of the same."
    test = stage1_test(challenge, shared / "rsna_tables" / "stage_1_train_labels.csv")
    section = traps.stage1_test_set(challenge, test)
    assert section.finding == "Of its 1,000 images 35% show opacity, against 22% of the rest."
    assert "714 images of it and 4,403 of the rest are of the same people" in " ".join(section.text)


def test_the_challenges_own_patients_leak_as_a_random_split_shows(challenge):
    said = float(re.search(r"(\d+)% of the [\d,]+ outside", traps.patients(challenge).text[0])[1])
    rng, leaks = np.random.default_rng(0), []
    for _ in range(5):
        training = rng.permutation(challenge.splits == "train")
        leaks.append(np.isin(challenge.patients[~training], challenge.patients[training]).mean())
    assert said == pytest.approx(100 * np.mean(leaks), abs=1.5)


def test_several_classes_have_a_page_each_that_leads_to_the_others(
    three_classes: Path, tmp_path: Path, tree_bytes: Callable[[Path], dict[str, bytes]]
) -> None:
    out = tmp_path / "out"
    steps: list[tuple[int, int]] = []
    explore(three_classes, out, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == len(steps)
    data = Dataset.open(three_classes)
    index = (out / "index.html").read_text()
    assert "Here an opacity is any of: left, right, low." in index
    for class_id, name in enumerate(data.class_names):
        page = (out / "classes" / name / "index.html").read_text()
        assert f"<h1>{name}: " in page
        assert 'href="../../index.html"' in page
        boxes = sum(len(boxes) for split in SPLITS for boxes in data.split(split).of_class(class_id).boxes_xyxy)
        assert f"<dt>opacity boxes</dt><dd>{boxes}</dd>" in page
        assert f'href="classes/{name}/index.html"' in index
    before = tree_bytes(out)
    explore(three_classes, out)
    assert tree_bytes(out) == before
