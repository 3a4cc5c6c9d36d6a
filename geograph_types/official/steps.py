"""The steps of the official comparison: each a command of this project, done once for what it is made from."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError, say
from geograph_types.files import ROOT, sha256_of, write_json
from geograph_types.rows.sources import download, is_url

# What is done, and from what, in the output folder.
RECORD = "steps.json"
CONFIG, SPLIT = "large", "test"
DEFAULT, RECIPE, OFFICIAL = "default", "official-recipe", "official-v2.3"


@dataclass(frozen=True)
class Step:
    """One command, and the folder that it makes. `restart`: what makes it begin anew on other rows."""

    name: str
    command: tuple[str, ...]
    makes: Path
    restart: str | None = None
    inputs: tuple[str, ...] = ()  # what besides the command and the steps before tells this result from another


class Steps:
    """Does each step once: its record holds what it was made from, the steps before it included."""

    def __init__(self, output: Path):
        self.output, self.path = output, output / RECORD
        try:
            self.record: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.record = {}
        self._before: list[Any] = []

    def do(self, step: Step) -> None:
        """Raises CommandError where the command fails; the next start begins with it."""
        made_from = [*self._before, list(step.command), list(step.inputs)]
        self._before = made_from
        known = self.record.get(step.name, {})
        same = known.get("from") == made_from
        if same and known.get("done") and step.makes.exists():
            say(f"{step.name}: done already ({step.makes})")
            return
        command = list(step.command)
        if not same and step.makes.exists():
            if step.restart:
                command.append(step.restart)
            else:
                shutil.rmtree(step.makes)
        self._note(step.name, {"from": made_from, "done": False})
        say(f"{step.name}: {' '.join(command)}")
        result = subprocess.run([sys.executable, str(ROOT / command[0]), *command[1:]])
        if result.returncode < 0 or result.returncode in (130, 143):
            raise KeyboardInterrupt
        if result.returncode:
            raise CommandError(
                f"{step.name}: {command[0]} ended with status {result.returncode}; start again to go on"
            )
        self._note(step.name, {"from": made_from, "done": True})

    def _note(self, name: str, state: dict[str, Any]) -> None:
        self.record[name] = state
        write_json(self.path, self.record)


def steps_of(args, output: Path) -> list[Step]:
    """All steps in order; downloads what has an address on the way, goes on with a download that was cut off."""
    rows = download(args.rows) if is_url(args.rows) else Path(args.rows)
    dataset, report = output / "geograph-types", output / "report"
    models = {name: output / name for name in (DEFAULT, RECIPE, OFFICIAL)}
    prepare = ("prepare_dataset.py", "--source", str(rows), "--output_dir", str(dataset))
    compare = tuple(str(models[name]) for name in (RECIPE, OFFICIAL))
    return [
        Step("dataset", prepare, dataset, inputs=(sha256_of(rows),)),
        _train("default recipe", "default", dataset, models[DEFAULT], args.epochs),
        _train("official recipe", "official-v2.3", dataset, models[RECIPE], args.epochs),
        _convert(args.weights, models[OFFICIAL]),
        Step(
            "report",
            ("evaluate_model.py", "--model", str(models[DEFAULT]), "--compare", *compare, "--dataset", str(dataset),
             "--dataset_config", CONFIG, "--split", SPLIT, "--output_dir", str(report), "--update_card"),
            report,
        ),
    ]  # fmt: skip


def _train(name: str, recipe: str, dataset: Path, model: Path, epochs: float | None) -> Step:
    command = ["train.py", "--dataset", str(dataset), "--dataset_config", CONFIG, "--recipe", recipe]
    command += ["--output_dir", str(model)] + ([] if epochs is None else ["--num_train_epochs", str(epochs)])
    return Step(name, tuple(command), model, restart="--overwrite_output_dir")


def _convert(weights: str | None, model: Path) -> Step:
    if weights is None:
        return Step(
            "official weights", ("convert_checkpoint.py", "--download", "v2.3", "--output_dir", str(model)), model
        )
    path = download(weights) if is_url(weights) else Path(weights)
    command = ("convert_checkpoint.py", str(path), "--output_dir", str(model))
    return Step("official weights", command, model, inputs=(sha256_of(path),))
