"""What models say about training rows that they have not seen: cross-fitting.

The rows are dealt into folds by their ids; each fold is predicted by a model that was trained on the others. These
answers, ten times as many as validation has, set the calibration and the thresholds, and show doubtful labels.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from geograph_types.files import whole_file
from geograph_types.hub.run_files import OUT_OF_FOLD
from geograph_types.inference import logits_of, probabilities_of
from geograph_types.rows.splits import splitmix64
from geograph_types.training.data import TrainingData
from geograph_types.training.distance_faults import DistanceEvidence
from geograph_types.training.fitting import fit
from geograph_types.training.memory_rows import MemoryRows
from geograph_types.training.picture_model import answers_of, fit_picture_model
from geograph_types.training.processes import by_the_first, say
from geograph_types.training.run import Run
from names_geograph import NUM_DISTANCE_BUCKETS

# Photos at a time that are asked with every distance: what lies between the layers then fits a processor's cache.
BELIEVED_BATCH = 256
# Fewer training rows than this teach a fold too little.
MINIMUM_ROWS = 200


@dataclass
class OutOfFold:
    """What models say of rows that they have not seen.

    Attributes:
        train: logits of the training rows, float32 [N, C]. validation: the fold models' mean logits [V, C], or None.
        believed, picture, likely: of the training rows, as in `DistanceEvidence`; None where nobody asks for them.
    """

    train: np.ndarray
    validation: np.ndarray | None = None
    believed: np.ndarray | None = None
    picture: np.ndarray | None = None
    likely: np.ndarray | None = None

    @property
    def evidence(self) -> DistanceEvidence | None:
        if self.believed is None:
            return None
        return DistanceEvidence(self.believed, self.picture, self.likely)


def deal(gridimage_id: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """Each row's fold, int [N]: by its id, so that rows of one photo stay together, whatever their order."""
    mixed = splitmix64(splitmix64(gridimage_id) + np.uint64(seed + 1))
    return (mixed % np.uint64(folds)).astype(np.int64)


def kept_or_new(run: Run) -> OutOfFold:
    """The answers of `out_of_fold`, kept beside the run while it lasts; tied to its data and settings."""
    path = run.output / OUT_OF_FOLD
    kept = by_the_first(lambda: _kept(path, run.key))
    if kept is None:
        found = out_of_fold(run)
        kept = by_the_first(lambda: _keep(path, run.key, found))
    return kept


def out_of_fold(run: Run) -> OutOfFold:
    """For each training row the answers of models that have not seen it; for validation the mean of their logits.

    The fold models stop early on validation, as the main one does.
    """
    train, validation, folds = run.train, run.validation, run.arguments.weighting.folds
    place = deal(train.rows.gridimage_id, folds, run.args.seed)
    found = OutOfFold(np.zeros(train.targets.shape, dtype=np.float32))
    if validation is not None:
        found.validation = np.zeros(validation.targets.shape, dtype=np.float32)
    if run.arguments.weighting.distance_faults:
        rows, classes = train.targets.shape
        found.believed = np.zeros((rows, NUM_DISTANCE_BUCKETS, classes), dtype=np.float16)
        found.picture = np.zeros((rows, classes), dtype=np.float32)
        found.likely = np.zeros((rows, NUM_DISTANCE_BUCKETS), dtype=np.float32)
    say(f"predicting the training rows by models that have not seen them, {folds} folds")
    for fold in range(folds):
        inside, held = np.flatnonzero(place != fold), np.flatnonzero(place == fold)
        model, embedding = _model_of_fold(run, fold, train[inside]), train.rows.embedding[held]
        found.train[held] = logits_of(model, embedding, train.rows.distance[held])
        if validation is not None:
            found.validation += logits_of(model, validation.rows.embedding, validation.rows.distance) / folds
        if found.believed is not None:
            every = np.tile(np.arange(NUM_DISTANCE_BUCKETS), (len(held), 1))
            found.believed[held] = probabilities_of(model, embedding, every, BELIEVED_BATCH)
            patience, seed = run.arguments.data.patience, run.args.seed + 1 + fold
            picture = fit_picture_model(train[inside], validation, run.args, patience, seed)
            found.picture[held], found.likely[held] = answers_of(picture, embedding)
    return found


def _model_of_fold(run: Run, fold: int, data: TrainingData):
    """A model that learnt from `data` as the main one learns from all, but by a bare loop."""
    model, rows = run.new_model(run.args.seed + 1 + fold), MemoryRows(data, training=True, seed=run.args.seed)
    held = run.validation and columns_of(MemoryRows(run.validation, training=False))

    def train(epoch: int) -> tuple[torch.Tensor, ...]:
        rows.set_epoch(epoch)
        return columns_of(rows)

    def loss_of(embedding, distance, labels, weight) -> torch.Tensor:
        return model(embedding, distance, labels, weight).loss

    return fit(
        model, loss_of, train, held, args=run.args, patience=run.arguments.data.patience,
        seed=run.args.seed + 1 + fold, description=f"fold {fold + 1} of {run.arguments.weighting.folds}",
    )  # fmt: skip


def columns_of(rows: MemoryRows) -> tuple[torch.Tensor, ...]:
    """What the model's forward takes, of all rows."""
    return rows.embedding, rows.distance, rows.labels, rows.weight


def _kept(path: Path, key: str) -> OutOfFold | None:
    try:
        with np.load(path) as kept:
            if str(kept["key"]) == key:
                return OutOfFold(**{name: kept[name] for name in kept.files if name != "key"})
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or not one of this version
    return None


def _keep(path: Path, key: str, found: OutOfFold) -> OutOfFold:
    arrays = {field.name: getattr(found, field.name) for field in fields(found)}
    with whole_file(path, "wb") as file:
        np.savez(file, key=key, **{name: value for name, value in arrays.items() if value is not None})
    return found
