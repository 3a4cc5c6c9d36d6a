"""Training on rows in memory: what goes into each batch, and a Trainer whose loss is the field's."""

import dataclasses
import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import DistributedType
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import EarlyStoppingCallback, PrinterCallback, ProgressCallback

from geograph_types.cli import progress
from geograph_types.files import resource
from geograph_types.rows.fields import Rows
from geograph_types.rows.parquet import read_split
from geograph_types.rows.sources import dataset_files
from geograph_types.training.labels import (
    hide_distances,
    official_weights,
    scramble_cross_far,
    shuffle_distances,
    training_targets,
)
from modeling_geograph import weighted_bce

METRIC = resource("metrics/geograph_types")


class MemoryRows(torch.utils.data.Dataset):
    """Rows as tensors, taken a whole batch at a time.

    Every epoch hides and scrambles distances anew, from the seed and the epoch alone, so that a run that was
    stopped and resumed sees what an uninterrupted one sees.
    """

    def __init__(
        self,
        rows: Rows,
        targets: np.ndarray,
        weight: np.ndarray,
        distance_dropout: float = 0.0,
        cross_far_scramble: float = 0.0,
        distance_shuffle: float = 0.0,
        seed: int = 0,
    ):
        self.embedding = torch.from_numpy(rows.embedding)
        self.labels = torch.from_numpy(targets)
        self.weight = torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32))
        self.given_distance = rows.distance
        self.distance = torch.from_numpy(rows.distance.astype(np.int32))
        self.distance_dropout = distance_dropout
        self.cross_far_scramble = cross_far_scramble
        self.distance_shuffle = distance_shuffle
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the start of every epoch."""
        if not (self.distance_dropout or self.cross_far_scramble or self.distance_shuffle):
            return
        generator = np.random.default_rng([self.seed, epoch])
        bucket = hide_distances(self.given_distance, self.distance_dropout, generator)
        bucket = scramble_cross_far(bucket, self.labels.numpy(), self.cross_far_scramble, generator)
        bucket = shuffle_distances(bucket, self.distance_shuffle, generator)
        self.distance = torch.from_numpy(bucket.astype(np.int32))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int] | torch.Tensor) -> dict[str, torch.Tensor]:
        index = torch.as_tensor(indices)
        return {
            "embedding": self.embedding.index_select(0, index),
            "distance": self.distance.index_select(0, index),
            "labels": self.labels.index_select(0, index),
            "weight": self.weight.index_select(0, index),
        }

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: value[0] for name, value in self.__getitems__([index]).items()}


class RandomBatches(torch.utils.data.Sampler):
    """Each epoch's rows in a random order, as index tensors of a batch each; from the seed and the epoch alone."""

    drop_last = False

    def __init__(self, rows: int, batch_size: int, seed: int):
        self.rows, self.batch_size, self.seed, self.epoch = rows, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        yield from torch.randperm(self.rows, generator=generator).split(self.batch_size)

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)


def as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The collator of batches that come whole."""
    return batch


class GeographTrainer(Trainer):
    """Trainer with the weighted loss, which means the same however a batch is divided.

    The loss of an update is the sum over all its rows, in all micro-batches and processes, of weight × mean BCE,
    over the number of these rows: a short last micro-batch does not count more than others.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, data_collator=as_it_is, **kwargs)
        # `compute_loss` divides by the number of rows itself; Trainer then leaves out its own division.
        self.model_accepts_loss_kwargs = True
        # Printed dictionaries a log step are for logs, not for people.
        self.remove_callback(PrinterCallback)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        labels, weight = inputs.pop("labels"), inputs.pop("weight", None)
        outputs = model(**inputs)
        loss = weighted_bce(outputs.logits, labels, weight)
        if num_items_in_batch is not None:
            # Gradients are averaged over processes, so each one's share is scaled up by their number.
            loss = loss * (len(labels) * self.args.world_size / num_items_in_batch)
        outputs.loss = loss
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples, device):
        """Rows, not labels, of one update; of all processes, since it is their sum that counts."""
        count = sum(len(batch["labels"]) for batch in batch_samples)
        if self.args.world_size == 1:
            return count
        return self.accelerator.gather(torch.tensor(count, device=device)).sum()

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Whole batches by index tensors: a thousand Python numbers a batch would cost a twentieth of the step."""
        if self.args.world_size > 1:  # accelerate divides only lists of numbers among processes
            return super().get_train_dataloader()
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        batches = RandomBatches(len(self.train_dataset), self._train_batch_size, seed)
        return self.accelerator.prepare(
            torch.utils.data.DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=as_it_is)
        )

    def train(self, *args, **kwargs):
        gc.freeze()  # Trainer collects garbage when it begins: not among all that the libraries have loaded
        try:
            return super().train(*args, **kwargs)
        finally:
            gc.unfreeze()

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Trainer's own; where one process trains without a scaler, accelerate adds nothing to `backward` but looks
        for packages at each of them, which costs as much as a twentieth of the step."""
        if self.accelerator.distributed_type != DistributedType.NO or self.accelerator.scaler is not None:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        loss.backward()
        return loss.detach()

    def _get_grad_norm(self, model, grad_norm=None):
        """Without clipping nobody asks for the norm, and it costs more than the optimiser's step."""
        return grad_norm if grad_norm is None else super()._get_grad_norm(model, grad_norm)

    def floating_point_ops(self, inputs):
        return 0  # nothing reports it

    def _save(self, output_dir=None, state_dict=None):
        """Every checkpoint is a whole model folder: `save_pretrained` alone leaves the pipeline's file out."""
        super()._save(output_dir, state_dict)
        from geograph_types.hub.model_folder import add_travelling_files

        add_travelling_files(Path(output_dir or self.args.output_dir))


class QuietProgress(ProgressCallback):
    """One bar, on a terminal only, without a printed dictionary or a second bar each epoch."""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.training_bar = progress(total=state.max_steps, unit="step", description="training")
        self.current_step = 0

    def on_prediction_step(self, args, state, control, **kwargs):
        pass

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None and logs and "eval_loss" in logs:
            shown = {"validation loss": logs["eval_loss"], "macro F1": logs.get("eval_f1_macro", float("nan"))}
            self.training_bar.set_postfix({name: f"{value:.4f}" for name, value in shown.items()}, refresh=False)


def compute_metrics_with(metric, thresholds: list[float] | None = None):
    """An `evaluate` metric → what Trainer calls after each validation; single numbers only."""

    def compute(prediction) -> dict[str, float]:
        probabilities = torch.from_numpy(prediction.predictions).float().sigmoid().numpy()
        result = metric.compute(predictions=probabilities, references=prediction.label_ids, thresholds=thresholds)
        return {name: result[name] for name in ("f1_macro", "f1_micro", "average_precision_macro")}

    return compute


def callbacks_for(args: TrainingArguments, patience: int) -> list:
    """Early stopping where there is a validation loss to watch."""
    return [EarlyStoppingCallback(patience)] if args.load_best_model_at_end and patience > 0 else []


def load_split(dataset: str, config: str, split: str) -> Rows | None:
    """One split's rows; of a single Parquet file, those that the published rule puts there. None where it has none."""
    return read_split(dataset_files(dataset, config, split), split, single_file=Path(dataset).is_file())


def memory_rows(rows: Rows, labels, training: bool, seed: int, factor: np.ndarray | None = None) -> MemoryRows:
    """Rows and the label options (`LabelArguments`) → what Trainer takes; only training rows lose distances.

    Args:
        factor: [N], what the weights are multiplied by.
    """
    targets = training_targets(rows.tags, rows.distance, labels.cross_far_min_distance)
    weight = official_weights(rows.tags, rows.distance) if labels.weights == "official" else rows.weight
    weight = weight if factor is None else weight * factor
    hidden = {name: getattr(labels, name) for name in ("distance_dropout", "cross_far_scramble", "distance_shuffle")}
    return MemoryRows(rows, targets, weight, **(hidden if training else {}), seed=seed)


@dataclasses.dataclass
class LabelArguments:
    """How raw tags, weights and distances become what the model learns from."""

    cross_far_min_distance: int = dataclasses.field(
        default=0, metadata={"help": "metres; Cross Grid counts as Cross Far only beyond (0: always; official: 256)"}
    )
    weights: str = dataclasses.field(
        default="column",
        metadata={"help": "column, or official: the official notebook's", "choices": ["column", "official"]},
    )
    distance_dropout: float = dataclasses.field(
        default=0.0, metadata={"help": "share of rows whose distance is hidden, anew each epoch (official v2.3: 0.3)"}
    )
    cross_far_scramble: float = dataclasses.field(
        default=0.0, metadata={"help": "share of Cross Far rows that get a random near distance (official v2.3: 1.0)"}
    )
    distance_shuffle: float = dataclasses.field(
        default=0.0, metadata={"help": "share of rows of any class that get a random distance, anew each epoch"}
    )

    def __post_init__(self):
        for name in ("distance_dropout", "cross_far_scramble", "distance_shuffle"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name} is a share between 0 and 1, got {getattr(self, name)}")
        if self.cross_far_min_distance < 0:
            raise ValueError(f"--cross_far_min_distance is in metres, 0 or more, got {self.cross_far_min_distance}")


@dataclasses.dataclass
class GeographTrainingArguments(TrainingArguments):
    """`TrainingArguments` with defaults for a small model on rows in memory."""

    output_dir: str = dataclasses.field(
        default="geograph-type-classifier", metadata={"help": "then a whole Hub repository"}
    )
    eval_strategy: str = "epoch"
    save_strategy: str | None = None
    save_total_limit: int | None = 2
    load_best_model_at_end: bool | None = None
    metric_for_best_model: str | None = "loss"
    per_device_train_batch_size: int = 1024
    per_device_eval_batch_size: int = 8192
    learning_rate: float = 1e-3
    num_train_epochs: float = 50
    lr_scheduler_type: str = "constant"
    optim: str = "adamw_torch_fused"
    max_grad_norm: float = 0.0
    logging_strategy: str = "epoch"
    logging_nan_inf_filter: bool = False
    log_level: str = "error"
    report_to: str = "none"
    remove_unused_columns: bool = False
    dataloader_pin_memory: bool = False
    ddp_find_unused_parameters: bool | None = False
    restore_callback_states_from_checkpoint: bool = True

    def __post_init__(self):
        # Without validation there is no best model: what is saved is the last one.
        validates = str(getattr(self.eval_strategy, "value", self.eval_strategy)) != "no"
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = validates
        if self.save_strategy is None:
            self.save_strategy = self.eval_strategy if validates else "epoch"
        if not validates:
            self.load_best_model_at_end = False
        super().__post_init__()
