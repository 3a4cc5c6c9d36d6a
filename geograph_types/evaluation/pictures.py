"""The report's pictures: each says in its title what it shows; colours that colour-blind people can tell apart."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from geograph_types.colours import COLOURS
from geograph_types.evaluation.statistics import wilson
from geograph_types.files import whole_file
from names_geograph import UNKNOWN_BUCKET

# One a class beside its colour.
DASHES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (6, 2, 1, 2))]

MARKERS = ["o", "s", "^", "D", "v"]

BUCKET_NAMES = "0 1 2 4 8 16 32 64 128 256 512 1k 2k 4k 8k 16k 33k 66k 131k 262k 524k 1M ?".split()  # noqa: SIM905


def _style(i: int) -> dict:
    """Colour and dashes of a class or a model, however many there are."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path, "wb") as file:
        figure.savefig(file, dpi=110, format="png")


def precision_recall(path: Path, curves: dict, figures: dict) -> None:
    figure = _figure(7, 4.6)
    axes = figure.subplots()
    for i, (name, at) in enumerate(figures["per_class"].items()):
        if name in curves:
            recall, precision = curves[name]
            axes.step(recall, precision, where="post", label=f"{name} ({at['average_precision']:.2f})", **_style(i))
            axes.plot(at["recall"], at["precision"], "o", color=_style(i)["color"], markersize=6)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.02)
    _tidy(axes, "Precision and recall; a dot where the threshold stands", "recall", "precision")
    axes.legend(title="class (average precision)", fontsize=8, loc="lower left", frameon=False)
    _save(figure, path)


def reliability(path: Path, bins_of: dict[str, list[dict]], errors: dict) -> None:
    """One small picture a class: predicted against observed, and how many rows stand where."""
    height = -(-(len(bins_of) + 1) // 4)
    figure = _figure(10, 2.5 * height)
    grid = figure.subplots(height, 4, sharex=True, sharey=True).ravel()
    for i, (name, bins) in enumerate(bins_of.items()):
        axes, colour = grid[i], _style(i)["color"]
        total = sum(b["n"] for b in bins)
        axes.plot([0, 1], [0, 1], color="#999", linewidth=1)
        centres = [b["predicted"] for b in bins]
        axes.bar(centres, [b["n"] / total for b in bins], width=0.05, color="#bbb", label="share of rows")
        observed = np.array([b["observed"] for b in bins])
        low, high = np.array([wilson(b["observed"], b["n"]) for b in bins]).T
        axes.vlines(centres, low, high, color=colour, linewidth=1)
        # A dot on few photos is small: it is hardly known.
        sizes = [4 + 12 * min(np.log10(b["n"]), 3) for b in bins]
        axes.scatter(centres, observed, s=sizes, color=colour, zorder=3)
        axes.set_ylim(-0.03, 1.03)
        _tidy(axes, f"{name}: error {errors['per_class'][name]:.3f}", "", "")
    for axes in grid[len(bins_of) :]:
        axes.axis("off")
    grid[len(bins_of)].text(
        0,
        0.5,
        "On the line: of photos given 0.8,\n80 % are of the class.\nAbove it: the model is too modest.\n\n"
        "Upright lines: 95 % intervals.\nSmall dots: few photos.\nGrey bars: share of photos there.",
        va="center",
        fontsize=9,
    )
    figure.supxlabel("probability that the model gives")
    figure.supylabel("share that is of the class")
    figure.suptitle("May I trust 0.8? Reliability by class", x=0.01, ha="left", fontsize=12)
    _save(figure, path)


def confusion(path: Path, shares: dict, support: dict[str, int]) -> None:
    """Of each class's rows, what is predicted and what else they are; `support`: class → rows."""
    classes = list(support)
    figure = _figure(11, 4.8)
    for axes, key, title in zip(
        figure.subplots(1, 2), ("predicted", "true"), ("What is predicted", "Its other true types"), strict=True
    ):
        values = np.array(shares[key])
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
        for i in range(len(classes)):
            for j in range(len(classes)):
                if values[i, j] >= 0.005:
                    colour = "white" if values[i, j] > 0.6 else "black"
                    axes.text(j, i, f"{100 * values[i, j]:.0f}", ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right")
        axes.set_yticks(range(len(classes)), [f"{name} ({n:,})" for name, n in support.items()])
        axes.set_title(f"{title}, % of each class (rows)", loc="left", fontsize=11)
    _save(figure, path)


def by_distance(path: Path, own: dict[str, dict], shortcut: dict[str, dict]) -> None:
    """Macro F1 over the 23 distances: of the rows that have each, and of all rows were each put in its place."""
    figure = _figure(9, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    x = np.arange(len(BUCKET_NAMES))
    offsets = np.linspace(-0.15, 0.15, len(own)) if len(own) > 1 else [0.0]
    for i, (name, found) in enumerate(own.items()):
        known = [b for b in x if found["f1_macro"][b] is not None]
        heights = [found["f1_macro"][b] for b in known]
        upper.plot(
            np.array(known) + offsets[i], heights, MARKERS[i % len(MARKERS)], color=_style(i)["color"], label=name
        )
    for i, (name, test) in enumerate(shortcut.items()):
        style = _style(i)
        lower.plot(x[:-1], test["f1_macro_by_bucket"][:-1], label=name, **style)
        lower.plot(x[-1], test["f1_macro_by_bucket"][-1], MARKERS[i % len(MARKERS)], color=style["color"])
    for axes in (upper, lower):
        axes.set_ylim(0, 1.03)
        axes.legend(fontsize=8, frameon=False, loc="lower left")
    _tidy(
        upper, "Macro F1 of the photos that have each distance (classes with 5 photos or more there)", "", "macro F1"
    )
    _tidy(lower, "Macro F1 of all photos, were each given this distance (? = not known)", "", "macro F1")
    counts = next(iter(own.values()))["n"]
    lower.set_xticks(x, [f"{b}\n{n:,}" for b, n in zip(BUCKET_NAMES, counts, strict=True)], fontsize=7)
    lower.set_xlabel("metres from; below: how many photos have it")
    _save(figure, path)


def reliance(path: Path, shortcut: dict[str, dict]) -> None:
    """How the mean probability of each class follows the distance alone, every photo staying the same."""
    figure = _figure(5.5 * len(shortcut), 4.4)
    for axes, (name, test) in zip(
        np.ravel(figure.subplots(1, len(shortcut), sharey=True)), shortcut.items(), strict=True
    ):
        values = np.array(test["mean_probability_by_bucket"])
        x = np.arange(len(BUCKET_NAMES))
        for i, label in enumerate(test["by_class"]):
            axes.plot(x[:UNKNOWN_BUCKET], values[:UNKNOWN_BUCKET, i], label=label, **_style(i))
            axes.plot(x[UNKNOWN_BUCKET], values[UNKNOWN_BUCKET, i], "s", color=_style(i)["color"], markersize=4)
        axes.set_xticks(x[::2], BUCKET_NAMES[::2], fontsize=7)
        _tidy(
            axes,
            f"{name}: reliance {test['distance_reliance']:.3f}",
            "metres put in place of each photo's own",
            "mean probability",
        )
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), 4 * len(shortcut))  # so that the legend is no wider than the picture
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    figure.suptitle("How much the model leans on the distance: flat lines are best", x=0.01, ha="left", fontsize=12)
    _save(figure, path)
