"""One run of train.py: its flags, its rows, its folder, its models."""

from dataclasses import dataclass
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.files import ROOT
from geograph_types.training import run_folder
from geograph_types.training.arguments import Arguments
from geograph_types.training.data import TrainingData
from geograph_types.training.processes import by_the_first, say
from geograph_types.training.splits import load_splits


@dataclass
class Run:
    """What the steps of a run share."""

    arguments: Arguments
    output: Path
    config: object  # of the new models
    train: TrainingData
    validation: TrainingData | None
    test: TrainingData | None
    settings: dict
    checkpoint: str | None  # where to go on
    finished: bool

    @property
    def args(self):
        """The `GeographTrainingArguments`."""
        return self.arguments.training

    @property
    def key(self) -> str:
        """What its intermediate results are tied to."""
        return run_folder.key_of(self.settings)

    def new_model(self, seed: int):
        """A new model from this folder's code, or one to go on with, as users reach it."""
        from transformers import AutoModel, set_seed

        set_seed(seed)
        if name := self.arguments.model.model_name_or_path:
            return AutoModel.from_pretrained(name, config=self.config, trust_remote_code=True)
        return AutoModel.from_config(self.config, trust_remote_code=True)


def open_run(arguments: Arguments) -> Run:
    """Reads the rows and looks at the folder; writes nothing but what `--overwrite_output_dir` removes.

    Raises:
        CommandError: no rows, a folder that holds another run. ValueError: rows that do not fit the model.
    """
    output = Path(arguments.training.output_dir)
    splits = load_splits(arguments.data)
    config = new_config(arguments, splits.train.embedding.shape[1], splits.synthetic)
    parts = {"train": splits.train, "validation": splits.validation}
    settings = run_folder.settings_of(arguments, arguments.training.world_size, **parts)

    def look() -> tuple[str | None, bool]:
        if arguments.data.overwrite_output_dir:
            run_folder.remove_earlier_run(output)
        named = arguments.training.resume_from_checkpoint
        checkpoint = run_folder.checkpoint_to_go_on_from(output, settings, named)
        return checkpoint, run_folder.is_finished(output, arguments.training.num_train_epochs)

    checkpoint, finished = by_the_first(look)
    if checkpoint and not finished:
        say(f"going on from {checkpoint}")
    train, validation, test = (
        None if rows is None else TrainingData.of(rows, config, arguments.labels)
        for rows in (splits.train, splits.validation, splits.test)
    )
    if validation is None and arguments.training.eval_strategy != "no":
        raise CommandError(f"{arguments.data.dataset}: no validation rows; --eval_strategy no trains without")
    return Run(arguments, output, config, train, validation, test, settings, checkpoint, finished)


def new_config(arguments: Arguments, width: int, synthetic: bool):
    """The config of the new models: the clone's, or that of the model to go on with, changed as the flags say."""
    from transformers import AutoConfig

    model = arguments.model
    changes = {
        name: value
        for name in ("classes", "num_distance_buckets", "hidden_dim", "dropout")
        if (value := getattr(model, name)) is not None
    }
    changes["cross_far_min_distance"] = arguments.labels.cross_far_min_distance
    if not model.model_name_or_path:
        changes["embedding_dim"] = width
    source = model.model_name_or_path or str(ROOT)
    config = AutoConfig.from_pretrained(source, trust_remote_code=True, **changes)
    config.synthetic = config.synthetic or synthetic
    if config.embedding_dim != width:
        raise CommandError(
            f"{arguments.data.dataset}: vectors of {width} numbers; {source} takes {config.embedding_dim}"
        )
    return config
