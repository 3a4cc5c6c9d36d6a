"""The dataset's card and its picture, counted from the very rows that were written."""

import importlib
from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np

from geograph_types.dataset.folder import CONFIGS, RARE_MINIMUM
from geograph_types.dataset.writer import features
from geograph_types.files import resource
from geograph_types.rows.splits import SPLITS
from names_geograph import TAGS

TEMPLATE = resource("dataset_card.md")

SIZE_CATEGORIES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"]


def load_libraries() -> None:
    """Imports what the card and its picture need, so that a thread can do it beforehand."""
    for name in ("huggingface_hub.repocard", "jinja2", "matplotlib.backends.backend_agg", "matplotlib.figure"):
        importlib.import_module(name)


def write_card(
    folder: Path,
    sources: list[str],
    tags: np.ndarray,
    split: np.ndarray,
    chosen: dict[str, np.ndarray],
    rejected: Counter,
    with_title: bool,
    synthetic: bool,
) -> dict[str, dict[str, int]]:
    """Writes `folder/README.md` and `folder/tags.png`; returns config → split → rows.

    Args:
        tags: bool [N, 8]. split: int8 [N]. chosen: config → bool [N]. rejected: reason → rows.
    """
    from huggingface_hub import DatasetCard

    rows = {
        config: {name: int((chosen[config] & (split == i)).sum()) for i, name in enumerate(SPLITS)}
        for config in CONFIGS
    }
    card = DatasetCard.from_template(
        card_data=_metadata(folder, rows, with_title, synthetic),
        template_path=str(TEMPLATE),
        pretty_name="Geograph types" + (" (synthetic)" if synthetic else ""),
        repo_id="geograph-types",
        synthetic=synthetic,
        with_title=with_title,
        rare_minimum=RARE_MINIMUM,
        tag_names=", ".join(TAGS),
        counts_table=_counts_table(rows),
        tags_table=_tags_table(tags, split, chosen),
        sources=_sources(sources),
        rejected=_rejected(rejected),
    )
    card.save(folder / "README.md")
    _draw(folder / "tags.png", tags, split)
    return rows


def _metadata(folder: Path, rows: dict, with_title: bool, synthetic: bool):
    from huggingface_hub import DatasetCardData

    columns = _yaml_features(with_title)
    total = sum(rows["large"].values())
    infos, configs = [], []
    for config in CONFIGS:
        splits, size = [], 0
        for name, number in rows[config].items():
            if number:
                size_of_split = sum(p.stat().st_size for p in (folder / config).glob(f"{name}-*.parquet"))
                splits.append({"name": name, "num_bytes": size_of_split, "num_examples": number})
                size += size_of_split
        infos.append(
            {
                "config_name": config,
                "features": deepcopy(columns),  # YAML would write a shared list as an anchor
                "splits": splits,
                "download_size": size,
                "dataset_size": size,
            }
        )
        files = [{"split": s["name"], "path": f"{config}/{s['name']}-*.parquet"} for s in splits]
        configs.append({"config_name": config, "data_files": files} | ({"default": True} if config == "small" else {}))
    return DatasetCardData(
        pretty_name="Geograph types" + (" (synthetic)" if synthetic else ""),
        license="cc-by-sa-4.0",
        language=["en"],
        annotations_creators=["machine-generated"] if synthetic else ["crowdsourced", "expert-generated"],
        source_datasets=["original"],
        task_categories=["image-classification"],
        task_ids=["multi-label-image-classification"],
        size_categories=[SIZE_CATEGORIES[min(max(len(str(total)) - 3, 0), 5)]],
        tags=["geograph", "clip", "embeddings", "multi-label", *(["synthetic"] if synthetic else [])],
        configs=configs,
        dataset_info=infos,
    )


def _yaml_features(with_title: bool) -> list[dict]:
    """The columns as a card's `dataset_info` lists them: as `Features` would, without its long import."""
    listed = []
    for name, feature in features(with_title).items():
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


def _tags_table(tags: np.ndarray, split: np.ndarray, chosen: dict[str, np.ndarray]) -> str:
    heads = [f"{config} {name}" for config in CONFIGS for name in SPLITS]
    lines = ["| tag | share | " + " | ".join(heads) + " |", "| --- | ---: |" + " ---: |" * len(heads)]
    for column, tag in enumerate(TAGS):
        has = tags[:, column]
        counts = [int((has & chosen[c] & (split == i)).sum()) for c in CONFIGS for i in range(len(SPLITS))]
        share = has.mean() * 100
        lines.append(
            f"| {tag} | {share:.{1 if share >= 1 else 2}f} % | " + " | ".join(f"{n:,}" for n in counts) + " |"
        )
    return "\n".join(lines)


def _sources(sources: list[str]) -> str:
    """Names without folders: where a file lay on somebody's machine says nothing to others."""
    names = [s if "://" in s or s.startswith("synthetic:") else Path(s).name for s in sources]
    return ", ".join("standard input" if name == "-" else f"`{name}`" for name in names)


def _rejected(rejected: Counter) -> str:
    if not rejected:
        return "No row was rejected."
    reasons = "; ".join(f"{number:,} × {reason}" for reason, number in rejected.most_common())
    return f"{rejected.total():,} rows were rejected: {reasons}."


def _draw(path: Path, tags: np.ndarray, split: np.ndarray) -> None:
    """Bars of how many rows have each tag, on a logarithmic scale: rare drones stay visible."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    order = np.argsort(-tags.sum(axis=0))
    height = 0.8 / len(SPLITS)
    for i, (name, colour) in enumerate(zip(SPLITS, ("#0072b2", "#e69f00", "#009e73"), strict=True)):
        counts = tags[split == i][:, order].sum(axis=0)
        bars = axes.barh(np.arange(len(TAGS)) + (i - 1) * height, counts, height, label=name, color=colour)
        axes.bar_label(bars, [f"{n:,}" if n else "0" for n in counts], padding=2, fontsize=7)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yticks(np.arange(len(TAGS)), [TAGS[i] for i in order])
    axes.invert_yaxis()
    axes.set_xlim(0, tags.sum(axis=0).max() * 4 + 1)
    axes.set_xlabel("rows (logarithmic)")
    axes.set_title("Rows with each tag, config large", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=110)
