"""A written graph against the model itself, before anybody relies on it."""

from pathlib import Path

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.inference import probabilities_of
from names_geograph import NUM_DISTANCE_BUCKETS

TOLERANCE = 1e-5
TOWER_TOLERANCE = 1e-4


def head_difference(model, path: Path) -> float:
    """The largest difference of a probability, over every bucket and vectors as long as CLIP's.

    Raises:
        CommandError: it is above `TOLERANCE`.
    """
    bucket = np.arange(NUM_DISTANCE_BUCKETS * 8) % NUM_DISTANCE_BUCKETS
    vectors = np.random.default_rng(0).standard_normal((len(bucket), model.config.embedding_dim)).astype(np.float32)
    vectors *= 10 / np.linalg.norm(vectors, axis=1, keepdims=True)
    (probabilities,) = _run(path, ["probabilities"], embedding=vectors, distance=bucket)
    return _within(probabilities, probabilities_of(model, vectors, bucket), TOLERANCE, path)


def tower_difference(model, tower, processor, path: Path) -> float:
    """As `head_difference`, from pixels on: a few pictures of noise, through transformers' own tower.

    Raises:
        CommandError: it is above `TOWER_TOLERANCE`, as twelve layers round more often than one.
    """
    import torch

    size = tower.config.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    mean, std = (np.array(value, np.float32) for value in (processor.image_mean, processor.image_std))
    normal = ((pixels * np.float32(processor.rescale_factor) - mean) / std).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        vectors = tower(pixel_values=torch.from_numpy(np.ascontiguousarray(normal))).image_embeds.float().numpy()
    bucket = np.array([0, 5, NUM_DISTANCE_BUCKETS - 1])
    (probabilities,) = _run(path, ["probabilities"], pixels=pixels, distance=bucket)
    return _within(probabilities, probabilities_of(model, vectors, bucket), TOWER_TOLERANCE, path)


def _run(path: Path, outputs: list[str], **inputs: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(outputs, inputs)


def _within(found: np.ndarray, expected: np.ndarray, tolerance: float, path: Path) -> float:
    difference = float(np.abs(found - expected).max())
    if not difference <= tolerance:
        raise CommandError(f"{path}: its answers differ from the model's by {difference:.1e}; do not use it")
    return difference
