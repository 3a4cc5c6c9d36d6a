"""The flags of train.py, by what they are about; `GeographTrainingArguments` holds those of transformers."""

import json
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from geograph_types import cli
from geograph_types.flags import parser_of
from geograph_types.training.recipes import RECIPES, as_flags


@dataclass
class ModelArguments:
    """Which model learns."""

    recipe: str = field(default="default", metadata={"help": f"settings to start from: {', '.join(RECIPES)}"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "go on from this model instead of anew"})
    revision: str | None = field(
        default=None, metadata={"help": "of --model_name_or_path on the Hub: a commit or tag"}
    )
    classes: list[str] | None = field(
        default=None, metadata={"help": "what a new model predicts, in this order; quote names with blanks"}
    )
    num_distance_buckets: int | None = field(
        default=None, metadata={"help": "rows of a new model's distance embedding, the last for Unknown (23)"}
    )
    hidden_dim: int | None = field(default=None, metadata={"help": "width of a new model's hidden layer (256)"})
    dropout: float | None = field(default=None, metadata={"help": "share of hidden units dropped (0.2)"})
    calibrate: bool = field(default=True, metadata={"help": "fold a calibration into the last layer at the end"})
    tune_thresholds: bool = field(default=True, metadata={"help": "tune each class's threshold on validation"})

    def __post_init__(self):
        as_flags(self.recipe)  # an unknown one is refused
        if self.hidden_dim is not None and self.hidden_dim < 1:
            raise ValueError(f"--hidden_dim must be at least 1, got {self.hidden_dim}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be at least 0 and below 1, got {self.dropout}")
        if self.classes is not None:  # "A,B" as well as A B
            self.classes = [name.strip() for part in self.classes for name in part.split(",") if name.strip()]
        if self.revision and not self.model_name_or_path:
            raise ValueError(f"--revision {self.revision} is of a --model_name_or_path, which is not named")
        fixed = {name: getattr(self, name) for name in ("classes", "num_distance_buckets", "hidden_dim")}
        if self.model_name_or_path and (given := [name for name, value in fixed.items() if value is not None]):
            raise ValueError(f"--{given[0]} is fixed by --model_name_or_path {self.model_name_or_path}; leave one out")


@dataclass
class DataArguments:
    """Which rows it learns from, and what becomes of an earlier run."""

    dataset: str = field(default="geograph-types", metadata={"help": "a folder, a Hub id, or a Parquet file"})
    dataset_config: str = field(default="small", metadata={"help": "small, medium or large"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "remove what an earlier run left"})
    patience: int = field(
        default=7, metadata={"help": "validations without a better loss before stopping; 0: never stops early"}
    )
    allow_synthetic: bool = field(
        default=False, metadata={"help": "let --push_to_hub publish what learnt made-up rows"}
    )
    allow_normalised: bool = field(
        default=False, metadata={"help": "train on vectors of length 1, which are not what the official model knows"}
    )

    def __post_init__(self):
        if self.patience < 0:
            raise ValueError(f"--patience must be 0 or more, got {self.patience}")


@dataclass
class LabelArguments:
    """How raw tags, weights and distances become what the model learns from."""

    cross_far_min_distance: int = field(
        default=0, metadata={"help": "metres; Cross Grid counts as Cross Far only beyond (0: always; official: 256)"}
    )
    weights: str = field(
        default="column",
        metadata={"help": "column, or official: the official notebook's", "choices": ["column", "official"]},
    )
    distance_dropout: float = field(
        default=0.0, metadata={"help": "share of rows whose distance is hidden, anew each epoch (official v2.3: 0.3)"}
    )
    cross_far_scramble: float = field(
        default=0.0, metadata={"help": "share of Cross Far rows that get a random near distance (official v2.3: 1.0)"}
    )
    distance_shuffle: float = field(
        default=0.0, metadata={"help": "share of rows of any class that get a random distance, anew each epoch"}
    )

    def __post_init__(self):
        for name in ("distance_dropout", "cross_far_scramble", "distance_shuffle"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name} is a share between 0 and 1, got {getattr(self, name)}")
        if self.cross_far_min_distance < 0:
            raise ValueError(f"--cross_far_min_distance is in metres, 0 or more, got {self.cross_far_min_distance}")


@dataclass
class WeightingArguments:
    """Which rows weigh more and which less."""

    true_drone_weight: float = field(
        default=1.0, metadata={"help": "what a row tagged From Drone weighs, against From Above's 1"}
    )
    foreground_filter: bool = field(
        default=False,
        metadata={"help": "lower the weight of From Above rows that look taken past a railing, by CLIP's text tower"},
    )
    foreground_rules: bool = field(
        default=False, metadata={"help": "the same by rules alone, without a tower: Inside too, or 0 to 2 m away"}
    )
    folds: int = field(
        default=0, metadata={"help": "models trained on parts of the rows to predict the others; 0: none"}
    )
    clean_labels: bool = field(
        default=False,
        metadata={"help": "lower the weight of rows that the folds contradict; lists them in label_noise.csv"},
    )
    distance_faults: bool = field(
        default=False,
        metadata={"help": "also learn what to answer where a distance is zero, hidden or wrong by mistake, as far as "
                  "the folds show that right distances lose nothing by it"},
    )  # fmt: skip
    vision_model: str | None = field(
        default=None, metadata={"help": "Hub id or folder of the CLIP model with its text tower (the config's)"}
    )

    def __post_init__(self):
        if not 0 <= self.true_drone_weight < float("inf"):
            raise ValueError(f"--true_drone_weight is a factor of 0 or more, got {self.true_drone_weight}")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"--folds is 0 (none) or at least 2, got {self.folds}")
        if self.clean_labels and not self.folds:
            raise ValueError("--clean_labels needs --folds 2 or more (or say --clean_labels False)")
        if self.distance_faults and not self.folds:
            raise ValueError("--distance_faults needs --folds 2 or more (or say --distance_faults False)")


TRAINING_FLAGS = """
Besides, every flag of transformers' TrainingArguments, such as --output_dir, --num_train_epochs (50),
--per_device_train_batch_size (1024), --learning_rate (0.001), --seed (42), --push_to_hub; `--help --all` lists them.
"""


class Arguments(NamedTuple):
    """All flags of one run; `training` is a `GeographTrainingArguments`."""

    model: ModelArguments
    data: DataArguments
    labels: LabelArguments
    weighting: WeightingArguments
    training: Any


def parse(description: str, arguments: list[str] | None = None) -> Arguments:
    """The command line, or `arguments`: a recipe's flags first, then a JSON or YAML file's, then the user's own."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0].endswith((".json", ".yaml", ".yml")):
        arguments = [*flags_of_file(Path(arguments[0])), *arguments[1:]]
    if {"-h", "--help"} & set(arguments) and "--all" not in arguments:
        show_own_flags(description)
    from geograph_types.training.training_arguments import GeographTrainingArguments

    arguments = [flag for flag in arguments if flag != "--all"]
    flags = as_flags(recipe) if (recipe := recipe_of(arguments)) in RECIPES else []
    kinds = (ModelArguments, DataArguments, LabelArguments, WeightingArguments, GeographTrainingArguments)
    return Arguments(*cli.parse_flags(*kinds, description=description, args=[*flags, *arguments]))


def recipe_of(arguments: list[str]) -> str:
    """The last one that is named, as of any flag that stands there twice: a file's gives way to the user's own."""
    named = [after for flag, after in pairwise([*arguments, ""]) if flag == "--recipe"]
    spelled = [flag.partition("=")[2] for flag in arguments if flag.startswith("--recipe=")]
    if named and spelled:  # whichever stands last
        last = max(i for i, flag in enumerate(arguments) if flag.partition("=")[0] == "--recipe")
        return arguments[last].partition("=")[2] or arguments[last + 1]
    return (named or spelled or ["default"])[-1]


def show_own_flags(description: str) -> NoReturn:
    """`--help`, at once: the flags of transformers, whose import takes seconds, are named and not listed."""
    own = (ModelArguments, DataArguments, LabelArguments, WeightingArguments)
    parser, _ = parser_of(own, description.strip())
    parser.set_defaults(**{k: v for k, v in RECIPES["default"].items() if parser.get_default(k) is not None})
    parser.epilog = TRAINING_FLAGS
    parser.print_help()
    sys.exit(0)


def flags_of_file(path: Path) -> list[str]:
    """`train.py args.json`: an object of flags and values, as those flags."""
    import yaml

    class OnceEach(yaml.SafeLoader):
        """Of a flag that stands there twice it would take the last, without a word."""

        def construct_mapping(self, node, deep=False):
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            if doubled := next((name for name in names if names.count(name) > 1), None):
                cli.usage_error(f"{path}: {doubled!r} stands there twice; keep one")
            return super().construct_mapping(node, deep)

    try:
        values = yaml.load(path.read_text(encoding="utf-8"), OnceEach)  # JSON is YAML, too  # noqa: S506
    except OSError as error:
        cli.usage_error(f"{path}: {error.strerror}")
    except (yaml.YAMLError, UnicodeDecodeError):
        cli.usage_error(f"{path}: neither JSON nor YAML")
    if not isinstance(values, dict):
        cli.usage_error(f"{path}: expected an object of flags and values, got {type(values).__name__}")
    flags = []
    for name, value in values.items():
        if value is not None:
            parts = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            flags += [f"--{name}", *map(str, parts)]
    return flags
