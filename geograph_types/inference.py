"""The one batch-wise forward of the classifier: vectors and buckets in, logits or probabilities out."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from grid_geograph import model_buckets

BATCH = 8192


def logits_of(model, embedding: np.ndarray, bucket: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
    """Logits, float32 [N, C], batch by batch on the model's own device; [N, K, C] for K buckets a row.

    Args:
        embedding: float32 [N, D], not normalised. bucket: int [N] or [N, K], the standard 0 to 22.
    """
    import torch

    bucket = model_buckets(bucket.astype(np.int32), model.config.num_distance_buckets)
    # One array from the beginning: small results kept between large ones that go would leave holes as large.
    found = np.zeros((*bucket.shape, len(model.config.classes)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(embedding), batch_size):
            part = slice(start, start + batch_size)
            vectors = torch.from_numpy(np.ascontiguousarray(embedding[part])).to(model.device)
            distance = torch.from_numpy(bucket[part]).to(model.device)
            found[part] = model(embedding=vectors, distance=distance).logits.float().cpu().numpy()
    return found


def probabilities_of(model, embedding: np.ndarray, bucket: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
    """As `logits_of`, but probabilities."""
    return sigmoid(logits_of(model, embedding, bucket, batch_size))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits → probabilities, of any shape, in their own precision."""
    import torch

    return torch.from_numpy(np.asarray(logits)).sigmoid().numpy()


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Torch works with so many threads meanwhile, one at least.

    One is best for some hundred rows at a time beside other work: more gain little, and then wait for the next rows
    by keeping their cores busy.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, number))
    try:
        yield
    finally:
        torch.set_num_threads(before)
