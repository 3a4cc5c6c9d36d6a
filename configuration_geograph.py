"""The configuration of a Geograph type classifier."""

import math

from transformers import PreTrainedConfig

try:
    from .names_geograph import (
        CLASSES,
        EMBEDDING_DIM,
        NUM_DISTANCE_BUCKETS,
        TAGS,
        UNKNOWN_BUCKET,
        VISION_MODEL,
        VISION_MODEL_REVISION,
    )
except ImportError:
    if __package__:  # a library that is missing or too old says so itself
        raise
    from names_geograph import (
        CLASSES,
        EMBEDDING_DIM,
        NUM_DISTANCE_BUCKETS,
        TAGS,
        UNKNOWN_BUCKET,
        VISION_MODEL,
        VISION_MODEL_REVISION,
    )

__all__ = [
    "CLASSES",
    "NUM_DISTANCE_BUCKETS",
    "TAGS",
    "UNKNOWN_BUCKET",
    "VISION_MODEL",
    "VISION_MODEL_REVISION",
    "GeographConfig",
]


class GeographConfig(PreTrainedConfig):
    """Everything that makes one classifier differ from another.

    Args:
        classes: names of the predicted classes, in output order.
        num_distance_buckets: rows of the distance embedding; the last bucket means "not known".
        embedding_dim: width of the photo embedding (CLIP ViT-B/32, projected, not normalised).
        distance_embedding_dim: width of the distance embedding.
        hidden_dim: width of the hidden layer.
        dropout: share of hidden units dropped while training.
        thresholds: one probability a class, in class order; a class counts from there on. 0.5 each unless tuned.
        vision_model: Hub id or folder of the CLIP tower that makes embeddings from photos.
        vision_model_revision: the commit of `vision_model`; not used for a folder.
        cross_far_min_distance: metres; raw Cross Grid was trained as Cross Far only above it. 0: always.
        synthetic: whether any training row was made by `synthetic.py`: such a model is for trying things out only.

    Raises:
        ValueError: a value that no classifier can have.
    """

    model_type = "geograph"

    def __init__(
        self,
        classes: list[str] | None = None,
        num_distance_buckets: int = NUM_DISTANCE_BUCKETS,
        embedding_dim: int = EMBEDDING_DIM,
        distance_embedding_dim: int = 16,
        hidden_dim: int = 256,
        dropout: float = 0.2,
        thresholds: list[float] | None = None,
        vision_model: str = VISION_MODEL,
        vision_model_revision: str | None = VISION_MODEL_REVISION,
        cross_far_min_distance: int = 0,
        synthetic: bool = False,
        **kwargs,
    ):
        if classes is not None and not isinstance(classes, list | tuple):
            raise ValueError(f"classes must be a list of names, got {classes!r}")
        self.classes = list(CLASSES if classes is None else classes)
        self.num_distance_buckets = num_distance_buckets
        self.embedding_dim = embedding_dim
        self.distance_embedding_dim = distance_embedding_dim
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        if thresholds is not None and not isinstance(thresholds, list | tuple):
            raise ValueError(f"thresholds must be {len(self.classes)} numbers, one a class, got {thresholds!r}")
        self.thresholds = [0.5] * len(self.classes) if thresholds is None else list(thresholds)
        self.vision_model = vision_model
        self.vision_model_revision = vision_model_revision
        self.cross_far_min_distance = cross_far_min_distance
        self.synthetic = synthetic
        kwargs.pop("num_labels", None)
        kwargs["id2label"] = dict(enumerate(self.classes))
        kwargs["label2id"] = {name: i for i, name in enumerate(self.classes)}
        kwargs["problem_type"] = "multi_label_classification"
        super().__init__(**kwargs)
        self._check()

    def _check(self):
        if len(set(self.classes)) != len(self.classes) or not self.classes:
            raise ValueError(f"classes must be different names, got {self.classes!r}")
        for name in ("num_distance_buckets", "embedding_dim", "distance_embedding_dim", "hidden_dim"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        if len(self.thresholds) != len(self.classes):
            raise ValueError(
                f"thresholds must be {len(self.classes)} numbers, one a class, got {len(self.thresholds)}"
            )
        if not all(_is_number(t) and 0 <= t <= 1 for t in self.thresholds):
            raise ValueError(f"thresholds must lie between 0 and 1, got {self.thresholds!r}")
        if not _is_number(self.cross_far_min_distance) or self.cross_far_min_distance < 0:
            raise ValueError(f"cross_far_min_distance must be metres, 0 or more, got {self.cross_far_min_distance!r}")


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
