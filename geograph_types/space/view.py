# ruff: noqa: E501 (markup and styles)
"""What the Space shows, as HTML and SVG: bars with thresholds, the answer over all distances, a table of many.

Plain strings in, plain strings out; everything that came from a visitor is escaped. Colours follow the page's theme,
and each picture has its text equivalent.
"""

import base64
import csv
import io
from html import escape

from grid_geograph import GridPoint, is_cross_grid, square_of
from names_geograph import UNKNOWN_BUCKET, tag_of

# Okabe and Ito (2008): told apart by colour-blind people, on light and on dark. One a class; dashes besides.
COLOURS = ["#0072b2", "#c98600", "#009e73", "#b8578f", "#2f9bd6", "#d55e00", "currentColor"]
DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 4"]

STYLE = """
.dark { --color-accent: #6cb0f0; }
.gt { line-height: 1.5; }
.gt h2 { font-size: 1.1rem; font-weight: 700; margin: 0 0 .5rem; }
:has(> .prose > .gt), :has(> .gt) { padding: 0 !important; }
#answer .gt, #plot .gt { border: 1px solid var(--border-color-primary); border-radius: .6rem; padding: 1rem 1.1rem;
  background: var(--block-background-fill); }
.gt .gt-types { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 .8rem; padding: 0; list-style: none; }
.gt .gt-types li { background: #0b5394; color: #fff; border-radius: 1rem; padding: .15rem .9rem; margin: 0; font-weight: 600; }
.gt .gt-why { margin: 0 0 1.2rem; }
.gt .gt-bars { list-style: none; margin: 0; padding: 0; }
.gt .gt-bars li { display: grid; grid-template-columns: 6.4rem 1fr 4.4rem; gap: .6rem; align-items: center; margin: .35rem 0; }
.gt-track { position: relative; height: 1.1rem; background: color-mix(in srgb, currentColor 12%, transparent);
  border-radius: .25rem; }
.gt-fill { position: absolute; inset: 0 auto 0 0; background: #7d93a8; border-radius: .25rem; }
.gt-on .gt-fill { background: #0b6fc2; } .gt-on .gt-name, .gt-on .gt-value { font-weight: 700; }
.gt-mark { position: absolute; top: -.2rem; bottom: -.2rem; width: 2px; background: currentColor; }
.gt-value { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.gt-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.gt-note, .gt-banner { border-left: .3rem solid #b45f06; padding: .5rem .9rem; margin: 0;
  background: color-mix(in srgb, #b45f06 14%, transparent); }
.gt .gt-note { margin: 0 0 1.2rem; }
.gt .gt-small { font-size: .875rem; opacity: .85; margin: .8rem 0 0; }
.gt-empty { text-align: center; padding: 3rem 1rem; opacity: .85; }
.gt-plot { width: 100%; height: auto; color: inherit; } .gt-plot text { font-size: 12px; fill: currentColor; }
.gt .gt-legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: .5rem 0 0; padding: 0; font-size: .875rem; }
.gt .gt-legend li { display: flex; align-items: center; gap: .4rem; margin: 0; }
.gt details { margin-top: .6rem; }
.gt-scroll { overflow-x: auto; }
.gt table { border-collapse: collapse; width: 100%; font-size: .9rem; }
.gt th, .gt td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
.gt td img { max-height: 4.5rem; max-width: none; border-radius: .25rem; }
.gt a { color: inherit; text-decoration: underline; }
:is(button, input, textarea, a, summary):focus-visible { outline: 3px solid #b45f06 !important; outline-offset: 2px; }
@media (max-width: 480px) {
  .gt .gt-bars li { grid-template-columns: 6rem 1fr 4rem; gap: .4rem; }
  .gt-plot text { font-size: 21px; } .gt-plot .gt-fine { display: none; }
}
"""


def distance_name(bucket: int) -> str:
    """A bucket as people say it."""
    if bucket == UNKNOWN_BUCKET:
        return "not known"
    if bucket == 0:
        return "0 m"
    metres = 2 ** (bucket - 1)
    far = "" if bucket == UNKNOWN_BUCKET - 1 else f" to {_metres(2 * metres)}"
    return f"{_metres(metres)}{far or ' and over'}"


def _metres(metres: int) -> str:
    return f"{metres:,} m" if metres < 10_000 else f"{metres / 1000:,.0f} km"


def percent(value: float) -> str:
    return "<\u00a00.1\u00a0%" if 0 < value < 0.001 else f"{100 * value:.1f}\u00a0%"


def answer(prediction: dict, thresholds: dict[str, float], bucket: int, why: str) -> str:
    """Types to submit, why (not) Cross Grid, and a bar a class."""
    chips = "".join(f"<li>{escape(name)}</li>" for name in prediction["types"])
    bars = "".join(
        _bar(name, score, thresholds[name], tag_of(name) in prediction["types"])
        for name, score in prediction["scores"].items()
    )
    where = "the distance not known" if bucket == UNKNOWN_BUCKET else f"at a distance of {distance_name(bucket)}"
    note = f'<p class="gt-note">{escape(prediction["note"])}</p>' if prediction["note"] else ""
    return (
        f'<div class="gt"><h2>Types to submit</h2><ul class="gt-types">{chips}</ul>'
        f'<p class="gt-why">{escape(why)}</p>{note}'
        f"<h2>How likely each class is, {escape(where)}</h2>"
        f'<ul class="gt-bars">{bars}</ul>'
        '<p class="gt-small">The upright line in each bar is the threshold from which the class counts.</p></div>'
    )


def _bar(name: str, score: float, threshold: float, on: bool) -> str:
    threshold_said = f"counts from {percent(threshold)}"
    return (
        f'<li class="{"gt-on" if on else ""}" title="{escape(f"{name}: {percent(score)}; {threshold_said}")}">'
        f'<span class="gt-name">{escape(name)}</span>'
        f'<span class="gt-track"><span class="gt-fill" style="width:{100 * score:.1f}%"></span>'
        f'<span class="gt-mark" style="left:{100 * threshold:.1f}%"></span></span>'
        f'<span class="gt-value">{escape(percent(score))}<span class="gt-hidden">, {escape(threshold_said)}</span></span></li>'
    )


def why_cross_grid(
    prediction: dict, subject: GridPoint | None, viewpoint: GridPoint | None, probability: float, threshold: float
) -> str:
    """One sentence: why Cross Grid was given or not, from coordinates or from the picture."""
    looks = f"{percent(probability)}, counted from {percent(threshold)}"
    said = is_cross_grid(subject, viewpoint)
    if said:
        there, here = (square_of(p) or "another grid" for p in (subject, viewpoint))
        return f"Cross Grid, because the subject stands in {there} and the photographer in {here}."
    if said is False:
        doubt = f", though it looks like a long view ({looks}); is a coordinate wrong?" if prediction["note"] else "."
        return f"Not Cross Grid, because both points are in {square_of(viewpoint)}{doubt}"
    if prediction["cross_grid"] == "model" and probability < threshold:
        return f"Cross Grid, because a long view is the likeliest, though no class reaches its threshold ({looks})."
    if prediction["cross_grid"] == "model":
        return f"Cross Grid, because the picture looks like a long view ({looks}); no coordinates say more."
    return f"Not Cross Grid: the picture does not look like a long view ({looks}), and no coordinates say otherwise."


def curves(table: list[list[float]], classes: list[str], bucket: int, given: int) -> str:
    """The answer over all 23 distances, the photo staying the same: a line a class, and the same as a table.

    Args:
        table: probability [23][7]. bucket: where the slider stands. given: the distance that the photo came with.
    """
    width, height, left, top, bottom = 660, 330, 66, 18, 40
    step = (width - left - 24) / 23

    def x(i: int) -> float:
        return left + step * (i + (0.9 if i == UNKNOWN_BUCKET else 0.2))

    def y(p: float) -> float:
        return top + (height - bottom - top) * (1 - p)

    parts = [
        f'<line x1="{left}" x2="{width}" y1="{y(p):.1f}" y2="{y(p):.1f}" stroke="currentColor" stroke-opacity=".18"/>'
        f'<text x="{left - 6}" y="{y(p) + 4:.1f}" text-anchor="end">{p:.0%}</text>'
        for p in (0, 0.25, 0.5, 0.75, 1)
    ]
    # The finer labels are left out on a phone.
    for i, name in ((0, "0 m"), (4, "8 m"), (7, "64 m"), (10, "512 m"), (13, "4 km"), (16, "33 km"), (19, "262 km"),
                    (UNKNOWN_BUCKET, "?")):  # fmt: skip
        fine = ' class="gt-fine"' if i in (4, 10, 16) else ""
        parts.append(f'<text x="{x(i):.1f}" y="{height - 12}" text-anchor="middle"{fine}>{name}</text>')
    parts.append(
        f'<rect x="{x(bucket) - step / 2:.1f}" y="{top}" width="{step:.1f}" height="{height - bottom - top}" '
        'fill="currentColor" fill-opacity=".13"/>'
    )
    for c, _ in enumerate(classes):
        points = " ".join(f"{x(i):.1f},{y(table[i][c]):.1f}" for i in range(UNKNOWN_BUCKET))
        strong = max(row[c] for row in table) >= 0.1
        style = f'stroke="{COLOURS[c]}" stroke-width="{2.4 if strong else 1}" stroke-dasharray="{DASHES[c]}"'
        parts.append(f'<polyline points="{points}" fill="none" {style} stroke-opacity="{1 if strong else 0.5}"/>')
        parts.append(
            f'<circle cx="{x(UNKNOWN_BUCKET):.1f}" cy="{y(table[UNKNOWN_BUCKET][c]):.1f}" r="4" fill="{COLOURS[c]}"/>'
        )
    best = classes[max(range(len(classes)), key=lambda c: table[bucket][c])]
    description = f"Probability of each class over 23 distances. At {distance_name(bucket)}: mostly {best}."
    legend = "".join(
        f'<li><svg width="28" height="8" aria-hidden="true"><line x1="0" x2="28" y1="4" y2="4" stroke="{COLOURS[c]}" '
        f'stroke-width="2.4" stroke-dasharray="{DASHES[c]}"/></svg> {escape(name)}</li>'
        for c, name in enumerate(classes)
    )
    return (
        f'<div class="gt"><h2>The same photo at every distance</h2><svg class="gt-plot" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(description)}">{"".join(parts)}</svg><ul class="gt-legend">{legend}</ul>'
        f'<p class="gt-small">Metres from the photographer to the subject; ? is not known. This photo came with: '
        f"{escape(distance_name(given))}.</p><details><summary>The same as a table</summary>{_table(table, classes)}"
        "</details></div>"
    )


def _table(table: list[list[float]], classes: list[str]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in classes)
    rows = "".join(
        f'<tr><th scope="row">{distance_name(i)}</th>'
        + "".join(f"<td>{escape(percent(p))}</td>" for p in row)
        + "</tr>"
        for i, row in enumerate(table)
    )
    return f'<div class="gt-scroll"><table><thead><tr><th scope="col">distance</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def many(answers: list[dict], thumbnails: list[str | None], classes: list[str]) -> str:
    """Answers as a table with thumbnails, and as a CSV to download, which is in the link itself."""
    link = "data:text/csv;charset=utf-8;base64," + base64.b64encode(csv_of(answers, classes).encode()).decode()
    rows = []
    for item, thumbnail in zip(answers, thumbnails, strict=True):
        name = escape(item["path"])
        picture = f'<img src="{thumbnail}" alt="{name}">' if thumbnail else ""
        if item["error"]:
            said, scores = f'<span class="gt-note">{escape(item["error"])}</span>', ""
        else:
            said = escape(", ".join(item["types"]))
            scores = escape("; ".join(f"{n} {percent(p)}" for n, p in list(item["scores"].items())[:3]))
        rows.append(f"<tr><td>{picture}</td><th scope='row'>{name}</th><td>{said}</td><td>{scores}</td></tr>")
    return (
        f'<div class="gt"><p><a href="{link}" download="types.csv">Download as CSV</a></p><div class="gt-scroll"><table>'
        '<thead><tr><th scope="col">photo</th><th scope="col">name</th><th scope="col">types</th>'
        f'<th scope="col">most likely</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div></div>'
    )


def csv_of(answers: list[dict], classes: list[str]) -> str:
    """The answers with the columns that predict.py writes."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["path", "types", *classes, "cross_grid", "note", "error"])
    for item in answers:
        scores = [f"{item['scores'][name]:.6f}" for name in classes] if item["scores"] else [""] * len(classes)
        writer.writerow(
            [item["path"], ",".join(item["types"]), *scores, item["cross_grid"], item["note"], item["error"]]
        )
    return file.getvalue()
