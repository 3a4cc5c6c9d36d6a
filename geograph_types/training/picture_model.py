"""What a picture says without its distance: its types, and how far its subject is likely to be.

Only used while training: `distance_faults.py` needs to know whether a stated distance fits its picture.
"""

import numpy as np
import torch
from torch import nn

from geograph_types.training.data import TrainingData
from geograph_types.training.fitting import Columns, Fitter
from layers_geograph import QuickDropout
from names_geograph import NUM_DISTANCE_BUCKETS

# The loss of the distance against that of the types: some twenty times as large to begin with.
DISTANCE_SHARE = 0.03
# Without validation rows nothing says when to stop.
EPOCHS_WITHOUT_VALIDATION = 20
BATCH = 8192


class PictureModel(nn.Module):
    """[B, D] → logits of the classes [B, C] and of the standard buckets [B, 23], from one hidden layer."""

    def __init__(self, config):
        super().__init__()
        self.classes = len(config.classes)
        self.layers = nn.Sequential(
            nn.Linear(config.embedding_dim, config.hidden_dim),
            nn.ReLU(),
            QuickDropout(config.dropout),
            nn.Linear(config.hidden_dim, self.classes + NUM_DISTANCE_BUCKETS),
        )

    def forward(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layers(embedding).tensor_split([self.classes], dim=1)

    def loss(self, embedding, labels, bucket, weight) -> torch.Tensor:
        """Mean over the rows of weight × (mean binary cross-entropy of the types + a share of the distance's)."""
        types, distance = self(embedding)
        per_row = nn.functional.binary_cross_entropy_with_logits(types, labels, reduction="none").mean(-1)
        far = nn.functional.cross_entropy(distance, bucket, reduction="none")
        return ((per_row + DISTANCE_SHARE * far) * weight).mean()


def new_picture_model(config, seed: int) -> PictureModel:
    """One that has learnt nothing yet, for a model of that config."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PictureModel(config)


def fit_picture_model(
    fitter: Fitter, model: PictureModel, train: Columns, rows: torch.Tensor, validation: Columns | None, *, seed: int
) -> PictureModel:
    """Fits it to some `rows` of `train`, with the main run's rate, batch, epochs and patience."""
    epochs = None if validation is not None else min(fitter.epochs(len(rows)), EPOCHS_WITHOUT_VALIDATION)
    return fitter.fit(model, model.loss, lambda _: train, rows, validation, seed=seed, epochs=epochs)


def answers_of(model: PictureModel, embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the classes [N, C], and of the buckets [N, 23] (they sum to 1); float32."""
    types, distance = [], []
    with torch.inference_mode():
        for start in range(0, len(embedding), BATCH):
            parts = model(torch.from_numpy(np.ascontiguousarray(embedding[start : start + BATCH])))
            types.append(parts[0].sigmoid())
            distance.append(parts[1].softmax(-1))
    return torch.cat(types).numpy(), torch.cat(distance).numpy()


def picture_columns(data: TrainingData) -> Columns:
    """What `PictureModel.loss` takes, of all rows."""
    bucket = torch.from_numpy(data.rows.distance.astype(np.int64))
    weight = torch.from_numpy(np.ascontiguousarray(data.weight, dtype=np.float32))
    return torch.from_numpy(data.rows.embedding), torch.from_numpy(data.targets), bucket, weight
