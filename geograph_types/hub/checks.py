"""What is checked before anything is sent to the Hub: what it would reject, show badly, or should never see."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError
from geograph_types.files import temporary_folder
from geograph_types.hub.card_checks import check_card, check_dataset
from geograph_types.hub.pickles import is_pickle
from geograph_types.hub.secrets import find_path, find_secret

LOAD_MODEL = """
import sys
import numpy as np
from transformers import AutoConfig, AutoModel, pipeline
folder = sys.argv[1]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model, report = AutoModel.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
odd = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
if odd:
    sys.exit(f"ValueError: the weights do not fit the model: {odd}")
if not all(p.isfinite().all() for p in model.parameters()):
    sys.exit("ValueError: a weight is not a finite number")
answer = pipeline("geograph-types", model=folder, trust_remote_code=True)(
    {"embedding": np.ones(config.embedding_dim, dtype="float32")})
if not answer["types"]:
    sys.exit("ValueError: the pipeline gives no types")
"""


def check(files: dict[str, Path], repo_type: str, folder: Path, *, allow_synthetic: bool = False) -> None:
    """Everything below for one kind of repository.

    Args:
        files: path in the repository → file.
        folder: named in messages.

    Raises:
        CommandError: the first thing that is wrong, which file, and what to do.
    """
    for name, file in files.items():
        check_no_pickle(name, file)
        check_no_secret(name, file)
    card = check_card(files, repo_type, folder)
    if repo_type == "model":
        check_model(files, folder, card, allow_synthetic=allow_synthetic)
    elif repo_type == "dataset":
        if check_dataset(files, folder, card):
            refuse_synthetic(f"{folder}: this dataset holds", allow_synthetic)
            if "synthetic" not in files["README.md"].read_text(encoding="utf-8").lower():
                raise CommandError(f"{folder}/README.md must say that rows are synthetic")
    else:
        check_space(files, folder, allow_synthetic=allow_synthetic)


def check_no_pickle(name: str, file: Path) -> None:
    """Loading a pickle runs whatever is in it."""
    if is_pickle(file):
        raise CommandError(f"{name} is a pickle, which can run code: save weights as safetensors, and remove it")


def check_no_secret(name: str, file: Path) -> None:
    """Tokens, keys and passwords anywhere; paths of this machine in text."""
    if found := find_secret(file):
        kind, start = found
        raise CommandError(f"{name} holds {kind} ({start}…): take it out, and revoke it if it was ever sent")
    if path := find_path(file):
        raise CommandError(f"{name} names a path of this machine ({path}): nobody else has it; take it out")


def refuse_synthetic(what: str, allow_synthetic: bool) -> None:
    """The same rule for a model, a dataset and a Space: what is made up is published only where that is said."""
    if not allow_synthetic:
        raise CommandError(
            f"{what} synthetic rows, so it says nothing about photos; use the official ones, or say --allow_synthetic"
        )


def check_model(files: dict[str, Path], folder: Path, card: dict[str, Any], *, allow_synthetic: bool) -> None:
    """A whole model repository that loads, and nothing made-up by accident."""
    config = check_model_files(files, str(folder))
    tower = str(config.get("vision_model", ""))
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", tower) or Path(tower).is_dir():
        raise CommandError(f"{folder}/config.json: vision_model is {tower!r}, a folder that nobody else has")
    if config.get("synthetic"):
        refuse_synthetic(f"{folder}: this model was trained on", allow_synthetic)
        if "synthetic" not in files["README.md"].read_text(encoding="utf-8").lower():
            raise CommandError(f"{folder}/README.md must say that the model was trained on synthetic rows")
    if "train_results.json" in files and not card.get("model-index"):
        raise CommandError(f"{folder}/README.md: its metadata lacks model-index, the results of a model trained here")
    check_model_loads(files, str(folder))


def check_model_files(files: dict[str, Path], where: str) -> dict[str, Any]:
    """Config, weights and travelling files are all there; returns the config."""
    from geograph_types.hub.model_folder import TRAVELLING_FILES

    absent = [name for name in ("config.json", "model.safetensors", *TRAVELLING_FILES) if name not in files]
    if absent:
        raise CommandError(f"{where} is no whole model repository: it lacks {', '.join(absent)}")
    config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    for key in ("auto_map", "custom_pipelines"):
        if not config.get(key):
            raise CommandError(f"{where}/config.json lacks {key}, so that Auto classes would not find the code")
    return config


def check_model_loads(files: dict[str, Path], where: str) -> None:
    """Just these files make a model and a pipeline that answers, in a fresh process."""
    with temporary_folder("check") as stage:
        for name, file in files.items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).symlink_to(file.resolve())
        run_fresh(LOAD_MODEL, str(stage), where=where)


def run_fresh(code: str, *args: str, where: str, cwd: str | None = None) -> None:
    """Runs Python code in a fresh process that knows neither this repository's files nor any cache."""
    with temporary_folder("fresh") as scratch:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_TOKEN")}
        environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            cwd=cwd or scratch,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        # Of errors that caused one another, the first tells the reason.
        reasons = re.findall(r"^[\w.]*Error: .*", done.stderr, re.MULTILINE)
        reason = (reasons or done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"])[0]
        for folder in args:  # a temporary one, which says nothing to anybody
            reason = reason.replace(folder, where)
        raise CommandError(f"{where} does not load in a fresh process: {reason}")


def check_space(files: dict[str, Path], folder: Path, *, allow_synthetic: bool) -> None:
    """The page's program and the model that travels with it load from these files alone."""
    absent = [name for name in ("app.py", "requirements.txt") if name not in files]
    if absent:
        raise CommandError(f"{folder} is no whole Space: it lacks {', '.join(absent)}")
    model = {name.removeprefix("model/"): file for name, file in files.items() if name.startswith("model/")}
    if model:
        if check_model_files(model, "model").get("synthetic"):
            refuse_synthetic("model: the Space's model was trained on", allow_synthetic)
        check_model_loads(model, "model")
    run_fresh("import app", where="app.py", cwd=str(folder))
