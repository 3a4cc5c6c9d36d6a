"""What models say about training rows that they have not seen: cross-fitting, through the same Trainer.

The rows are dealt into folds by their ids; each fold is predicted by a model that was trained on the others. These
answers, ten times as many as validation has, set the calibration and the thresholds, and show doubtful labels.
"""

import copy
import shutil
from pathlib import Path

import numpy as np

from geograph_types.files import whole_file
from geograph_types.hub.run_files import OUT_OF_FOLD
from geograph_types.inference import logits_of
from geograph_types.rows.splits import splitmix64
from geograph_types.training.checkpoints import UNFINISHED
from geograph_types.training.data import TrainingData
from geograph_types.training.memory_rows import MemoryRows
from geograph_types.training.processes import by_the_first, is_first, say
from geograph_types.training.run import Run
from geograph_types.training.trainer import GeographTrainer, callbacks_for, show_quiet_progress

# Fewer training rows than this teach a fold too little.
MINIMUM_ROWS = 200


def deal(gridimage_id: np.ndarray, folds: int, seed: int = 0) -> np.ndarray:
    """Each row's fold, int [N]: by its id, so that rows of one photo stay together, whatever their order."""
    mixed = splitmix64(splitmix64(gridimage_id) + np.uint64(seed + 1))
    return (mixed % np.uint64(folds)).astype(np.int64)


def kept_or_new(run: Run) -> tuple[np.ndarray, np.ndarray | None]:
    """The logits of `out_of_fold_logits`, kept beside the run while it lasts; tied to its data and settings."""
    path = run.output / OUT_OF_FOLD
    kept = by_the_first(lambda: _kept(path, run.key))
    if kept is None:
        found = out_of_fold_logits(run)
        kept = by_the_first(lambda: _keep(path, run.key, found))
    return kept


def out_of_fold_logits(run: Run) -> tuple[np.ndarray, np.ndarray | None]:
    """For each training row the logits of a model that has not seen it, float32 [N, C]; for validation their mean.

    The fold models stop early on validation, as the main one does.
    """
    train, validation, folds = run.train, run.validation, run.arguments.weighting.folds
    place = deal(train.rows.gridimage_id, folds, run.args.seed)
    found = np.zeros(train.targets.shape, dtype=np.float32)
    on_validation = None if validation is None else np.zeros(validation.targets.shape, dtype=np.float32)
    say(f"predicting the training rows by models that have not seen them, {folds} folds")
    for fold in range(folds):
        held = np.flatnonzero(place == fold)
        model = _model_of_fold(run, fold, train[np.flatnonzero(place != fold)])
        found[held] = logits_of(model, train.rows.embedding[held], train.rows.distance[held])
        if on_validation is not None:
            on_validation += logits_of(model, validation.rows.embedding, validation.rows.distance) / folds
    return found, on_validation


def _model_of_fold(run: Run, fold: int, data: TrainingData):
    """A model that learnt from `data` as the main one learns from all; its folder is gone when done."""
    folder = run.output / f".fold-{fold}{UNFINISHED}"
    args = copy.copy(run.args)
    args.output_dir = str(folder)
    args.push_to_hub = False
    args.save_total_limit = 1
    validation = run.validation and MemoryRows(run.validation, training=False)
    trainer = GeographTrainer(
        model=run.new_model(run.args.seed + 1 + fold),
        args=args,
        train_dataset=MemoryRows(data, training=True, seed=run.args.seed),
        eval_dataset=validation,
        callbacks=callbacks_for(args, run.arguments.data.patience),
    )
    show_quiet_progress(trainer, f"fold {fold + 1} of {run.arguments.weighting.folds}")
    try:
        trainer.train()
    finally:
        trainer.accelerator.wait_for_everyone()
        if is_first():
            shutil.rmtree(folder, ignore_errors=True)
    return trainer.model.cpu().float().eval()


def _kept(path: Path, key: str) -> tuple[np.ndarray, np.ndarray | None] | None:
    try:
        with np.load(path) as kept:
            if str(kept["key"]) == key:
                return kept["train"], kept["validation"] if kept["validation"].size else None
    except (OSError, ValueError, KeyError):
        pass  # none, or not one of this version
    return None


def _keep(path: Path, key: str, found: tuple[np.ndarray, np.ndarray | None]):
    with whole_file(path, "wb") as file:
        np.savez(file, key=key, train=found[0], validation=np.zeros(0) if found[1] is None else found[1])
    return found
