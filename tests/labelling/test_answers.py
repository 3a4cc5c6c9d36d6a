"""What is posted of a row: the official rule, scores around 0.5, rows that cannot be done."""

import numpy as np
import pytest
import torch

from configuration_geograph import GeographConfig
from geograph_types.labelling.answers import Handed, labels_of, read_rows, scores_of
from modeling_geograph import GeographModel
from names_geograph import CLASSES


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GeographModel(GeographConfig(thresholds=[0.3, 0.5, 0.7, 0.4, 0.6, 0.5, 0.2])).eval()


def handed(count: int) -> Handed:
    vectors = np.random.default_rng(1).standard_normal((count, 512)).astype(np.float32)
    return Handed(list(range(1, count + 1)), np.arange(count) % 23, vectors, np.zeros(count, bool), [None] * count)


def test_decision_puts_each_threshold_at_one_half(model):
    rows = handed(400)
    plain, decision = scores_of(model, rows), scores_of(model, rows, "decision")
    thresholds = np.array(model.config.thresholds, np.float32)
    sure = abs(plain - thresholds) > 1e-4
    assert ((plain > thresholds) == (decision > 0.5))[sure].all()
    assert 0.1 < (plain > thresholds).mean() < 0.9
    at_half = [i for i, threshold in enumerate(thresholds) if threshold == 0.5]
    np.testing.assert_allclose(plain[:, at_half], decision[:, at_half], atol=1e-6)
    # A shift in logit keeps the order of the photos.
    assert (np.argsort(plain[:, 0]) == np.argsort(decision[:, 0])).all()


def test_above_the_threshold_none_and_failed():
    rows = handed(3)
    rows.failed[2] = True
    scores = np.full((3, 7), 0.1, np.float32)
    scores[0, [2, 4]] = 0.2, 0.9  # 0.2 is not above 0.2
    scores[2] = 0.9
    assert labels_of(rows, scores, CLASSES, 0.2) == [
        {"image_id": 1, "label": "Geograph", "score": pytest.approx(0.9)},
        {"image_id": 2, "label": "None", "score": 0.0},
        {"image_id": 3, "label": "Failed", "score": -1},
    ]
    far = labels_of(rows, scores, CLASSES, 0.15)[0]
    assert far["label"] == "Cross Far" and far["score"] == float(np.float32(0.2))


def test_rows_without_a_number_or_twice_and_vectors_that_are_none():
    import pybase64

    good = pybase64.b64encode_as_string(np.ones(512, "<f4").tobytes())
    bad = pybase64.b64encode_as_string(np.full(512, np.nan, "<f4").tobytes())
    rows = [
        {"gridimage_id": 1, "embeddings": good, "distance": 16},
        {"gridimage_id": 1, "embeddings": good},
        {"gridimage_id": 2, "embeddings": bad},
        {"gridimage_id": 7, "embeddings": good, "embedding": good},
        {"gridimage_id": 8, "embeddings": good, "embedding": [2.0] * 512},
        {"gridimage_id": None, "embeddings": good},
        "no row",
        {"gridimage_id": 3, "fullpath": "x.jpg"},
        {"gridimage_id": 4, "embeddings": pybase64.b64encode_as_string(np.ones(768, "<f4").tobytes())},
    ]
    found = read_rows(rows, "http://host/", 512)
    assert found.image_id == [1, 2, 7, 8, 3, 4] and found.unnamed == 2
    assert found.failed.tolist() == [False, True, False, True, False, True]  # 8 has two vectors
    assert found.photo == [None, None, None, None, "http://host/x.jpg", None]
    assert found.bucket.tolist() == [5, 22, 22, 22, 22, 22]
    assert read_rows(rows[3:5], "", 512).failed.tolist() == [False, True]
