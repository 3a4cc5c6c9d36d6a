"""A good source row to change, and rows as the lines of a file."""

import base64
import json

import numpy as np


def vector(seed: int = 0, dim: int = 512) -> np.ndarray:
    """float32 [dim], as long as CLIP's vectors are."""
    found = np.random.default_rng(seed).standard_normal(dim)
    return (found * 10 / np.linalg.norm(found)).astype("<f4")


def base64_of(embedding: np.ndarray) -> str:
    return base64.b64encode(np.asarray(embedding, "<f4").tobytes()).decode()


def source_row(identity=7, **changes) -> dict:
    """`...` takes a field out."""
    row = {
        "gridimage_id": identity,
        "types": "Geograph",
        "distance": "16",
        "embeddings": base64_of(np.arange(512, dtype="<f4") / 100 + identity),
        "weight": 1.0,
        "split": "tra",
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def block_of(*lines) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
