"""Calibration and thresholds on made probabilities, whose best answers are known."""

import numpy as np
import pytest
import torch

from configuration_geograph import GeographConfig
from geograph_types.training.calibration import (
    MINIMUM_SUPPORT,
    f1_by_threshold,
    fit_calibration,
    fold_into_last_layer,
    tune_thresholds,
)
from modeling_geograph import GeographModel
from names_geograph import CLASSES


def f1(probability, target, threshold) -> float:
    given = probability >= threshold
    return 2 * (given & target).sum() / max(given.sum() + target.sum(), 1)


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(4000, 7, generator=torch.Generator().manual_seed(0)) * 2


def drawn(logits: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """Labels that are right as often as `sigmoid(logits)` says."""
    return torch.bernoulli(logits.sigmoid(), generator=torch.Generator().manual_seed(seed))


def test_calibration_undoes_a_known_distortion(logits):
    scale, bias = fit_calibration((logits - 0.7) / 0.5, drawn(logits))
    assert torch.allclose(scale, torch.full((7,), 0.5), atol=0.06)
    assert torch.allclose(bias, torch.full((7,), 0.7), atol=0.12)


def test_calibration_follows_the_weights(logits):
    targets = drawn(logits)
    targets[2000:] = 1 - targets[2000:]  # the second half is all wrong, and weighs nothing
    weight = torch.cat([torch.ones(2000), torch.zeros(2000)])
    scale, bias = fit_calibration(logits * 2, targets, weight)
    assert torch.allclose(scale, torch.full((7,), 0.5), atol=0.1)
    assert torch.allclose(bias, torch.zeros(7), atol=0.2)


def test_calibration_leaves_a_class_of_few_rows_alone(logits):
    targets = drawn(logits)
    targets[:, 6] = 0
    targets[: MINIMUM_SUPPORT - 1, 6] = 1
    scale, bias = fit_calibration(logits, targets)
    assert scale[6] == 1 and bias[6] == 0
    scale, bias = fit_calibration(logits * 2, targets)
    assert scale[6] == 1 and bias[6] == 0
    assert (scale[:6] != 1).all()


def test_what_is_calibrated_is_left_alone(logits):
    """A fit to 800 rows would only add its own error."""
    scale, bias = fit_calibration(logits[:800], drawn(logits)[:800])
    assert (scale == 1).sum() >= 6 and (bias == 0).sum() >= 6


def test_folding_changes_the_logits_as_asked_and_nothing_else():
    model = GeographModel(GeographConfig()).eval()
    embedding, distance = torch.randn(8, 512), torch.arange(8)
    scale, bias = torch.linspace(0.5, 2, 7), torch.linspace(-1, 1, 7)
    with torch.no_grad():
        before = model(embedding, distance).logits
        fold_into_last_layer(model, scale, bias)
        after = model(embedding, distance).logits
    assert torch.allclose(after, before * scale + bias, atol=1e-5)
    assert len(list(model.parameters())) == 5  # no extra step at inference


def test_f1_by_threshold_is_f1(logits):
    probability, target = logits[:, 0].sigmoid().numpy(), drawn(logits)[:, 0].numpy() > 0.5
    found, error = f1_by_threshold(probability, target, np.ones(len(target)))
    grid = 1 / (1 + np.exp(-np.linspace(-5, 4, 181)))
    for i in (0, 60, 100, 140, 180):
        assert found[i] == pytest.approx(f1(probability, target, grid[i]))
    draws = np.random.default_rng(0).integers(0, len(target), (300, len(target)))
    spread = np.std([f1(probability[d], target[d], grid[100]) for d in draws])
    assert error[100] == pytest.approx(spread, rel=0.25)


def test_thresholds_reach_the_best_f1_where_rows_are_many(logits):
    probability, target = logits.sigmoid().numpy(), drawn(logits).numpy()
    for column, threshold in enumerate(tune_thresholds(probability, target)):
        best = max(f1(probability[:, column], target[:, column] > 0.5, t) for t in np.linspace(0.05, 0.95, 91))
        assert f1(probability[:, column], target[:, column] > 0.5, threshold) > best - 0.004


def test_single_rows_do_not_choose_a_threshold():
    """Twelve positives, as in validation: over many draws ours varies less than the best cut, and answers better."""
    generator = np.random.default_rng(0)

    def rows(n, rate):
        target = generator.random(n) < rate
        return 1 / (1 + np.exp(-(generator.normal(np.where(target, 0.5, -5.0), 1.6)))), target

    unseen, truth = rows(40000, 0.01)
    ours, greedy = [], []
    for _ in range(40):
        probability, target = rows(1200, 0.01)
        ours.append(tune_thresholds(probability[:, None], target[:, None])[0])
        greedy.append(max(probability, key=lambda cut: f1(probability, target, cut)))
    assert np.std(ours) < 0.6 * np.std(greedy)
    assert np.mean([f1(unseen, truth, t) for t in ours]) > np.mean([f1(unseen, truth, t) for t in greedy]) + 0.01


def test_a_class_without_support_keeps_the_default():
    probability = np.full((50, len(CLASSES)), 0.3)
    targets = np.zeros((50, len(CLASSES)))
    targets[: MINIMUM_SUPPORT - 1, 0] = 1
    assert tune_thresholds(probability, targets) == [0.5] * 7
    assert tune_thresholds(probability, targets, default=0.2) == [0.2] * 7


def test_rows_of_no_weight_do_not_move_thresholds(logits):
    probability, target = logits.sigmoid().numpy(), drawn(logits).numpy()
    spoilt = np.concatenate([target, 1 - target])
    weight = np.repeat([1.0, 0.0], len(target))
    doubled = np.concatenate([probability, probability])
    assert tune_thresholds(doubled, spoilt, weight) == pytest.approx(tune_thresholds(probability, target))
