"""Sentences → CLIP vectors, comparable with the photos' embeddings: the text half of the same tower."""

from collections.abc import Sequence

import numpy as np

from geograph_types.cli import CommandError
from names_geograph import VISION_MODEL, VISION_MODEL_REVISION


def prompt_vectors(
    prompts: Sequence[str], model: str = VISION_MODEL, revision: str | None = VISION_MODEL_REVISION
) -> np.ndarray:
    """float32 [P, D], each of length 1: `CLIPTextModelWithProjection(...).text_embeds`.

    Args:
        prompts: sentences in English. model: Hub id or folder of the CLIP model whose other half made the embeddings.
        revision: its commit; not used for a folder.

    Raises:
        CommandError: the text half cannot be had.
    """
    import torch
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    from encoder_geograph import hub_options

    options = hub_options(model, revision, "tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
        tower = CLIPTextModelWithProjection.from_pretrained(model, dtype=torch.float32, **options).eval()
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CommandError(
            f"{model}: no CLIP text tower here ({reason}); name a folder that holds a whole CLIP model"
        ) from None
    with torch.inference_mode():
        tokens = tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        vectors = tower(**tokens).text_embeds
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def similarities(embedding: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosine of each photo with each prompt, float32 [N, P]; embeddings [N, D] need not be normalised.

    Raises:
        ValueError: vectors of different width.
    """
    if embedding.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"photos have {embedding.shape[1]} numbers and the text tower gives {vectors.shape[1]}: not the same CLIP"
        )
    length = np.linalg.norm(embedding, axis=1, keepdims=True)
    return (embedding @ vectors.T) / np.maximum(length, 1e-12)
