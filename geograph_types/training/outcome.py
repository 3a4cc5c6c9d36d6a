"""What follows training: calibration, thresholds, figures, the learning curve, the model's card."""

from pathlib import Path

import numpy as np
import torch

from geograph_types.inference import logits_of, probabilities_of
from geograph_types.rows.fields import Rows
from geograph_types.training.calibration import fit_calibration, fold_into_last_layer, tune_thresholds
from geograph_types.training.labels import official_weights, training_targets
from geograph_types.training.weighting import Trust


def weights_of(rows: Rows, labels) -> np.ndarray:
    return official_weights(rows.tags, rows.distance) if labels.weights == "official" else rows.weight


def calibrate(model, train: Rows, validation: Rows, labels, fold: bool, tune: bool, trust: Trust) -> None:
    """Fits the calibration on validation rows; thresholds after it, so that they fit what users see.

    Thresholds also look at the training rows where models that have not seen them judged them (`trust`): validation
    alone holds too few of a rare class.
    """
    targets = training_targets(validation.tags, validation.distance, labels.cross_far_min_distance)
    weight = weights_of(validation, labels) * trust.validation
    logits = torch.from_numpy(logits_of(model, validation.embedding, validation.distance))
    scale, bias = torch.ones(logits.shape[1]), torch.zeros(logits.shape[1])
    if fold:
        scale, bias = fit_calibration(logits, torch.from_numpy(targets), torch.from_numpy(weight))
        fold_into_last_layer(model, scale, bias)
    if not tune:
        return
    if trust.unseen_logits is not None:
        unseen = training_targets(train.tags, train.distance, labels.cross_far_min_distance)
        noise = 1.0 if trust.train_noise is None else trust.train_noise
        targets, weight = np.concatenate([unseen, targets]), np.append(weights_of(train, labels) * noise, weight)
        logits = torch.cat([torch.from_numpy(trust.unseen_logits), logits])
    probabilities = (logits * scale + bias).sigmoid().numpy()
    model.config.thresholds = [round(t, 4) for t in tune_thresholds(probabilities, targets, weight)]


def judge(model, rows: Rows, labels, metric) -> dict:
    """The contract's figures with the model's own thresholds, and at 0.5 as `f1_macro_at_half`."""
    targets = training_targets(rows.tags, rows.distance, labels.cross_far_min_distance)
    probabilities = probabilities_of(model, rows.embedding, rows.distance)
    rest = {"weight": weights_of(rows, labels), "distance": rows.distance, "tags": rows.tags}
    figures = metric.compute(predictions=probabilities, references=targets, thresholds=model.config.thresholds, **rest)
    half = metric.compute(predictions=probabilities, references=targets)
    return figures | {"f1_macro_at_half": half["f1_macro"]}


def draw_learning_curve(history: list[dict], path: Path) -> None:
    """Training and validation loss, and macro F1, over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def series(key: str) -> tuple[list[float], list[float]]:
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        return [x for x, _ in points], [y for _, y in points]

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(*series("loss"), label="training", color="#0072b2")
    left.plot(*series("eval_loss"), label="validation", color="#d55e00")
    left.set_title("Weighted loss", loc="left")
    left.legend(frameon=False)
    right.plot(*series("eval_f1_macro"), color="#009e73")
    right.set_title("Macro F1 on validation, threshold 0.5", loc="left")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def write_model_card(model, output: Path, judged: dict[str, dict], settings: dict, results: dict) -> None:
    """README.md from `model_card.md`, with the figures of the test split, or else of validation."""
    from geograph_types.hub.model_card import write_card

    split = "test" if "test" in judged else "eval"
    write_card(output, model.config, judged.get(split), "validation" if split == "eval" else split, settings, results)
