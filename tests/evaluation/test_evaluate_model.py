"""`evaluate_model.py` as a user runs it: every figure there, the report whole and alone."""

import contextlib
import json
import re

import numpy as np
import pytest
import torch

from configuration_geograph import GeographConfig
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.rows.parquet import read_parquet
from geograph_types.training.labels import training_targets
from modeling_geograph import GeographModel
from names_geograph import CLASSES
from tests.support.commands import in_process


@pytest.fixture(scope="module")
def report(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")

    def command(script, *arguments):
        with contextlib.chdir(folder):
            return in_process(script, *arguments)

    assert command("prepare_dataset", "--source", "synthetic:1500", "--small", "1000").returncode == 0
    for name, seed in (("ours", 0), ("other", 1)):
        torch.manual_seed(seed)
        config = GeographConfig(thresholds=[0.4] * 7, synthetic=True)
        config.cross_far_min_distance = 256 * seed
        save_model_repository(GeographModel(config), folder / name)
    for name, changes in (("others", {"classes": ["A", "B"]}), ("wide", {"embedding_dim": 8})):
        save_model_repository(GeographModel(GeographConfig(**changes)), folder / name)
    result = command(
        "evaluate_model", "--model", "ours", "--split", "test", "--output_dir", "report", "--bootstrap", "100",
        "--compare", "other",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder, result, command


def test_metrics_are_the_metric_modules(report, root):
    import evaluate

    folder, result, _ = report
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    rows = read_parquet(sorted((folder / "geograph-types" / "small").glob("test-*.parquet")))
    model = GeographModel.from_pretrained(folder / "ours").eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(rows.embedding), torch.from_numpy(rows.distance.astype(np.int32))).logits
    expected = evaluate.load(str(root / "metrics" / "geograph_types")).compute(
        predictions=logits.sigmoid().numpy(), references=training_targets(rows.tags, rows.distance),
        weight=rows.weight, distance=rows.distance, tags=rows.tags, thresholds=[0.4] * 7,
    )  # fmt: skip
    assert metrics["loss"] == pytest.approx(expected.pop("loss"), rel=1e-4)
    for name, value in expected.items():
        if name not in ("per_class", "by_distance"):
            assert metrics[name] == pytest.approx(value, abs=1e-6)
    assert metrics["per_class"]["Geograph"]["support"] == expected["per_class"]["Geograph"]["support"]
    assert set(metrics["per_class"]) == set(CLASSES)
    assert 0 < metrics["distance_reliance"] < 1
    low, high = metrics["intervals"]["f1_macro"]
    assert low <= metrics["f1_macro"] <= high
    assert set(metrics["compared_with"]) == {"other", "most frequent type", "distance alone"}
    assert "macro F1" in result.stdout


def test_all_are_judged_by_the_same_labels(report):
    folder, *_ = report
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    other = metrics["compared_with"]["other"]
    for name, found in other["per_class"].items():
        assert found["support"] == metrics["per_class"][name]["support"]
    assert other["cross_far_min_distance"] == 256
    assert other["f1_macro_by_own_rule"] != other["f1_macro"]
    assert "only beyond 256 m" in (folder / "report" / "report.html").read_text()
    assert other["shortcut"]["by_class"].keys() == metrics["shortcut"]["by_class"].keys()


def test_report_stands_alone(report):
    folder, *_ = report
    page = (folder / "report" / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/png;base64,") == 5
    for phrase in ("How good?", "Is it better?", "On what is it bad?", "May I trust 0.8?", "Synthetic rows."):
        assert phrase in page
    section = (folder / "report" / "report.md").read_text()
    assert "True drone" in section
    assert "other" in section


def test_the_card_takes_the_report_and_only_the_last_one(report, tmp_path):
    from geograph_types.evaluation.report import BEFORE, START, update_card

    folder, *_ = report
    card = tmp_path / "README.md"
    card.write_text(f"---\nlicense: cc-by-sa-4.0\n---\n# A model\n{BEFORE}\nOf the dog.\n")
    update_card(tmp_path, folder / "report")
    once = card.read_text()
    update_card(tmp_path, folder / "report")
    assert card.read_text() == once
    assert once.count(START) == 1
    assert once.index("In detail, with intervals") < once.index("## Beware")
    assert once.endswith("Of the dog.\n")
    for picture in re.findall(r"\]\((\w+\.png)\)", once):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model", "nowhere"], 1, "nowhere"),
        (["--model", "ours", "--dataset", "nowhere"], 1, "no such folder"),
        (["--model", "ours", "--split", "tset"], 2, "tset"),
        (["--model", "ours", "--bootstrap", "50"], 2, "--bootstrap must be 0 (none) or at least 100"),
        (["--model", "ours", "--compare", "others"], 1, "it predicts A, B"),
        (["--model", "wide"], 1, "it takes vectors of 8 numbers; the rows have 512"),
        (["--model", "nowhere", "--update_card"], 2, "README.md"),
    ],
)
def test_mistakes_are_one_line(report, arguments, status, message):
    _, _, command = report
    result = command("evaluate_model", *arguments)
    assert result.returncode == status
    assert message in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
