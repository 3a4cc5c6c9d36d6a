"""The model's card: `model_card.md` filled from measured figures, its metadata from `huggingface_hub`."""

from pathlib import Path
from typing import Any

from geograph_types.files import resource
from geograph_types.hub.cards import fill_card
from names_geograph import DATASET_NAME, MODEL_NAME, VISION_MODEL


def write_card(
    output: Path,
    config,
    metrics: dict | None,
    split: str | None = None,
    *,
    settings: dict | None = None,
    results: dict | None = None,
    **sections: Any,
) -> None:
    """Writes `output/README.md`.

    Args:
        metrics: the contract's figures on `split`; without them the card has no results.
        settings: the flags of `train.py`. results: Trainer's own.
        sections: further parts of the template: `report`, `comparison`, `reliability_plot`, `origin`,
            `published` (results that came with an official model).
    """
    from geograph_types.files import whole_file

    name = "Geograph type classifier" + (" (synthetic)" if config.synthetic else "")
    curve = "learning_curve.png"
    values = {
        "card_data": _metadata(name, config, metrics, split).to_yaml(),
        "model_name": name,
        "repo_id": MODEL_NAME,
        "synthetic": config.synthetic,
        "config": config,
        "parameters": _parameters(config),
        "metrics": metrics,
        "split": split,
        "settings": settings,
        "results": results,
        "dataset_name": DATASET_NAME,
        "learning_curve": curve if (output / curve).is_file() else None,
        **sections,
    }
    with whole_file(output / "README.md") as file:
        file.write(fill_card(resource("model_card.md"), values))


def _parameters(config) -> int:
    inputs = config.embedding_dim + config.distance_embedding_dim
    return (
        config.num_distance_buckets * config.distance_embedding_dim
        + (inputs + 1) * config.hidden_dim
        + (config.hidden_dim + 1) * len(config.classes)
    )


def _metadata(name: str, config, metrics: dict | None, split: str | None):
    from huggingface_hub import EvalResult, ModelCardData

    results = None
    if metrics:
        shown = {
            "f1": ("Macro F1", metrics["f1_macro"]),
            "f1_micro": ("Micro F1", metrics["f1_micro"]),
            "average_precision": ("Mean average precision", metrics["average_precision_macro"]),
        }
        results = [
            EvalResult(
                task_type="image-classification",
                task_name="Types of Geograph photos",
                dataset_type=DATASET_NAME,
                dataset_name="Geograph types" + (" (synthetic)" if config.synthetic else ""),
                dataset_split=split,
                metric_type=kind,
                metric_name=title,
                metric_value=round(value, 4),
            )
            for kind, (title, value) in shown.items()
        ]
    return ModelCardData(
        model_name=name,
        license="cc-by-sa-4.0",
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=config.vision_model if "/" in config.vision_model else VISION_MODEL,
        datasets=[DATASET_NAME],
        metrics=["f1"],
        language=["en"],
        tags=["geograph", "clip", "multi-label", *(["synthetic"] if config.synthetic else [])],
        eval_results=results,
    )
