"""Measures a model on a dataset's split: figures with intervals, pictures, a report to read and one for the card.

    python evaluate_model.py --model geograph-type-classifier --dataset geograph-types --dataset_config small \\
        --split test --output_dir report --compare official-v2.3

Writes `metrics.json`, `report.html` (opens without a network), `report.md` and PNG pictures into the output folder.
"""

from dataclasses import dataclass, field
from pathlib import Path

from geograph_types import cli


@dataclass
class EvaluateArguments:
    model: str = field(metadata={"help": "a model folder or Hub id"})
    dataset: str = field(default="geograph-types", metadata={"help": "a folder, a Hub id, or a Parquet file"})
    dataset_config: str = field(default="small", metadata={"help": "small, medium or large"})
    split: str = field(default="test", metadata={"help": "train, validation or test"})
    output_dir: str = field(default="report", metadata={"help": "where the report goes"})
    compare: list[str] = field(
        default_factory=list, metadata={"help": "others, on the same rows; USER/NAME@REVISION pins one"}
    )
    revision: str | None = field(
        default=None, metadata={"help": "branch, tag or commit of --model on the Hub, its code and its weights"}
    )
    bootstrap: int = field(default=1000, metadata={"help": "resamples behind each 95 % interval; 0: no intervals"})
    text_model: str | None = field(
        default=None,
        metadata={"help": "CLIP with a text tower, a Hub id or a folder: adds zero-shot CLIP as a baseline"},
    )
    update_card: bool = field(
        default=False, metadata={"help": "put report.md and two pictures into the model folder's README.md, too"}
    )

    def __post_init__(self):
        if self.update_card and not (Path(self.model) / "README.md").is_file():
            raise ValueError(f"--update_card needs a model folder with a README.md, got {self.model!r}")
        if self.bootstrap and self.bootstrap < 100:
            raise ValueError(f"--bootstrap must be 0 (none) or at least 100, got {self.bootstrap}")
        if self.split not in ("train", "validation", "test"):
            raise ValueError(f"--split must be train, validation or test, got {self.split!r}")


def main() -> None:
    (args,) = cli.parse_flags(EvaluateArguments, description=__doc__)
    from transformers.utils import logging

    from geograph_types.evaluation import figures, report, results
    from geograph_types.rows.parquet import is_synthetic
    from geograph_types.rows.sources import dataset_files

    logging.disable_progress_bar()
    rows = load_rows(args)
    synthetic = is_synthetic(dataset_files(args.dataset, args.dataset_config, args.split))
    models = figures.of_models([args.model, *args.compare], rows, args.bootstrap, args.revision)
    config = next(iter(models.values()))["config"]
    baselines = figures.of_baselines(rows, training_rows(args), config, args.bootstrap, args.text_model)
    output = Path(args.output_dir)
    about = {
        "dataset": {"name": Path(args.dataset).name, "config": args.dataset_config, "split": args.split},
        "synthetic": synthetic or bool(config.synthetic),
        "bootstrap": args.bootstrap,
    }
    results.write_results(output, models, baselines, about)
    if args.update_card:
        report.update_card(Path(args.model), output)
    print_results(next(iter(models.values())), output)


def load_rows(args: EvaluateArguments):
    """The split's rows."""
    from geograph_types.training.splits import load_split, normalised

    rows = load_split(args.dataset, args.dataset_config, args.split)
    if rows is None:
        raise cli.CommandError(f"{args.dataset}: no {args.split} rows in it, by their `split` or by their numbers")
    if words := normalised(rows):
        cli.say(f"warning: {args.dataset}: {words}")
    return rows


def training_rows(args: EvaluateArguments):
    """The rows that baselines learn from; None where the dataset has none."""
    from geograph_types.training.splits import load_split

    try:
        return None if is_that_split(args) else load_split(args.dataset, args.dataset_config, "train")
    except cli.CommandError:
        return None


def is_that_split(args: EvaluateArguments) -> bool:
    """Whether the dataset is one file that says by its name that it is the held-out split asked for."""
    from geograph_types.rows.splits import SPLITS, split_named

    named = Path(args.dataset).is_file() and split_named(args.dataset) == SPLITS.index(args.split)
    return named and args.split != "train"


def print_results(ours: dict, output: Path) -> None:
    found = ours["figures"]
    interval = ours["intervals"]["f1_macro"]
    span = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    print(f"macro F1 {found['f1_macro']:.4f}{span} on {found['n']:,} rows")
    print(f"distance reliance {ours['shortcut']['distance_reliance']:.4f}")
    print(f"{output / 'report.html'}")


if __name__ == "__main__":
    cli.run(main)
