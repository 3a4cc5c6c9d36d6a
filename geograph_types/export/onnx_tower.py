"""`photo_model.onnx`: the vision tower before the classifier, from a photo's pixels to its types."""

from pathlib import Path
from typing import Any

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.export.graph import Graph, to_numpy
from geograph_types.export.onnx_head import add_head, metadata_of, outputs_of, save
from names_geograph import tower_of


def load_tower(config, vision_model: str | None) -> tuple[Any, Any]:
    """The model's tower, or the given one, in float32, and its image processor.

    Raises:
        CommandError: none there, another kind of model, or vectors of another width than the model takes.
    """
    import torch
    from transformers import CLIPVisionModelWithProjection
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from encoder_geograph import hub_options

    name, revision = tower_of(config, vision_model)
    options = hub_options(name, revision)
    try:
        tower, report = CLIPVisionModelWithProjection.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True, **options
        )
        processor = CLIPImageProcessorPil.from_pretrained(name, **options)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise CommandError(f"--vision_model {name}: no CLIP vision tower to be had there ({reason})") from None
    if report["missing_keys"]:
        raise CommandError(f"--vision_model {name}: no CLIP vision tower: it lacks {min(report['missing_keys'])}")
    if tower.config.projection_dim != config.embedding_dim:
        raise CommandError(
            f"--vision_model {name}: its vectors have {tower.config.projection_dim} numbers, the model takes "
            f"{config.embedding_dim}"
        )
    return tower.eval(), processor


def write_with_tower(model, tower, processor, path: Path) -> None:
    """Writes the graph.

    Inputs `pixels` uint8 [B, S, S, 3], the photo's centre square as `GeographEncoder.pixels` gives it, and `distance`
    int64 [B]; outputs `embedding` float32 [B, D], `logits`, `probabilities`.

    Args:
        tower: CLIPVisionModelWithProjection. processor: its image processor, for the colours' mean and deviation.

    Raises:
        CommandError: an activation that is none of CLIP's.
    """
    graph = Graph()
    size = tower.config.image_size
    add_tower(graph, tower, processor)
    add_head(graph, model, "embedding")
    inputs = {"pixels": (np.uint8, ["B", size, size, 3]), "distance": (np.int64, ["B"])}
    outputs = {"embedding": (np.float32, ["B", model.config.embedding_dim])} | outputs_of(model)
    about = metadata_of(model) | {
        "pixels": f"RGB, the shorter edge resized to {size} (bicubic), the centre square kept"
    }
    save(graph.model(inputs, outputs, about), path)


def add_tower(graph: Graph, tower, processor) -> None:
    """CLIP's vision transformer: `pixels` → `embedding`."""
    vision = tower.vision_model
    x = _patches(graph, vision.embeddings, processor)
    x = graph.norm(x, "pre_layrnorm", vision.pre_layrnorm)
    for number, layer in enumerate(vision.encoder.layers):
        name = f"layers.{number}"
        mixed = _attention(graph, graph.norm(x, f"{name}.layer_norm1", layer.layer_norm1), name, layer.self_attn)
        x = graph.node("Add", [x, mixed])
        hidden = _linear(graph, graph.norm(x, f"{name}.layer_norm2", layer.layer_norm2), f"{name}.fc1", layer.mlp.fc1)
        hidden = _activated(graph, hidden, tower.config.hidden_act)
        x = graph.node("Add", [x, _linear(graph, hidden, f"{name}.fc2", layer.mlp.fc2)])
    first = graph.node("Gather", [x, graph.weight("class_token", np.array(0, np.int64))], axis=1)
    last = graph.norm(first, "post_layernorm", vision.post_layernorm)
    projection = graph.weight("visual_projection.weight", to_numpy(tower.visual_projection.weight).T)
    graph.node("MatMul", [last, projection], "embedding")


def _patches(graph: Graph, embeddings, processor) -> str:
    """uint8 `pixels` [B, S, S, 3] → tokens [B, 1 + patches, W], with their places."""
    mean, std = (np.array(value, np.float32) for value in (processor.image_mean, processor.image_std))
    pixels = graph.node("Cast", ["pixels"], to=1)  # 1: float32
    scaled = graph.node("Mul", [pixels, graph.weight("pixel_scale", np.float32(processor.rescale_factor) / std)])
    normal = graph.node("Sub", [scaled, graph.weight("pixel_shift", mean / std)])
    image = graph.node("Transpose", [normal], perm=[0, 3, 1, 2])
    weight = graph.weight("patch_embedding", to_numpy(embeddings.patch_embedding.weight))
    patches = graph.node("Conv", [image, weight], strides=[embeddings.patch_size] * 2)
    width = embeddings.embed_dim
    flat = graph.node("Transpose", [graph.reshape(patches, [0, width, -1])], perm=[0, 2, 1])
    # The class token, once a photo: a sum of no patches plus the token.
    batch = graph.node("Shape", [flat], end=1)
    rest = graph.weight("token_shape", np.array([1, width], np.int64))
    shape = graph.node("Concat", [batch, rest], axis=0)
    token = graph.weight("class_embedding", to_numpy(embeddings.class_embedding).reshape(1, 1, width))
    tokens = graph.node("Expand", [token, shape])
    joined = graph.node("Concat", [tokens, flat], axis=1)
    return graph.node(
        "Add", [joined, graph.weight("position_embedding", to_numpy(embeddings.position_embedding.weight)[None])]
    )


def _attention(graph: Graph, value: str, name: str, attention: Any) -> str:
    heads, width = attention.num_heads, attention.head_dim

    def split(part: str, perm: list[int]) -> str:
        projected = _linear(graph, value, f"{name}.{part}", getattr(attention, part))
        return graph.node("Transpose", [graph.reshape(projected, [0, 0, heads, width])], perm=perm)

    query, key, content = (
        split("q_proj", [0, 2, 1, 3]),
        split("k_proj", [0, 2, 3, 1]),
        split("v_proj", [0, 2, 1, 3]),
    )
    scaled = graph.node("Mul", [query, graph.weight("attention_scale", np.float32(attention.scale))])
    weights = graph.node("Softmax", [graph.node("MatMul", [scaled, key])], axis=-1)
    mixed = graph.node("Transpose", [graph.node("MatMul", [weights, content])], perm=[0, 2, 1, 3])
    return _linear(graph, graph.reshape(mixed, [0, 0, heads * width]), f"{name}.out_proj", attention.out_proj)


def _linear(graph: Graph, value: str, name: str, module: Any) -> str:
    return graph.linear(value, name, to_numpy(module.weight), to_numpy(module.bias))


def _activated(graph: Graph, value: str, kind: str) -> str:
    """quick_gelu(x) = x · sigmoid(1.702 x), CLIP's own; gelu, which later towers have."""
    if kind == "quick_gelu":
        gate = graph.node("Mul", [value, graph.weight("quick_gelu", np.float32(1.702))])
        return graph.node("Mul", [value, graph.node("Sigmoid", [gate])])
    if kind == "gelu":
        part = graph.node("Erf", [graph.node("Mul", [value, graph.weight("gelu", np.float32(0.5**0.5))])])
        gate = graph.node("Add", [part, graph.weight("one", np.float32(1))])
        half = graph.node("Mul", [value, graph.weight("half", np.float32(0.5))])
        return graph.node("Mul", [half, gate])
    raise CommandError(f"the vision tower's activation is {kind!r}; quick_gelu and gelu can be exported")
