"""What is published: the configs, the columns with their features, how large a dataset calls itself. Once, for the one
who writes it, the one who checks it and the one who reads it."""

import json
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from names_geograph import EMBEDDING_DIM, TAGS

if TYPE_CHECKING:
    import pyarrow as pa

# Each holds the rows of the one before it.
CONFIGS = ("small", "medium", "large")

# Where our own files say in their schema's metadata whether their rows are synthetic.
METADATA_KEY = b"geograph"
LAYOUT_VERSION = "1.0.0"

# What the Hub offers as `size_categories`, and the rows below which each ends.
SIZE_CATEGORIES = {
    "n<1K": 10**3,
    "1K<n<10K": 10**4,
    "10K<n<100K": 10**5,
    "100K<n<1M": 10**6,
    "1M<n<10M": 10**7,
    "10M<n<100M": 10**8,
}


def size_category(rows: int) -> str:
    """How a dataset of so many rows calls its size."""
    return next((name for name, end in SIZE_CATEGORIES.items() if rows < end), list(SIZE_CATEGORIES)[-1])


def features(with_title: bool, embedding_dim: int = EMBEDDING_DIM) -> dict:
    """The published columns as `datasets` writes them into metadata: `Features.to_dict()`, without its long import."""
    columns = {
        "gridimage_id": {"dtype": "int64", "_type": "Value"},
        "types": {"feature": {"names": list(TAGS), "_type": "ClassLabel"}, "_type": "List"},
        "distance": {"dtype": "string", "_type": "Value"},
        "distance_bucket": {"dtype": "int8", "_type": "Value"},
        "embedding": {"feature": {"dtype": "float32", "_type": "Value"}, "length": embedding_dim, "_type": "List"},
        "weight": {"dtype": "float32", "_type": "Value"},
    }
    return columns | ({"title": {"dtype": "string", "_type": "Value"}} if with_title else {})


@cache
def schema(with_title: bool, synthetic: bool, embedding_dim: int = EMBEDDING_DIM) -> "pa.Schema":
    """The published columns; metadata tell `datasets` the features, and us whether the rows are synthetic."""
    import pyarrow as pa

    columns = [
        ("gridimage_id", pa.int64()),
        ("types", pa.list_(pa.int64())),
        ("distance", pa.string()),
        ("distance_bucket", pa.int8()),
        ("embedding", pa.list_(pa.float32(), embedding_dim)),
        ("weight", pa.float32()),
    ] + ([("title", pa.string())] if with_title else [])
    metadata = {
        b"huggingface": json.dumps({"info": {"features": features(with_title, embedding_dim)}}),
        METADATA_KEY: json.dumps({"synthetic": synthetic, "version": LAYOUT_VERSION}),
    }
    return pa.schema(columns, metadata=metadata)


def class_labels(schema: "pa.Schema", columns: Iterable[str]) -> dict[str, list[str]]:
    """Column → the names that its numbers stand for, as `datasets` writes them into the schema's metadata."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        features = {column: told.get(column) for column in columns}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    found = {}
    for column, feature in features.items():
        while isinstance(feature, dict | list) and feature and "names" not in feature:
            feature = feature[0] if isinstance(feature, list) else feature.get("feature")
        names = feature.get("names") if isinstance(feature, dict) else None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            found[column] = names
    return found
