"""What can be had without training: the floor that a model must be above.

Each returns probabilities [N, C] for the rows to judge.
"""

from collections.abc import Sequence

import numpy as np

from geograph_types.rows.fields import Rows
from names_geograph import CLASSES, NUM_DISTANCE_BUCKETS

# One sentence a class, in CLIP's own manner ("a photo of …"). Written once, before any result was seen.
PROMPTS = {
    "Aerial": "an aerial photo of the ground taken from a plane",
    "Close Look": "a close-up photo of a detail or a sign",
    "Cross Far": "a photo of a wide distant view over the landscape",
    "Extra": "a photo of a person, an event or a document",
    "Geograph": "a photo of a place in the British countryside or town",
    "Inside": "a photo taken inside a building or a cave",
    "From Drone": "a photo looking down from a drone",
}
# For classes that a model has besides.
OTHER_PROMPT = "a photo of the type {}"
# CLIP's learnt temperature (Radford et al., 2021).
LOGIT_SCALE = 100.0


def most_frequent(targets: np.ndarray, rows: int) -> np.ndarray:
    """The most frequent class of the training rows, for every photo."""
    answer = np.zeros((rows, targets.shape[1]), dtype=np.float32)
    answer[:, targets.sum(axis=0).argmax()] = 1
    return answer


def distance_alone(targets: np.ndarray, bucket: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Each bucket's class shares in the training rows, for the buckets asked; a bucket's few rows lean on all."""
    prior = targets.mean(axis=0)
    table = np.tile(prior, (NUM_DISTANCE_BUCKETS, 1))
    for b in range(NUM_DISTANCE_BUCKETS):
        rows = targets[bucket == b]
        table[b] = (rows.sum(axis=0) + prior) / (len(rows) + 1)
    return table[asked].astype(np.float32)


def zero_shot(
    rows: Rows, text_model: str, revision: str | None = None, classes: Sequence[str] = CLASSES
) -> np.ndarray:
    """CLIP's own opinion: softmax over the prompts' similarity to the stored embedding.

    Args:
        text_model: Hub id or folder of the CLIP model whose vision tower made the embeddings.

    Raises:
        CommandError: the text tower cannot be had.
    """
    from geograph_types.text_tower import prompt_vectors, similarities

    vectors = prompt_vectors([PROMPTS.get(name, OTHER_PROMPT.format(name)) for name in classes], text_model, revision)
    logits = LOGIT_SCALE * similarities(rows.embedding, vectors)
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponent / exponent.sum(axis=1, keepdims=True)).astype(np.float32)
