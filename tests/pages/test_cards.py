"""Cards say what is known, say of the rest that it is not, and no text of a file becomes markup, a link or YAML."""

import json
import re
import shutil

import pytest
import yaml
from commandline import complaint, hilum
from markdown_it import MarkdownIt

from hilum.config import find_config
from hilum.converters.convert import convert
from hilum.datasets.folder import Dataset
from hilum.datasets.leaks import check_dataset
from hilum.datasets.resplit import Shares, resplit
from hilum.errors import HilumError
from hilum.pages.card import plain, table
from hilum.pages.data_card import data_card
from hilum.pages.run_card import run_card
from hilum.run import run_digest

HOSTILE = "<script>x</script> ![i](http://h/p) [a](javascript:b) | `c` https://evil.example www.evil.example *d* {e}"


def front(card):
    _, head, text = card.split("---\n", 2)
    return yaml.safe_load(head), text


def section(card, heading):
    return card.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def rendered(text):
    """CommonMark with tables, as GitHub and the hub have them; HTML is let through."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)


@pytest.fixture(scope="module")
def evaluated(tiny_run, dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluated") / "holdout.json"
    hilum("evaluate", tiny_run, dataset, "--json", path)
    return path


@pytest.fixture
def run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture
def data(dataset, tmp_path):
    return shutil.copytree(dataset, tmp_path / "data", ignore=shutil.ignore_patterns("cache", "splits", "explore"))


@pytest.mark.parametrize("text", [HOSTILE, "a\n# b", "---", "]: x", "\\", "<!--", "&lt;", "~~a~~", "$x$", "[^1]", "=="])
def test_text_of_anybody_is_shown_as_it_is(text):
    assert not re.search(r"(?<!\\):(?=//)|www\.|(?<!\\)@", plain(text))  # bare addresses, which GitHub makes links
    page = rendered(f"# {plain(text)}\n\n- {plain(text)}\n\n{table(['', text], [[text, text]])}")
    assert not re.findall(r"<(?!/?(?:h1|ul|li|table|thead|tbody|tr|th|td)\b)[^>]*>", page)
    shown = re.search(r"<h1>(.*)</h1>", page)[1]
    assert shown == text.replace("\n", "\\n").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert page.count("<td") == 2


def test_a_run_alone_says_what_it_knows_and_that_the_rest_is_not_known(run):
    card = run_card(run)
    head, text = front(card)
    assert head["license"] == "other"
    assert head["pipeline_tag"] == "object-detection"
    assert head["hilum_run"] == run_digest(run)
    assert "model-index" not in head
    assert "Licence of the weights: not known." in text
    assert "How well it does is not known here" in section(text, "Figures")
    assert "numbers of images and patients: not known here" in section(text, "Trained on")
    assert "| seed | 0 |" in section(text, "How")
    assert text.count("not a medical device") == 1
    assert card == run_card(run)
    assert str(run.parent) not in card


def test_figures_intervals_strata_and_data_come_from_what_is_given(run, dataset, evaluated):
    data = Dataset.open(dataset)
    head, text = front(run_card(run, [evaluated], data))
    found = json.loads(evaluated.read_text())
    score, gaps = found["entries"][-1]["score"], found["entries"][-1]["strata"]["gaps"]
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"] == {"type": "hilum", "name": f"data {data.fingerprint}", "split": "holdout"}
    assert result["metrics"][0] == {
        "type": "competition_score", "name": "competition score", "value": round(score["estimate"], 4)
    }  # fmt: skip
    figures = section(text, "Figures")
    assert rf"{score['estimate']:.3f} \[{score['low']:.3f}, {score['high']:.3f}\] |" in figures
    assert len(re.findall(r"^\| (view|sex|age group)", figures, re.MULTILINE)) == sum(
        gap["factor"] in {"view", "sex", "age group"} for gap in gaps
    )
    sides = check_dataset(data)["splits"]
    for name, side in sides.items():
        assert f"| {name} | {side['images']} | {side['with_opacity']} |" in section(text, "Trained on")
    assert "not known here" not in section(text, "Trained on")
    assert text.count("not a medical device") == 1
    assert "### Holdout of the data of its training" in figures
    assert "data of another source" in section(text, "Limits")


def test_the_hubs_own_client_reads_both_front_matters(run, dataset, evaluated):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    said = hub.ModelCard(run_card(run, [evaluated])).data
    assert (said.license, said.library_name, said.pipeline_tag) == ("other", "hilum", "object-detection")
    score = json.loads(evaluated.read_text())["entries"][-1]["score"]["estimate"]
    assert (said.eval_results[0].metric_name, said.eval_results[0].metric_value) == (
        "competition score",
        round(score, 4),
    )
    assert hub.DatasetCard(data_card(Dataset.open(dataset))).data.task_categories == ["object-detection"]


def test_figures_of_other_data_are_told_as_that_and_those_of_train_as_flattering(run, evaluated, tmp_path):
    found, paths = json.loads(evaluated.read_text()), []
    for name, change in {
        "away": {"split": "all", "data_fingerprint": "0" * 16, "family": []},
        "own": {"split": "train"},
    }.items():
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(found | change))
    text = front(run_card(run, paths))[1]
    assert f"### All labelled images of other data than those of its training ({'0' * 16})" in text
    limits = section(text, "Limits")
    assert "data of another source" not in limits
    assert limits.count("Figures of train of its own data flatter") == 1


def test_another_split_of_the_pictures_of_training_is_not_told_as_other_data(run, dataset, tmp_path):
    (fold,) = resplit(dataset, "card", Shares((0.4, 0.3, 0.3)), seed=1, out=tmp_path / "splits")
    hilum("evaluate", run, fold, "--json", tmp_path / "fold.json")
    text = front(run_card(run, [tmp_path / "fold.json"]))[1]
    assert "### Holdout of another split of the pictures of its training" in section(text, "Figures")
    limits = section(text, "Limits")
    assert "Figures of holdout of another split of the pictures of its training flatter" in limits
    assert "data of another source" in limits


def test_a_conversion_anew_leaves_no_card_of_the_data_before_without_a_word(sample_folder, tmp_path):
    told, data = [], tmp_path / "data"
    convert(sample_folder, data)
    hilum("card", data)
    convert(sample_folder, data, seed=1, overwrite=True, tell=told.append)
    assert not (data / "croissant.json").exists()
    assert [line for line in told if "README.md: is of the data before" in line]


@pytest.mark.parametrize("change", [{"least_confidence": 0.987}, None])
def test_figures_at_another_operating_point_or_of_other_classes_are_refused(run, evaluated, tmp_path, change):
    found, path = json.loads(evaluated.read_text()), tmp_path / "changed.json"
    if change is None:
        found["classes"] = {name: {**found, "classes": {}} for name in ("a", "b")}
    else:
        found["entries"][-1] |= change
    path.write_text(json.dumps(found))
    with pytest.raises(HilumError, match=r"boxes at confidence >= .*, and the run keeps those at"):
        run_card(run, [path])


def test_figures_of_predictions_without_their_unlikely_boxes_are_refused(run, data, tmp_path):
    found, figures = tmp_path / "found", tmp_path / "figures.json"
    hilum("predict", run, data, found, "--no-worklist", "--confidence", 0.1)
    hilum("evaluate", found, data, "--json", figures)
    assert json.loads(figures.read_text())["all_boxes"] is False
    changed = json.loads(figures.read_text())
    changed["entries"][-1]["least_confidence"] = json.loads((run / "operating_point.json").read_text())["confidence"]
    figures.write_text(json.dumps(changed))
    with pytest.raises(HilumError, match="so AP and FROC are too low; evaluate the run itself"):
        run_card(run, [figures])


def test_figures_of_another_run_and_other_data_are_refused(run, data, evaluated):
    (run / "operating_point.json").write_text((run / "operating_point.json").read_text().replace("}", " }"))
    with pytest.raises(HilumError, match=f"and this is run {run_digest(run)}"):
        run_card(run, [evaluated])
    (data / "metadata.csv").write_text((data / "metadata.csv").read_text() + "\n")
    with pytest.raises(HilumError, match="the run was trained on data"):
        run_card(run, (), Dataset.open(data))
    with pytest.raises(HilumError, match="evaluate RUN DATA --json"):
        run_card(run, [run / "environment.json"])


def test_weights_of_yolo_are_under_agpl_unless_somebody_says_otherwise(run, tmp_path):
    member = shutil.copytree(run, run / "members" / "one")
    shutil.copy(find_config("sample/yolo"), member / "config.yaml")
    head, text = front(run_card(run))
    assert head["license"] == "agpl-3.0"
    assert "under AGPL-3.0" in section(text, "Licence")
    head, text = front(run_card(run, named_licence="Apache-2.0"))
    assert head["license"] == "apache-2.0"
    assert "under AGPL-3.0" in section(text, "Licence")
    with pytest.raises(HilumError, match="--license"):
        run_card(run, named_licence="mit\nevil: true")


def test_nothing_that_a_run_says_becomes_markup(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    names = ["[a](http://b) <b>", "x: {y} # z"]
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"class_names": names}))
    point = json.loads((run / "operating_point.json").read_text())
    calibration = {"boxes": [[1, 0], [2, 1]], "images": [[1, 0]] * 2}
    point |= {"confidence": [0.25, 0.5], "at": HOSTILE, "calibration": calibration}
    (run / "operating_point.json").write_text(json.dumps(point))
    environment = json.loads((run / "environment.json").read_text())
    environment |= {"device": HOSTILE, "versions": {HOSTILE: "---\n# b"}, "pretraining": HOSTILE}
    (run / "environment.json").write_text(json.dumps(environment))
    head, text = front(run_card(run.rename(run.with_name("a `run` <i>"))))
    assert set(head) == {"license", "license_name", "library_name", "pipeline_tag", "tags", "hilum_run"}
    page = rendered(text)
    assert not re.search(r"<(script|img|b|i|a)\b", page)
    assert "0.250" in section(text, "Operating point and calibration")
    assert "slope 2.000, intercept 1.000" in text


def test_several_classes_have_their_own_rows_and_figures(three_classes):
    data = Dataset.open(three_classes)
    text = front(data_card(data))[1]
    header = next(line for line in text.splitlines() if line.startswith("| split"))
    assert header.count("boxes of ") == len(data.class_names) == 3
    boxes = sum(len(each) for each in data.split("train").of_class(1).boxes_xyxy)
    train = next(line for line in text.splitlines() if line.startswith("| train"))
    assert train.split(" | ")[4] == str(boxes)


def test_the_card_of_data_tells_composition_terms_leaks_and_what_was_left_out(data):
    table_ = "what,image_id,file,row,reason\n" + "image,i-1,i-1.dcm,,i-1.dcm is <b>damaged</b>\n" * 2
    table_ += 'note,i-2,,,"readers contradict each other: Dr Example drew boxes, Dr Sample saw nothing"\n'
    (data / "left_out.csv").write_text(table_)
    (data / "sources.key").write_text("key")
    head, text = front(data_card(Dataset.open(data)))
    assert head["size_categories"] == ["n<1K"]
    assert head["task_categories"] == ["object-detection"]
    views = Dataset.open(data).labelled().views
    assert f"| view | PA | {views.count('PA')} |" in section(text, "Composition")
    assert r"2 x image: \(name\) is \<b\>damaged\</b\>" in section(text, "Left out, and noted")
    assert "1 x note: readers contradict each other\n" in section(text, "Left out, and noted") + "\n"
    assert "Dr " not in text
    assert "Terms, if it is that: the rules of the competition" in section(text, "Origin and split")
    assert "not to be shared: sources.key." in section(text, "De-identification")
    assert text.count("not a medical device") == 1
    assert str(data.parent) not in text


def test_a_tree_without_labels_has_a_card_too(sample_folder, tmp_path):
    tree = shutil.copytree(sample_folder / "stage_2_test_images", tmp_path / "tree")
    convert(tree, tmp_path / "data")
    head, text = front(data_card(Dataset.open(tmp_path / "data")))
    assert "task_categories" not in head
    assert "Boxes are of: none." in text
    assert "Converted from: not told" in text
    assert "sources.csv, sources.key" in section(text, "De-identification")


def test_where_no_patient_is_known_both_cards_say_so(data, run):
    record = json.loads((data / "conversion.json").read_text()) | {"patients_known": False, "read_as": "csv"}
    (data / "conversion.json").write_text(json.dumps(record))
    lines = (data / "metadata.csv").read_text().splitlines()
    column = lines[0].split(",").index("patient")
    rows = [",".join("" if n == column else cell for n, cell in enumerate(line.split(","))) for line in lines[1:]]
    (data / "metadata.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    text = front(data_card(Dataset.open(data)))[1]
    assert "Split by image" in text
    assert "it cannot be checked" in text
    assert "Terms: not known; who publishes the data has to say them." in text
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"patients_known": False}))
    assert "patients may be on both sides" in section(front(run_card(run))[1], "Limits")


def test_the_command_tells_runs_from_data_and_replaces_nothing_unasked(run, data, tmp_path, evaluated):
    hilum("card", run, "--evaluation", evaluated, "--license", "cc-by-4.0", "--out", tmp_path / "cards")
    assert front((tmp_path / "cards" / "README.md").read_text())[0]["license"] == "cc-by-4.0"
    assert not (run / "README.md").exists()
    hilum("card", data)
    assert (data / "croissant.json").is_file()
    (data / "README.md").write_text("mine")
    assert "--overwrite" in complaint("card", data)
    assert (data / "README.md").read_text() == "mine"
    hilum("card", data, "--overwrite")
    assert "a run folder or a dataset folder is expected" in complaint("card", tmp_path)
    assert "no such folder" in complaint("card", tmp_path / "nowhere")
    assert "go with a run" in complaint("card", data, "--data", data, "--overwrite")
    (run / "README.md").symlink_to(data / "README.md")
    assert "is a link" in complaint("card", run, "--overwrite")
