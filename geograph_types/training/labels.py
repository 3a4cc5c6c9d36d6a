"""Raw tags → training targets and weights. Every rule of the field is one function; all are vectorised.

Tags come as bool [N, 8] in the order of `TAGS`, distances as bucket indices [N] (0 to 22).
"""

import numpy as np

from names_geograph import CLASSES, NUM_DISTANCE_BUCKETS, TAGS, UNKNOWN_BUCKET

# Raw Cross Grid trains as Cross Far (near Cross Grid is a matter of coordinates), raw From Above as From Drone.
TAG_TO_CLASS = {tag: tag for tag in TAGS} | {"Cross Grid": "Cross Far", "From Above": "From Drone"}

# The metres that each bucket stands for; -1 where the distance is not known.
BUCKET_METRES = np.array([0] + [2**i for i in range(NUM_DISTANCE_BUCKETS - 2)] + [-1])

# Official notebook: beyond this a Geograph is doubtful, and up to it a Cross Grid.
OFFICIAL_FAR = 256


def training_targets(tags: np.ndarray, bucket: np.ndarray, cross_far_min_distance: int = 0) -> np.ndarray:
    """Raw tags → float32 [N, 7] in the order of `CLASSES`.

    With `cross_far_min_distance` M > 0 (official notebook: 256), Cross Grid counts as Cross Far only where the
    distance is known and above M; otherwise it is dropped, or becomes Geograph where it was the only tag.
    """
    targets = np.zeros((len(tags), len(CLASSES)), dtype=np.float32)
    for column, tag in enumerate(TAGS):
        target = targets[:, CLASSES.index(TAG_TO_CLASS[tag])]
        np.maximum(target, tags[:, column], out=target)
    if cross_far_min_distance > 0:
        near = tags[:, TAGS.index("Cross Grid")] & ~(BUCKET_METRES[bucket] > cross_far_min_distance)
        targets[near, CLASSES.index("Cross Far")] = 0
        targets[near & ~targets.any(axis=1), CLASSES.index("Geograph")] = 1
    return targets


def official_weights(tags: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """The official notebook's weights, float32 [N].

    Geograph with unknown distance or > 256 m → 0.2; Cross Grid at a known distance ≤ 256 m → 0.5; else 1.0.
    """
    metres = BUCKET_METRES[bucket]
    known = bucket != UNKNOWN_BUCKET
    weights = np.ones(len(tags), dtype=np.float32)
    weights[tags[:, TAGS.index("Cross Grid")] & known & (metres <= OFFICIAL_FAR)] = 0.5
    weights[tags[:, TAGS.index("Geograph")] & (~known | (metres > OFFICIAL_FAR))] = 0.2
    return weights


def hide_distances(bucket: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Each bucket becomes Unknown with `probability` (official v2.3: 0.3)."""
    return np.where(generator.random(len(bucket)) < probability, UNKNOWN_BUCKET, bucket).astype(bucket.dtype)


def scramble_cross_far(
    bucket: np.ndarray, targets: np.ndarray, probability: float, generator: np.random.Generator
) -> np.ndarray:
    """Of the Cross Far rows that kept their distance, a share gets a random bucket 0 to 9 (official v2.3: all).

    So that Cross Far is learnt from the picture and not from the distance.
    """
    cross_far = targets[:, CLASSES.index("Cross Far")] > 0
    chosen = cross_far & (bucket != UNKNOWN_BUCKET) & (generator.random(len(bucket)) < probability)
    return np.where(chosen, generator.integers(0, 10, len(bucket)), bucket).astype(bucket.dtype)


def shuffle_distances(bucket: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Of the rows that kept their distance, of any class, a share gets a random known bucket.

    So that a wrong distance does no harm to any class: scrambling Cross Far alone teaches that an odd distance
    means Cross Far.
    """
    chosen = (bucket != UNKNOWN_BUCKET) & (generator.random(len(bucket)) < probability)
    return np.where(chosen, generator.integers(0, UNKNOWN_BUCKET, len(bucket)), bucket).astype(bucket.dtype)


def true_drone_factor(tags: np.ndarray, weight: float) -> np.ndarray:
    """What to multiply weights by, float32 [N]: `weight` for true drone rows (tagged From Drone), 1 for the rest.

    From Above rows train the same class, but only the true ones are surely what it means.
    """
    return np.where(tags[:, TAGS.index("From Drone")], weight, 1.0).astype(np.float32)
