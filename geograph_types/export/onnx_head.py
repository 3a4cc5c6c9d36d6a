"""`model.onnx`: a vector and a distance's bucket in, logits and probabilities out."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from geograph_types.export.graph import Graph
from geograph_types.export.parts import DISTANCE_MAP, parts_of
from geograph_types.files import whole_file


def write_head(model, path: Path) -> None:
    """Writes the graph. Inputs `embedding` float32 [B, D], `distance` int64 [B], the standard buckets 0 to 22;
    outputs `logits` and `probabilities`, float32 [B, C]."""
    graph = Graph()
    add_head(graph, model, "embedding")
    dim = model.config.embedding_dim
    inputs = {"embedding": (np.float32, ["B", dim]), "distance": (np.int64, ["B"])}
    save(graph.model(inputs, outputs_of(model), metadata_of(model)), path)


def add_head(graph: Graph, model, embedding: str) -> None:
    """The classifier on a graph's `embedding` and its input `distance`."""
    parts = parts_of(model)
    features = graph.node("Gather", [graph.weight("dist_emb.weight", parts.table), "distance"], axis=0)
    joined = graph.node("Concat", [embedding, features], axis=1)
    hidden = graph.node("Relu", [graph.linear(joined, "fc.0", *parts.first)])
    last = graph.node("MatMul", [hidden, graph.weight("fc.3.weight", parts.last[0].T)])
    graph.node("Add", [last, graph.weight("fc.3.bias", parts.last[1])], "logits")
    graph.node("Sigmoid", ["logits"], "probabilities")


def outputs_of(model) -> dict[str, tuple]:
    shape = ["B", len(model.config.classes)]
    return {"logits": (np.float32, shape), "probabilities": (np.float32, shape)}


def metadata_of(model) -> dict[str, Any]:
    """What a reader needs besides the numbers; lists and objects are JSON."""
    config = model.config
    return {
        "model_type": config.model_type,
        "classes": list(config.classes),
        "thresholds": [float(value) for value in config.thresholds],
        "distance_buckets": DISTANCE_MAP,
        "vision_model": str(config.vision_model),
        "vision_model_revision": str(config.vision_model_revision),
        "embedding": "CLIP projected image features, float32, not normalised",
        "synthetic": bool(config.synthetic),
    }


def save(model: onnx.ModelProto, path: Path) -> None:
    """Whole or not at all."""
    with whole_file(path, "wb") as file:
        file.write(model.SerializeToString())
