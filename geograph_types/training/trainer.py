"""A Trainer whose loss is the field's, on rows in memory or on a `datasets.Dataset` of the published columns."""

import gc
import shutil
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import DistributedType
from safetensors import SafetensorError
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import EarlyStoppingCallback, PrinterCallback, ProgressCallback

from geograph_types.cli import CommandError, progress
from geograph_types.files import is_full
from geograph_types.rows.fields import Rows
from geograph_types.training import checkpoints
from geograph_types.training.arguments import LabelArguments
from geograph_types.training.data import TrainingData
from geograph_types.training.memory_rows import EpochLoader, EvenBatches, MemoryRows, RandomBatches, as_it_is
from geograph_types.training.published import is_published, rows_of_dataset
from modeling_geograph import weighted_bce


class GeographTrainer(Trainer):
    """Trainer with the weighted loss, which means the same however a batch is divided.

    The loss of an update is the sum over all its rows, in all micro-batches and processes, of weight × mean BCE,
    over the number of these rows: a short last micro-batch does not count more than others.

    Args:
        train_dataset, eval_dataset: `MemoryRows`, `TrainingData`, `Rows`, or a `datasets.Dataset` with the published
            columns; these are held in memory and taken a whole batch at a time. Anything else is batched by
            Trainer itself, with `data_collator`.
        label_options: how tags and distances become targets, for datasets that are no `MemoryRows` yet.
        The rest as in `Trainer`; a subclass may change `loss_of`, the loss of one batch.
    """

    def __init__(
        self,
        model=None,
        args: TrainingArguments | None = None,
        data_collator=None,
        train_dataset=None,
        eval_dataset=None,
        *,
        label_options: LabelArguments | None = None,
        **kwargs,
    ):
        if data_collator is None:
            seed = 42 if args is None else args.seed
            config = getattr(model, "config", None)
            train_dataset = in_memory(train_dataset, config, label_options, True, seed)
            eval_dataset = in_memory(eval_dataset, config, label_options, False, seed)
            data_collator = as_it_is if isinstance(train_dataset or eval_dataset, MemoryRows) else None
        super().__init__(model, args, data_collator, train_dataset, eval_dataset, **kwargs)
        # `compute_loss` divides by the number of rows itself; Trainer then leaves out its own division.
        self.model_accepts_loss_kwargs = True
        # Printed dictionaries a log step are for logs, not for people.
        self.remove_callback(PrinterCallback)

    def loss_of(self, outputs, labels: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """The loss of one batch, a mean over its rows: logits [B, C], labels [B, C], weight [B]."""
        return weighted_bce(outputs.logits, labels, weight)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        labels, weight = inputs.pop("labels"), inputs.pop("weight", None)
        outputs = model(**inputs)
        rows = len(labels)
        if labels.ndim == 3:  # several distances a row: for the loss each is a row of its own
            outputs.logits, labels = outputs.logits.flatten(0, 1), labels.flatten(0, 1)
            weight = None if weight is None else weight.repeat_interleave(len(labels) // max(rows, 1))
        # A process whose share of the last update is no row still takes part in the sum of gradients.
        loss = self.loss_of(outputs, labels, weight) if len(labels) else outputs.logits.sum()
        if self.compute_loss_func is not None:
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
            loss = loss if num_items_in_batch is None else loss * self.args.world_size
        elif num_items_in_batch is not None:
            # Gradients are averaged over processes, so each one's share is scaled up by their number.
            loss = loss * (rows * self.args.world_size / num_items_in_batch)
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
        if not isinstance(self.train_dataset, MemoryRows):
            return super().get_train_dataloader()
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        batches = RandomBatches(self.train_dataset, self._train_batch_size, seed, self.args.dataloader_drop_last)
        batches.process, batches.processes = self.args.process_index, self.args.world_size
        batches.shuffled = str(getattr(self.args, "train_sampling_strategy", "random")) != "sequential"
        if not len(batches):
            raise ValueError(f"--dataloader_drop_last leaves no batch of {len(self.train_dataset)} rows")
        return self._loader(self.train_dataset, batches)

    def get_eval_dataloader(self, eval_dataset=None) -> torch.utils.data.DataLoader:
        """All rows, whatever `--dataloader_drop_last` says. Each process looks at all of them: they are few, the
        model is small, and so the loss is the same in any number of processes."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(dataset, MemoryRows):
            return super().get_eval_dataloader(eval_dataset)
        return self._loader(dataset, EvenBatches(len(dataset), self.args.eval_batch_size))

    def get_test_dataloader(self, test_dataset) -> torch.utils.data.DataLoader:
        return self.get_eval_dataloader(in_memory(test_dataset, self.model.config, None, False, self.args.seed))

    def evaluate(self, eval_dataset=None, *args, **kwargs):
        return super().evaluate(in_memory(eval_dataset, self.model.config, None, False, 0), *args, **kwargs)

    def _loader(self, dataset: MemoryRows, batches) -> EpochLoader:
        workers = self.args.dataloader_num_workers
        return EpochLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator if self.data_collator is not None else as_it_is,
            num_workers=workers,
            pin_memory=self.args.dataloader_pin_memory and self.args.device.type == "cuda",
            prefetch_factor=self.args.dataloader_prefetch_factor if workers else None,
            multiprocessing_context=self.args.dataloader_multiprocessing_context if workers else None,
            in_order=self.args.dataloader_in_order,
        )

    def evaluation_loop(self, dataloader, *args, **kwargs):
        if isinstance(dataloader.dataset, MemoryRows):
            self.gather_function = lambda value: value  # every process has all of them already
        return super().evaluation_loop(dataloader, *args, **kwargs)

    def train(self, *args, **kwargs):
        gc.freeze()  # Trainer collects garbage when it begins: not among all that the libraries have loaded
        try:
            return super().train(*args, **kwargs)
        finally:
            gc.unfreeze()

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Trainer's own; where one process trains without a scaler, accelerate adds nothing to `backward` but looks
        for packages at each of them, which costs as much as a twentieth of the step."""
        alone = self.accelerator.distributed_type == DistributedType.NO and self.args.n_gpu <= 1
        of_its_own = self.accelerator.scaler is not None or hasattr(self.optimizer.optimizer, "train")
        if not alone or of_its_own or num_items_in_batch is None or self.args.torch_empty_cache_steps:
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

    def _save_checkpoint(self, model, trial):
        """Trainer's own, but into a folder that takes the checkpoint's name only when all of it is written."""
        if self.args.push_to_hub:  # uploads from the folder while training goes on
            return super()._save_checkpoint(model, trial)
        run = Path(self._get_output_dir(trial))
        checkpoint = run / f"checkpoint-{self.state.global_step}"
        scratch = checkpoints.scratch_of(checkpoint)
        if self.args.should_save:
            shutil.rmtree(scratch, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        self._get_output_dir = lambda trial: str(scratch)
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = "the disk is full" if is_full(error, run) else str(error).strip().splitlines()[0]
            shutil.rmtree(scratch, ignore_errors=True)
            raise CommandError(f"{checkpoint} cannot be saved ({reason}); the same command goes on later") from error
        finally:
            self.args.save_total_limit = limit
            del self._get_output_dir
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(checkpoint)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            written = scratch / checkpoint.name
            self.state.save_to_json(str(written / checkpoints.STATE))
            checkpoints.appear(written, checkpoint)
            scratch.rmdir()
            checkpoints.keep_newest(run, limit, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()


def in_memory(dataset, config, options: LabelArguments | None, training: bool, seed: int):
    """Rows in any of the forms that we know → `MemoryRows`; anything else as it is."""
    if isinstance(dataset, dict):
        return {name: in_memory(part, config, options, training, seed) for name, part in dataset.items()}
    if is_published(dataset):
        dataset = rows_of_dataset(dataset)
    if isinstance(dataset, Rows):
        dataset = TrainingData.of(dataset, config, options)
    return MemoryRows(dataset, training, seed) if isinstance(dataset, TrainingData) else dataset


class QuietProgress(ProgressCallback):
    """One bar, on a terminal only, without a printed dictionary or a second bar each epoch."""

    description = "training"

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.training_bar = progress(total=state.max_steps, unit="step", description=self.description)
        self.current_step = 0

    def on_prediction_step(self, args, state, control, **kwargs):
        pass

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None and logs and "eval_loss" in logs:
            shown = {"validation loss": logs["eval_loss"], "macro F1": logs.get("eval_f1_macro", float("nan"))}
            self.training_bar.set_postfix({name: f"{value:.4f}" for name, value in shown.items()}, refresh=False)


def show_quiet_progress(trainer: Trainer, description: str = "training") -> None:
    """Our bar in the place of Trainer's, unless `--disable_tqdm` wants none."""
    trainer.remove_callback(ProgressCallback)
    if not trainer.args.disable_tqdm:
        bar = QuietProgress()
        bar.description = description
        trainer.add_callback(bar)


def compute_metrics_with(figures, classes: list[str] | None = None):
    """The metric's `figures` → what Trainer calls after each validation; single numbers only."""

    def compute(prediction) -> dict[str, float]:
        logits, labels = (  # --eval_do_concat_batches False gives them batch by batch
            np.concatenate(part) if isinstance(part, list) else part
            for part in (prediction.predictions, prediction.label_ids)
        )
        probabilities = torch.as_tensor(logits).float().sigmoid().numpy()
        result = figures(probabilities, labels, classes=classes)
        return {name: result[name] for name in ("f1_macro", "f1_micro", "average_precision_macro")}

    return compute


def callbacks_for(args: TrainingArguments, patience: int) -> list:
    """Early stopping where there is a validation loss to watch."""
    return [EarlyStoppingCallback(patience)] if args.load_best_model_at_end and patience > 0 else []
