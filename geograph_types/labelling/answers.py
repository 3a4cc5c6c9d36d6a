"""Rows that a service hands out → the lists to post, by the official script's rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pybase64

from geograph_types.inference import logits_of, torch_threads
from grid_geograph import bucket_of
from names_geograph import UNKNOWN_BUCKET
from row_geograph import DISTANCES, MAX_ID, parse_embedding, parse_id, vector_of_row

NONE, FAILED, FAILED_SCORE = "None", "Failed", -1
SCORES = ("probability", "decision")

# The official script looks a distance up by its text; whatever else a row says is Unknown there, null included.
BUCKETS = {text: bucket_of(text) for text in DISTANCES}


@dataclass
class Handed:
    """Rows of one batch, ready to be answered: each with its vector, or with the address of its photo."""

    image_id: list[int]
    bucket: np.ndarray  # int32 [n], 0 to 22
    embedding: np.ndarray  # float32 [n, D]; zeros where there is none
    failed: np.ndarray  # bool [n], what cannot be done
    photo: list[str | None]  # where the vector has to be made
    unnamed: int = 0  # rows without a photo's number: nothing can be posted about them

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, keep: Iterable[int]) -> "Handed":
        """Some of the rows, by their places."""
        keep = list(keep)
        return Handed(
            [self.image_id[i] for i in keep],
            self.bucket[keep],
            self.embedding[keep],
            self.failed[keep],
            [self.photo[i] for i in keep],
        )


def read_rows(rows: list[Any], prefix: str, dim: int) -> Handed:
    """A batch as the service sent it → arrays; a photo that stands in it twice counts once.

    A row whose vector is not of `dim` finite numbers is failed, as is one with neither vector nor photo, or with two
    vectors that contradict.
    """
    if (plain := _read_plain(rows, dim)) is not None:
        return plain
    n = len(rows)
    handed = Handed([], np.full(n, UNKNOWN_BUCKET, np.int32), np.zeros((n, dim), np.float32), np.zeros(n, bool), [])
    seen = set()
    for row in rows:
        try:
            image_id = parse_id(row["gridimage_id"])
        except (ValueError, KeyError, TypeError):
            handed.unnamed += 1
            continue
        if image_id in seen:
            continue
        seen.add(image_id)
        i = len(handed.image_id)
        handed.image_id.append(image_id)
        handed.bucket[i] = _bucket(row)
        photo = None
        if vector := row.get("embeddings"):
            try:
                handed.embedding[i] = vector_of_row(row, dim) if "embedding" in row else _vector(vector, dim)
            except ValueError:
                handed.failed[i] = True
        elif isinstance(row.get("fullpath"), str) and row["fullpath"]:
            photo = prefix + row["fullpath"]
        else:
            handed.failed[i] = True
        handed.photo.append(photo)
    size = len(handed.image_id)
    handed.bucket, handed.embedding = handed.bucket[:size], handed.embedding[:size]
    handed.failed = handed.failed[:size] | not_finite(handed.embedding)
    return handed


def _read_plain(rows: list[Any], dim: int) -> Handed | None:
    """As `read_rows` in half the time, for a batch of nothing but different photos with vectors in base64."""
    try:
        image_id = [row["gridimage_id"] for row in rows]
        if {*map(type, image_id)} == {str} and all(text.isascii() and text.isdecimal() for text in image_id):
            image_id = [int(text) for text in image_id]
        vectors = [pybase64.b64decode(row["embeddings"], validate=True) for row in rows]
        if any("embedding" in row for row in rows):  # a vector by two names: they may contradict
            return None
    except (KeyError, TypeError, ValueError):
        return None
    if {*map(type, image_id)} != {int} or {*map(len, vectors)} != {4 * dim} or len({*image_id}) != len(image_id):
        return None
    if not 0 < min(image_id) <= max(image_id) <= MAX_ID:
        return None
    embedding = np.frombuffer(bytearray().join(vectors), "<f4").reshape(-1, dim)
    told = [row.get("distance") for row in rows]
    bucket = [BUCKETS.get(text) if type(text) is str else None for text in told]
    if None in bucket:
        bucket = [_bucket(row) if known is None else known for known, row in zip(bucket, rows, strict=True)]
    return Handed(image_id, np.array(bucket, np.int32), embedding, not_finite(embedding), [None] * len(rows))


def _bucket(row: dict[str, Any]) -> int:
    return BUCKETS.get(str(row.get("distance", "Unknown")).strip(), UNKNOWN_BUCKET)


def _vector(value: Any, dim: int) -> np.ndarray:
    """As `parse_embedding`; the form that the service uses takes a third of the time."""
    try:
        data = pybase64.b64decode(value, validate=True)
    except (ValueError, TypeError):
        return parse_embedding(value, dim)
    return np.frombuffer(data, "<f4") if len(data) == 4 * dim else parse_embedding(value, dim)


def not_finite(embedding: np.ndarray) -> np.ndarray:
    """bool [n], which vectors hold NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(embedding.sum()):  # ten times as fast as looking at each number
            return np.zeros(len(embedding), bool)
    return ~np.isfinite(embedding).all(axis=1)


def scores_of(model, handed: Handed, score: str = "probability") -> np.ndarray:
    """What is posted of each class, float32 [n, C].

    Args:
        score: "probability", the model's own; or "decision": shifted in logit so that each class's own threshold
            stands at 0.5, which is where a site that knows no thresholds counts a class.
    """
    import torch

    with torch_threads(1):
        logits = torch.from_numpy(logits_of(model, handed.embedding, handed.bucket))
    if score == "decision":
        thresholds = torch.tensor(model.config.thresholds, dtype=torch.float32)
        logits = logits - torch.logit(thresholds, eps=1e-6)
    return logits.sigmoid().numpy()


def labels_of(handed: Handed, scores: np.ndarray, classes: list[str], threshold: float) -> list[dict[str, Any]]:
    """The list of labels: each class above the threshold; "None" where none is, "Failed" where it cannot be done."""
    none, failed = len(classes), len(classes) + 1
    names, identity = [*classes, NONE, FAILED], handed.image_id
    given = np.zeros((len(handed), len(names)), bool)
    given[:, :none] = (scores > threshold) & ~handed.failed[:, None]
    given[:, failed] = handed.failed
    given[:, none] = ~given.any(axis=1)
    places, columns = np.nonzero(given)
    values = np.concatenate([scores, np.zeros((len(handed), 2), np.float32)], axis=1)[places, columns].tolist()
    entries = [
        {"image_id": identity[place], "label": names[column], "score": value}
        for place, column, value in zip(places.tolist(), columns.tolist(), values, strict=True)
    ]
    for i in np.flatnonzero(columns == failed):
        entries[i]["score"] = FAILED_SCORE
    return entries


def embeddings_of(handed: Handed, made: np.ndarray) -> list[dict[str, Any]]:
    """The list of the vectors that were made here. `made`: bool [n]."""
    return [
        {
            "image_id": handed.image_id[i],
            "type": "image",
            "embeddings": pybase64.b64encode_as_string(handed.embedding[i].astype("<f4").tobytes()),
        }
        for i in np.flatnonzero(made)
    ]


def to_body(entries: list[dict[str, Any]]) -> bytes:
    """A list as it is posted."""
    return orjson.dumps(entries)
