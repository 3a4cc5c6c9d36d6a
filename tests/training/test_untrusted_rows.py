"""Rows of weight 0 change nothing: half of the rows get poisoned labels and weight 0."""

import numpy as np
import torch

from configuration_geograph import GeographConfig
from geograph_types.evaluation.statistics import calibration_error, reliability_bins
from geograph_types.rows.fields import Rows
from geograph_types.training.calibration import fit_calibration, tune_thresholds
from geograph_types.training.data import TrainingData
from geograph_types.training.label_noise import noise_factor, suggestions
from geograph_types.training.run import trusted
from names_geograph import CLASSES, TAGS

N = 2000


def make_answers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Too modest probabilities of seven types, one of them just rare; targets; ids. Some labels are wrong."""
    generator = np.random.default_rng(0)
    share = np.array([0.2, 0.2, 0.2, 0.1, 0.2, 0.078, 0.022])
    kind = generator.choice(7, N, p=share)
    targets = np.eye(7, dtype=np.float32)[kind]
    logits = np.where(targets > 0.5, 2.5, -3.0) + generator.standard_normal((N, 7))
    wrong = generator.random(N) < 0.05
    targets[wrong] = np.roll(targets[wrong], 1, axis=1)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets, np.arange(N)


def found(probability, targets, ids, weight):
    """All that is derived from the rows, of the rows that weigh anything."""
    tags = np.zeros((len(ids), len(TAGS)), bool)
    tags[:, 0] = True
    rows = Rows(ids, tags, np.zeros(len(ids), np.uint8), np.zeros((len(ids), 1), np.float32), weight)
    factor = noise_factor(probability, targets, weight)
    logits = torch.logit(torch.from_numpy(probability).double())
    fitted = fit_calibration(logits, torch.from_numpy(targets), torch.from_numpy(weight))
    return {
        "list": suggestions(rows, probability, targets, CLASSES, weight),
        "factor": factor[weight > 0].tolist(),
        "thresholds": np.round(tune_thresholds(probability, targets, weight), 9).tolist(),
        "calibration": [[round(float(x), 4) for x in part] for part in fitted],
        "bins": [
            {name: round(value, 9) for name, value in bin_.items()}
            for bin_ in reliability_bins(probability[:, 0], targets[:, 0] > 0.5, weight)
        ],
        "error": round(calibration_error(probability, targets, CLASSES, weight)["macro"], 9),
    }


def test_half_of_the_rows_poisoned_with_weight_0_change_nothing():
    probability, targets, ids = make_answers()
    kept = np.arange(N) % 2 == 0
    clean = found(probability[kept], targets[kept], ids[kept], np.ones(kept.sum(), np.float32))
    assert len(clean["list"]) > 20 and min(clean["factor"]) < 1
    poisoned = targets.copy()
    poisoned[~kept] = 0
    poisoned[~kept, 6] = 1  # the rare type is none any more, and its mean probability falls
    assert found(probability, poisoned, ids, kept.astype(np.float32)) == clean
    assert found(probability, poisoned, ids, np.ones(N, np.float32)) != clean


def test_training_does_not_look_at_rows_of_weight_0():
    weight = np.array([1, 0, 0.5, 0], np.float32)
    rows = Rows(
        np.arange(4), np.ones((4, len(TAGS)), bool), np.zeros(4, np.uint8), np.zeros((4, 512), np.float32), weight
    )
    assert trusted(TrainingData.of(rows, GeographConfig())).rows.gridimage_id.tolist() == [0, 2]
    rows.weight[:] = 0
    assert trusted(TrainingData.of(rows, GeographConfig())) is None
