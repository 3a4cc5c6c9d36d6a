"""Rows to try everything on without a download: a known teacher labels random vectors, in the official layout.

What a model learns from them means something, but nothing about photos. The same count and seed give the same rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pybase64

DIM = 512
# Tags in the order that the teacher scores them, with the shares of official v1 (drones raised, to have some).
TAGS = ["Aerial", "Close Look", "Cross Grid", "Extra", "Geograph", "Inside", "Drone"]
SHARES = [0.133, 0.216, 0.235, 0.079, 0.328, 0.165, 0.025]
TRUE_DRONE_SHARE = 0.3  # of the drone-like rows; the rest are tagged From Above
SPLITS = ["tra"] * 8 + ["val", "tes"]
ROWS_A_BLOCK = 1000

LATENT = 48  # dimensions in which photos differ
CLARITY = 3.0  # how far photos lie towards what their tags look like; 0 would put most near a boundary
SECOND_TAG = 0.2  # the share of photos that look like two types


@dataclass(frozen=True)
class Setting:
    """What to make: `label_noise` and `drones_left_out` spoil training and validation; the test split stays clean."""

    rows: int
    seed: int = 0
    label_noise: float = 0.0
    drones_left_out: float = 0.0


def parse_spec(spec: str) -> Setting:
    """`synthetic:N[:SEED]`, or `synthetic:N:SEED:NOISE:LEFT_OUT` for harder rows.

    Raises:
        ValueError: anything else.
    """
    try:
        _, count, *rest = spec.split(":")
        seed, noise, left_out = (*rest, *("0", "0", "0")[len(rest) :])
        setting = Setting(int(count), int(seed), float(noise), float(left_out))
        if setting.rows < 1 or not (0 <= setting.label_noise < 1 and 0 <= setting.drones_left_out <= 1):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{spec}: expected synthetic:N[:SEED], such as synthetic:12000 or synthetic:12000:7"
        ) from None
    return setting


def lines_of(spec: str) -> Iterator[bytes]:
    """`synthetic:N[:SEED]` → blocks of JSONL lines, as an official export holds them."""
    setting = parse_spec(spec)
    made = 0
    while made < setting.rows:
        count = min(ROWS_A_BLOCK, setting.rows - made)
        block = _block(setting, made)
        yield "".join(_line(block, row) for row in range(count)).encode()
        made += count


class _Teacher:
    """Scores photos: a linear part and a gentle nonlinearity, cut where each tag has its share."""

    def __init__(self, seed: int):
        generator = np.random.default_rng([seed, 1])
        # Photos lie in a subspace, as CLIP's embeddings do, around a mean that all share.
        self.basis = generator.standard_normal((LATENT, DIM)).astype(np.float32) / np.sqrt(LATENT)
        self.mean = (generator.standard_normal(DIM) * 0.22).astype(np.float32)
        self.linear = generator.standard_normal((LATENT, len(TAGS))) / np.sqrt(LATENT)
        self.bent = generator.standard_normal((LATENT, len(TAGS))) / np.sqrt(LATENT)
        sample = self.scores(self.photos(20000, generator))
        self.cut = np.array([np.quantile(sample[:, i], 1 - share) for i, share in enumerate(SHARES)])

    def photos(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Latent vectors, float32 [count, LATENT]: each around what one or two tags look like."""
        towards = self.linear / np.linalg.norm(self.linear, axis=0)
        share = np.array(SHARES) / sum(SHARES)
        main, other = generator.choice(len(TAGS), (2, count), p=share)
        pull = CLARITY * (towards[:, main] + 0.8 * towards[:, other] * (generator.random(count) < SECOND_TAG)).T
        return (generator.standard_normal((count, LATENT), dtype=np.float32) + pull).astype(np.float32)

    def scores(self, latent: np.ndarray) -> np.ndarray:
        """How much each photo looks like each tag, [n, 7]."""
        return latent @ self.linear + 0.2 * (np.abs(latent) - 0.8) @ self.bent


_teacher = lru_cache(maxsize=4)(_Teacher)


def _block(setting: Setting, first: int) -> dict:
    """One block of rows, whatever was made before it: its randomness comes from its own place alone."""
    teacher = _teacher(setting.seed)
    generator = np.random.default_rng([setting.seed, 2, first])
    n = ROWS_A_BLOCK
    latent = teacher.photos(n, generator)
    scores = teacher.scores(latent) + 0.05 * generator.standard_normal((n, len(TAGS)))
    cut = teacher.cut
    positive = scores > cut
    none = ~positive.any(axis=1)
    positive[none, np.argmax((scores - cut)[none], axis=1)] = True
    # A row keeps its strongest two tags, as people rarely give more.
    rank = np.argsort(np.argsort(cut - scores, axis=1), axis=1)
    positive &= rank < 2

    embedding = teacher.mean + latent @ teacher.basis * 0.35
    embedding += 0.08 * generator.standard_normal((n, DIM), dtype=np.float32)

    far = positive[:, TAGS.index("Cross Grid")]
    exponent = np.where(far, generator.normal(9.5, 2.0, n), generator.normal(4.0, 2.2, n))
    exponent = np.clip(np.round(exponent), -1, 20).astype(int)
    unknown = generator.random(n) < 0.17

    split = generator.choice(len(SPLITS), n)
    spoilt = split < 9  # training and validation
    drone = positive[:, TAGS.index("Drone")]
    true_drone = generator.random(n) < TRUE_DRONE_SHARE
    flipped = spoilt & (generator.random(n) < setting.label_noise)
    wrong = generator.integers(0, len(TAGS) - 1, n)
    positive[flipped] = False
    positive[flipped, wrong[flipped]] = True
    lost = spoilt & drone & (generator.random(n) < setting.drones_left_out)
    positive[lost, TAGS.index("Drone")] = False
    positive[lost & ~positive.any(axis=1), TAGS.index("Geograph")] = True

    identity = 1_000_000 + (np.arange(first, first + n) * 7919 + setting.seed * 101) % 9_000_000
    return {
        "gridimage_id": identity,
        "positive": positive,
        "true_drone": true_drone,
        "exponent": exponent,
        "unknown": unknown,
        "embedding": embedding.astype("<f4"),
        "weight": np.where(generator.random(n) < 0.9, 1.0, 0.5),
        "split": split,
    }


def _line(block: dict, row: int) -> str:
    tags = [tag for tag, on in zip(TAGS, block["positive"][row], strict=True) if on]
    drone = "From Drone" if block["true_drone"][row] else "From Above"
    types = ",".join(drone if tag == "Drone" else tag for tag in tags)
    exponent = block["exponent"][row]
    distance = "Unknown" if block["unknown"][row] else "0" if exponent < 0 else str(2 ** int(exponent))
    vector = pybase64.b64encode_as_string(block["embedding"][row])
    return (
        f'{{"gridimage_id":{block["gridimage_id"][row]},"types":"{types}","distance":"{distance}",'
        f'"embeddings":"{vector}","weight":{block["weight"][row]},"split":"{SPLITS[block["split"][row]]}"}}\n'
    )
