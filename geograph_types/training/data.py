"""Training data as one object: the rows, and everything that training knows of them."""

from dataclasses import dataclass, replace

import numpy as np

from geograph_types.rows.fields import Rows
from geograph_types.training.arguments import LabelArguments
from geograph_types.training.distance_faults import DistanceEvidence
from geograph_types.training.labels import official_weights, training_targets
from names_geograph import class_of


@dataclass
class TrainingData:
    """Rows with what training makes of their tags and weights. Indexing takes rows out of everything at once.

    `factor` is what the weights are multiplied by; `label_factor` is the part of it that doubts the label itself (what
    a true drone weighs says nothing about thresholds). `unseen_logits` and `evidence` come from models that have not
    seen the row; with `evidence`, each row is also learnt with a distance that it might have been given by mistake.
    """

    rows: Rows
    config: object  # GeographConfig: classes, buckets
    options: LabelArguments
    targets: np.ndarray  # float32 [N, C], in the order of config.classes
    given_weight: np.ndarray  # float32 [N], the column's or the official rule's
    factor: np.ndarray | None = None  # float32 [N], 1 where not given
    label_factor: np.ndarray | None = None  # float32 [N], 1 where not given
    unseen_logits: np.ndarray | None = None  # float32 [N, C]
    evidence: DistanceEvidence | None = None

    def __post_init__(self):
        if self.factor is None:
            self.factor = np.ones(len(self.rows), np.float32)
        if self.label_factor is None:
            self.label_factor = np.ones(len(self.rows), np.float32)

    @classmethod
    def of(cls, rows: Rows, config, options: LabelArguments | None = None) -> "TrainingData":
        """Rows → targets and weights, by the options, for a model of that config.

        Raises:
            ValueError: vectors of another width than the config's.
        """
        options = LabelArguments() if options is None else options
        if rows.embedding.shape[1] != config.embedding_dim:
            raise ValueError(
                f"embeddings have {rows.embedding.shape[1]} numbers and the model takes {config.embedding_dim}"
            )
        targets = training_targets(rows.tags, rows.distance, options.cross_far_min_distance, config.classes)
        official = options.weights == "official"
        weight = official_weights(rows.tags, rows.distance) if official else rows.weight
        return cls(rows, config, options, targets, weight)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> "TrainingData":
        arrays = ("rows", "targets", "given_weight", "factor", "label_factor")
        taken = {name: getattr(self, name)[index] for name in arrays}
        unseen = {
            name: None if (value := getattr(self, name)) is None else value[index]
            for name in ("unseen_logits", "evidence")
        }
        return replace(self, **taken, **unseen)

    @property
    def is_cross_far(self) -> np.ndarray:
        """bool [N]: the rows whose targets hold the class that Cross Grid trains."""
        far = class_of("Cross Grid", self.config.classes)
        return np.zeros(len(self), bool) if far is None else self.targets[:, self.config.classes.index(far)] > 0

    @property
    def weight(self) -> np.ndarray:
        """float32 [N]: what each row weighs in training."""
        return self.given_weight * self.factor

    @property
    def trust(self) -> np.ndarray:
        """float32 [N]: how far each row's labels are trusted, whatever else makes it weigh more or less."""
        return self.given_weight * self.label_factor
