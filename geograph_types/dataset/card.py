"""The dataset's card and its picture, counted from the very rows that were written."""

import contextlib
import importlib
from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np

from geograph_types.dataset.picture import draw_tags
from geograph_types.dataset.selection import RARE_MINIMUM, has_tag
from geograph_types.files import resource, whole_file
from geograph_types.hub.cards import as_code, as_text, fill_card
from geograph_types.rows.addresses import public_name
from geograph_types.rows.published import CONFIGS, features, size_category
from geograph_types.rows.splits import SPLITS
from names_geograph import DATASET_NAME, MODEL_NAME, PHOTO_PAGE, TAGS, VISION_MODEL
from row_geograph import NORMALISED_BELOW, look_normalised, most_look_normalised

TEMPLATE = resource("dataset_card.md")


def load_libraries() -> None:
    """Imports what the card and its picture need, so that a thread can do it beforehand; what fails is met again."""
    with contextlib.suppress(ImportError, MemoryError):
        for name in ("huggingface_hub.repocard_data", "jinja2", "PIL.ImageDraw", "PIL.ImageFont"):
            importlib.import_module(name)


def write_card(folder: Path, sources: list[str], contents, rejected: Counter, writer) -> dict[str, dict[str, int]]:
    """Writes `folder/README.md` and `folder/tags.png`; returns config → split → rows.

    Args:
        contents: a `building.Contents`. rejected: reason → rows. writer: the `DatasetWriter` that wrote the files.
    """
    rows = {
        config: {name: int((contents.chosen[config] & (contents.split == i)).sum()) for i, name in enumerate(SPLITS)}
        for config in CONFIGS
    }
    tagged = _tagged(contents)
    values = {
        "card_data": _metadata(folder, rows, writer).to_yaml(),
        "pretty_name": _pretty_name(writer.synthetic),
        "repo_id": DATASET_NAME,
        "model_name": MODEL_NAME,
        "vision_model": VISION_MODEL,
        "photo_page": PHOTO_PAGE.format("ID"),
        "synthetic": writer.synthetic,
        "with_title": writer.with_title,
        "embedding_dim": writer.embedding_dim,
        "norm": _norm(contents.norm),
        "rare_minimum": RARE_MINIMUM,
        "tag_names": ", ".join(TAGS),
        "counts_table": _counts_table(rows),
        "tags_table": _tags_table(tagged, rows),
        "sources": _sources(sources),
        "rejected": _rejected(rejected),
        "corrected": contents.corrected,
    }
    with whole_file(folder / "README.md") as file:
        file.write(fill_card(TEMPLATE, values))
    draw_tags(folder / "tags.png", tagged["large"])
    return rows


def _pretty_name(synthetic: bool) -> str:
    return "Geograph types" + (" (synthetic)" if synthetic else "")


def _norm(norm: np.ndarray) -> dict[str, float | bool]:
    """The lengths of these very vectors: the middle nine tenths, the median, and which look normalised."""
    low, median, high = np.percentile(norm, [5, 50, 95])
    return {
        "low": low,
        "median": median,
        "high": high,
        "normalised": most_look_normalised(norm),
        "short": int(look_normalised(norm).sum()),
        "limit": NORMALISED_BELOW,
    }


def _metadata(folder: Path, rows: dict, writer):
    from huggingface_hub.repocard_data import DatasetCardData  # not by way of the package, which loads all of it

    columns = _yaml_features(writer.with_title, writer.embedding_dim)
    synthetic, infos, configs = writer.synthetic, [], []
    for config in CONFIGS:
        splits, stored = [], 0
        for name, num_bytes in zip(SPLITS, writer.num_bytes[config], strict=True):
            if rows[config][name]:
                splits.append({"name": name, "num_bytes": num_bytes, "num_examples": rows[config][name]})
                stored += sum(path.stat().st_size for path in (folder / config).glob(f"{name}-*.parquet"))
        infos.append(
            {
                "config_name": config,
                "features": deepcopy(columns),  # YAML would write a shared list as an anchor
                "splits": splits,
                "download_size": stored,
                "dataset_size": sum(split["num_bytes"] for split in splits),
            }
        )
        files = [{"split": s["name"], "path": f"{config}/{s['name']}-*.parquet"} for s in splits]
        configs.append({"config_name": config, "data_files": files} | ({"default": True} if config == "small" else {}))
    return DatasetCardData(
        pretty_name=_pretty_name(synthetic),
        license="cc-by-sa-4.0",
        language=["en"],
        annotations_creators=["machine-generated"] if synthetic else ["crowdsourced", "expert-generated"],
        source_datasets=["original"],
        task_categories=["image-classification"],
        task_ids=["multi-label-image-classification"],
        size_categories=[size_category(sum(rows["large"].values()))],
        tags=["geograph", "clip", "embeddings", "multi-label", *(["synthetic"] if synthetic else [])],
        configs=configs,
        dataset_info=infos,
    )


def _yaml_features(with_title: bool, embedding_dim: int) -> list[dict]:
    """The columns as a card's `dataset_info` lists them: as `Features` would, without its long import."""
    listed = []
    for name, feature in features(with_title, embedding_dim).items():
        if feature["_type"] == "Value":
            listed.append({"name": name, "dtype": feature["dtype"]})
        elif "length" in feature:
            listed.append({"name": name, "list": feature["feature"]["dtype"], "length": feature["length"]})
        else:
            names = dict(enumerate(feature["feature"]["names"]))
            listed.append({"name": name, "list": {"class_label": {"names": {str(i): t for i, t in names.items()}}}})
    return listed


def _counts_table(rows: dict) -> str:
    lines = ["| config | " + " | ".join(SPLITS) + " | together |", "| --- |" + " ---: |" * (len(SPLITS) + 1)]
    for config, splits in rows.items():
        numbers = [*splits.values(), sum(splits.values())]
        lines.append(f"| `{config}` | " + " | ".join(f"{n:,}" for n in numbers) + " |")
    return "\n".join(lines)


def _tagged(contents) -> dict[str, np.ndarray]:
    """config → int [splits, tags]: how many rows have each tag."""
    found = {config: np.zeros((len(SPLITS), len(TAGS)), int) for config in CONFIGS}
    for column in range(len(TAGS)):
        has = has_tag(contents.tags, column)
        for config, counts in found.items():
            counts[:, column] = np.bincount(contents.split[has & contents.chosen[config]], minlength=len(SPLITS))
    return found


def _tags_table(tagged: dict[str, np.ndarray], rows: dict) -> str:
    heads = [f"{config} {name}" for config in CONFIGS for name in SPLITS]
    lines = ["| tag | share | " + " | ".join(heads) + " |", "| --- | ---: |" + " ---: |" * len(heads)]
    for column, tag in enumerate(TAGS):
        counts = [int(n) for config in CONFIGS for n in tagged[config][:, column]]
        share = tagged["large"][:, column].sum() / sum(rows["large"].values()) * 100
        lines.append(
            f"| {tag} | {share:.{1 if share >= 1 else 2}f} % | " + " | ".join(f"{n:,}" for n in counts) + " |"
        )
    return "\n".join(lines)


def _sources(sources: list[str]) -> str:
    """Names without folders (where a file lay on somebody's machine says nothing to others) and without secrets."""
    shown = []
    for source in sources:
        name = source
        if "://" in source:
            name = public_name(source)
        elif not source.startswith("synthetic:"):
            name = Path(source).name or source
        shown.append("standard input" if source == "-" else as_code(name))
    return ", ".join(shown)


def _rejected(rejected: Counter) -> str:
    if not rejected:
        return "No row was rejected."
    reasons = "; ".join(f"{number:,} × {as_text(reason)}" for reason, number in rejected.most_common())
    return f"{rejected.total():,} rows were rejected: {reasons}."
