"""Trains a classifier on a prepared dataset; the output folder is then a whole Hub repository.

    python train.py --dataset geograph-types --dataset_config small --output_dir geograph-type-classifier

Any `TrainingArguments` flag works. The same command again goes on from the last checkpoint;
`--overwrite_output_dir` starts anew. `--recipe official-v1`, `official-v2.3` or `default` chooses the settings.
"""

import json
import shutil
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

from geograph_types import cli
from geograph_types.files import ROOT, whole_file
from geograph_types.training.recipes import RECIPES, as_flags

# What tells a finished run from one to go on with, and the settings that both must share.
SETTINGS = "training_settings.json"
FINISHED = "train_results.json"


@dataclass
class ModelArguments:
    recipe: str = field(default="default", metadata={"help": f"settings to start from: {', '.join(RECIPES)}"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "go on from this model instead of anew"})
    hidden_dim: int | None = field(default=None, metadata={"help": "width of the hidden layer (256)"})
    dropout: float | None = field(default=None, metadata={"help": "share of hidden units dropped (0.2)"})
    calibrate: bool = field(default=True, metadata={"help": "fold a calibration into the last layer at the end"})
    tune_thresholds: bool = field(default=True, metadata={"help": "tune each class's threshold on validation"})

    def __post_init__(self):
        as_flags(self.recipe)  # an unknown one is refused
        if self.hidden_dim is not None and self.hidden_dim < 1:
            raise ValueError(f"--hidden_dim must be at least 1, got {self.hidden_dim}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be at least 0 and below 1, got {self.dropout}")


@dataclass
class DataArguments:
    dataset: str = field(default="geograph-types", metadata={"help": "a folder, a Hub id, or a Parquet file"})
    dataset_config: str = field(default="small", metadata={"help": "small, medium or large"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "remove what an earlier run left"})
    patience: int = field(default=7, metadata={"help": "epochs without a better validation loss before stopping"})
    allow_synthetic: bool = field(
        default=False, metadata={"help": "let --push_to_hub publish what learnt made-up rows"}
    )


def main() -> None:
    """Trains, or goes on, or says that it is done."""
    model_args, data_args, label_args, weighting_args, args = parse()
    output = Path(args.output_dir)
    # Trainer itself would push every checkpoint, unfinished and unchecked; hub.py publishes once, at the end.
    push_to_hub, args.push_to_hub = args.push_to_hub, False
    settings = settings_of([model_args, data_args, label_args, weighting_args, args])
    checkpoint = start_or_resume(output, data_args, settings)
    if finished(output, args.num_train_epochs):
        cli.say(
            f"{output} holds this run, finished; more --num_train_epochs go on, --overwrite_output_dir starts anew"
        )
        return report(output)
    import evaluate
    from transformers.trainer_callback import ProgressCallback
    from transformers.utils import logging

    from geograph_types.training.trainer import (
        METRIC,
        GeographTrainer,
        QuietProgress,
        callbacks_for,
        compute_metrics_with,
        memory_rows,
    )
    from geograph_types.training.weighting import weigh

    logging.disable_progress_bar()  # a bar for each small file saved; the bar of training stays
    train, validation, test, synthetic = load_rows(data_args)
    make = partial(make_model, model_args, label_args, synthetic)
    model = make(args.seed)
    if push_to_hub and model.config.synthetic and not data_args.allow_synthetic:
        raise cli.CommandError(f"{data_args.dataset} holds synthetic rows: say --allow_synthetic, or do not push")
    if validation is None and args.eval_strategy != "no":
        raise cli.CommandError(f"{data_args.dataset}: no validation rows; --eval_strategy no trains without")
    begin(output, settings)
    trust = weigh(train, validation, make, weighting_args, label_args, args, data_args.patience, output, model.config)
    metric = evaluate.load(str(METRIC), keep_in_memory=True)
    trainer = GeographTrainer(
        model=model,
        args=args,
        train_dataset=memory_rows(train, label_args, True, args.seed, trust.train),
        eval_dataset=validation and memory_rows(validation, label_args, False, args.seed, trust.validation),
        compute_metrics=compute_metrics_with(metric),
        callbacks=callbacks_for(args, data_args.patience),
    )
    if not args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(QuietProgress)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.is_world_process_zero():
        finish(trainer, result.metrics, model_args, label_args, metric, trust, train, validation, test, output)
        report(output)
        if push_to_hub:
            from geograph_types.hub.publishing import publish_folder

            publish_folder(
                output,
                args.hub_model_id or output.name,
                "model",
                private=bool(args.hub_private_repo),
                allow_synthetic=data_args.allow_synthetic,
            )
    # Several processes: the others wait for the first, and a group left open aborts at exit.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def parse():
    """All flags: the recipe's first, so that the user's own come after and win."""
    from geograph_types.training.trainer import GeographTrainingArguments, LabelArguments
    from geograph_types.training.weighting import WeightingArguments

    arguments = sys.argv[1:]
    recipe = next((b for a, b in pairwise(arguments) if a == "--recipe"), "default")
    recipe = next((a.partition("=")[2] for a in arguments if a.startswith("--recipe=")), recipe)
    flags = as_flags(recipe) if recipe in RECIPES else []
    parsed = cli.parse_flags(
        ModelArguments, DataArguments, LabelArguments, WeightingArguments, GeographTrainingArguments,
        description=__doc__, args=[*flags, *arguments],
    )  # fmt: skip
    return parsed


def start_or_resume(output: Path, data_args: DataArguments, settings: dict) -> str | None:
    """The checkpoint to go on from, or None in a fresh folder.

    Raises:
        CommandError: a run with other settings.
    """
    from transformers.trainer_utils import get_last_checkpoint

    from geograph_types.training.weighting import KEPT

    if data_args.overwrite_output_dir and output.exists():
        names = (FINISHED, SETTINGS, KEPT, "model.safetensors")
        for path in [*output.glob("checkpoint-*"), *(output / name for name in names)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    known = json.loads((output / SETTINGS).read_text()) if (output / SETTINGS).is_file() else None
    if output.exists() and not output.is_dir():
        raise cli.CommandError(f"{output}: a file; name a folder as --output_dir")
    checkpoint = get_last_checkpoint(str(output)) if output.is_dir() else None
    if known not in (None, settings) and not checkpoint and not (output / FINISHED).is_file():
        (output / KEPT).unlink(missing_ok=True)  # it failed before anything that is worth going on from
    elif known not in (None, settings):
        name = next(key for key in known | settings if known.get(key) != settings.get(key))
        raise cli.CommandError(
            f"{output} holds a run with {name} {known.get(name)!r}, not {settings.get(name)!r}; "
            f"give the same flags to go on with it, or --overwrite_output_dir to start anew"
        )
    if known is None and (output / "model.safetensors").is_file():
        raise cli.CommandError(
            f"{output} holds a model that train.py did not begin; --overwrite_output_dir replaces it"
        )
    if checkpoint:
        cli.say(f"going on from {checkpoint}")
    return checkpoint


def finished(output: Path, epochs: float) -> bool:
    """Whether an earlier run did all that is asked for; one that did less is no longer finished."""
    path = output / FINISHED
    if not path.is_file():
        return False
    if json.loads(path.read_text()).get("num_train_epochs", epochs) >= epochs:
        return True
    path.unlink()
    return False


def begin(output: Path, settings: dict) -> None:
    """Claims the folder for this run; only once its rows were read, so that a mistyped name leaves nothing."""
    output.mkdir(parents=True, exist_ok=True)
    with whole_file(output / SETTINGS) as file:
        json.dump(settings, file, indent=2)


def settings_of(arguments: list) -> dict:
    """What makes one run another: all flags but where it lies and what it prints."""
    settings = {}
    for part in arguments:
        settings |= part.to_dict() if hasattr(part, "to_dict") else asdict(part)
    private = {
        "num_train_epochs",
        "max_steps",
        "output_dir",
        "overwrite_output_dir",
        "push_to_hub",
        "allow_synthetic",
        "disable_tqdm",
        "logging_dir",
        "local_rank",
    }
    quiet = ("hub_", "log", "report_to", "run_name", "accelerator_config", "use_cpu", "resume_from")
    return {
        name: value
        for name, value in sorted(settings.items())
        if name not in private and not name.startswith(quiet) and isinstance(value, str | int | float | bool | None)
    }


def load_rows(data_args: DataArguments):
    """Train, validation and test rows (None where there are none), and whether any were made by `synthetic.py`."""
    from geograph_types.rows.parquet import is_synthetic
    from geograph_types.rows.sources import dataset_files
    from geograph_types.rows.splits import SPLITS
    from geograph_types.training.trainer import load_split

    found = []
    for split in SPLITS:
        try:
            found.append(load_split(data_args.dataset, data_args.dataset_config, split))
        except cli.CommandError:
            if split == "train":
                raise
            found.append(None)
    if found[0] is None:
        raise cli.CommandError(f"{data_args.dataset}: no rows to train on")
    return *found, is_synthetic(dataset_files(data_args.dataset, data_args.dataset_config, "train"))


def make_model(model_args: ModelArguments, label_args, synthetic: bool, seed: int):
    """A new model from this folder's code, or one to go on with, as users reach it."""
    from transformers import AutoConfig, AutoModel, set_seed

    set_seed(seed)
    changes = {
        name: value for name in ("hidden_dim", "dropout") if (value := getattr(model_args, name)) is not None
    } | {"cross_far_min_distance": label_args.cross_far_min_distance}
    source = model_args.model_name_or_path or str(ROOT)
    config = AutoConfig.from_pretrained(source, trust_remote_code=True, **changes)
    config.synthetic = config.synthetic or synthetic
    if model_args.model_name_or_path:
        return AutoModel.from_pretrained(source, config=config, trust_remote_code=True)
    return AutoModel.from_config(config, trust_remote_code=True)


def finish(
    trainer, results: dict, model_args, label_args, metric, trust, train, validation, test, output: Path
) -> None:
    """Calibration, thresholds, figures, the whole repository; `train_results.json` last, since it says "finished"."""
    from geograph_types.files import write_json
    from geograph_types.hub.model_folder import save_model_repository
    from geograph_types.training import outcome
    from geograph_types.training.weighting import KEPT

    model = trainer.model.cpu().float().eval()
    if validation is not None:
        calibrated, tuned = model_args.calibrate, model_args.tune_thresholds
        outcome.calibrate(model, train, validation, label_args, calibrated, tuned, trust)
    save_model_repository(model, output)
    judged = {
        name: outcome.judge(model, rows, label_args, metric)
        for name, rows in (("eval", validation), ("test", test))
        if rows is not None
    }
    for name, figures in judged.items():
        write_json(output / f"{name}_results.json", figures)
    if best := trainer.state.best_model_checkpoint:  # without this machine's path: the file is published
        trainer.state.best_model_checkpoint = Path(best).name
    trainer.state.save_to_json(str(output / "trainer_state.json"))
    outcome.draw_learning_curve(trainer.state.log_history, output / "learning_curve.png")
    settings = asdict(model_args) | asdict(label_args) | {"clean_labels": trust.train_noise is not None}
    outcome.write_model_card(model, output, judged, settings, results)
    (output / KEPT).unlink(missing_ok=True)
    epochs = {"epoch": trainer.state.epoch, "num_train_epochs": trainer.args.num_train_epochs}
    write_json(output / FINISHED, results | epochs)


def report(output: Path) -> None:
    results = json.loads((output / FINISHED).read_text())
    print(f"trained at {results['train_samples_per_second']:,.0f} samples/s for {results['epoch']:g} epochs")
    for name, what in (("eval", "validation"), ("test", "test")):
        if (path := output / f"{name}_results.json").is_file():
            figures = json.loads(path.read_text())
            print(f"{what}: macro F1 {figures['f1_macro']:.4f}, loss {figures['loss']:.4f}, {figures['n']:,} rows")
    print(f"{output}: AutoModel.from_pretrained({str(output)!r}, trust_remote_code=True)")


if __name__ == "__main__":
    cli.run(main)
