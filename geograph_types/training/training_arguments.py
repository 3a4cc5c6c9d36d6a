"""`TrainingArguments` with the defaults of a small model on rows in memory; what cannot work here is refused."""

import dataclasses

from transformers import TrainingArguments

# Flags of transformers that mean nothing for this model, and why; none of them is ignored.
REFUSED = {
    "label_smoothing_factor": "its formula is for one class a photo, and a photo here may have several types",
    "neftune_noise_alpha": "it adds noise to the embeddings of words",
    "use_liger_kernel": "it replaces parts of language models",
    "batch_eval_metrics": "average precision needs all answers at once",
}


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
        # Without validation there is no best model, nor without checkpoints: what is saved is the last one.
        validates = _name(self.eval_strategy) != "no"
        saves = self.save_strategy is None or _name(self.save_strategy) != "no"
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = validates and saves
        if self.save_strategy is None:
            self.save_strategy = self.eval_strategy if validates else "epoch"
        if not validates:
            self.load_best_model_at_end = False
        super().__post_init__()


def _name(strategy) -> str:
    return str(getattr(strategy, "value", strategy))
