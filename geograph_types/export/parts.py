"""What every export holds of a classifier: its weights in float32, and a table of the standard buckets."""

from dataclasses import dataclass

import numpy as np

from grid_geograph import bucket_of, model_buckets
from names_geograph import NUM_DISTANCE_BUCKETS
from row_geograph import DISTANCES

# The official distance texts → the standard buckets 0 to 22, in the order of the texts' distances.
DISTANCE_MAP = {text: bucket_of(text) for text in DISTANCES}


@dataclass(frozen=True)
class Parts:
    """A classifier's weights, float32, as `torch.nn.Linear` holds them ([out, in])."""

    table: np.ndarray  # [23, E], a row a standard bucket, whatever number of buckets the model has
    first: tuple[np.ndarray, np.ndarray]  # [H, D + E] and [H]
    last: tuple[np.ndarray, np.ndarray]  # [C, H] and [C]

    @property
    def embedding_dim(self) -> int:
        return self.first[0].shape[1] - self.table.shape[1]


def parts_of(model) -> Parts:
    """The weights of a GeographModel."""
    state = {name: value.detach().float().cpu().numpy() for name, value in model.state_dict().items()}
    standard = np.arange(NUM_DISTANCE_BUCKETS, dtype=np.int32)
    return Parts(
        table=state["dist_emb.weight"][model_buckets(standard, model.config.num_distance_buckets)],
        first=(state["fc.0.weight"], state["fc.0.bias"]),
        last=(state["fc.3.weight"], state["fc.3.bias"]),
    )
