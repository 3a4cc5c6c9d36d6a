"""Is the default recipe better than the others, by more than chance? Trains each with several seeds and compares.

    python -m benchmarks.quality                 # some fifteen minutes on two cores
    python -m benchmarks.quality --seeds 1 --kinds synthetic

Writes docs/quality.md and docs/quality.json. Kinds of rows: the shared
clean and hard rows, where that folder exists, and what synthetic.py makes with the same two settings. "hard": a tenth
of the labels of training and validation rows are wrong, and 70 % of the drones are left out of them; the test split is
clean and whole. "Honest distance": another teacher, who listens to the distance, and distances that are right; the
last columns then say what is lost where they are not.

Each run is kept in docs/quality.runs.jsonl as soon as it is done: the same command goes on with those that are
missing, and removes the file at the end. Remove it yourself where the code has changed in between.

The plain loop is written out below: Adam 1e-3, batch 1024, 50 epochs, patience 7. The official recipes keep their
distance rules, but train on the same labels and weights as the others, so that all are judged on the same test.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from transformers import AutoModel  # here: two threads that import it at once get half of it

from configuration_geograph import GeographConfig
from geograph_types import cli
from geograph_types.evaluation.statistics import (
    calibration_error,
    conflated_distances,
    f1_of,
    f1_parts,
    shortcut_test,
    wrong_distances,
)
from geograph_types.files import ROOT, whole_file
from geograph_types.inference import probabilities_of
from geograph_types.rows.parquet import read_parquet
from geograph_types.rows.sources import dataset_files
from geograph_types.training.labels import training_targets
from modeling_geograph import GeographModel, weighted_bce

SHARED = Path(os.environ.get("GEOGRAPH_SHARED", ROOT.parent / "shared")) / "data"
KINDS = {
    "clean": SHARED / "geograph_rows.jsonl.gz",
    "hard": SHARED / "geograph_hard_rows.jsonl.gz",
    "honest distance": SHARED / "geograph_distance_rows.jsonl.gz",
    "synthetic": "synthetic:12000",
    "synthetic hard": "synthetic:12000:0:0.1:0.7",
}
SAME_LABELS = ["--cross_far_min_distance", "0", "--weights", "column"]
RECIPES = {
    "official-v1": ["--recipe", "official-v1", *SAME_LABELS],
    "official-v2.3": ["--recipe", "official-v2.3", *SAME_LABELS],
    "default": ["--recipe", "default"],
}
FIGURES = {
    "f1": "Macro F1, distances as given",
    "f1_at_half": "at 0.5",
    "f1_drone": "Drone F1",
    "calibration_error": "Calibration error",
    "distance_reliance": "Distance reliance",
    "f1_conflated": "F1, a third set to zero",
    "f1_hidden": "F1, distance hidden",
    "f1_wrong": "F1, distance wrong",
}
# F1 with changed distances is a matter of which: the mean of some draws.
DRAWS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--recipes", nargs="*", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "quality.md")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="geograph-quality-") as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        kept = Kept(flags.output.with_suffix(".runs.jsonl"))
        for kind in flags.kinds:
            if isinstance(KINDS[kind], Path) and not KINDS[kind].is_file():
                cli.say(f"{kind}: left out, no {KINDS[kind]}")
                continue
            dataset = Path(folder) / kind.replace(" ", "-")
            command("prepare_dataset.py", "--source", KINDS[kind], "--output_dir", dataset)
            found[kind] = compare(dataset, flags, pool, kept.of(kind))
            print(table(kind, found[kind]), flush=True)
    write(flags, found)
    kept.path.unlink(missing_ok=True)


class Kept:
    """The runs that are done, a line each, so that a stopped comparison goes on."""

    def __init__(self, path: Path, kind: str = ""):
        self.path, self.kind, self.lock = path, kind, Lock()
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.found = {tuple(key): value for key, value in map(json.loads, lines)}

    def of(self, kind: str) -> "Kept":
        return Kept(self.path, kind)

    def or_new(self, recipe: str, seed: int, run) -> dict:
        """What `run()` returns, or returned before."""
        key = (self.kind, recipe, seed)
        if key not in self.found:
            self.found[key] = run()
            with self.lock, self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, self.found[key]]) + "\n")
        return self.found[key]


def compare(dataset: Path, flags, pool, kept: Kept) -> dict[str, list[dict]]:
    """Recipe → figures of each seed."""
    splits = [read_parquet(dataset_files(str(dataset), "large", split)) for split in ("train", "validation", "test")]

    def run(recipe: str, seed: int) -> dict:
        return kept.or_new(recipe, seed, lambda: trained(dataset, recipe, seed, splits[2]))

    jobs = [(recipe, pool.submit(run, recipe, seed)) for recipe in flags.recipes for seed in range(flags.seeds)]
    found: dict[str, list[dict]] = {}
    for seed in range(flags.seeds):  # here, since torch's seed is one for all threads
        figures = kept.or_new("plain", seed, lambda seed=seed: plain(*splits, seed))
        for name, one in figures.items():
            found.setdefault(name, []).append(one)
    for recipe, job in cli.progress(jobs, unit="run"):
        found.setdefault(recipe, []).append(job.result())
    return found


def trained(dataset: Path, recipe: str, seed: int, test) -> dict:
    """One run of train.py, judged as it was saved, with its own thresholds."""
    with tempfile.TemporaryDirectory(prefix="geograph-run-") as folder:
        command("train.py", "--dataset", dataset, "--dataset_config", "large", "--output_dir", folder, "--seed", seed,
                "--overwrite_output_dir", "--disable_tqdm", "True", *RECIPES[recipe])  # fmt: skip
        model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
        return judge(model, test, np.array(model.config.thresholds))


def plain(train, validation, test, seed: int) -> dict[str, dict]:
    """What one would write without this project, judged at 0.5 and with the best cut on validation for each class."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = GeographModel(GeographConfig())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    (x, d, y, w), held = tensors(train), tensors(validation)
    best, patience, kept = float("inf"), 0, None
    for _ in range(50):
        model.train()
        for index in torch.randperm(len(x), generator=generator).split(1024):
            optimizer.zero_grad()
            model(x[index], d[index], y[index], w[index]).loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            loss = float(weighted_bce(model(held[0], held[1]).logits, held[2], held[3]))
        patience += 1
        if loss < best:
            best, patience, kept = loss, 0, {name: value.clone() for name, value in model.state_dict().items()}
        if patience == 7:
            break
    model.load_state_dict(kept)
    with torch.inference_mode():
        probability = model(held[0], held[1]).logits.sigmoid().numpy()
    tuned = np.array([best_cut(probability[:, c], held[2][:, c].numpy() > 0.5) for c in range(7)])
    return {"plain loop": judge(model, test, np.full(7, 0.5)), "plain loop, tuned": judge(model, test, tuned)}


def tensors(rows) -> tuple[torch.Tensor, ...]:
    targets = training_targets(rows.tags, rows.distance)
    parts = (rows.embedding, rows.distance.astype(np.int32), targets, rows.weight)
    return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)


def best_cut(probability: np.ndarray, positive: np.ndarray) -> float:
    order = np.argsort(-probability)
    hits = np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + positive.sum())
    return float(probability[order][f1.argmax()])


def judge(model, test, thresholds: np.ndarray) -> dict:
    """The columns of the table, for one model."""
    targets = training_targets(test.tags, test.distance)
    positive = targets > 0.5
    probability = probabilities_of(model, test.embedding, test.distance)
    f1 = f1_of(f1_parts(probability >= thresholds, positive).sum(0))
    shortcut = shortcut_test(model, test, targets, thresholds)

    def f1_with(change) -> float:
        found = []
        for seed in range(DRAWS):
            instead = probabilities_of(model, test.embedding, change(test.distance, seed))
            found.append(f1_of(f1_parts(instead >= thresholds, positive).sum(0)).mean())
        return float(np.mean(found))

    return {
        "f1": float(f1.mean()),
        "f1_at_half": float(f1_of(f1_parts(probability >= 0.5, positive).sum(0)).mean()),
        "f1_drone": float(f1[6]),
        "calibration_error": calibration_error(probability, targets)["macro"],
        "distance_reliance": shortcut["distance_reliance"],
        "f1_hidden": shortcut["f1_macro_hidden"],
        "f1_conflated": f1_with(conflated_distances),
        "f1_wrong": f1_with(wrong_distances),
        "thresholds": [float(t) for t in thresholds],
    }


def command(script: str, *arguments) -> None:
    """Runs one of the project's commands, as a user would.

    Raises:
        CommandError: it failed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, str(ROOT / script), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        raise cli.CommandError(f"{script} failed: {done.stderr.strip().splitlines()[-1]}")


def table(kind: str, found: dict[str, list[dict]]) -> str:
    """Markdown: median over the seeds, and in small type the lowest and highest."""
    seeds = len(next(iter(found.values())))
    lines = [f"**{kind} rows** (test split; median of {seeds} seeds, lowest to highest in brackets)", ""]
    lines += ["| recipe | " + " | ".join(FIGURES.values()) + " |", "| --- |" + " ---: |" * len(FIGURES)]
    for name, runs in found.items():
        cells = []
        for key in FIGURES:
            values = [run[key] for run in runs]
            cells.append(f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


HEAD = """# Recipes compared

Several trainings of each recipe on five kinds of rows, each judged on its test rows with its own thresholds, but for
"at 0.5". "Distance reliance" is how far the probability that moves most goes, on average, where the same photo is
given another distance; the last three columns are F1 where distances are not as given: a third of the known ones set
to zero (as where subject and photographer were given one place), all hidden, all replaced by any other. "Hard" rows
have a tenth of their training labels wrong and most drone photos left out; in the rows of "honest distance" the
distance is always right, and tells types apart that look alike. How the default came about is in
[experiments.md](experiments.md).

"""


def write(flags, found: dict) -> None:
    text = HEAD + "\n".join(table(kind, runs) for kind, runs in found.items())
    with whole_file(flags.output) as file:
        file.write(f"<!-- written by: python -m benchmarks.quality --seeds {flags.seeds} -->\n\n{text}")
    with whole_file(flags.output.with_suffix(".json")) as file:
        json.dump({"seeds": flags.seeds, "runs": found}, file, indent=1)
    cli.say(f"{flags.output}, {flags.output.with_suffix('.json')}")


if __name__ == "__main__":
    cli.run(main)
