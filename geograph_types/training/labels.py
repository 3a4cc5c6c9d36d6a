"""Raw tags → training targets and weights. Every rule of the field is one function; all are vectorised.

Tags come as bool [N, 8] in the order of `TAGS`, distances as standard buckets [N] (0 to 22).
"""

from collections.abc import Sequence

import numpy as np

from names_geograph import CLASSES, NUM_DISTANCE_BUCKETS, OFFICIAL_FAR, TAGS, UNKNOWN_BUCKET, class_of

# The metres that each bucket stands for; -1 where the distance is not known.
BUCKET_METRES = np.array([0] + [2**i for i in range(NUM_DISTANCE_BUCKETS - 2)] + [-1])


def training_targets(
    tags: np.ndarray, bucket: np.ndarray, cross_far_min_distance: float = 0, classes: Sequence[str] = CLASSES
) -> np.ndarray:
    """Raw tags → float32 [N, C] in the order of `classes`; `class_of` says which class a tag trains.

    With `cross_far_min_distance` M > 0 (official notebook: 256), Cross Grid counts as Cross Far only where the
    distance is known and above M; otherwise it is dropped, or becomes Geograph where it was the only tag.
    """
    classes = list(classes)
    targets = np.zeros((len(tags), len(classes)), dtype=np.float32)
    for column, tag in enumerate(TAGS):
        if (name := class_of(tag, classes)) is not None:
            target = targets[:, classes.index(name)]
            np.maximum(target, tags[:, column], out=target)
    far = class_of("Cross Grid", classes)
    if cross_far_min_distance > 0 and far is not None:
        near = tags[:, TAGS.index("Cross Grid")] & ~(BUCKET_METRES[bucket] > cross_far_min_distance)
        targets[near, classes.index(far)] = 0
        if "Geograph" in classes:
            targets[near & ~targets.any(axis=1), classes.index("Geograph")] = 1
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


def true_drone_factor(tags: np.ndarray, weight: float) -> np.ndarray:
    """What to multiply weights by, float32 [N]: `weight` for true drone rows (tagged From Drone), 1 for the rest.

    From Above rows train the same class, but only the true ones are surely what it means.
    """
    return np.where(tags[:, TAGS.index("From Drone")], weight, 1.0).astype(np.float32)
