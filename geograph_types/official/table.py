"""The table that a README may show, from the report's figures alone."""

import json
from pathlib import Path

from geograph_types.files import whole_file
from geograph_types.official.steps import DEFAULT, OFFICIAL, RECIPE

NAMES = {DEFAULT: "ours, default recipe", RECIPE: "ours, official recipe", OFFICIAL: "official v2.3, converted"}


def write_table(metrics: Path, table: Path, rows: str) -> None:
    """Writes the page.

    Args:
        metrics: the report's `metrics.json`. rows: where the rows came from, for the page.
    """
    found = json.loads(metrics.read_text(encoding="utf-8"))
    models = {DEFAULT: found} | {name: found["compared_with"][name] for name in (RECIPE, OFFICIAL)}
    classes = list(found["per_class"])
    lines = [
        "| model | macro F1 | micro F1 | " + " | ".join(classes) + " |",
        "| --- | ---: | ---: |" + " ---: |" * len(classes),
        *(_line(NAMES[name], figures, classes) for name, figures in models.items()),
    ]
    synthetic = "**Synthetic rows: these figures say nothing about photos.**\n\n" if found["synthetic"] else ""
    source = "the public rows" if "development.geograph.org.uk" in rows else f"`{Path(rows).name}`"
    text = (
        f"# The official comparison\n\n{synthetic}Made by `make official` from {source}: F1 on {found['n']:,} test "
        "rows, each model with its own thresholds, all by the first model's rule for Cross Far; in brackets the 95 % "
        "interval of the macro F1. The official v2.3 may have been trained on some of these rows, as its own split is "
        "not known.\n\n" + "\n".join(lines) + "\n"
    )
    with whole_file(table) as file:
        file.write(text)


def _line(name: str, figures: dict, classes: list[str]) -> str:
    low, high = figures["intervals"]["f1_macro"]
    each = [_share(figures["per_class"][c]["f1"]) for c in classes]
    macro = f"{_share(figures['f1_macro'])} ({_share(low)} to {_share(high)})"
    return f"| {name} | {macro} | {_share(figures['f1_micro'])} | " + " | ".join(each) + " |"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}".removeprefix("0")
