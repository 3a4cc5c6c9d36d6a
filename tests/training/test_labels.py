"""Each rule from raw tags to targets, weights and hidden distances, case by case."""

import numpy as np
import pytest

from geograph_types.training.distances import hide_distances, scramble_cross_far, shuffle_distances
from geograph_types.training.labels import official_weights, training_targets, true_drone_factor
from names_geograph import CLASSES, TAGS, UNKNOWN_BUCKET

METRES_256, METRES_512 = 9, 10  # buckets


def tags(*names: str) -> np.ndarray:
    return np.array([[tag in names for tag in TAGS]])


def classes(targets: np.ndarray) -> set[str]:
    assert targets.dtype == np.float32
    assert targets.shape == (1, 7)
    return {name for name, on in zip(CLASSES, targets[0], strict=True) if on}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["Cross Grid"], {"Cross Far"}),
        (["From Above"], {"From Drone"}),
        (["From Drone"], {"From Drone"}),
        (["From Above", "From Drone", "Aerial"], {"From Drone", "Aerial"}),
        (["Geograph", "Close Look", "Inside", "Extra"], {"Geograph", "Close Look", "Inside", "Extra"}),
    ],
)
@pytest.mark.parametrize("bucket", [0, METRES_512, UNKNOWN_BUCKET])
def test_each_tag_trains_its_class(raw, expected, bucket):
    assert classes(training_targets(tags(*raw), np.array([bucket], np.uint8))) == expected


@pytest.mark.parametrize(
    ("raw", "bucket", "expected"),
    [
        (["Cross Grid"], METRES_512, {"Cross Far"}),
        (["Cross Grid"], METRES_256, {"Geograph"}),  # 256 is not more than 256
        (["Cross Grid"], 0, {"Geograph"}),
        (["Cross Grid"], UNKNOWN_BUCKET, {"Geograph"}),
        (["Cross Grid", "Inside"], METRES_256, {"Inside"}),
        (["Cross Grid", "Inside"], METRES_512, {"Cross Far", "Inside"}),
        (["Extra"], METRES_256, {"Extra"}),
    ],
)
def test_near_cross_grid_is_not_cross_far(raw, bucket, expected):
    assert classes(training_targets(tags(*raw), np.array([bucket], np.uint8), 256)) == expected


@pytest.mark.parametrize(
    ("raw", "bucket", "expected"),
    [
        (["Geograph"], METRES_256, 1.0),
        (["Geograph"], METRES_512, 0.2),
        (["Geograph"], UNKNOWN_BUCKET, 0.2),
        (["Geograph"], 0, 1.0),
        (["Cross Grid"], METRES_256, 0.5),
        (["Cross Grid"], METRES_512, 1.0),
        (["Cross Grid"], UNKNOWN_BUCKET, 1.0),
        (["Inside"], UNKNOWN_BUCKET, 1.0),
    ],
)
def test_official_weights(raw, bucket, expected):
    weight = official_weights(tags(*raw), np.array([bucket], np.uint8))
    assert weight.dtype == np.float32
    assert weight[0] == np.float32(expected)


def test_hidden_scrambled_and_shuffled_distances():
    bucket = np.full(20000, 15, np.uint8)
    bucket[:1000] = UNKNOWN_BUCKET
    cross_far = np.arange(20000) % 2 == 0

    def generator():
        return np.random.default_rng(3)

    hidden = hide_distances(bucket, 0.3, generator())
    assert (hidden == UNKNOWN_BUCKET)[1000:].mean() == pytest.approx(0.3, abs=0.02)
    assert set(hidden) == {15, UNKNOWN_BUCKET}
    assert np.array_equal(hidden, hide_distances(bucket, 0.3, generator()))

    scrambled = scramble_cross_far(bucket, cross_far, 1.0, generator())
    assert set(scrambled[1000::2]) == set(range(10))
    assert set(scrambled[1001::2]) == {15}
    assert set(scrambled[:1000]) == {UNKNOWN_BUCKET}, "what was hidden stays hidden"

    shuffled = shuffle_distances(bucket, 0.5, generator())
    assert set(shuffled[1000:]) == set(range(22))
    assert set(shuffled[:1000]) == {UNKNOWN_BUCKET}
    assert (shuffled != 15)[1000:].mean() == pytest.approx(0.5 * 21 / 22, abs=0.02)
    for result in (hidden, scrambled, shuffled):
        assert result.dtype == bucket.dtype


def test_only_true_drones_weigh_more():
    rows = np.concatenate([tags("From Drone"), tags("From Above"), tags("Geograph")])
    assert true_drone_factor(rows, 3.0).tolist() == [3.0, 1.0, 1.0]
