"""What an evaluation leaves in its folder: pictures, `metrics.json`, the reports."""

from pathlib import Path

from geograph_types.evaluation import pictures
from geograph_types.evaluation.intervals import paired_difference
from geograph_types.evaluation.report import write_reports
from geograph_types.files import write_json


def write_results(output: Path, models: dict[str, dict], baselines: dict[str, dict], about: dict) -> None:
    """Writes everything into `output`; `metrics.json` last.

    Args:
        models: as `figures.of_models` gives them, the model itself first. baselines: as `figures.of_baselines`.
        about: `dataset`, `synthetic` and `bootstrap`, for the reports.
    """
    output.mkdir(parents=True, exist_ok=True)
    draw_pictures(output, models)
    metrics = metrics_of(models, baselines) | about
    write_reports(output, metrics)
    write_json(output / "metrics.json", metrics)


def draw_pictures(output: Path, models: dict[str, dict]) -> None:
    """Five pictures; the first three are of the model itself."""
    ours = next(iter(models.values()))
    shortcut = {name: found["shortcut"] for name, found in models.items()}
    support = {name: figures["support"] for name, figures in ours["figures"]["per_class"].items()}
    pictures.precision_recall(output / "precision_recall.png", ours["curves"], ours["figures"])
    pictures.reliability(output / "reliability.png", ours["bins"], ours["calibration_error"])
    pictures.confusion(output / "confusion.png", ours["confusion"], support)
    by_bucket = {name: found["by_bucket"] for name, found in models.items()}
    pictures.by_distance(output / "by_distance.png", by_bucket, shortcut)
    pictures.reliance(output / "distance_reliance.png", shortcut)


def metrics_of(models: dict[str, dict], baselines: dict[str, dict]) -> dict:
    """What `metrics.json` holds about the model, and about each that it is compared with."""
    name, ours = next(iter(models.items()))
    others = {other: found for other, found in {**models, **baselines}.items() if found is not ours}
    return {
        **ours["figures"],
        "intervals": ours["intervals"],
        "calibration_error": ours["calibration_error"],
        "distance_reliance": ours["shortcut"]["distance_reliance"],
        "shortcut": ours["shortcut"],
        "reliability": ours["bins"],
        "answers_around_0.8": ours["answers_around"],
        "by_bucket": ours["by_bucket"],
        "f1_macro_at_half": ours["f1_macro_at_half"],
        "cross_far_min_distance": ours["config"].cross_far_min_distance,
        "compared_with": {other: _compared(ours, found) for other, found in others.items()},
        "model": name,
    }


def _compared(ours: dict, found: dict) -> dict:
    figures = found["figures"]
    return {
        **figures,
        "intervals": found["intervals"],
        "calibration_error": found["calibration_error"],
        "distance_reliance": found.get("shortcut", {}).get("distance_reliance"),
        "shortcut": found.get("shortcut"),
        "f1_macro_at_half": found.get("f1_macro_at_half", figures["f1_macro"]),
        "f1_macro_by_own_rule": found.get("f1_macro_by_own_rule", figures["f1_macro"]),
        "cross_far_min_distance": found["config"].cross_far_min_distance if "config" in found else None,
        "ours_minus_this": paired_difference(ours, found),
    }
