"""`TrainingArguments` with the defaults of a small model on rows in memory; what cannot work here is refused."""

import dataclasses
import os

import torch
from transformers import TrainingArguments

# Flags of transformers that could do nothing here, or something else than they say, and why; none is ignored.
REFUSED = {
    "label_smoothing_factor": "its formula is for one class a photo, and a photo may have several types",
    "neftune_noise_alpha": "it adds noise to the embeddings of words",
    "use_liger_kernel": "it replaces parts of language models",
    "liger_kernel_config": "it replaces parts of language models",
    "use_cache": "it is for language models",
    "include_num_input_tokens_seen": "photos have no tokens",
    "batch_eval_metrics": "average precision needs all answers at once",
    "activation_checkpointing": "the model has one hidden layer",
    "activation_checkpointing_kwargs": "the model has one hidden layer",
    "gradient_checkpointing": "the model has one hidden layer",
    "gradient_checkpointing_kwargs": "the model has one hidden layer",
    "optim_target_modules": "it is for projections of large layers",
    "deepspeed": "it divides large models; torchrun trains this one in several processes",
    "fsdp": "it divides large models; torchrun trains this one in several processes",
    "fsdp_config": "it divides large models; torchrun trains this one in several processes",
    "parallelism_config": "it divides large models; torchrun trains this one in several processes",
    "dataloader_persistent_workers": "distances change with each epoch, and such workers would keep the first one's",
    "hub_token": "a command line is seen by others; log in with `hf auth login`",
    "hub_revision": "what is pushed goes to the repository's main branch",
    "hub_always_push": "the model is pushed once, when it is finished",
    "enable_jit_checkpoint": "a stopped run goes on from the last epoch's checkpoint",
}


# What TrainingArguments have for save_steps and logging_steps where nobody says.
DEFAULT_STEPS = 500

# What is known after each validation.
METRICS = ("loss", "f1_macro", "f1_micro", "average_precision_macro")


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
            if _name(self.save_strategy) == "steps" and self.save_steps == DEFAULT_STEPS:
                self.save_steps = self._steps_between_validations()  # what was validated can be chosen
        if "LOCAL_RANK" in os.environ and not torch.accelerator.is_available():
            self.use_cpu = (
                True  # several processes without an accelerator: accelerate would not see that they are a group
            )
        if "LOCAL_RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
            self.ddp_backend = None  # it is for several processes
        self._refuse()
        super().__post_init__()

    def _refuse(self) -> None:
        """Raises ValueError for a flag that would do nothing here, or something else than it says."""
        for name, reason in REFUSED.items():
            if getattr(self, name, None) not in (None, False, 0, "", "no"):
                raise ValueError(f"--{name} does not go with this model: {reason}")
        if _name(self.hub_strategy) not in ("every_save", "end"):
            raise ValueError("--hub_strategy: the model is pushed once, when it is finished; expected end")
        if _name(self.train_sampling_strategy) not in ("random", "sequential"):
            raise ValueError(
                f"--train_sampling_strategy is random or sequential, got {self.train_sampling_strategy!r}"
            )
        if self.per_device_train_batch_size < 1 or self.per_device_eval_batch_size < 1:
            raise ValueError("--per_device_train_batch_size and --per_device_eval_batch_size must be at least 1")
        self._refuse_steps_without_their_strategy()
        if self.load_best_model_at_end:
            self._refuse_unmatched_checkpoints()
            known = METRICS[:1] if self.prediction_loss_only else METRICS
            if (metric := str(self.metric_for_best_model).removeprefix("eval_")) not in known:
                raise ValueError(f"--metric_for_best_model must be one of {', '.join(known)}, got {metric!r}")
        self._refuse_missing_reporters()

    def _steps_between_validations(self) -> float:
        """As transformers has it: those between two lines of the log where nobody says."""
        return self.eval_steps or self.logging_steps

    def _refuse_steps_without_their_strategy(self) -> None:
        given = {"eval": self.eval_steps}
        given |= {name: getattr(self, f"{name}_steps") for name in ("save", "logging")}
        for name, steps in given.items():
            strategy = _name(getattr(self, f"{name}_strategy"))
            if steps not in (None, DEFAULT_STEPS) and strategy != "steps" and (name, strategy) != ("logging", "no"):
                if name == "logging" and _name(self.eval_strategy) == "steps" and not self.eval_steps:
                    continue  # then they are those between two validations
                raise ValueError(
                    f"--{name}_steps {steps:g} does nothing with --{name}_strategy {strategy}; "
                    f"say --{name}_strategy steps, too"
                )

    def _refuse_unmatched_checkpoints(self) -> None:
        """The best model is chosen among the checkpoints, each of which must have been validated."""
        validation, saving = _name(self.eval_strategy), _name(self.save_strategy)
        if saving == "best":
            return
        if "no" in (validation, saving):
            flag = "--eval_strategy" if validation == "no" else "--save_strategy"
            raise ValueError(
                f"--load_best_model_at_end needs validation and checkpoints, and {flag} is no; leave one out"
            )
        why = "the best model is chosen among checkpoints that were validated"
        if saving != validation:
            raise ValueError(
                f"--save_strategy {saving} and --eval_strategy {validation}: {why}; give both the same, or say "
                "--load_best_model_at_end False, which keeps the last model"
            )
        between = self._steps_between_validations()
        if saving == "steps" and not _is_multiple(self.save_steps, between):
            whose = "" if self.eval_steps else " (as nobody said)"
            raise ValueError(
                f"--save_steps {self.save_steps:g} is no multiple of --eval_steps {between:g}{whose}: {why}; say "
                f"--eval_steps {self.save_steps:g}, or --load_best_model_at_end False, which keeps the last model"
            )

    def _refuse_missing_reporters(self) -> None:
        asked = [self.report_to] if isinstance(self.report_to, str) else self.report_to or []
        if set(asked) <= {"none"}:
            return
        from transformers.integrations.integration_utils import (
            INTEGRATION_TO_CALLBACK,
            get_available_reporting_integrations,
        )

        there = {"none", "all", *get_available_reporting_integrations()}
        for name in asked:
            if name not in there:
                what = "pip install it" if name in INTEGRATION_TO_CALLBACK else "no such reporter"
                raise ValueError(f"--report_to {name}: not installed here; {what}, or say none")


def _is_multiple(steps: float, between: float) -> bool:
    """Of steps, or of shares of the whole run (below 1)."""
    if not between or not steps or (steps < 1) != (between < 1):
        return False
    return round(steps * 1e6) % round(between * 1e6) == 0


def _name(strategy) -> str:
    return str(getattr(strategy, "value", strategy))
