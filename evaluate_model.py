"""Judges a model on a dataset's split: figures with intervals, pictures, a report to read and one for the card.

    python evaluate_model.py --model geograph-type-classifier --dataset geograph-types --dataset_config small \\
        --split test --output_dir report --compare official-v2.3

Writes `metrics.json`, `report.html` (opens without a network), `report.md` and PNG pictures into the output folder.
"""

from dataclasses import dataclass, field
from pathlib import Path

from geograph_types import cli
from names_geograph import tower_of


@dataclass
class EvaluateArguments:
    model: str = field(metadata={"help": "a model folder or Hub id"})
    revision: str | None = field(default=None, metadata={"help": "branch, tag or commit of --model on the Hub"})
    dataset: str = field(default="geograph-types", metadata={"help": "a folder, a Hub id, or a Parquet file"})
    dataset_config: str = field(default="small", metadata={"help": "small, medium or large"})
    split: str = field(default="test", metadata={"help": "train, validation or test"})
    output_dir: str = field(default="report", metadata={"help": "where the report goes"})
    compare: list[str] = field(
        default_factory=list, metadata={"help": "others, judged on the same rows; USER/NAME@REVISION pins one"}
    )
    bootstrap: int = field(default=1000, metadata={"help": "resamples behind each 95 % interval"})
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
        if self.bootstrap < 100:
            raise ValueError(f"--bootstrap must be at least 100, got {self.bootstrap}")
        if self.split not in ("train", "validation", "test"):
            raise ValueError(f"--split must be train, validation or test, got {self.split!r}")


def main() -> None:
    (args,) = cli.parse_flags(EvaluateArguments, description=__doc__)
    from transformers.utils import logging

    from geograph_types.rows import sources

    logging.disable_progress_bar()
    rows = load_rows(args)
    if rows is None:
        raise cli.CommandError(f"{args.dataset}: no rows in {args.dataset_config}/{args.split}")
    synthetic = sources.is_synthetic(sources.dataset_files(args.dataset, args.dataset_config, args.split))
    judged = judge_all(args, rows)
    baselines = judge_baselines(args, rows, judged)
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    write(output, args, rows, judged, baselines, synthetic)
    if args.update_card:
        from geograph_types.evaluation.report import update_card

        update_card(Path(args.model), output)
    ours = next(iter(judged.values()))["figures"]
    low, high = next(iter(judged.values()))["intervals"]["f1_macro"]
    print(f"macro F1 {ours['f1_macro']:.4f} (95 % interval {low:.4f} to {high:.4f}) on {ours['n']:,} rows")
    print(f"distance reliance {next(iter(judged.values()))['shortcut']['distance_reliance']:.4f}")
    print(f"{output / 'report.html'}")


def is_that_split(args: EvaluateArguments) -> bool:
    """Whether the dataset is one file that says by its name that it is the held-out split asked for."""
    from geograph_types.rows.parquet import split_named
    from geograph_types.rows.sources import SPLITS

    return (
        args.split != "train"
        and Path(args.dataset).is_file()
        and split_named(args.dataset) == SPLITS.index(args.split)
    )


def load_rows(args: EvaluateArguments):
    """The split's rows; all of a file `test-….parquet`, whose official split the published rule does not know."""
    from geograph_types.rows.fields import read_parquet
    from geograph_types.training.trainer import load_split

    if is_that_split(args):
        return read_parquet([args.dataset])
    return load_split(args.dataset, args.dataset_config, args.split)


def judge_all(args: EvaluateArguments, rows) -> dict[str, dict]:
    """Name → everything found out about that model; the model itself first, then those to compare with."""
    from geograph_types.hub.models import load_model

    judged: dict[str, dict] = {}
    rule = None
    models = [(args.model, args.revision), *((other, None) for other in args.compare)]
    with cli.progress(models, unit="model") as bar:
        for path, revision in bar:
            name = Path(path).name or path
            while name in judged:
                name += "'"
            model = load_model(path, revision)
            # One truth for all: a difference between models judged by different rules would not be theirs.
            rule = model.config.cross_far_min_distance if rule is None else rule
            judged[name] = judge(model, rows, rule, args.bootstrap)
    return judged


def judge(model, rows, cross_far_min_distance: float, times: int) -> dict:
    """One model with its own thresholds: figures, intervals, calibration, the shortcut test."""
    import numpy as np

    from geograph_types.evaluation import statistics
    from geograph_types.inference import probabilities_of
    from geograph_types.training.labels import training_targets

    targets = training_targets(rows.tags, rows.distance, cross_far_min_distance)
    thresholds = np.array(model.config.thresholds)
    own = training_targets(rows.tags, rows.distance, model.config.cross_far_min_distance)
    probability = probabilities_of(model, rows.embedding, rows.distance)
    found = judge_probabilities(probability, targets, thresholds, rows, times)
    return found | {
        "config": model.config,
        "f1_macro_at_half": macro_f1(probability >= 0.5, targets),
        "f1_macro_by_own_rule": macro_f1(probability >= thresholds, own),
        "trust": statistics.trust_around(probability, targets),
        "shortcut": statistics.shortcut_test(model, rows, targets, thresholds),
        "confusion": statistics.confusion(probability >= thresholds, targets),
        "curves": statistics.precision_recall(probability, targets),
        "bins": {
            name: statistics.reliability_bins(probability[:, i], targets[:, i] > 0.5)
            for i, name in enumerate(found["figures"]["per_class"])
        },
        "by_bucket": statistics.by_bucket(probability >= thresholds, targets, rows.distance),
    }


def judge_probabilities(probability, targets, thresholds, rows, times: int) -> dict:
    from geograph_types.evaluation import statistics

    module = metric_module()
    figures = module.figures(probability, targets, rows.weight, rows.distance, rows.tags, thresholds)
    groups = {name: belongs(rows.distance) for name, belongs in module.DISTANCE_GROUPS.items()}
    samples = statistics.bootstrap(probability, targets, thresholds, rows.weight, times, groups)
    return {
        "figures": figures,
        "samples": samples,
        "intervals": statistics.intervals(samples, figures),
        "calibration_error": statistics.calibration_error(probability, targets),
    }


def macro_f1(predicted, targets) -> float:
    from geograph_types.evaluation.statistics import f1_of, f1_parts

    return float(f1_of(f1_parts(predicted, targets > 0.5).sum(0)).mean())


def metric_module():
    """The module behind `evaluate.load`, so that no row passes through Arrow; the figures are the same."""
    import sys

    import evaluate

    from geograph_types.training.trainer import METRIC

    return sys.modules[type(evaluate.load(str(METRIC), keep_in_memory=True)).__module__]


def judge_baselines(args: EvaluateArguments, rows, judged: dict) -> dict[str, dict]:
    """What needs no training, on the same rows; the most frequent type and the distance need the training split."""
    import numpy as np

    from geograph_types.evaluation import baselines
    from geograph_types.training.labels import training_targets
    from geograph_types.training.trainer import load_split

    config = next(iter(judged.values()))["config"]
    targets = training_targets(rows.tags, rows.distance, config.cross_far_min_distance)
    answers = {}
    try:
        train = None if is_that_split(args) else load_split(args.dataset, args.dataset_config, "train")
    except cli.CommandError:
        train = None
    if train is not None:
        learnt = training_targets(train.tags, train.distance, config.cross_far_min_distance)
        answers["most frequent type"] = baselines.most_frequent(learnt, len(rows))
        answers["distance alone"] = baselines.distance_alone(learnt, train.distance, rows.distance)
    if args.text_model:
        with cli.naming_flag("--text_model DIR"):
            answers["zero-shot CLIP"] = baselines.zero_shot(rows, *tower_of(config, args.text_model))
    half = np.full(len(config.classes), 0.5)
    return {
        name: judge_probabilities(probability, targets, half, rows, args.bootstrap)
        for name, probability in answers.items()
    }


def write(output: Path, args: EvaluateArguments, rows, judged: dict, baselines: dict, synthetic: bool) -> None:
    from geograph_types.evaluation import pictures, statistics
    from geograph_types.evaluation.report import write_reports
    from geograph_types.files import write_json

    name, ours = next(iter(judged.items()))
    comparisons = {
        other: statistics.paired_difference(ours, found)
        for other, found in {**dict(list(judged.items())[1:]), **baselines}.items()
    }
    shortcut = {model: found["shortcut"] for model, found in judged.items()}
    support = [f["support"] for f in ours["figures"]["per_class"].values()]
    pictures.precision_recall(output / "precision_recall.png", ours["curves"], ours["figures"])
    pictures.reliability(output / "reliability.png", ours["bins"], ours["calibration_error"])
    pictures.confusion(output / "confusion.png", ours["confusion"], support)
    pictures.by_distance(
        output / "by_distance.png", {model: found["by_bucket"] for model, found in judged.items()}, shortcut
    )
    pictures.reliance(output / "distance_reliance.png", shortcut)
    metrics = {
        **ours["figures"],
        "intervals": ours["intervals"],
        "calibration_error": ours["calibration_error"],
        "distance_reliance": ours["shortcut"]["distance_reliance"],
        "shortcut": ours["shortcut"],
        "reliability": ours["bins"],
        "trust_around_0.8": ours["trust"],
        "by_bucket": ours["by_bucket"],
        "f1_macro_at_half": ours["f1_macro_at_half"],
        "cross_far_min_distance": ours["config"].cross_far_min_distance,
        "compared_with": {
            other: {
                **found["figures"],
                "intervals": found["intervals"],
                "calibration_error": found["calibration_error"],
                "distance_reliance": found.get("shortcut", {}).get("distance_reliance"),
                "shortcut": found.get("shortcut"),
                "f1_macro_at_half": found.get("f1_macro_at_half", found["figures"]["f1_macro"]),
                "f1_macro_by_own_rule": found.get("f1_macro_by_own_rule", found["figures"]["f1_macro"]),
                "cross_far_min_distance": found["config"].cross_far_min_distance if "config" in found else None,
                "ours_minus_this": comparisons[other],
            }
            for other, found in {**judged, **baselines}.items()
            if found is not ours
        },
        "model": name,
        "dataset": {"name": Path(args.dataset).name, "config": args.dataset_config, "split": args.split},
        "synthetic": synthetic or bool(ours["config"].synthetic),
        "bootstrap": args.bootstrap,
    }
    write_reports(output, metrics)
    write_json(output / "metrics.json", metrics)


if __name__ == "__main__":
    cli.run(main)
