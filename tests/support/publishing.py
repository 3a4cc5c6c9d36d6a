"""What the tests of publishing share: a small dataset folder, and `publish.py` in a fresh process."""

import base64
import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from names_geograph import TAGS
from tests.support.hub_server import HubServer

ROOT = Path(__file__).resolve().parents[2]

# Removed when the tests end.
_KEPT = tempfile.TemporaryDirectory(prefix="geograph-pushed-")

# One fresh process does command after command, since starting it takes longer than publishing.
# The client's waits between its retries are cut short; everything else is as a user has it.
DRIVER = """
import contextlib, importlib, io, json, os, sys, time
time.sleep = lambda seconds: None
from geograph_types import cli
for line in sys.stdin:
    environment, command, *arguments = json.loads(line)
    before = dict(os.environ)
    os.environ.update(environment)
    sys.argv = [f"{command}.py", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.run(importlib.import_module(command).main)
        except SystemExit as stop:
            status = stop.code
    os.environ.update(before)
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


@dataclass
class Answer:
    status: int
    out: str
    err: str


class Publisher:
    """`publish.py` and what else pushes, again and again, in one process with the given environment."""

    def __init__(self, environment: dict[str, str]):
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=environment["HF_HOME"],
            text=True,
        )

    def __call__(self, *arguments: object, **environment: str) -> Answer:
        """`publish.py ARGUMENTS…` → its exit status and what it printed."""
        return self.command("publish", *arguments, **environment)

    def command(self, command: str, *arguments: object, **environment: str) -> Answer:
        """Another command, by its name without `.py`."""
        self.process.stdin.write(json.dumps([environment, command, *map(str, arguments)]) + "\n")
        self.process.stdin.flush()
        return Answer(*json.loads(self.process.stdout.readline()))

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *_):
        self.process.communicate()
        assert self.process.returncode == 0


def hub_environment(url: str, home: Path, user: str = "test") -> dict[str, str]:
    """A fresh process's environment: this Hub, an empty cache, plain HTTP, and whose token (none for "")."""
    return os.environ | {
        "HF_ENDPOINT": url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_MODULES_CACHE": str(home / "modules"),
        "HF_TOKEN": f"hf_{user}" if user else "",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def write_rows(file: Path, rows: int = 240) -> None:
    """Source rows as people have them: JSONL with base64 vectors."""
    generator = np.random.default_rng(0)
    with file.open("w") as lines:
        for number in range(1, rows + 1):
            vector = generator.standard_normal(512).astype("<f4")
            row = {
                "gridimage_id": number,
                "types": TAGS[number % len(TAGS)],
                "distance": "16",
                "embeddings": base64.b64encode(vector.tobytes()).decode(),
            }
            lines.write(json.dumps(row) + "\n")


@dataclass
class Pushed:
    folder: Path
    hub: HubServer
    publish: Publisher


@functools.cache
def pushed() -> Pushed:
    """The whole way, once for all tests: rows prepared and pushed, a model trained on them and pushed.

    `folder` holds geograph-types and geograph-type-classifier; `hub` has both under user/.
    """
    folder = Path(_KEPT.name) / "made"
    (folder / "home").mkdir(parents=True)
    write_rows(folder / "rows.jsonl")
    hub = HubServer().__enter__()
    publish = Publisher(hub_environment(hub.url, folder / "home"))
    data, model = folder / "geograph-types", folder / "geograph-type-classifier"
    for command in (
        ("prepare_dataset", "--source", folder / "rows.jsonl", "--small", 100, "--output_dir", data,
         "--push_to_hub", "geograph-types"),
        ("train", "--dataset", data, "--num_train_epochs", 1, "--push_to_hub", "--output_dir", model),
    ):  # fmt: skip
        done = publish.command(*command)
        assert done.status == 0, done.err
    return Pushed(folder, hub, publish)


def write_dataset(folder: Path, rows: int = 6) -> Path:
    """A dataset folder as `prepare_dataset.py` lays it out, with a few random rows and one config."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    from names_geograph import TAGS

    features = Features(
        {
            "gridimage_id": Value("int64"),
            "types": List(ClassLabel(names=TAGS)),
            "distance": Value("string"),
            "distance_bucket": Value("int8"),
            "embedding": List(Value("float32"), length=512),
            "weight": Value("float32"),
        }
    )
    embeddings = np.random.default_rng(0).standard_normal((rows, 512), dtype=np.float32)
    columns = {
        "gridimage_id": range(1, rows + 1),
        "types": [[6]] * rows,
        "distance": ["16"] * rows,
        "distance_bucket": [5] * rows,
        "embedding": list(embeddings),
        "weight": [1.0] * rows,
    }
    splits = ("train", "validation", "test")
    (folder / "small").mkdir(parents=True)
    for split in splits:
        Dataset.from_dict(columns, features=features).to_parquet(folder / "small" / f"{split}-00000-of-00001.parquet")
    card = {
        "license": "cc-by-sa-4.0",
        "task_categories": ["image-classification"],
        "size_categories": ["n<1K"],
        "annotations_creators": ["crowdsourced"],
        "source_datasets": ["original"],
        "configs": [
            {
                "config_name": "small",
                "default": True,
                "data_files": [{"split": split, "path": f"small/{split}-*.parquet"} for split in splits],
            }
        ],
        "dataset_info": [
            {
                "config_name": "small",
                "features": features._to_yaml_list(),
                "splits": [{"name": split, "num_bytes": 1, "num_examples": rows} for split in splits],
                "download_size": 1,
                "dataset_size": 1,
            }
        ],
    }
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n# Rows\n")  # JSON is YAML, too
    (folder / "rejected.jsonl").write_text('{"line": 1, "reason": "no id"}\n')
    return folder


def write_model(folder: Path, *, seed: int = 0, synthetic: bool = False) -> Path:
    """A whole model repository with random weights, and a card that has what the Hub wants."""
    import torch

    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    torch.manual_seed(seed)
    save_model_repository(GeographModel(GeographConfig(synthetic=synthetic)), folder)
    card = {
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "image-classification",
        "base_model": "openai/clip-vit-base-patch32",
        "datasets": ["user/geograph-types"],
        "metrics": ["f1"],
    }
    words = "Trained on synthetic rows." if synthetic else "Random weights."
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n# Model\n\n{words}\n")
    return folder


def run_fresh(code: str, environment: dict[str, str], cwd: Path) -> str:
    """Python code in a fresh process away from this repository → what it printed; no question is answered."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={key: value for key, value in environment.items() if key != "PYTHONPATH"},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
