"""The configuration of a Geograph type classifier."""

import math
from typing import Any

try:
    from transformers import PreTrainedConfig
except ImportError:
    import transformers

    raise ImportError(
        f"the Geograph type classifier needs transformers 5.0 or newer, found {transformers.__version__}; "
        "pip install -U transformers"
    ) from None

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


# No layer of a classifier of a few types is wider, and no such model larger: whoever asks for more mistyped.
WIDEST = 65_536
MOST_WEIGHTS = 500_000_000


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
    # So that a saved folder holds this file, and its config.json says where the class is.
    _auto_class = "AutoConfig"

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
            raise ValueError(f"classes must be a list of names, got {_short(classes)}")
        self.classes = list(CLASSES if classes is None else classes)
        self.num_distance_buckets = num_distance_buckets
        self.embedding_dim = embedding_dim
        self.distance_embedding_dim = distance_embedding_dim
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        if thresholds is not None and not isinstance(thresholds, list | tuple):
            raise ValueError(f"thresholds must be {len(self.classes)} numbers, one a class, got {_short(thresholds)}")
        self.thresholds = [0.5] * len(self.classes) if thresholds is None else list(thresholds)
        self.vision_model = vision_model
        self.vision_model_revision = vision_model_revision
        self.cross_far_min_distance = cross_far_min_distance
        self.synthetic = synthetic
        self._check_labels(kwargs.pop("num_labels", None), kwargs.pop("id2label", None), kwargs.pop("label2id", None))
        # As text, so that transformers' own check of these does not speak before ours below.
        kwargs["id2label"] = {i: str(name) for i, name in enumerate(self.classes)}
        kwargs["label2id"] = {str(name): i for i, name in enumerate(self.classes)}
        kwargs["problem_type"] = "multi_label_classification"
        super().__init__(**kwargs)
        self.check()

    def _check_labels(self, count: Any, id2label: Any, label2id: Any) -> None:
        """What transformers calls labels are the classes; whoever gives both must mean the same."""
        if count is not None and count != len(self.classes):
            raise ValueError(f"num_labels {_short(count)} contradicts the {len(self.classes)} classes; give classes")
        for name, given, pairs in (
            ("id2label", id2label, lambda: {(int(i), str(label)) for i, label in id2label.items()}),
            ("label2id", label2id, lambda: {(int(i), str(label)) for label, i in label2id.items()}),
        ):
            try:
                same = given is None or pairs() == {(i, str(label)) for i, label in enumerate(self.classes)}
            except (AttributeError, TypeError, ValueError):
                same = False
            if not same:
                raise ValueError(f"{name} contradicts classes; give classes alone")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As `PreTrainedConfig.from_dict`, but values given beside the dictionary are checked as its own are.

        Other classes start with thresholds of 0.5 each and their own labels: the old ones belong to the old classes.
        """
        own = {name: kwargs.pop(name) for name in (*FIELDS, "id2label", "label2id") if name in kwargs}
        if "classes" in own:
            own = {"thresholds": None, "id2label": None, "label2id": None} | own
        return super().from_dict(config_dict | own, **kwargs)

    def save_pretrained(self, *args, **kwargs):
        """As `PreTrainedConfig.save_pretrained`; values that were changed since are checked."""
        self.check()
        super().save_pretrained(*args, **kwargs)

    def check(self) -> None:
        """Raises ValueError for a value that no classifier can have: a line that names it."""
        names = self.classes
        if not names or not all(isinstance(n, str) and n.strip() for n in names) or len(set(names)) != len(names):
            raise ValueError(f"classes must be different names, got {_short(names)}")
        for name in ("num_distance_buckets", "embedding_dim", "distance_embedding_dim", "hidden_dim"):
            value, least = getattr(self, name), 2 if name == "num_distance_buckets" else 1
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= WIDEST:
                raise ValueError(f"{name} must be a whole number of at least {least}, at most {WIDEST}, got {value!r}")
        inputs = self.embedding_dim + self.distance_embedding_dim
        weights = self.num_distance_buckets * self.distance_embedding_dim + self.hidden_dim * (inputs + len(names))
        if weights > MOST_WEIGHTS:
            raise ValueError(
                f"embedding_dim and hidden_dim ask for {weights:,} weights, expected {MOST_WEIGHTS:,} at most"
            )
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        if not isinstance(self.thresholds, list | tuple) or len(self.thresholds) != len(names):
            raise ValueError(f"thresholds must be {len(names)} numbers, one a class, got {_short(self.thresholds)}")
        if not all(_is_number(t) and 0 <= t <= 1 for t in self.thresholds):
            raise ValueError(f"thresholds must lie between 0 and 1, got {_short(self.thresholds)}")
        if not _is_number(self.cross_far_min_distance) or self.cross_far_min_distance < 0:
            raise ValueError(f"cross_far_min_distance must be metres, 0 or more, got {self.cross_far_min_distance!r}")
        if not isinstance(self.vision_model, str) or not self.vision_model.strip():
            raise ValueError(f"vision_model must be a Hub id or a folder, got {self.vision_model!r}")
        if not isinstance(self.vision_model_revision, str | None):
            raise ValueError(f"vision_model_revision must be a commit or null, got {self.vision_model_revision!r}")
        if not isinstance(self.synthetic, bool):
            raise ValueError(f"synthetic must be true or false, got {self.synthetic!r}")


# What a GeographConfig holds besides transformers' own.
FIELDS = (
    "classes",
    "num_distance_buckets",
    "embedding_dim",
    "distance_embedding_dim",
    "hidden_dim",
    "dropout",
    "thresholds",
    "vision_model",
    "vision_model_revision",
    "cross_far_min_distance",
    "synthetic",
)


def _short(value: object) -> str:
    """A value for a message, whatever its length."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
