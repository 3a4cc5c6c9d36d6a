"""What is checked of a page before it is published: metadata, links, and a dataset's card against its files."""

import json
import re
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError
from geograph_types.rows.published import METADATA_KEY, SIZE_CATEGORIES, features

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
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
# Where the Hub takes some values only (or we do), the whole list.
CARD_VALUES = {
    "model": {"library_name": ("transformers",), "pipeline_tag": ("image-classification",)},
    "dataset": {"size_categories": tuple(SIZE_CATEGORIES)},
    "space": {"sdk": ("gradio",), "app_file": ("app.py",), "colorFrom": COLOURS, "colorTo": COLOURS},
}
SHORT_DESCRIPTION_LENGTH = 60

# What a card's template would leave where a value was missing.
PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\[More Information Needed\]")

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)")


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


def check_dataset(files: dict[str, Path], folder: Path, card: dict[str, Any]) -> bool:
    """One default config; each config's files are there, readable, with the features and counts that the card says.

    Returns whether any of its rows are synthetic.
    """
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
    used, synthetic = set(), False
    for where, patterns in config_files.items():
        patterns = [patterns] if isinstance(patterns, str) else patterns
        names = sorted(name for name in files if any(Path(name).match(pattern) for pattern in patterns))
        if not names:
            raise CommandError(
                f"{folder}: README.md names {patterns} for {'/'.join(where)}, and there is no such file"
            )
        found = [_rows_in(name, files[name]) for name in names]
        rows, synthetic = sum(count for count, _ in found), synthetic or any(made_up for _, made_up in found)
        if told.get(where) != rows:
            raise CommandError(
                f"{folder}/README.md: dataset_info gives {'/'.join(where)} {told.get(where)} rows, its files {rows}"
            )
        used.update(names)
    if stray := sorted(name for name in files if name.endswith(".parquet") and name not in used):
        raise CommandError(f"{stray[0]}: in no config of README.md, so that nobody would ever load it")
    return synthetic


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


def _rows_in(name: str, file: Path) -> tuple[int, bool]:
    """How many rows a file has, and whether it says that they are synthetic."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            _check_features(name, parquet)
            told = json.loads((parquet.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}"))
            return parquet.metadata.num_rows, bool(told.get("synthetic"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{name}: cannot be read as Parquet ({_first_line(error)})") from error


def _check_features(name: str, parquet) -> None:
    """The contract's columns, by the features that the file's own metadata give to `datasets`."""
    metadata = (parquet.schema_arrow.metadata or {}).get(b"huggingface")
    if metadata is None:
        raise CommandError(f"{name}: no features in its metadata; write it with prepare_dataset.py")
    found = json.loads(metadata)["info"]["features"]
    width = (found.get("embedding") or {}).get("length")
    expected = features("title" in found, *([width] if isinstance(width, int) and width > 0 else []))
    odd = [key for key in expected | found if found.get(key) != expected.get(key)]
    if odd:
        raise CommandError(f"{name}: column {odd[0]} is {found.get(odd[0])}, expected {expected.get(odd[0])}")
    if missing := sorted(found.keys() - set(parquet.schema_arrow.names)):
        raise CommandError(f"{name}: column {missing[0]} is in its features but not in the file")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
