"""Intervals, calibration and the shortcut test against what is known beforehand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

import evaluation
from baselines import distance_alone, most_frequent, zero_shot
from configuration_geograph import CLASSES, GeographConfig
from modeling_geograph import GeographModel
from rows import Rows


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


def test_resamples_give_scikit_learns_figures(answers):
    probability, targets = answers
    samples = evaluation.bootstrap(probability, targets, np.full(7, 0.5), np.ones(300), times=3)
    counts = next(evaluation.resamples(300, 3))
    assert (counts.sum(axis=1) == 300).all()
    for i, row in enumerate(counts.astype(int)):
        chosen = np.repeat(np.arange(300), row)
        expected = f1_score(targets[chosen], probability[chosen] >= 0.5, average="macro", zero_division=0)
        assert samples["f1_macro"][i] == pytest.approx(expected, abs=1e-5)
        ap = average_precision_score(targets[chosen][:, 0], probability[chosen][:, 0])
        assert samples["average_precision"][i, 0] == pytest.approx(ap, abs=0.01)  # ties are broken one by one


def test_an_interval_holds_the_figure_and_the_same_model_shows_no_difference(answers):
    probability, targets = answers
    samples = evaluation.bootstrap(probability, targets, np.full(7, 0.5), np.ones(300), times=200)
    low, high = evaluation.interval(samples["f1_macro"])
    assert low < f1_score(targets, probability >= 0.5, average="macro") < high
    same = evaluation.paired_difference(samples, samples)
    assert same["f1_macro"] == {"difference": 0.0, "interval": [0.0, 0.0], "sure": False}
    worse = evaluation.bootstrap(1 - probability, targets, np.full(7, 0.5), np.ones(300), times=200)
    assert evaluation.paired_difference(samples, worse)["f1_macro"]["sure"]


def test_wilson_is_the_published_interval():
    assert evaluation.wilson(0.0, 6) == pytest.approx([0, 0.3903], abs=1e-3)
    assert evaluation.wilson(None, 0) is None


def test_calibration_error_of_known_probabilities():
    generator = np.random.default_rng(2)
    probability = np.tile(generator.random((20000, 1)), (1, 7)).astype(np.float32)
    honest = generator.random((20000, 7)) < probability
    assert evaluation.calibration_error(probability, honest)["macro"] < 0.01
    assert evaluation.calibration_error(np.sqrt(probability), honest)["macro"] > 0.1


def test_a_model_blind_to_the_distance_relies_on_it_not_at_all():
    torch.manual_seed(0)
    model = GeographModel(GeographConfig()).eval()
    rows = made_rows()
    targets = np.zeros((len(rows), 7))
    seeing = evaluation.shortcut_test(model, rows, targets, np.full(7, 0.5))
    assert seeing["distance_reliance"] > 0.001
    with torch.no_grad():
        model.dist_emb.weight[:] = 0
    blind = evaluation.shortcut_test(model, rows, targets, np.full(7, 0.5))
    assert blind["distance_reliance"] == 0
    assert set(blind["by_class"].values()) == {0.0}


def test_wrong_distances_are_wrong():
    bucket = made_rows().distance
    wrong = evaluation.wrong_distances(bucket)
    assert (wrong != bucket).all()
    assert wrong.max() <= 22


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

    from baselines import PROMPTS

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
