"""`weights.json`, as the site's own PHP and Python ports of its models read it (geograph-project/mlp-models)."""

import json
from pathlib import Path

import numpy as np

from geograph_types.export.parts import DISTANCE_MAP, parts_of
from geograph_types.files import whole_file


def write_weights_json(model, path: Path) -> None:
    """Writes the file, whole or not at all.

    The Python port makes a table with a row for each text in `dist_map`, of which "" and "0" share one: so there is a
    row more than there are buckets, which nothing points to. It repeats the last one, Unknown.
    """
    parts = parts_of(model)
    surplus = len(DISTANCE_MAP) - len(parts.table)
    table = np.concatenate([parts.table, np.repeat(parts.table[-1:], surplus, axis=0)])
    state = {
        "dist_emb.weight": table,
        "fc.0.weight": parts.first[0],
        "fc.0.bias": parts.first[1],
        "fc.3.weight": parts.last[0],
        "fc.3.bias": parts.last[1],
    }
    metadata = {
        "clip_dim": parts.embedding_dim,
        "dist_embed_dim": parts.table.shape[1],
        "classes": list(model.config.classes),
        "dist_map": DISTANCE_MAP,
    }
    with whole_file(path) as file:
        json.dump({"metadata": metadata, "state_dict": {name: value.tolist() for name, value in state.items()}}, file)
