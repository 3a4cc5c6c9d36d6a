"""What was tried for the default recipe. Prints the tables of docs/experiments.md.

    python -m benchmarks.experiments                     # all three, half an hour on two cores
    python -m benchmarks.experiments --only thresholds

A bare loop stands in for Trainer, so that many settings can be tried. Where the shared rows exist, the hard rows are
learnt with their own split and with two others of the same rows, and judged on every clean row there is (the hard
rows' test split and all of the clean rows: 9,200, with 300 drones); else synthetic ones.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.quality import KINDS, best_cut, tensors
from configuration_geograph import GeographConfig
from geograph_types import cli
from geograph_types.evaluation.statistics import calibration_error, f1_of, f1_parts, wrong_distances
from geograph_types.files import ROOT
from geograph_types.rows.fields import Rows
from geograph_types.rows.parquet import read_parquet
from geograph_types.rows.sources import dataset_files
from geograph_types.training.calibration import fit_calibration, fold_into_last_layer, tune_thresholds
from geograph_types.training.distances import hide_distances, scramble_cross_far, shuffle_distances
from geograph_types.training.label_noise import noise_factor
from geograph_types.training.labels import training_targets
from modeling_geograph import GeographModel
from names_geograph import CLASSES, UNKNOWN_BUCKET

FOLDS = 2


@dataclass(frozen=True)
class Setting:
    """How a bare loop trains; the defaults are the plain loop's."""

    hide: float = 0.0
    scramble: float = 0.0
    shuffle: float = 0.0
    dropout: float = 0.2
    batch: int = 1024
    weight_decay: float = 0.0
    input_noise: float = 0.0
    mixup: float = 0.0
    drone_weight: float = 1.0
    trimmed: float = 0.0  # generalised cross-entropy's q (Zhang & Sabuncu, 2018)
    bootstrap: float = 0.0  # share of the model's own answer in the labels (Reed et al., 2015)
    cosine: bool = False


OURS = Setting(hide=0.3, shuffle=0.4)
TRAINING = {
    "plain loop": Setting(),
    "official v2.3: dropout .3, scramble 1": Setting(hide=0.3, scramble=1.0),
    "dropout .3, scramble .3": Setting(hide=0.3, scramble=0.3),
    "**dropout .3, shuffle .4**": OURS,
    "dropout .5, shuffle .5": Setting(hide=0.5, shuffle=0.5),
    "distance always hidden": Setting(hide=1.0),
    "ours, hidden units dropped .4": Setting(hide=0.3, shuffle=0.4, dropout=0.4),
    "ours, weight decay 1": Setting(hide=0.3, shuffle=0.4, weight_decay=1.0),
    "ours, input noise .3": Setting(hide=0.3, shuffle=0.4, input_noise=0.3),
    "ours, mixup .3": Setting(hide=0.3, shuffle=0.4, mixup=0.3),
    "ours, positive weight 3 for From Drone": Setting(hide=0.3, shuffle=0.4, drone_weight=3.0),
    "ours, generalised cross-entropy q .5": Setting(hide=0.3, shuffle=0.4, trimmed=0.5),
    "ours, bootstrapped labels .3": Setting(hide=0.3, shuffle=0.4, bootstrap=0.3),
    "ours, cosine schedule": Setting(hide=0.3, shuffle=0.4, cosine=True),
    "ours, batch 256": Setting(hide=0.3, shuffle=0.4, batch=256),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["training", "thresholds", "noise", "calibration"])
    parser.add_argument("--worlds", type=int, default=3, help="splits of the hard rows")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    worlds = [(*world, seed) for seed, world in enumerate(make_worlds(flags.worlds))]
    for name, experiment in (("training", training), ("thresholds", thresholds), ("noise", noise)):
        if flags.only in (None, name):
            show(name, [experiment(*world) for world in worlds])
    if flags.only in (None, "calibration"):
        clean = load(KINDS["clean"] if KINDS["clean"].is_file() else KINDS["synthetic"])
        show("calibration", [calibration(*clean, seed) for seed in range(flags.worlds)])


def make_worlds(count: int) -> list[tuple[Rows, Rows, Rows]]:
    """Train, validation and test rows, `count` times."""
    shared = KINDS["hard"].is_file()
    hard = load(KINDS["hard"] if shared else KINDS["synthetic hard"])
    test = concatenate([hard[2], *load(KINDS["clean"])]) if shared else hard[2]
    learn, worlds = concatenate(hard[:2]), [(hard[0], hard[1], test)]
    for seed in range(1, count):
        held = np.random.default_rng(seed).random(len(learn)) < len(hard[1]) / len(learn)
        worlds.append((learn[np.flatnonzero(~held)], learn[np.flatnonzero(held)], test))
    return worlds


def load(source) -> list[Rows]:
    with tempfile.TemporaryDirectory(prefix="geograph-experiments-") as folder:
        command = [sys.executable, ROOT / "prepare_dataset.py", "--source", source, "--output_dir", folder]
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=ROOT)
        return [read_parquet(dataset_files(folder, "large", split)) for split in ("train", "validation", "test")]


def concatenate(parts: list[Rows]) -> Rows:
    return Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def fit(train: Rows, validation: Rows, seed: int, setting: Setting = OURS, factor=1.0, targets=None, held_factor=1.0):
    """A model, trained with Adam 1e-3 for up to 50 epochs, patience 7 on the validation loss."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    x, _, y, w = tensors(train)
    y, w = y if targets is None else torch.from_numpy(targets).float(), w * torch.as_tensor(factor)
    held, held_weight = tensors(validation), torch.as_tensor(held_factor)
    model = GeographModel(GeographConfig(dropout=setting.dropout))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=setting.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20) if setting.cosine else None
    best, kept, waited = float("inf"), None, 0
    for _ in range(20 if setting.cosine else 50):
        model.train()
        bucket = hide_distances(train.distance, setting.hide, generator)
        far = training_targets(train.tags, train.distance)[:, CLASSES.index("Cross Far")] > 0
        bucket = scramble_cross_far(bucket, far, setting.scramble, generator)
        bucket = torch.from_numpy(shuffle_distances(bucket, setting.shuffle, generator).astype(np.int32))
        for index in torch.randperm(len(x)).split(setting.batch):
            optimizer.zero_grad()
            step_loss(model, x[index], bucket[index], y[index], w[index], setting, generator).backward()
            optimizer.step()
        if schedule:
            schedule.step()
        model.eval()
        with torch.inference_mode():
            logits = model(held[0], held[1]).logits
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, held[2], reduction="none").mean(-1)
        waited += 1
        if (score := float((loss * held[3] * held_weight).mean())) < best:
            best, waited = score, 0
            kept = {name: value.clone() for name, value in model.state_dict().items()}
        if waited == 7:
            break
    model.load_state_dict(kept)
    return model.eval()


def step_loss(model, x, bucket, y, w, setting: Setting, generator) -> torch.Tensor:
    if setting.input_noise:
        x = x + setting.input_noise * torch.randn_like(x)
    if setting.mixup:
        share, other = float(generator.beta(setting.mixup, setting.mixup)), torch.randperm(len(x))
        x, y = share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
    logits = model(x, bucket).logits
    if setting.trimmed:
        right = torch.where(y > 0.5, logits, -logits).sigmoid().clamp_min(1e-4)
        return (((1 - right**setting.trimmed) / setting.trimmed).mean(-1) * w).mean()
    if setting.bootstrap:
        y = (1 - setting.bootstrap) * y + setting.bootstrap * logits.detach().sigmoid()
    positive = torch.ones(7)
    positive[6] = setting.drone_weight
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none", pos_weight=positive)
    return (loss.mean(-1) * w).mean()


@torch.inference_mode()
def logits_of(model, rows: Rows, distance=None) -> np.ndarray:
    bucket = rows.distance if distance is None else distance
    return model(torch.from_numpy(rows.embedding), torch.from_numpy(bucket.astype(np.int32))).logits.numpy()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def macro_f1(logits: np.ndarray, targets: np.ndarray, cuts) -> tuple[float, float]:
    """Macro F1, and From Drone's."""
    f1 = f1_of(f1_parts(sigmoid(logits) >= np.asarray(cuts), targets > 0.5).sum(0))
    return float(f1.mean()), float(f1[6])


def best_cuts(logits: np.ndarray, targets: np.ndarray) -> list[float]:
    return [best_cut(sigmoid(logits)[:, c], targets[:, c] > 0.5) for c in range(7)]


def judged(model, test: Rows, cuts) -> dict[str, float]:
    targets = training_targets(test.tags, test.distance)
    logits = logits_of(model, test)
    f1, drone = macro_f1(logits, targets, cuts)
    hidden = logits_of(model, test, np.full_like(test.distance, UNKNOWN_BUCKET))
    wrong = logits_of(model, test, wrong_distances(test.distance))
    return {
        "F1": f1,
        "drone": drone,
        "hidden": macro_f1(hidden, targets, cuts)[0],
        "wrong": macro_f1(wrong, targets, cuts)[0],
        "F1 with the best cuts on the test rows": macro_f1(logits, targets, best_cuts(logits, targets))[0],
        "calibration error": calibration_error(sigmoid(logits), targets)["macro"],
    }


def targets_of(rows: Rows) -> np.ndarray:
    return training_targets(rows.tags, rows.distance)


def training(train: Rows, validation: Rows, test: Rows, seed: int) -> dict[str, dict]:
    """Each setting, thresholds from the middle of the plateau on validation."""
    found = {}
    for name, setting in cli.progress(list(TRAINING.items()), unit="setting"):
        model = fit(train, validation, seed, setting)
        cuts = tune_thresholds(sigmoid(logits_of(model, validation)), targets_of(validation), validation.weight)
        found[name] = judged(model, test, cuts)
    return found


def cross_fit(train: Rows, validation: Rows, seed: int, folds: int = FOLDS) -> tuple[np.ndarray, np.ndarray]:
    """Out-of-fold logits of the training rows, and the fold models' mean on validation."""
    place = np.random.default_rng(seed).permutation(len(train)) % folds
    unseen, held = np.zeros((len(train), 7), np.float32), 0.0
    for fold in range(folds):
        model = fit(train[np.flatnonzero(place != fold)], validation, seed + 100 + fold)
        unseen[place == fold] = logits_of(model, train[np.flatnonzero(place == fold)])
        held = held + logits_of(model, validation) / folds
    return unseen, held


def expected_f1_cuts(probability: np.ndarray) -> list[float]:
    """The cuts of highest expected F1 if the probabilities were true; no labels are looked at."""
    cuts = []
    for column in probability.T:
        ordered = -np.sort(-column)
        f1 = 2 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + ordered.sum())
        cuts.append(float(ordered[f1.argmax()]))
    return cuts


def thresholds(train: Rows, validation: Rows, test: Rows, seed: int) -> dict[str, dict]:
    """One model, many ways to set its thresholds."""
    model = fit(train, validation, seed)
    on_train, on_validation = logits_of(model, train), logits_of(model, validation)
    both = np.concatenate([targets_of(train), targets_of(validation)])
    ways = {
        "0.5": [0.5] * 7,
        "best cut on validation": best_cuts(on_validation, targets_of(validation)),
        "highest expected F1 on validation": expected_f1_cuts(sigmoid(on_validation)),
        "plateau on validation": tune_thresholds(sigmoid(on_validation), targets_of(validation)),
        "best cut on the training rows, as learnt": best_cuts(on_train, targets_of(train)),
        "plateau on training rows, as learnt, and validation": tune_thresholds(
            sigmoid(np.concatenate([on_train, on_validation])), both
        ),
    }
    for folds in (2, 3, 5):
        pooled = np.concatenate([cross_fit(train, validation, seed, folds)[0], on_validation])
        if folds == FOLDS:
            ways["best cut, out of 2 folds and validation"] = best_cuts(pooled, both)
        bold = "**" if folds == FOLDS else ""
        ways[f"{bold}plateau, out of {folds} folds and validation{bold}"] = tune_thresholds(sigmoid(pooled), both)
    keys = ("F1", "drone", "hidden", "wrong")
    return {name: {key: judged(model, test, cuts)[key] for key in keys} for name, cuts in ways.items()}


def noise(train: Rows, validation: Rows, test: Rows, seed: int) -> dict[str, dict]:
    """What to do about labels that the folds contradict; thresholds as in the default recipe."""
    unseen, held = cross_fit(train, validation, seed)
    labels, held_labels = targets_of(train), targets_of(validation)
    any_contradiction = np.where(np.abs(labels - sigmoid(unseen)).max(1) > 0.9, 0.1, 1.0).astype(np.float32)
    confident = noise_factor(sigmoid(unseen), labels), noise_factor(sigmoid(held), held_labels)
    soft = 0.5 * labels + 0.5 * sigmoid(unseen)
    ways = {
        "nothing": {},
        "any class contradicted by .9: weight .1": {"factor": any_contradiction},
        "labels and out-of-fold answers averaged": {"targets": soft},
        "out-of-fold answers alone": {"targets": sigmoid(unseen)},
        "**all classes unlikely, another sure: weight .1**": {"factor": confident[0], "held_factor": confident[1]},
    }
    found = {}
    for name, how in ways.items():
        model = fit(train, validation, seed, **how)
        on_validation = logits_of(model, validation)
        weight = validation.weight * how.get("held_factor", 1.0)
        pair = fit_calibration(*map(torch.from_numpy, (on_validation, held_labels, weight)))
        scale, bias = (value.numpy() for value in pair)
        pooled = np.concatenate([unseen, on_validation]) * scale + bias
        weights = np.append(train.weight * how.get("factor", 1.0), weight)
        cuts = tune_thresholds(sigmoid(pooled), np.concatenate([labels, held_labels]), weights)
        fold_into_last_layer(model, *pair)
        found[name] = judged(model, test, cuts)
    return found


def calibration(train: Rows, validation: Rows, test: Rows, seed: int) -> dict[str, dict]:
    """On clean rows: what a fitted scale and bias per class do to probabilities that are nearly right already."""
    model, plain = fit(train, validation, seed), fit(train, validation, seed, Setting())
    unseen, on_validation = cross_fit(train, validation, seed)[0], logits_of(model, validation)
    pooled, both = np.concatenate([unseen, on_validation]), np.concatenate([targets_of(train), targets_of(validation)])
    held = targets_of(validation)
    fits = {
        "plain loop": (plain, None, None, 0.0),
        "ours, none": (model, None, None, 0.0),
        "fitted on validation": (model, on_validation, held, 0.0),
        "fitted out of 2 folds and validation": (model, pooled, both, 0.0),
        "**fitted on validation where the likelihood ratio asks for it**": (model, on_validation, held, 9.21),
    }
    found = {}
    for name, (which, logits, targets, ratio) in fits.items():
        scale, bias = np.ones(7), np.zeros(7)
        if logits is not None:
            pair = fit_calibration(torch.from_numpy(logits), torch.from_numpy(targets), likelihood_ratio=ratio)
            scale, bias = (value.numpy() for value in pair)
        answers = logits_of(which, test) * scale + bias
        error = calibration_error(sigmoid(answers), targets_of(test))["macro"]
        found[name] = {"calibration error": error, "F1 at 0.5": macro_f1(answers, targets_of(test), [0.5] * 7)[0]}
    return found


def show(title: str, runs: list[dict[str, dict]]) -> None:
    """A Markdown table of means over the worlds, lowest in brackets."""
    columns = list(next(iter(runs[0].values())))
    print(f"\n### {title}\n\n| | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for name in runs[0]:
        cells = [[run[name][key] for run in runs] for key in columns]
        print(f"| {name} | " + " | ".join(f"{np.mean(c):.4f} ({min(c):.3f})" for c in cells) + " |", flush=True)


if __name__ == "__main__":
    cli.run(main)
