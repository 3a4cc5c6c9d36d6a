"""Distances as training sees them: hidden, scrambled and shuffled, so that types are learnt from the picture, too.

Buckets are the standard ones, 0 to 22.
"""

import numpy as np

from geograph_types.training.arguments import LabelArguments
from names_geograph import UNKNOWN_BUCKET


def changed_distances(
    bucket: np.ndarray, cross_far: np.ndarray, options: LabelArguments, generator: np.random.Generator
) -> np.ndarray:
    """One epoch's buckets, int like `bucket` [N]: all that the options ask for, in this order.

    Args:
        cross_far: bool [N], the rows whose target is Cross Far.
    """
    bucket = hide_distances(bucket, options.distance_dropout, generator)
    bucket = scramble_cross_far(bucket, cross_far, options.cross_far_scramble, generator)
    return shuffle_distances(bucket, options.distance_shuffle, generator)


def changes_distances(options: LabelArguments) -> bool:
    """Whether the options change any distance at all."""
    return bool(options.distance_dropout or options.cross_far_scramble or options.distance_shuffle)


def hide_distances(bucket: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Each bucket becomes Unknown with `probability` (official v2.3: 0.3)."""
    return np.where(generator.random(len(bucket)) < probability, UNKNOWN_BUCKET, bucket).astype(bucket.dtype)


def scramble_cross_far(
    bucket: np.ndarray, cross_far: np.ndarray, probability: float, generator: np.random.Generator
) -> np.ndarray:
    """Of the Cross Far rows that kept their distance, a share gets a random bucket 0 to 9 (official v2.3: all).

    So that Cross Far is learnt from the picture and not from the distance.
    """
    chosen = cross_far & (bucket != UNKNOWN_BUCKET) & (generator.random(len(bucket)) < probability)
    return np.where(chosen, generator.integers(0, 10, len(bucket)), bucket).astype(bucket.dtype)


def shuffle_distances(bucket: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Of the rows that kept their distance, of any class, a share gets a random known bucket.

    So that a wrong distance does no harm to any class: scrambling Cross Far alone teaches that an odd distance
    means Cross Far.
    """
    chosen = (bucket != UNKNOWN_BUCKET) & (generator.random(len(bucket)) < probability)
    return np.where(chosen, generator.integers(0, UNKNOWN_BUCKET, len(bucket)), bucket).astype(bucket.dtype)
