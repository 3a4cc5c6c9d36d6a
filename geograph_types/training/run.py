"""One run of train.py: its flags, its rows, its folder, its models."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
    start: dict | None  # the weights that they begin with; None: made at random
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
        """A new model of this version's code, as users reach it; with the weights of one to go on with."""
        from transformers import AutoModel, set_seed

        set_seed(seed)
        model = AutoModel.from_config(self.config, trust_remote_code=True)
        if self.start is not None:
            model.load_state_dict(self.start)
        return model


def open_run(arguments: Arguments) -> Run:
    """Reads the rows and looks at the folder; writes nothing but what `--overwrite_output_dir` removes.

    Raises:
        CommandError: no rows, a folder that holds another run. ValueError: rows that do not fit the model.
    """
    output = Path(arguments.training.output_dir)
    splits = load_splits(arguments.data)
    config, start = new_config(arguments, splits.train.embedding.shape[1])
    config.synthetic = config.synthetic or splits.synthetic
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
    train, validation = trusted(train), validation and trusted(validation)
    if train is None:
        raise CommandError(f"{arguments.data.dataset}: no training row weighs more than 0")
    if validation is None and arguments.training.eval_strategy != "no":
        raise CommandError(f"{arguments.data.dataset}: no validation rows; --eval_strategy no trains without")
    return Run(arguments, output, config, start, train, validation, test, settings, checkpoint, finished)


def trusted(data: TrainingData) -> TrainingData | None:
    """The rows that weigh anything: the others teach nothing, and so that nothing is derived from them, they are not
    even looked at. None where there is no such row."""
    kept = np.flatnonzero(data.given_weight > 0)
    if len(kept) == len(data):
        return data
    return data[kept] if len(kept) else None


def new_config(arguments: Arguments, width: int):
    """The config of the new models, changed as the flags say, and the weights that they begin with.

    The config is this folder's, or has the values of the model to go on with: its code need not be this version's.
    """
    from transformers import AutoConfig

    from configuration_geograph import FIELDS

    model = arguments.model
    changes = {
        name: value
        for name in ("classes", "num_distance_buckets", "hidden_dim", "dropout")
        if (value := getattr(model, name)) is not None
    }
    changes["cross_far_min_distance"] = arguments.labels.cross_far_min_distance
    start = None
    if model.model_name_or_path:
        from geograph_types.hub.models import load_model

        found = load_model(model.model_name_or_path, model.revision, device="cpu")
        start = found.state_dict()
        changes = {name: getattr(found.config, name) for name in FIELDS if hasattr(found.config, name)} | changes
    else:
        changes["embedding_dim"] = width
    config = AutoConfig.from_pretrained(str(ROOT), trust_remote_code=True, **changes)
    if config.embedding_dim != width:
        name = model.model_name_or_path
        raise CommandError(
            f"{arguments.data.dataset}: vectors of {width} numbers; {name} takes {config.embedding_dim}"
        )
    return config, start
