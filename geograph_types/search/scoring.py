"""How much a row is looked for: four ways, each a number a row, the larger the better."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from geograph_types.inference import logits_of, probabilities_of
from geograph_types.search.rows import Block
from geograph_types.training.labels import training_targets
from names_geograph import TAGS, class_of, tag_of


class Scorer(Protocol):
    """Scores rows, float [n]; -inf where a row is not wanted at all. The second array, int [n], tells which of
    `questions` each row asks: the tags that a person would give or take away."""

    questions: list[str | None]

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass
class Likeness:
    """The cosine to the nearest of some photos' vectors, whatever the lengths of the vectors are."""

    near: np.ndarray  # float32 [K, D]
    tag: str | None = None

    def __post_init__(self) -> None:
        self.questions = [self.tag]
        unit = self.near / np.linalg.norm(self.near, axis=1, keepdims=True)
        self._unit = torch.from_numpy(unit.astype(np.float32))  # [K, D]

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        # By torch: NumPy's own product takes all cores, while each of them has rows of its own.
        nearest = (self._unit @ torch.from_numpy(block.embedding).T).amax(dim=0).numpy()
        return nearest / np.maximum(block.norm, 1e-12), np.zeros(len(block), int)


@dataclass
class ByModel:
    """What all have in common that ask a model: each of its classes is a question, and then each tag."""

    model: Any

    @property
    def questions(self) -> list[str | None]:
        """A class is asked about by its tag; None where people have no such tag."""
        named = [tag_of(name) for name in self.model.config.classes]
        return [tag if tag in TAGS else None for tag in named] + TAGS


@dataclass
class Probability(ByModel):
    """The model's probability of one class."""

    column: int

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        found = probabilities_of(self.model, block.embedding, block.bucket)[:, self.column]
        return found, np.full(len(block), self.column)


@dataclass
class Disagreement(ByModel):
    """How far the model is from what people wrote, at the class where it is farthest, or at `column`. Rows without
    tags are not wanted."""

    column: int | None = None

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        config, tags = self.model.config, block.tags
        targets = training_targets(tags, block.bucket, config.cross_far_min_distance, config.classes)
        apart = np.abs(probabilities_of(self.model, block.embedding, block.bucket) - targets)
        found, column = _at(apart, self.column)
        return np.where(tags.any(axis=1), found, -np.inf), self._asked(tags, column)

    def _asked(self, tags: np.ndarray, column: np.ndarray) -> np.ndarray:
        """The questions: of a row that another tag alone put into the class (From Above into From Drone) that tag."""
        classes, asked = self.model.config.classes, column.copy()
        for place, tag in enumerate(TAGS):
            name = class_of(tag, classes)
            if name is not None and tag_of(name) in TAGS and tag_of(name) != tag:
                alone = tags[:, place] & ~tags[:, TAGS.index(tag_of(name))]
                asked[alone & (column == classes.index(name))] = len(classes) + place
        return asked


@dataclass
class Uncertainty(ByModel):
    """1 where the model stands at a class's own threshold, 0 where it is sure: at the class where it doubts most, or
    at `column`."""

    column: int | None = None

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        threshold = np.clip(np.array(self.model.config.thresholds, np.float32), 1e-6, 1 - 1e-6)
        logits = logits_of(self.model, block.embedding, block.bucket)
        apart = np.abs(logits - np.log(threshold / (1 - threshold)))
        return _at(2 / (1 + np.exp(apart)), self.column)


def _at(values: np.ndarray, column: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each row and where it stands; or one column."""
    if column is not None:
        return values[:, column], np.full(len(values), column)
    place = values.argmax(axis=1)
    return values[np.arange(len(values)), place], place
