"""What follows training: calibration, thresholds, figures, the learning curve, the model's card."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from geograph_types.colours import BLUE, GREEN, RED
from geograph_types.files import whole_file, write_json
from geograph_types.hub.model_card import write_card
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.hub.run_files import FINISHED, LEARNING_CURVE, OUT_OF_FOLD, RESULTS
from geograph_types.inference import logits_of, probabilities_of
from geograph_types.training.calibration import fit_calibration, fold_into_last_layer, tune_thresholds
from geograph_types.training.checkpoints import STATE, UNFINISHED
from geograph_types.training.data import TrainingData
from geograph_types.training.run import Run


def write_results(run: Run, trainer, judge, trained: dict) -> None:
    """Calibrates the model and makes the folder a whole repository; `train_results.json` last: it says "finished".

    Args:
        judge: the metric's `figures`. trained: Trainer's own figures.
    """
    model = trainer.model.cpu().float().eval()
    if run.validation is not None:
        calibrate(model, run)
    scratch = run.output / f".model{UNFINISHED}"
    save_model_repository(model, scratch)
    figures = {
        name: figures_of(model, data, judge)
        for name, data in (("eval", run.validation), ("test", run.test))
        if data is not None
    }
    for name, found in figures.items():
        write_json(run.output / RESULTS.format(name), found)
    if best := trainer.state.best_model_checkpoint:  # without this machine's path: the file is published
        trainer.state.best_model_checkpoint = Path(best).name
    trainer.state.save_to_json(str(scratch / STATE))
    for path in scratch.iterdir():  # each file is whole under its own name
        path.replace(run.output / path.name)
    scratch.rmdir()
    draw_learning_curve(trainer.state.log_history, run.output / LEARNING_CURVE)
    cleaned = bool((run.train.label_factor != 1).any() or run.arguments.weighting.clean_labels)
    rates = None if run.train.evidence is None else asdict(run.train.evidence.rates)
    settings = asdict(run.arguments.model) | asdict(run.arguments.labels)
    settings |= {"clean_labels": cleaned, "distance_faults": rates}
    split = "test" if "test" in figures else "eval"
    name = "validation" if split == "eval" else split
    write_card(run.output, model.config, figures.get(split), name, settings=settings, results=trained)
    (run.output / OUT_OF_FOLD).unlink(missing_ok=True)
    epochs = {"epoch": trainer.state.epoch, "num_train_epochs": run.args.num_train_epochs}
    write_json(run.output / FINISHED, trained | epochs | {"distance_faults": rates})


def calibrate(model, run: Run) -> None:
    """Fits the calibration on validation rows; thresholds after it, so that they fit what users see.

    Thresholds also look at the training rows where models that have not seen them predicted them: validation alone
    holds too few of a rare class.
    """
    train, validation = run.train, run.validation
    targets, weight = validation.targets, validation.weight
    logits = torch.from_numpy(logits_of(model, validation.rows.embedding, validation.rows.distance))
    scale, bias = torch.ones(logits.shape[1]), torch.zeros(logits.shape[1])
    if run.arguments.model.calibrate:
        scale, bias = fit_calibration(logits, torch.from_numpy(targets), torch.from_numpy(weight))
        fold_into_last_layer(model, scale, bias)
    if not run.arguments.model.tune_thresholds:
        return
    if train.unseen_logits is not None:
        targets = np.concatenate([train.targets, targets])
        weight = np.append(train.trust, weight)
        logits = torch.cat([torch.from_numpy(train.unseen_logits), logits])
    probabilities = (logits * scale + bias).sigmoid().numpy()
    model.config.thresholds = [round(t, 4) for t in tune_thresholds(probabilities, targets, weight)]


def figures_of(model, data: TrainingData, judge) -> dict:
    """The contract's figures with the model's own thresholds, and at 0.5 as `f1_macro_at_half`."""
    probabilities = probabilities_of(model, data.rows.embedding, data.rows.distance)
    rest = {"weight": data.given_weight, "distance": data.rows.distance, "tags": data.rows.tags}
    both = {"predictions": probabilities, "references": data.targets, "classes": model.config.classes}
    figures = judge(**both, thresholds=model.config.thresholds, **rest)
    return figures | {"f1_macro_at_half": judge(**both)["f1_macro"]}


def draw_learning_curve(history: list[dict], path: Path) -> None:
    """Training and validation loss, and macro F1, over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def series(key: str) -> tuple[list[float], list[float]]:
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        return [x for x, _ in points], [y for _, y in points]

    figure = Figure(figsize=(8, 3.4))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.15, top=0.9)  # to seek the best takes longer than to draw
    left, right = figure.subplots(1, 2)
    left.plot(*series("loss"), label="training", color=BLUE)
    left.plot(*series("eval_loss"), label="validation", color=RED)
    left.set_title("Weighted loss", loc="left")
    left.legend(frameon=False)
    right.plot(*series("eval_f1_macro"), color=GREEN)
    right.set_title("Macro F1 on validation, threshold 0.5", loc="left")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    with whole_file(path, "wb") as file:
        figure.savefig(file, dpi=110, format="png")


def print_results(output: Path) -> None:
    """The figures that a finished run's folder holds."""
    results = json.loads((output / FINISHED).read_text(encoding="utf-8"))
    print(f"trained at {results['train_samples_per_second']:,.0f} samples/s for {results['epoch']:g} epochs")
    for name, what in (("eval", "validation"), ("test", "test")):
        if (path := output / RESULTS.format(name)).is_file():
            figures = json.loads(path.read_text(encoding="utf-8"))
            print(f"{what}: macro F1 {figures['f1_macro']:.4f}, loss {figures['loss']:.4f}, {figures['n']:,} rows")
    print(f"{output}: AutoModel.from_pretrained({str(output)!r}, trust_remote_code=True)")
