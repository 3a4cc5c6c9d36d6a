"""The picture of docs/speed.md: each figure that has a goal, as a share of it."""

import json
from pathlib import Path

WIDEST = 2  # a bar ends at twice its goal: what is far over would make all others look alike


def draw(source: str, target: str) -> None:
    """Bars from figures as benchmarks/run.py writes them; the line at 1 is the goal, more is better."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures = json.loads(Path(source).read_text())["figures"]
    rows = slowest_help([row for found in figures.values() for row in found if row["goal"]])
    if not rows:
        return
    figure = Figure(figsize=(8, 0.6 + 0.28 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = [min(share(row), WIDEST) for row in rows]
    colours = ["#0072b2" if row["met"] else "#d55e00" for row in rows]
    places = range(len(rows) - 1, -1, -1)
    axes.barh(places, shares, color=colours, height=0.7)
    for place, row, value in zip(places, rows, shares, strict=True):
        axes.text(max(value, 1), place, f" {row['median']:.3g} {row['unit']} ({row['goal']})", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=7)
    axes.set_xlim(0, WIDEST * 1.3)
    axes.set_xticks([])
    axes.set_title("Each figure as a share of its goal (the line); longer is better", loc="left", fontsize=9)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.savefig(target, dpi=110)


def slowest_help(rows: list[dict]) -> list[dict]:
    """Of the commands' `--help` only the one that takes longest."""
    helps = [row for row in rows if "--help" in row["name"]]
    slowest = max(helps, key=lambda row: row["median"], default=None)
    return [row for row in rows if row not in helps or row is slowest]


def share(row: dict) -> float:
    sign, bound = row["goal"].split()[:2]
    return row["median"] / float(bound) if sign == "≥" else float(bound) / row["median"]
