"""Rows of other teachers than synthetic.py's, who listen to the distance: to see whether a recipe suits more than one.

Vectors lie around a mean and spread as CLIP's do, less from direction to direction. A random network of tanh units
scores each type from the forty widest directions; a smooth random curve of the distance is added to each score, and
the distance itself depends on the photo by half. The highest scores have the type, as many as in the archive; photos
near a boundary are left out. A sixth of the distances is not known.
"""

import json
from pathlib import Path

import numpy as np
import pybase64

from names_geograph import CLASSES, tag_of

SHARES = [0.16, 0.24, 0.15, 0.1, 0.32, 0.16, 0.03]
BUCKETS, UNKNOWN_SHARE = 15, 0.17
CLEAR = 0.35  # how far from each boundary, in scores whose standard deviation is some 2


def write_rows(path: Path, rows: int, seed: int, loudness: float) -> Path:
    """JSON lines in the official layout; `loudness`: how much of a score is the distance's, beside 1 of the photo."""
    random = np.random.default_rng(seed)
    drawn = 5 * rows
    vectors = random.standard_normal((drawn, 512), np.float32)
    hidden = np.tanh(vectors[:, :40] @ random.standard_normal((40, 48)) * 0.24 + random.standard_normal(48))
    photo = standard(hidden @ random.standard_normal((48, len(CLASSES))))
    nearness = standard(hidden @ random.standard_normal((48, 1)))[:, 0]
    bucket = 6 + 4 * (0.75 * nearness + 0.66 * random.standard_normal(drawn))
    bucket = bucket.round().clip(0, BUCKETS - 1).astype(int)
    place = np.arange(BUCKETS)[:, None] / BUCKETS
    heard = np.concatenate([2 * place, np.sin(4 * place), np.cos(7 * place)], 1)
    curve = standard(heard @ random.standard_normal((3, len(CLASSES))))
    score = 2 * photo + 2 * loudness * curve[bucket] + 0.1 * random.standard_normal(photo.shape)
    above = score - [np.quantile(score[:, i], 1 - share) for i, share in enumerate(SHARES)]
    clear = np.flatnonzero((np.abs(above).min(1) > CLEAR) & (above > 0).any(1))[:rows]
    known = random.random(drawn) >= UNKNOWN_SHARE
    spread = 0.9 / np.sqrt(1 + np.arange(512) / 12)
    middle = random.standard_normal(512) * 0.3
    with path.open("w", encoding="utf-8") as file:
        for i in clear:
            metres = "0" if bucket[i] == 0 else str(2 ** (int(bucket[i]) - 1))
            vector = (vectors[i] * spread + middle).astype("<f4")
            row = {
                "gridimage_id": 1_000_000 + int(i),
                "types": ",".join(tag_of(CLASSES[c]) for c in np.flatnonzero(above[i] > 0)),
                "distance": metres if known[i] else "Unknown",
                "embeddings": pybase64.b64encode(vector.tobytes()).decode(),
                "weight": 1.0,
            }
            file.write(json.dumps(row) + "\n")
    return path


def standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)
