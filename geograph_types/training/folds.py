"""What models say about training rows that they have not seen: cross-fitting, through the same Trainer.

The rows are dealt into folds by their ids; each fold is judged by a model that was trained on the others. These
answers, ten times as many as validation has, set the calibration and the thresholds, and show doubtful labels.
"""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from transformers import TrainingArguments

from geograph_types.inference import logits_of
from geograph_types.rows.fields import Rows
from geograph_types.rows.splits import splitmix64
from names_geograph import CLASSES

# Fewer training rows than this teach a fold too little.
MINIMUM_ROWS = 200


def deal(gridimage_id: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """Each row's fold, int [N]: by its id, so that rows of one photo stay together, whatever their order."""
    mixed = splitmix64(splitmix64(gridimage_id) + np.uint64(seed + 1))
    return (mixed % np.uint64(folds)).astype(np.int64)


def out_of_fold_logits(
    train: Rows,
    validation: Rows | None,
    make_model: Callable[[int], object],
    labels,
    args: TrainingArguments,
    patience: int,
    folds: int,
    factor: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """For each training row the logits of a model that has not seen it, float32 [N, 7]; for validation their mean.

    Args:
        validation: where the fold models stop early, as the main one does.
        make_model: seed → a fresh model. labels: `LabelArguments`. args: those of the main run.
        folds: how many models; each learns from (folds - 1) / folds of the rows.
        factor: [N], what the rows' weights are multiplied by.
    """
    from geograph_types.cli import say

    place = deal(train.gridimage_id, folds, args.seed)
    found = np.zeros((len(train), len(CLASSES)), dtype=np.float32)
    on_validation = None if validation is None else np.zeros((len(validation), len(CLASSES)), dtype=np.float32)
    say(f"judging the training rows by models that have not seen them, {folds} folds")
    for fold in range(folds):
        inside, held = np.flatnonzero(place != fold), np.flatnonzero(place == fold)
        with tempfile.TemporaryDirectory(prefix="geograph-fold-") as folder:
            trainer = _trainer(train[inside], validation, make_model(args.seed + 1 + fold), labels, args, patience,
                               Path(folder), None if factor is None else factor[inside])  # fmt: skip
            trainer.train()
            model = trainer.model.cpu().float().eval()
            found[held] = logits_of(model, train.embedding[held], train.distance[held])
            if validation is not None:
                on_validation += logits_of(model, validation.embedding, validation.distance) / folds
    return found, on_validation


def _trainer(rows, validation, model, labels, args, patience, folder: Path, factor):
    """As the main run's, but quiet, and gone when done."""
    from geograph_types.training.trainer import GeographTrainer, callbacks_for, memory_rows

    own = copy.copy(args)
    own.output_dir = str(folder)
    own.push_to_hub = False
    own.disable_tqdm = True
    own.save_total_limit = 1
    dataset = memory_rows(rows, labels, training=True, seed=args.seed, factor=factor)
    return GeographTrainer(
        model=model,
        args=own,
        train_dataset=dataset,
        eval_dataset=None if validation is None else memory_rows(validation, labels, False, args.seed),
        callbacks=callbacks_for(own, patience),
    )
