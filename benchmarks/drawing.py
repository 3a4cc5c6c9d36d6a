"""The picture of docs/speed.md: each figure that has a goal, as a share of it."""

import json
from pathlib import Path


def draw(source: str, target: str) -> None:
    """Bars from figures as benchmarks/run.py writes them; the line at 1 is the goal, more is better."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figures = json.loads(Path(source).read_text())["figures"]
    rows = [row for found in figures.values() for row in found if row["goal"]]
    if not rows:
        return
    figure = Figure(figsize=(8, 0.6 + 0.28 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = [share(row) for row in rows]
    colours = ["#0072b2" if row["met"] else "#d55e00" for row in rows]
    places = range(len(rows) - 1, -1, -1)
    axes.barh(places, shares, color=colours, height=0.7)
    for place, row, value in zip(places, rows, shares, strict=True):
        axes.text(value, place, f" {row['median']:.3g} {row['unit']} ({row['goal']})", va="center", fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(places, [row["name"] for row in rows], fontsize=7)
    axes.set_xlim(0, max(*shares, 1.2) * 1.35)
    axes.set_title("Each figure against its goal (the line); longer is better", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)


def share(row: dict) -> float:
    sign, bound = row["goal"].split()[:2]
    return row["median"] / float(bound) if sign == "≥" else float(bound) / row["median"]
