"""Distances that may be wrong: what the right answer to one is, and for how many of them training prepares.

A stated distance is zero because subject and camera were given the same reference (conflated), it is missing, or it
is any other; or it is right. Each training row is therefore learnt twice: as it is given, with its labels, and with
a distance that it might have been given by mistake. What the second copy ought to answer follows from how well the
stated distance fits the picture (`picture_model.py`, which has not seen the row):

    chance that it is right = q / (q + fault),   q = (1 - rates) × probability of that distance, given the picture
    target = chance × what a model that believes it says, + (1 - chance) × the row's labels

So a distance that the picture contradicts is not believed, and one that fits is: no label is taught to go with a
distance that could be true and means something else. The model itself stays one network of the official shape.
"""

from dataclasses import dataclass, replace

import numpy as np

from names_geograph import NUM_DISTANCE_BUCKETS, UNKNOWN_BUCKET

# How many distances are taken for faulty, each kind by itself: the first whose cost is bearable.
RATES = {
    "conflated": (0.3, 0.2, 0.1, 0.05, 0.03, 0.01),
    "hidden": (0.3, 0.2, 0.1, 0.05, 0.03, 0.01),
    "wrong": (0.2, 0.1, 0.05, 0.02, 0.01, 0.003),
}
# Bearable: on rows as they are given, the loss of models that have not seen them grows by this share at most. These
# went with .0005 to .002 of macro F1 (docs/experiments.md); conflated is the fault that archives have most.
COST = {"conflated": 0.01, "hidden": 0.004, "wrong": 0.004}
# Of the copies, how many get zero, and how many Unknown; the rest any known distance.
COPIES_CONFLATED, COPIES_HIDDEN = 0.3, 0.3


@dataclass(frozen=True)
class FaultRates:
    """Shares of all rows whose stated distance is taken for faulty."""

    conflated: float = 0.0
    hidden: float = 0.0
    wrong: float = 0.0

    def of_buckets(self) -> np.ndarray:
        """float64 [23]: how likely a row has that stated distance by mistake."""
        rates = np.full(NUM_DISTANCE_BUCKETS, self.wrong / (NUM_DISTANCE_BUCKETS - 1))
        rates[0] += self.conflated
        rates[UNKNOWN_BUCKET] += self.hidden
        return rates

    def __str__(self) -> str:
        return f"{self.conflated:.1%} zero by mistake, {self.hidden:.1%} missing, {self.wrong:.1%} otherwise wrong"


@dataclass
class DistanceEvidence:
    """What models that have not seen the training rows say of each, for every distance that it might be given.

    Attributes:
        believed: float16 [N, 23, C], probabilities of a model that believes the distance.
        picture: float32 [N, C], probabilities of one that sees the picture alone.
        likely: float32 [N, 23], how likely each distance is, given the picture alone.
    """

    believed: np.ndarray
    picture: np.ndarray
    likely: np.ndarray
    rates: FaultRates = FaultRates()

    def __getitem__(self, index) -> "DistanceEvidence":
        return replace(self, believed=self.believed[index], picture=self.picture[index], likely=self.likely[index])

    def chance_right(self, bucket: np.ndarray, rates: FaultRates | None = None) -> np.ndarray:
        """float32 [N]: how likely the stated distance `bucket` [N] is right."""
        fault = (self.rates if rates is None else rates).of_buckets()
        right = self.likely[np.arange(len(bucket)), bucket] * (1 - fault.sum())
        total = right + fault[bucket]
        return np.divide(right, total, out=np.ones_like(total), where=total > 0).astype(np.float32)

    def targets(self, labels: np.ndarray, bucket: np.ndarray, given: np.ndarray) -> np.ndarray:
        """What to answer, float32 [N, C], where `bucket` [N] is stated instead of what was `given` [N]."""
        chance = self.chance_right(bucket)[:, None]
        believed = self.believed[np.arange(len(bucket)), bucket].astype(np.float32)
        found = chance * believed + (1 - chance) * labels
        return np.where((bucket == given)[:, None], labels, found).astype(np.float32)


def faulty_distances(count: int, generator: np.random.Generator) -> np.ndarray:
    """A distance for each copy, int64 [count]: zero, Unknown, or any known one."""
    kind = generator.random(count)
    bucket = generator.integers(0, UNKNOWN_BUCKET, count)
    bucket[kind < COPIES_CONFLATED + COPIES_HIDDEN] = UNKNOWN_BUCKET
    bucket[kind < COPIES_CONFLATED] = 0
    return bucket


def bearable_rates(
    evidence: DistanceEvidence, labels: np.ndarray, given: np.ndarray, weight: np.ndarray
) -> FaultRates:
    """For each kind of fault the largest of its `RATES` that costs right distances next to nothing.

    Where distances mean little beside the picture, that is the first; where they decide, less.

    Args:
        labels: [N, C]. given: int [N], the distances as they are. weight: [N], how far each row's labels are trusted.
    """
    at = np.arange(len(given))
    believed, bucket = evidence.believed[at, given].astype(np.float32), given.astype(np.int64)

    def loss(rates: FaultRates) -> float:
        chance = evidence.chance_right(bucket, rates)[:, None]
        # Logits are mixed, not probabilities: the mean of two sure and opposite answers is "perhaps".
        logits = chance * _logit(believed) + (1 - chance) * _logit(evidence.picture)
        wrong = np.logaddexp(0, np.where(labels > 0.5, -logits, logits)).mean(axis=1)
        return float((wrong * weight).sum())

    none, found = loss(FaultRates()), {}
    for kind, rates in RATES.items():
        bearable = none * (1 + COST[kind])
        found[kind] = next((rate for rate in rates if loss(FaultRates(**{kind: rate})) <= bearable), 0.0)
    return FaultRates(**found)


def _logit(probability: np.ndarray) -> np.ndarray:
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p))
