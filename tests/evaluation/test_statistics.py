"""Intervals, calibration and the shortcut test against what is known beforehand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from configuration_geograph import GeographConfig
from geograph_types.evaluation import statistics
from geograph_types.evaluation.baselines import distance_alone, most_frequent, zero_shot
from geograph_types.evaluation.figures import Answers, of_answers
from geograph_types.evaluation.intervals import bootstrap, interval, paired_difference, resamples
from geograph_types.rows.fields import Rows
from modeling_geograph import GeographModel
from names_geograph import CLASSES


def made_rows(n=200, seed=0):
    generator = np.random.default_rng(seed)
    return Rows(
        gridimage_id=np.arange(1, n + 1),
        tags=generator.random((n, 8)) < 0.3,
        distance=generator.integers(0, 23, n).astype(np.uint8),
        embedding=generator.standard_normal((n, 512)).astype(np.float32),
        weight=np.ones(n, np.float32),
    )


@pytest.fixture(scope="module")
def answers():
    generator = np.random.default_rng(1)
    targets = generator.random((300, 7)) < 0.3
    return np.clip(targets * 0.3 + generator.random((300, 7)) * 0.7, 0, 1).astype(np.float32), targets


def resampled(probability, targets, times, rows=None):
    """Bootstrap samples at thresholds of a half."""
    weight = np.ones(len(targets), np.float32)
    return bootstrap(Answers(probability, targets, np.full(7, 0.5), CLASSES), weight, times, rows)


def test_resamples_give_scikit_learns_figures(answers):
    probability, targets = answers
    probability = probability.round(2)  # so that many rows share one probability: their order is chance
    far = np.arange(300) % 2 == 0
    samples = resampled(probability, targets, 3, {"far": far, "none": np.zeros(300, bool)})
    assert "group:none" not in samples
    counts = next(resamples(300, 3))
    assert (counts.sum(axis=1) == 300).all()
    for i, row in enumerate(counts):
        chosen = np.repeat(np.arange(300), row)
        for name, some in (("f1_macro", chosen), ("group:far", chosen[far[chosen]])):
            expected = f1_score(targets[some], probability[some] >= 0.5, average="macro", zero_division=0)
            assert samples[name][i] == pytest.approx(expected, abs=1e-5)
        for c in range(7):
            ap = average_precision_score(targets[chosen][:, c], probability[chosen][:, c])
            assert samples["average_precision"][i, c] == pytest.approx(ap, abs=1e-9)


def test_an_interval_holds_the_figure(answers):
    probability, targets = answers
    samples = resampled(probability, targets, 200)
    low, high = interval(samples["f1_macro"])
    assert low < f1_score(targets, probability >= 0.5, average="macro") < high


def test_the_interval_of_average_precision_holds_it_among_ties():
    """Ties broken one by one gave intervals that lay above or below the figure itself."""
    generator = np.random.default_rng(4)
    targets = generator.random((400, 7)) < 0.1
    probability = np.where(targets, generator.integers(0, 3, (400, 7)), generator.integers(0, 2, (400, 7))) / 2
    found = figures_at_half(probability, targets, 200)
    for name, one in found["figures"]["per_class"].items():
        low, high = found["intervals"]["per_class"][name]["average_precision"]
        assert low < one["average_precision"] < high


def figures_at_half(probability, targets, times):
    answers = Answers(probability, targets, np.full(7, 0.5), CLASSES)
    return of_answers(answers, made_rows(len(targets)), times)


def test_differences_are_the_figures_own_and_the_same_model_shows_none(answers):
    probability, targets = answers
    ours = figures_at_half(probability, targets, 100)
    same = paired_difference(ours, ours)
    assert same["f1_macro"] == {"difference": 0.0, "interval": [0.0, 0.0], "sure": False}
    worse = figures_at_half(1 - probability, targets, 100)
    found = paired_difference(ours, worse)
    assert found["f1_macro"]["sure"]
    assert found["f1_macro"]["difference"] == ours["figures"]["f1_macro"] - worse["figures"]["f1_macro"]
    low, high = found["per_class_f1"]["Extra"]["interval"]
    assert low < found["per_class_f1"]["Extra"]["difference"] < high


def test_without_resamples_there_are_no_intervals(answers):
    probability, targets = answers
    ours = figures_at_half(probability, targets, 0)
    assert ours["intervals"]["f1_macro"] is None
    assert ours["intervals"]["per_class"]["Extra"]["f1"] is None
    worse = figures_at_half(1 - probability, targets, 0)
    assert paired_difference(ours, worse)["f1_macro"]["sure"] is None


def test_wilson_is_the_published_interval():
    assert statistics.wilson(0.0, 6) == pytest.approx([0, 0.3903], abs=1e-3)
    assert statistics.wilson(None, 0) is None


def test_no_interval_claims_certainty_from_few_photos():
    targets = np.zeros((40, 7), bool)
    targets[:6, 6] = targets[6:, 4] = True
    found = figures_at_half(targets.astype(np.float32), targets, 100)
    assert found["figures"]["per_class"]["From Drone"]["precision"] == 1
    for key in ("precision", "recall"):
        low, high = found["intervals"]["per_class"]["From Drone"][key]
        assert (low, high) == pytest.approx((1 - 0.3903, 1), abs=1e-3)


def test_answers_around_counts_the_answers_there():
    probability = np.array([[0.75, 0.1], [0.85, 0.95], [0.8, 0.3]])
    targets = np.array([[1, 0], [0, 1], [1, 0]])
    found = statistics.answers_around(probability, targets)
    assert (found["n"], found["predicted"], found["observed"]) == (3, pytest.approx(0.8), pytest.approx(2 / 3))
    assert found["interval"][0] < 2 / 3 < found["interval"][1]
    assert statistics.answers_around(probability, targets, around=0.5, within=0.05)["observed"] is None


def test_each_distance_is_judged_on_the_classes_it_has():
    targets = np.zeros((12, 7), bool)
    targets[:6, 4] = True
    targets[0, 6] = True  # one drone photo: luck, not a figure
    targets[6:, 2] = True
    predicted = targets.copy()
    predicted[0, 6] = False
    predicted[6:9, 2] = False
    found = statistics.by_bucket(predicted, targets, np.array([3] * 6 + [22] * 6))
    assert (found["f1_macro"][3], found["classes"][3], found["n"][3]) == (1.0, 1, 6)
    assert found["f1_macro"][22] == pytest.approx(2 / 3)
    assert found["f1_macro"][10] is None


def test_curves_pass_through_every_threshold():
    """A rare class keeps its steps: thinning by rank would leave it a handful of points."""
    generator = np.random.default_rng(3)
    targets = np.zeros((5000, 7), bool)
    targets[:20, 6] = True
    probability = np.tile(generator.random((5000, 1)) * 0.3 + targets[:, 6:] * 0.2, (1, 7))
    recall, precision = statistics.precision_recall(probability, targets)["From Drone"]
    assert len(recall) >= 21
    given = probability[:, 6] >= np.sort(probability[:20, 6])[-10]
    assert (targets[given, 6].mean()) == pytest.approx(precision[np.isclose(recall, 0.5)].max())


def test_calibration_error_of_known_probabilities():
    generator = np.random.default_rng(2)
    probability = np.tile(generator.random((20000, 1)), (1, 7)).astype(np.float32)
    honest = generator.random((20000, 7)) < probability
    assert statistics.calibration_error(probability, honest)["macro"] < 0.01
    assert statistics.calibration_error(np.sqrt(probability), honest)["macro"] > 0.1


def test_a_model_blind_to_the_distance_relies_on_it_not_at_all():
    torch.manual_seed(0)
    model = GeographModel(GeographConfig()).eval()
    rows = made_rows()
    targets = np.random.default_rng(0).random((len(rows), 7)) < 0.5
    seeing = statistics.shortcut_test(model, rows, targets, np.full(7, 0.5))
    assert seeing["distance_reliance"] > 0.001
    with torch.no_grad():
        model.dist_emb.weight[:] = 0
    assert len({seeing[f"f1_macro_{name}"] for name in ("hidden", "wrong", "conflated")}) == 3
    blind = statistics.shortcut_test(model, rows, targets, np.full(7, 0.5))
    assert blind["distance_reliance"] == 0
    assert set(blind["by_class"].values()) == {0.0}


def test_wrong_distances_are_wrong():
    bucket = made_rows().distance
    wrong = statistics.wrong_distances(bucket)
    assert (wrong != bucket).all()
    assert wrong.max() <= 22


def test_conflated_distances_are_a_third_of_the_known_ones():
    bucket = np.repeat(np.arange(23), 600).astype(np.uint8)
    conflated = statistics.conflated_distances(bucket)
    changed = conflated != bucket
    assert (conflated[changed] == 0).all() and not changed[bucket == 22].any()
    assert changed[(bucket > 0) & (bucket < 22)].mean() == pytest.approx(1 / 3, abs=0.02)


def test_baselines():
    targets = np.zeros((10, 7))
    targets[:6, 4] = targets[6:, 2] = 1
    bucket = np.array([3] * 6 + [12] * 4)
    assert most_frequent(targets, 2)[:, 4].tolist() == [1, 1]
    learnt = distance_alone(targets, bucket, np.array([3, 12, 5]))
    assert learnt[0, 4] > 0.9
    assert learnt[1, 2] > 0.8
    assert learnt[2] == pytest.approx(targets.mean(axis=0))


def test_zero_shot_asks_the_text_tower(tmp_path):
    import json

    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    from geograph_types.evaluation.baselines import PROMPTS

    letters = sorted({c for text in PROMPTS.values() for c in text.lower() if c.isalpha() or c == "-"})
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        projection_dim=512, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(tmp_path)
    answer = zero_shot(made_rows(5), str(tmp_path))
    assert answer.shape == (5, len(CLASSES))
    assert answer.sum(axis=1) == pytest.approx(1, abs=1e-5)
