"""What is checked before anything is sent to the Hub: what it would reject, show badly, or should never see."""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli import CommandError

# The card's metadata (YAML at the top of README.md) that each kind of page needs.
CARD_KEYS = {
    "model": ("license", "library_name", "pipeline_tag", "base_model", "datasets", "metrics"),
    "dataset": (
        "license",
        "task_categories",
        "size_categories",
        "annotations_creators",
        "source_datasets",
        "configs",
        "dataset_info",
    ),
    "space": ("title", "sdk", "sdk_version", "python_version", "app_file", "license", "models", "datasets"),
}
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
# Where the Hub takes some values only (or we do), the whole list.
CARD_VALUES = {
    "model": {"library_name": ("transformers",), "pipeline_tag": ("image-classification",)},
    "dataset": {"size_categories": SIZES},
    "space": {"sdk": ("gradio",), "app_file": ("app.py",), "colorFrom": COLOURS, "colorTo": COLOURS},
}
SHORT_DESCRIPTION_LENGTH = 60

PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill", ".cloudpickle"}
TEXT_SUFFIXES = {".md", ".py", ".json", ".jsonl", ".txt", ".yaml", ".yml", ".csv", ".toml", ".cfg", ".html", ".svg"}

# Kinds of secrets, by the form that their issuers gave them.
SECRETS = {
    "a Hugging Face token": r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "an API key": r"\bsk-[A-Za-z0-9_-]{32,}",
}
# A file on someone's machine: it means nothing to others, and tells them a name.
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~$}-])/(?:home|Users|root|tmp|mnt|media|opt|srv|var|work|workspace|content|kaggle)/[\w.@+-]+[^\s\"'`)<>]*"
    r"|\b[A-Za-z]:\\{1,2}[\w.-]+\\[^\s\"'`)<>]*"
    r"|file:///[^\s\"'`)<>]+"
)
# What a card's template would leave where a value was missing.
PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\[More Information Needed\]")

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)")

# Binary files tell their text at the ends: safetensors' header first, Parquet's metadata last.
BINARY_ENDS = 1 << 20

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
    {"embedding": np.zeros(config.embedding_dim, dtype="float32")})
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
        check_dataset(files, folder, card)
    else:
        check_space(files, folder)


def check_no_pickle(name: str, file: Path) -> None:
    """Loading a pickle runs whatever is in it, so none is published, whatever its name."""
    with file.open("rb") as stream:
        head = stream.read(2)
    is_pickle = file.suffix.lower() in PICKLE_SUFFIXES or (head[:1] == b"\x80" and head[1:] in b"\2\3\4\5")
    if not is_pickle and head == b"PK" and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            is_pickle = any(entry.endswith(".pkl") for entry in archive.namelist())
    if is_pickle and head:
        raise CommandError(f"{name} is a pickle, which can run code: save weights as safetensors, and remove it")


def check_no_secret(name: str, file: Path) -> None:
    """Tokens and keys anywhere; paths of this machine in text files."""
    text = "\n".join(_text_of(file))
    for kind, pattern in SECRETS.items():
        if found := re.search(pattern, text):
            raise CommandError(
                f"{name} holds {kind} ({found[0][:6]}…): take it out, and revoke it if it was ever sent"
            )
    if file.suffix.lower() in TEXT_SUFFIXES and (found := ABSOLUTE_PATH.search(text)):
        raise CommandError(f"{name} names a path of this machine ({found[0]}): nobody else has it; take it out")


def _text_of(file: Path) -> Iterator[str]:
    if file.suffix.lower() in TEXT_SUFFIXES:
        yield file.read_text(encoding="utf-8", errors="replace")
        return
    with file.open("rb") as stream:
        yield stream.read(BINARY_ENDS).decode("latin-1")
        size = file.stat().st_size
        if size > BINARY_ENDS:
            stream.seek(max(BINARY_ENDS, size - BINARY_ENDS))
            yield stream.read().decode("latin-1")


def check_card(files: dict[str, Path], repo_type: str, folder: Path) -> dict[str, Any]:
    """README.md with metadata that is complete, and no gap of its template; returns the metadata."""
    from huggingface_hub import ModelCard, RepoCard

    if "README.md" not in files:
        raise CommandError(f"{folder}: no README.md, the page that people see")
    text = files["README.md"].read_text(encoding="utf-8")
    try:
        data = RepoCard(text, ignore_metadata_errors=False).data.to_dict()
        if repo_type == "model":
            ModelCard(text, ignore_metadata_errors=False)  # reads model-index, too
    except Exception as error:  # yaml raises a different one for each way to write it wrong
        raise CommandError(f"{folder}/README.md: its metadata cannot be read ({_first_line(error)})") from error
    missing = [key for key in CARD_KEYS[repo_type] if data.get(key) in (None, "", [], {})]
    if missing:
        raise CommandError(f"{folder}/README.md: its metadata lacks {', '.join(missing)}")
    for key, allowed in CARD_VALUES[repo_type].items():
        values = data.get(key, [])
        for value in values if isinstance(values, list) else [values]:
            if value not in allowed:
                raise CommandError(f"{folder}/README.md: {key} must be {' or '.join(allowed)}, got {value!r}")
    if not isinstance(data.get("python_version", ""), str):  # YAML reads 3.10 as 3.1
        raise CommandError(f"{folder}/README.md: python_version must stand in quotes")
    if len(data.get("short_description", "")) > SHORT_DESCRIPTION_LENGTH:
        raise CommandError(f"{folder}/README.md: short_description is over {SHORT_DESCRIPTION_LENGTH} characters")
    for link in LINK.findall(FENCE.sub("", text)):
        if not re.match(r"[a-z]+:|#", link) and link.removeprefix("./").split("#")[0] not in files:
            raise CommandError(f"{folder}/README.md links to {link}, which is not in the folder")
    if gap := PLACEHOLDER.search(text):
        raise CommandError(f"{folder}/README.md: {gap[0]!r} was never filled in")
    return data


def check_model(files: dict[str, Path], folder: Path, card: dict[str, Any], *, allow_synthetic: bool) -> None:
    """Config, weights and travelling files are all there and load in a fresh process; nothing made-up by accident."""
    from repository import TRAVELLING_FILES

    absent = [name for name in ("config.json", "model.safetensors", *TRAVELLING_FILES) if name not in files]
    if absent:
        raise CommandError(f"{folder} is no whole model repository: it lacks {', '.join(absent)}")
    config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    for key in ("auto_map", "custom_pipelines"):
        if not config.get(key):
            raise CommandError(f"{folder}/config.json lacks {key}, so that Auto classes would not find the code")
    tower = str(config.get("vision_model", ""))
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", tower) or Path(tower).is_dir():
        raise CommandError(f"{folder}/config.json: vision_model is {tower!r}, a folder that nobody else has")
    if config.get("synthetic"):
        if not allow_synthetic:
            raise CommandError(
                f"{folder}: this model was trained on synthetic rows, so its types mean nothing; train it on the "
                "official ones, or say --allow_synthetic"
            )
        if "synthetic" not in files["README.md"].read_text(encoding="utf-8").lower():
            raise CommandError(f"{folder}/README.md must say that the model was trained on synthetic rows")
    if "train_results.json" in files and not card.get("model-index"):
        raise CommandError(f"{folder}/README.md: its metadata lacks model-index, the results of a model trained here")
    with tempfile.TemporaryDirectory(prefix="geograph-check-") as stage:
        for name, file in files.items():
            (Path(stage) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(stage) / name).symlink_to(file.resolve())
        run_fresh(LOAD_MODEL, stage, where=str(folder))


def run_fresh(code: str, *args: str, where: str, cwd: str | None = None) -> None:
    """Runs Python code in a fresh process that knows neither this repository's files nor any cache."""
    with tempfile.TemporaryDirectory(prefix="geograph-fresh-") as scratch:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_TOKEN")}
        environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": scratch, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            cwd=cwd or scratch,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise CommandError(f"{where} does not load in a fresh process: {lines[-1]}")


def check_dataset(files: dict[str, Path], folder: Path, card: dict[str, Any]) -> None:
    """One default config; each config's files are there, readable, with the features and counts that the card says."""
    try:
        told = _rows_told(card)
        config_files = {
            (config["config_name"], entry["split"]): entry["path"]
            for config in card["configs"]
            for entry in config["data_files"]
        }
        defaults = [config["config_name"] for config in card["configs"] if config.get("default")]
    except (KeyError, TypeError) as error:
        raise CommandError(f"{folder}/README.md: configs or dataset_info is malformed or lacks {error}") from error
    if len(defaults) != 1:
        raise CommandError(f"{folder}/README.md: one config must be the default, got {defaults}")
    used: set[str] = set()
    for where, patterns in config_files.items():
        patterns = [patterns] if isinstance(patterns, str) else patterns
        names = sorted(name for name in files if any(Path(name).match(pattern) for pattern in patterns))
        if not names:
            raise CommandError(
                f"{folder}: README.md names {patterns} for {'/'.join(where)}, and there is no such file"
            )
        rows = sum(_rows_in(name, files[name]) for name in names)
        if told.get(where) != rows:
            raise CommandError(
                f"{folder}/README.md: dataset_info gives {'/'.join(where)} {told.get(where)} rows, its files {rows}"
            )
        used.update(names)
    if stray := sorted(name for name in files if name.endswith(".parquet") and name not in used):
        raise CommandError(f"{stray[0]}: in no config of README.md, so that nobody would ever load it")


def _rows_told(card: dict[str, Any]) -> dict[tuple[str, str], int]:
    """(config, split) → rows, as `dataset_info` gives them; the viewer wants every key that is asked for here."""
    infos = card["dataset_info"] if isinstance(card["dataset_info"], list) else [card["dataset_info"]]
    told = {}
    for info in infos:
        _ = info["features"], info["download_size"], info["dataset_size"]
        for split in info["splits"]:
            _ = split["num_bytes"]
            told[info["config_name"], split["name"]] = split["num_examples"]
    return told


def _rows_in(name: str, file: Path) -> int:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            _check_features(name, parquet)
            return parquet.metadata.num_rows
    except (OSError, ValueError) as error:
        raise CommandError(f"{name}: cannot be read as Parquet ({_first_line(error)})") from error


def _check_features(name: str, parquet) -> None:
    """The contract's columns, by the features that the file's own metadata give to `datasets`."""
    from configuration_geograph import TAGS

    metadata = (parquet.schema_arrow.metadata or {}).get(b"huggingface")
    if metadata is None:
        raise CommandError(f"{name}: no features in its metadata; write it with prepare_dataset.py")
    expected = {
        "gridimage_id": {"dtype": "int64", "_type": "Value"},
        "types": {"feature": {"names": TAGS, "_type": "ClassLabel"}, "_type": "List"},
        "distance": {"dtype": "string", "_type": "Value"},
        "distance_bucket": {"dtype": "int8", "_type": "Value"},
        "embedding": {"feature": {"dtype": "float32", "_type": "Value"}, "length": 512, "_type": "List"},
        "weight": {"dtype": "float32", "_type": "Value"},
        "title": {"dtype": "string", "_type": "Value"},
    }
    found = json.loads(metadata)["info"]["features"]
    odd = [key for key in expected | found if found.get(key) != expected.get(key) and (key != "title" or key in found)]
    if odd:
        raise CommandError(f"{name}: column {odd[0]} is {found.get(odd[0])}, expected {expected.get(odd[0])}")
    if missing := sorted(found.keys() - set(parquet.schema_arrow.names)):
        raise CommandError(f"{name}: column {missing[0]} is in its features but not in the file")


def check_space(files: dict[str, Path], folder: Path) -> None:
    """The page's program is there with what it needs, and is imported from those files alone."""
    absent = [name for name in ("app.py", "requirements.txt") if name not in files]
    if absent:
        raise CommandError(f"{folder} is no whole Space: it lacks {', '.join(absent)}")
    run_fresh("import app", where=str(folder), cwd=str(folder))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
