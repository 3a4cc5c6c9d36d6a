"""The metric against scikit-learn, and as a user loads it."""

import evaluate
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, log_loss, precision_score, recall_score

from names_geograph import CLASSES, TAGS


@pytest.fixture(scope="module")
def metric(root):
    return evaluate.load(str(root / "metrics" / "geograph_types"), keep_in_memory=True)


@pytest.fixture(scope="module")
def answers():
    generator = np.random.default_rng(0)
    targets = (generator.random((400, 7)) < [0.3, 0.2, 0.2, 0.1, 0.4, 0.2, 0.0]).astype(np.float32)
    probabilities = np.clip(targets * 0.4 + generator.random((400, 7)) * 0.6, 0.001, 0.999).astype(np.float32)
    return probabilities, targets


def test_figures_are_scikit_learns(metric, answers):
    probabilities, targets = answers
    thresholds = [0.3, 0.4, 0.5, 0.6, 0.5, 0.45, 0.99]
    weight = np.linspace(0, 2, 400)
    result = metric.compute(predictions=probabilities, references=targets, thresholds=thresholds, weight=weight)
    predicted = (probabilities.astype(np.float64) >= thresholds).astype(int)
    assert result["n"] == 400
    for average in ("macro", "micro"):
        expected = f1_score(targets, predicted, average=average, zero_division=0)
        assert result[f"f1_{average}"] == pytest.approx(expected, abs=1e-9)
    ap = [average_precision_score(targets[:, i], probabilities[:, i]) for i in range(6)]
    assert result["average_precision_macro"] == pytest.approx(sum(ap) / 7, abs=1e-6)
    for i, name in enumerate(CLASSES):
        found = result["per_class"][name]
        assert found["precision"] == pytest.approx(precision_score(targets[:, i], predicted[:, i], zero_division=0))
        assert found["recall"] == pytest.approx(recall_score(targets[:, i], predicted[:, i], zero_division=0))
        assert found["support"] == targets[:, i].sum()
        assert found["threshold"] == pytest.approx(thresholds[i])
    losses = [log_loss(targets[:, i], probabilities[:, i], sample_weight=weight, labels=[0, 1]) for i in range(7)]
    assert result["loss"] == pytest.approx(np.mean(losses) * weight.mean(), rel=1e-5)
    assert result["per_class"]["From Drone"] == {
        "precision": 0.0, "recall": 0.0, "f1": 0.0, "average_precision": 0.0, "support": 0, "threshold": 0.99,
    }  # fmt: skip


def test_drones_apart_and_distances(metric):
    probabilities = np.zeros((4, 7))
    probabilities[:2, 6] = 0.9
    targets = np.zeros((4, 7))
    targets[:3, 6] = 1
    tags = np.zeros((4, 8), bool)
    tags[0, TAGS.index("From Drone")] = tags[1, TAGS.index("From Above")] = tags[2, TAGS.index("From Above")] = True
    result = metric.compute(predictions=probabilities, references=targets, tags=tags, distance=[0, 7, 8, 22])
    assert (result["true_drone_recall"], result["true_drone_n"]) == (1.0, 1)
    assert (result["pseudo_drone_recall"], result["pseudo_drone_n"]) == (0.5, 2)
    assert {name: group["n"] for name, group in result["by_distance"].items()} == {
        "Unknown": 1, "0 to 64 m": 2, "128 m and over": 1,
    }  # fmt: skip
    assert result["by_distance"]["0 to 64 m"]["f1_macro"] == pytest.approx(1 / 7)
    bare = metric.compute(predictions=probabilities, references=targets)
    assert bare["true_drone_recall"] is None
    assert bare["by_distance"] is None


def test_batch_by_batch_is_the_same(metric, answers):
    probabilities, targets = answers
    whole = metric.compute(predictions=probabilities, references=targets)
    for start in range(0, 400, 150):
        part = slice(start, start + 150)
        metric.add_batch(predictions=probabilities[part], references=targets[part])
    assert metric.compute() == whole


def test_examples_in_its_description_run(metric):
    import doctest

    example = doctest.DocTestParser().get_doctest(
        metric.inputs_description.replace('evaluate.load("metrics/geograph_types")', "metric"),
        {"metric": metric, "evaluate": evaluate}, "description", None, 0,
    )  # fmt: skip
    assert doctest.DocTestRunner().run(example).failed == 0
    assert example.examples


def test_wrong_shape_says_what_was_expected(metric):
    with pytest.raises(ValueError, match=r"\[N, 7\]"):
        metric.compute(predictions=np.zeros((3, 5)), references=np.zeros((3, 5)))


def test_columns_of_another_length_are_refused(metric):
    with pytest.raises(ValueError, match=r"tags must be \[3, 8\], got \[2, 8\]"):
        metric.compute(predictions=np.zeros((3, 7)), references=np.ones((3, 7)), tags=np.zeros((2, 8)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": np.full((3, 7), -2.5)}, "logits"),
        ({"predictions": np.full((3, 7), 95.0)}, "percentages"),
        ({"predictions": np.full((3, 7), np.nan)}, "probabilities"),
        ({"references": np.full((3, 7), 2)}, "0 or 1"),
        ({"weight": [1, -1, 1]}, "at least 0"),
        ({"weight": [1, np.nan, 1]}, "at least 0"),
        ({"distance": [16, 256, 2048]}, "metres"),
        ({"distance": [0.5, 1.0, 2.0]}, "bucket"),
        ({"thresholds": [50] * 7}, "thresholds must be probabilities"),
    ],
)
def test_what_is_no_probability_weight_or_bucket_is_refused(metric, change, message):
    given = {"predictions": np.zeros((3, 7)), "references": np.ones((3, 7), int)} | change
    with pytest.raises(ValueError, match=message) as refused:
        metric.compute(**given)
    assert "\n" not in str(refused.value)


def test_other_classes(metric):
    targets = np.eye(3)
    found = metric.compute(predictions=targets, references=targets, classes=["A", "B", "From Drone"])
    assert list(found["per_class"]) == ["A", "B", "From Drone"]
    assert found["f1_macro"] == 1


def test_its_page_is_its_readme(root):
    pytest.importorskip("gradio", reason="the extra space is not installed")
    import runpy

    page = runpy.run_path(str(root / "metrics" / "geograph_types" / "app.py"), run_name="page")
    shown = [block.value for block in page["demo"].blocks.values() if hasattr(block, "value")]
    assert any("Metric: Geograph types" in text and "sdk:" not in text for text in shown)
