"""What models say about training rows that they have not seen: cross-fitting.

The rows are dealt into folds by their ids; each fold is predicted by a model that was trained on the others. These
answers, ten times as many as validation has, set the calibration and the thresholds, and show doubtful labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch

from geograph_types.cli import progress
from geograph_types.files import whole_file
from geograph_types.hub.run_files import OUT_OF_FOLD
from geograph_types.inference import BATCH, logits_of, probabilities_of
from geograph_types.rows.splits import splitmix64
from geograph_types.training.distance_faults import DistanceEvidence
from geograph_types.training.fitting import Fitter
from geograph_types.training.memory_rows import MemoryRows
from geograph_types.training.picture_model import answers_of, fit_picture_model, new_picture_model, picture_columns
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
    train, folds, faults = run.train, run.arguments.weighting.folds, run.arguments.weighting.distance_faults
    say(f"predicting the training rows by models that have not seen them, {folds} folds")
    fitter = Fitter(run.args, run.arguments.data.patience)
    fitting = CrossFitting(run, fitter, deal(train.rows.gridimage_id, folds, run.args.seed))
    # Made here: they begin with numbers drawn from the one generator that all threads share.
    seeds = [run.args.seed + 1 + fold for fold in range(folds)]
    jobs = [partial(fitting.ask_model, fold, run.new_model(seed), seed) for fold, seed in enumerate(seeds)]
    if faults:
        pictures = [new_picture_model(run.config, seed) for seed in seeds]
        jobs += [partial(fitting.ask_pictures, *one) for one in zip(range(folds), pictures, seeds, strict=True)]
    total = len(jobs) * fitter.epochs(len(train) // folds)
    with progress(total=total, unit="epoch", description="folds", shown=not run.args.disable_tqdm) as bar:
        fitter.progressed = bar.update
        answers = fitter.side_by_side(jobs)[:folds]
    if run.validation is not None:
        fitting.found.validation = sum(logits / folds for logits in answers)
    return fitting.found


class CrossFitting:
    """The folds of one run: each job learns from all folds but one and fills in the answers of that one's rows."""

    def __init__(self, run: Run, fitter: Fitter, place: np.ndarray):
        self.run, self.fitter, self.place = run, fitter, place
        rows, classes = run.train.targets.shape
        self.found = OutOfFold(np.zeros((rows, classes), np.float32))
        self.held = run.validation and columns_of(MemoryRows(run.validation, training=False))
        if run.arguments.weighting.distance_faults:
            self.found.believed = np.zeros((rows, NUM_DISTANCE_BUCKETS, classes), np.float16)
            self.found.picture = np.zeros((rows, classes), np.float32)
            self.found.likely = np.zeros((rows, NUM_DISTANCE_BUCKETS), np.float32)
            self.pictures = picture_columns(run.train)
            self.held_pictures = run.validation and picture_columns(run.validation)

    def ask_model(self, fold: int, model, seed: int) -> np.ndarray | None:
        """A model that learns as the main one does, but by a bare loop; its logits of validation, [V, C]."""
        train, found = MemoryRows(self.run.train, training=True, seed=self.run.args.seed), self.found

        def shown(epoch: int) -> tuple[torch.Tensor, ...]:
            train.set_epoch(epoch)
            return columns_of(train)

        def loss_of(embedding, distance, labels, weight) -> torch.Tensor:
            return model(embedding, distance, labels, weight).loss

        model = self.fitter.fit(model, loss_of, shown, self._inside(fold), self.held, seed=seed)
        rows, validation = self.run.train.rows, self.run.validation
        for part in self._outside(fold):
            embedding = rows.embedding[part]
            found.train[part] = logits_of(model, embedding, rows.distance[part])
            if found.believed is not None:
                every = np.broadcast_to(np.arange(NUM_DISTANCE_BUCKETS), (len(part), NUM_DISTANCE_BUCKETS))
                found.believed[part] = probabilities_of(model, embedding, every, BELIEVED_BATCH)
        return None if validation is None else logits_of(model, validation.rows.embedding, validation.rows.distance)

    def ask_pictures(self, fold: int, model, seed: int) -> None:
        """A model that does not see the distance."""
        fit_picture_model(self.fitter, model, self.pictures, self._inside(fold), self.held_pictures, seed=seed)
        for part in self._outside(fold):
            self.found.picture[part], self.found.likely[part] = answers_of(model, self.run.train.rows.embedding[part])

    def _inside(self, fold: int) -> torch.Tensor:
        return torch.from_numpy(np.flatnonzero(self.place != fold))

    def _outside(self, fold: int) -> Iterator[np.ndarray]:
        """The fold's rows, some at a time: all at once would be a copy of their vectors."""
        held = np.flatnonzero(self.place == fold)
        return (held[start : start + BATCH] for start in range(0, len(held), BATCH))


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
