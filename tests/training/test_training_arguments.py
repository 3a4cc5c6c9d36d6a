"""Every flag of `TrainingArguments` works or is refused in one line: none is left out, none is a traceback."""

import dataclasses
import json
import subprocess
import sys

import pytest
from transformers import TrainingArguments

from geograph_types.training.arguments import parse
from geograph_types.training.training_arguments import REFUSED

# Each run is of a few steps, with these flags at once, none at its default.
OPTIMISING = {
    "learning_rate": 0.01, "lr_scheduler_type": "cosine", "lr_scheduler_kwargs": '{"num_cycles": 0.5}',
    "warmup_steps": 1, "optim": "adamw_torch", "weight_decay": 0.01, "adam_beta1": 0.8, "adam_beta2": 0.9,
    "adam_epsilon": 1e-7, "gradient_accumulation_steps": 2, "max_grad_norm": 1.0, "max_steps": 4,
    "average_tokens_across_devices": False, "seed": 5, "data_seed": 6, "full_determinism": False, "use_cpu": True,
    "train_sampling_strategy": "sequential", "dataloader_drop_last": True, "logging_strategy": "steps",
    "logging_steps": 1, "logging_first_step": True, "logging_nan_inf_filter": True, "log_level": "warning",
    "log_level_replica": "error", "log_on_each_node": False, "disable_tqdm": True, "run_name": "x", "project": "x",
    "eval_strategy": "steps", "eval_steps": 2, "eval_delay": 1, "eval_on_start": True, "save_strategy": "steps",
    "save_steps": 2, "save_total_limit": 1, "save_on_each_node": True, "metric_for_best_model": "f1_macro",
    "greater_is_better": True, "load_best_model_at_end": True, "eval_do_concat_batches": False,
    "per_device_train_batch_size": 64, "per_device_eval_batch_size": 50, "do_train": True, "do_eval": True,
    "do_predict": True, "torch_empty_cache_steps": 2,
    "warmup_ratio": 0.1, "logging_dir": "logs", "ignore_data_skip": True, "debug": "underflow_overflow",
}  # fmt: skip
LOADING = {
    "num_train_epochs": 1, "optim": "sgd", "optim_args": "momentum=0.9", "dataloader_num_workers": 1,
    "dataloader_prefetch_factor": 3, "dataloader_pin_memory": True, "dataloader_multiprocessing_context": "fork",
    "dataloader_in_order": False, "save_strategy": "no", "save_only_model": True, "prediction_loss_only": True,
    "eval_accumulation_steps": 1, "eval_use_gather_object": True, "include_for_metrics": "loss",
    "label_names": "labels", "use_cpu": True, "accelerator_config": '{"split_batches": true}',
    "remove_unused_columns": True, "length_column_name": "n",
    "bf16_full_eval": True, "auto_find_batch_size": True, "restore_callback_states_from_checkpoint": False,
    "ddp_find_unused_parameters": True, "ddp_bucket_cap_mb": 5, "ddp_broadcast_buffers": True, "ddp_backend": "gloo",
    "ddp_static_graph": True, "ddp_timeout": 60,
    "report_to": "none", "trackio_space_id": "x", "trackio_bucket_id": "x", "trackio_static_space_id": "x",
    "hub_private_repo": True, "hub_strategy": "end", "skip_memory_metrics": True, "resume_from_checkpoint": "False",
}  # fmt: skip
# Tried elsewhere, or what is there to try with is not on this machine.
ELSEWHERE = {
    "output_dir", "push_to_hub", "hub_model_id", "fp16", "bf16", "fp16_full_eval", "tf32", "torch_compile",
    "torch_compile_backend", "torch_compile_mode",    "local_rank",
}  # fmt: skip
VALUES = {
    "label_smoothing_factor": 0.1, "neftune_noise_alpha": 5, "fsdp": "full_shard", "fsdp_config": '{"a": 1}',
    "deepspeed": "x.json", "gradient_checkpointing_kwargs": '{"a": true}',
    "activation_checkpointing_kwargs": '{"a": true}', "hub_token": "hf_x",
    "optim_target_modules": "fc", "hub_revision": "x",
}  # fmt: skip


KNOWN = {field.name for field in dataclasses.fields(TrainingArguments)}


def flags_of(values: dict) -> list:
    """Those that this version of transformers has."""
    return [part for name, value in values.items() if name in KNOWN for part in (f"--{name}", value)]


def test_no_flag_is_left_out():
    left = KNOWN - OPTIMISING.keys() - LOADING.keys() - REFUSED.keys() - ELSEWHERE
    assert not left


@pytest.mark.parametrize("flags", [OPTIMISING, LOADING], ids=["optimising", "loading"])
def test_flags_that_work(train, tmp_path, flags):
    done = train(tmp_path / "model", *flags_of(flags))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "model" / "eval_results.json").read_text())
    assert results["n"] == 141, "all of validation, whatever is dropped in training"


@pytest.mark.parametrize("name", [name for name in REFUSED if name in KNOWN])
def test_flags_that_are_refused(capsys, name):
    if name in ("parallelism_config", "liger_kernel_config"):
        pytest.skip("no command line spells it")
    with pytest.raises(SystemExit) as stopped:
        parse("", ["--output_dir", "unused", f"--{name}", str(VALUES.get(name, True))])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"--{name} does not go with this model" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--report_to", "wandb"], "--report_to wandb: not installed here"),
        (["--report_to", "nobody"], "no such reporter"),
        (["--hub_strategy", "checkpoint"], "--hub_strategy"),
        (["--train_sampling_strategy", "group_by_length"], "--train_sampling_strategy"),
        (["--metric_for_best_model", "accuracy"], "--metric_for_best_model"),
        (["--metric_for_best_model", "f1_macro", "--prediction_loss_only", "True"], "--metric_for_best_model"),
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size"),
        (["--eval_strategy", "steps", "--save_steps", "30"], "--save_steps 30 is no multiple of --eval_steps 500 (as"),
        (["--eval_strategy=steps", "--eval_steps=4", "--save_steps=6"], "say --eval_steps 6, or --load_best_model_at"),
        (["--save_strategy", "steps"], "--save_strategy steps and --eval_strategy epoch: the best model is chosen"),
        (["--save_strategy", "no", "--load_best_model_at_end", "True"], "and --save_strategy is no; leave one out"),
        (["--eval_strategy", "no", "--load_best_model_at_end", "True"], "and --eval_strategy is no; leave one out"),
        (["--eval_steps", "7"], "--eval_steps 7 does nothing with --eval_strategy epoch; say --eval_strategy steps"),
        (["--save_steps", "7"], "--save_steps 7 does nothing with --save_strategy epoch"),
        (["--logging_steps", "7"], "--logging_steps 7 does nothing with --logging_strategy epoch"),
        (["--optim", "nothing"], "nothing"),
        (["--no_such_flag", "1"], "no_such_flag"),
    ],
)
def test_values_that_are_refused(capsys, flags, message):
    with pytest.raises(SystemExit) as stopped:
        parse("", ["--output_dir", "unused", *flags])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("flags", "steps"), [(["--eval_steps", "3"], 3), ([], 500), (["--eval_steps", "3", "--save_steps", "6"], 6)]
)
def test_checkpoints_are_kept_where_it_is_validated(flags, steps):
    found = parse("", ["--output_dir", "unused", "--eval_strategy", "steps", *flags]).training
    assert (found.save_steps, found.load_best_model_at_end) == (steps, True)


def test_help_needs_neither_torch_nor_transformers(root):
    code = "import sys, train; sys.argv = ['train.py', '--help']\ntry:\n    train.main()\nexcept SystemExit:\n"
    code += "    print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert "--distance_dropout" in done.stdout and "--num_train_epochs" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
