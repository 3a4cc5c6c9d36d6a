"""A `datasets.Dataset` with the published columns → rows in memory."""

import numpy as np

from geograph_types.rows.fields import Rows
from grid_geograph import bucket_of
from names_geograph import TAGS, UNKNOWN_BUCKET


def is_published(dataset) -> bool:
    """Whether it is a map-style `datasets.Dataset` that holds embeddings and raw tags."""
    names = getattr(dataset, "column_names", None)
    return isinstance(names, list) and {"embedding", "types"} <= set(names) and hasattr(dataset, "with_format")


def rows_of_dataset(dataset) -> Rows:
    """Its rows, with tags by the names that the dataset itself gives them.

    Raises:
        ValueError: embeddings of several widths, NaN, negative weights, or a tag that is none of ours.
    """
    columns = dataset.with_format("numpy")
    n, names = len(dataset), set(dataset.column_names)
    embedding = np.stack([np.asarray(v, np.float32) for v in columns["embedding"][:]])
    if embedding.ndim != 2 or not np.isfinite(embedding).all():
        raise ValueError("embedding must be numbers, as many in each row, without NaN or infinity")
    weight = np.asarray(columns["weight"][:], np.float32) if "weight" in names else np.ones(n, np.float32)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("weight must be a number of at least 0 in every row")
    if "distance_bucket" in names:
        bucket = np.array([UNKNOWN_BUCKET if b is None else b for b in dataset["distance_bucket"][:]], np.uint8)
    elif "distance" in names:
        bucket = np.array([bucket_of(text) for text in dataset["distance"][:]], np.uint8)
    else:
        bucket = np.full(n, UNKNOWN_BUCKET, np.uint8)
    identity = dataset["gridimage_id"][:] if "gridimage_id" in names else range(1, n + 1)
    return Rows(np.array(identity, np.int64), _tags(dataset), bucket, np.ascontiguousarray(embedding), weight)


def _tags(dataset) -> np.ndarray:
    """bool [N, 8], in the order of `TAGS`."""
    feature = dataset.features["types"]
    names = getattr(getattr(feature, "feature", feature), "names", None)
    tags = np.zeros((len(dataset), len(TAGS)), bool)
    for row, types in enumerate(dataset["types"][:]):
        for tag in types or ():
            name = names[tag] if names is not None and isinstance(tag, int) else tag
            if name not in TAGS:
                raise ValueError(f"row {row}: unknown tag {name!r}; known are {', '.join(TAGS)}")
            tags[row, TAGS.index(name)] = True
    return tags
