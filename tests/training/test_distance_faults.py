"""Distances that may be wrong: believed where they fit the picture, and prepared for as far as right ones bear it."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from geograph_types.rows.fields import Rows
from geograph_types.training.arguments import WeightingArguments
from geograph_types.training.data import TrainingData
from geograph_types.training.distance_faults import (
    RATES,
    DistanceEvidence,
    FaultRates,
    bearable_rates,
    faulty_distances,
)
from geograph_types.training.fitting import Fitter
from geograph_types.training.memory_rows import MemoryRows
from geograph_types.training.picture_model import answers_of, fit_picture_model, new_picture_model, picture_columns
from geograph_types.training.training_arguments import GeographTrainingArguments
from names_geograph import TAGS, UNKNOWN_BUCKET
from tests.conftest import ROOT

N = 400


def make_evidence(deciding: bool) -> tuple[DistanceEvidence, np.ndarray, np.ndarray]:
    """Two classes, near and far. `deciding`: the picture alone does not tell them apart, the distance does (3, 12, or
    a zero that is right); else the picture tells all."""
    generator = np.random.default_rng(0)
    far = generator.random(N) < 0.5
    labels = np.stack([~far, far], axis=1).astype(np.float32)
    given = np.where(far, 12, np.where(generator.random(N) < 0.5, 0, 3))
    sure = np.where(labels > 0.5, 0.95, 0.05).astype(np.float32)
    believed = np.repeat(sure[:, None], 23, axis=1)
    likely = np.full((N, 23), 1e-4, np.float32)
    likely[:, 22] = 0.2
    if deciding:
        believed[:, [0, 3]], believed[:, 12], believed[:, 22] = [0.95, 0.05], [0.05, 0.95], [0.5, 0.5]
        likely[:, [0, 3, 12]] = [0.2, 0.2, 0.4]
        picture = np.full((N, 2), 0.5, np.float32)
    else:
        likely[~far, 0], likely[~far, 3], likely[far, 12] = 0.4, 0.4, 0.8
        picture = sure
    return DistanceEvidence(believed.astype(np.float16), picture, likely), labels, given


def test_a_distance_that_the_picture_contradicts_is_not_believed():
    evidence, labels, given = make_evidence(deciding=False)
    evidence.rates = FaultRates(conflated=0.2, hidden=0.2, wrong=0.05)
    zero = np.zeros(N, int)
    chance = evidence.chance_right(zero)
    far = labels[:, 1] > 0.5
    assert chance[far].max() < 0.01 < 0.5 < chance[~far].min()
    evidence.believed[:, 0] = [1.0, 0.0]  # whoever believes a zero takes it for near
    assert np.abs(evidence.targets(labels, zero, given) - labels)[far].max() < 0.01
    assert (evidence.targets(labels, given, given) == labels).all()


def test_rates_are_high_where_distances_decide_nothing_and_low_where_they_do():
    assert bearable_rates(*make_evidence(False), np.ones(N)) == FaultRates(*(rates[0] for rates in RATES.values()))
    deciding = bearable_rates(*make_evidence(True), np.ones(N))
    assert deciding.conflated <= 0.01 and deciding.wrong < RATES["wrong"][0]


def test_rows_of_weight_0_do_not_change_the_rates():
    evidence, labels, given = make_evidence(True)
    weight = np.where(np.arange(N) % 2, 1.0, 0.0)
    before = bearable_rates(evidence, labels, given, weight)
    labels[::2] = 1 - labels[::2]
    assert bearable_rates(evidence, labels, given, weight) == before
    assert bearable_rates(evidence, labels, given, np.ones(N)) != before


def test_faults_are_zero_unknown_and_any():
    bucket = faulty_distances(10_000, np.random.default_rng(0))
    shares = np.bincount(bucket, minlength=23) / 10_000
    assert shares[0] == pytest.approx(0.3 + 0.4 / 22, abs=0.02)
    assert shares[UNKNOWN_BUCKET] == pytest.approx(0.3, abs=0.02)
    assert (shares > 0).all()


def test_each_row_is_learnt_as_given_and_with_another_distance():
    generator = np.random.default_rng(0)
    tags = np.zeros((6, len(TAGS)), bool)
    tags[:, TAGS.index("Geograph")] = True
    embedding = generator.standard_normal((6, 512)).astype(np.float32)
    rows = Rows(np.arange(6), tags, np.full(6, 5, np.uint8), embedding, np.arange(6, dtype=np.float32))
    data = TrainingData.of(rows, AutoConfig.from_pretrained(ROOT, trust_remote_code=True))
    half = np.full((6, 7), 0.5, np.float32)
    believed = np.full((6, 23, 7), 0.25, np.float16)
    data.evidence = DistanceEvidence(believed, half, np.full((6, 23), 1 / 23, np.float32))  # no faults: all believed
    batch = MemoryRows(data[np.arange(6)]).__getitems__([1, 3])
    assert batch["weight"].tolist() == [1, 3]
    assert batch["distance"][:, 0].tolist() == [5, 5]
    assert (batch["labels"][:, 0] == MemoryRows(data, training=False).labels[:2]).all()
    changed = batch["distance"][:, 1] != 5
    assert changed.any() and (batch["labels"][:, 1][changed] == 0.25).all()
    assert MemoryRows(data, training=False).__getitems__([1, 3])["labels"].shape == (2, 7)


def test_the_picture_tells_how_far_its_subject_is(tmp_path):
    generator = np.random.default_rng(0)
    embedding = generator.standard_normal((600, 512)).astype(np.float32)
    far = generator.random(600) < 0.5
    embedding[:, 0] += np.where(far, 5, -5)
    tags = np.zeros((600, len(TAGS)), bool)
    tags[:, TAGS.index("Geograph")] = True
    rows = Rows(np.arange(600), tags, np.where(far, 12, 3).astype(np.uint8), embedding, np.ones(600, np.float32))
    data = TrainingData.of(rows, AutoConfig.from_pretrained(ROOT, trust_remote_code=True))
    args = GeographTrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=15, per_device_train_batch_size=64, use_cpu=True
    )
    model, rows = new_picture_model(data.config, 0), torch.arange(400)
    held = picture_columns(data[np.arange(400, 500)])
    fit_picture_model(Fitter(args, 7), model, picture_columns(data), rows, held, seed=0)
    types, likely = answers_of(model, embedding[500:])
    assert types.shape == (100, 7) and likely.sum(axis=1) == pytest.approx(np.ones(100), abs=1e-5)
    assert ((likely[:, 12] > likely[:, 3]) == far[500:]).mean() > 0.9


def test_it_needs_folds():
    with pytest.raises(ValueError, match="--distance_faults needs --folds"):
        WeightingArguments(distance_faults=True)
