"""The classifier's layers, of torch alone: `modeling_geograph.py` makes transformers' model of them.

Whoever only asks a model whose code this is takes `GeographHead`: transformers' model class takes seconds to load.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn


class QuickDropout(nn.Dropout):
    """`nn.Dropout`, but on a CPU with 16 random bits a unit: PyTorch's own draws cost more than the layer's gradient.

    The share dropped is `p` to the next 1/65,536, and what is kept is scaled by exactly that. The bits come from
    `generator`, PyTorch's own where it is None: models that learn in several threads have one each.
    """

    generator: torch.Generator | None = None

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        dropped = round(self.p * 2**16)
        if (
            not self.training
            or not 0 < dropped < 2**16
            or values.device.type != "cpu"
            or torch.compiler.is_compiling()
        ):
            return super().forward(values)
        bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64)
        bits.random_(-(2**63), None, generator=self.generator)
        bits = bits.view(torch.int16)[: values.numel()].view(values.shape)
        kept = torch.empty_like(values, requires_grad=False)  # 1 or 0 at once: booleans would be read once more
        torch.ge(bits, dropped - 2**15, out=kept)
        return values * kept.mul_(2**16 / (2**16 - dropped))


class GeographLayers:
    """The official architecture (v1 to v2.3): what an `nn.Module` needs to be a classifier."""

    def add_layers(self, config) -> None:
        """Makes the layers that a GeographConfig asks for, under the names of the official checkpoints."""
        self.dist_emb = nn.Embedding(config.num_distance_buckets, config.distance_embedding_dim)
        self.fc = nn.Sequential(
            nn.Linear(config.embedding_dim + config.distance_embedding_dim, config.hidden_dim),
            nn.ReLU(),
            QuickDropout(config.dropout),
            nn.Linear(config.hidden_dim, len(config.classes)),
        )

    def logits_of(self, embedding: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        """Checked inputs → logits [B, C], or [B, K, C] for K distances a row."""
        embedding, distance = embedding.to(self.dist_emb.weight.dtype), distance.int()
        if (self.training or distance.ndim == 2) and type(self.fc[0]) is nn.Linear:
            return self._in_two_products(embedding, distance)
        if distance.ndim == 2:
            embedding = embedding[:, None].expand(-1, distance.shape[1], -1)
        return self.fc(torch.cat([embedding, self.dist_emb(distance)], dim=-1))

    def _in_two_products(self, embedding: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        """`fc` with its first layer in two: the photo's part, once for all its distances, and the distance's.

        The same but for rounding. In training a third less work: the photo's part needs no gradient of its input.
        """
        first, *others = self.fc
        width = embedding.shape[1]
        of_photo, of_distance = first.weight.split([width, first.in_features - width], dim=1)
        by_photo = nn.functional.linear(embedding, of_photo, first.bias)  # [B, H]
        by_distance = nn.functional.linear(self.dist_emb.weight, of_distance)  # [buckets, H]
        hidden = nn.functional.embedding(distance, by_distance)
        hidden += by_photo if distance.ndim == 1 else by_photo[:, None]
        for layer in others:
            hidden = layer(hidden)
        return hidden

    def check_inputs(self, embedding, distance, labels=None, weight=None) -> None:
        """ValueError for a wrong shape or dtype, or a bucket out of range; shapes as in `GeographModel.forward`."""
        dim, classes = self.config.embedding_dim, len(self.config.classes)
        for name, value in (("embedding", embedding), ("distance", distance), ("labels", labels), ("weight", weight)):
            if not isinstance(value, torch.Tensor) and (value is not None or name in ("embedding", "distance")):
                raise ValueError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
        if embedding.ndim != 2 or embedding.shape[1] != dim or not embedding.is_floating_point():
            raise ValueError(f"embedding must be float [B, {dim}], got {_describe(embedding)}")
        batch = embedding.shape[0]
        fits = distance.ndim in (1, 2) and len(distance) == batch
        if not fits or distance.is_floating_point() or distance.dtype == torch.bool:
            raise ValueError(f"distance must be int [{batch}], one bucket a row, got {_describe(distance)}")
        if labels is not None and labels.shape != (*distance.shape, classes):
            expected = [*distance.shape, classes]
            raise ValueError(f"labels must be float {expected}, got {_describe(labels)}")
        if weight is not None and weight.shape != (batch,):
            raise ValueError(f"weight must be float [{batch}], one a row, got {_describe(weight)}")
        # A look at the values would break a compiled graph, and there are none on "meta".
        if torch.compiler.is_compiling() or distance.is_meta or not batch:
            return
        low, high = (int(x) for x in distance.aminmax())
        if low < 0 or high >= self.config.num_distance_buckets:
            raise ValueError(
                f"distance must hold bucket indices 0 to {self.config.num_distance_buckets - 1}, "
                f"got {low if low < 0 else high} (metres? bucket_of() in grid_geograph.py turns them into buckets)"
            )


@dataclass
class HeadOutput:
    """`logits`: [B, C] or [B, K, C], as of `GeographOutput`."""

    logits: torch.Tensor


class GeographHead(GeographLayers, nn.Module):
    """The layers to be asked, not trained: `config`, `device`, and a call that gives logits, as of `GeographModel`."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.add_layers(config)

    @property
    def device(self) -> torch.device:
        return self.dist_emb.weight.device

    def forward(self, embedding: torch.Tensor, distance: torch.Tensor) -> HeadOutput:
        """As `GeographModel.forward`, without labels."""
        self.check_inputs(embedding, distance)
        return HeadOutput(self.logits_of(embedding, distance))

    def fill(self, files: list[Path]) -> None:
        """Takes the weights of safetensors files, in float32; strict about their names and shapes."""
        from safetensors.torch import load_file

        # Copied: the files may change or go while the head is asked.
        weights = {
            name: value.to(torch.float32, copy=True) for file in files for name, value in load_file(file).items()
        }
        self.load_state_dict(weights, assign=True)


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
