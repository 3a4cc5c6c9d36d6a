# ruff: noqa: E501 (markup)
"""What the Space shows for one photo, as HTML and SVG: its types and why, bars with thresholds, every distance.

Plain values in, strings out; everything that came from a visitor is escaped. Colours are the stylesheet's, each line
has dashes and a mark of its own besides, and each picture has its text equivalent.
"""

import json
from html import escape

from geograph_types.space.asking import Question
from grid_geograph import GridPoint, format_grid_ref, is_cross_grid, square_of
from names_geograph import NUM_DISTANCE_BUCKETS, UNKNOWN_BUCKET, tag_of

LONG_VIEW = "looks like a long view"  # of the pipeline's note
DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 4", "6 2 1 2"]
# One a class, drawn around 0, 0.
MARKS = [
    '<circle r="4.5"/>',
    '<rect x="-4" y="-4" width="8" height="8"/>',
    '<path d="M0-5.5 5 4H-5Z"/>',
    '<path d="M0-6 5.5 0 0 6-5.5 0Z"/>',
    '<path d="M0 5.5 5-4H-5Z"/>',
    '<path d="M-5-2h3v-3h4v3h3v4h-3v3h-4v-3h-3Z"/>',
    '<path d="M-6 0h12" stroke-width="3"/>',
    '<path d="M0-6v12" stroke-width="3"/>',
]
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 660, 330, 66, 18, 40
STEP = (WIDTH - LEFT - 24) / NUM_DISTANCE_BUCKETS

MEANINGS = {
    "Geograph": "shows what the square is like",
    "Cross Grid": "taken from one grid square, looking into another",
    "Close Look": "a detail, seen from near",
    "Inside": "taken indoors",
    "Extra": "anything else that is worth keeping",
    "Aerial": "taken from an aircraft, or another thing that flies",
    "From Drone": "taken from a drone",
    "From Above": "looking down from a high place",
}


def distance_name(bucket: int) -> str:
    """A bucket as people say it."""
    if bucket == UNKNOWN_BUCKET:
        return "not known"
    if bucket == 0:
        return "less than 1 m"
    metres = 2 ** (bucket - 1)
    low, high = _metres(metres), _metres(2 * metres)
    if bucket == UNKNOWN_BUCKET - 1:
        return f"{low} and over"
    unit = low.split()[-1]
    return f"{low.removesuffix(f' {unit}') if high.endswith(f' {unit}') else low} to {high}"


def _metres(metres: int) -> str:
    return f"{metres:,} m" if metres < 10_000 else f"{metres / 1000:,.0f} km"


def percent(value: float) -> str:
    if 0 < value < 0.001:
        return "<\u00a00.1\u00a0%"
    return f"{100 * value:.1f}\u00a0%" if value < 0.9995 or value == 1 else ">\u00a099.9\u00a0%"


def types_panel(prediction: dict, question: Question, thresholds: dict[str, float], name: str = "") -> str:
    """The types to submit, why (not) Cross Grid, what contradicts itself, and what the answer rests on."""
    chips = "".join(f"<li>{escape(tag)}</li>" for tag in prediction["types"])
    notes = "".join(
        f'<p class="gt-note">{escape(note[:1].upper() + note[1:])}.</p>'
        for note in (prediction["note"] or "").split("; ")
        if note and LONG_VIEW not in note  # which `why` says
    )
    why = why_cross_grid(prediction, question.subject, question.viewpoint, thresholds)
    of = f' <span class="gt-of">for {escape(name)}</span>' if name else ""
    return (
        f'<div class="gt gt-card"><h2>Types to submit{of}</h2><ul class="gt-types">{chips}</ul>'
        f'<p class="gt-why">{escape(why)}</p>{notes}<p class="gt-small">{escape(basis(question))}</p></div>'
    )


def basis(question: Question) -> str:
    """What the answer rests on, in words: the distance, and where the viewpoint comes from."""
    from_points = question.distance is None and question.bucket != UNKNOWN_BUCKET
    said = f"Distance: {distance_name(question.bucket)}{', between the two points' if from_points else ''}."
    if question.gps is not None:
        said += f" Photographer: {format_grid_ref(question.gps)}, from the photo's GPS tag."
    return said


def details_panel(predictions: list[dict], thresholds: dict[str, float], bucket: int, own: dict) -> str:
    """Bars, a slider over the distances, and the answer over all of them.

    Args:
        predictions: [23], one a distance. bucket: the question's own. own: its prediction.
    """
    names = [distance_name(i) for i in range(NUM_DISTANCE_BUCKETS)]
    panels = "".join(
        f'<div class="gt-at" data-bucket="{i}"{"" if i == bucket else " hidden"}>{at_distance(p, thresholds, i, i == bucket)}</div>'
        for i, p in enumerate(predictions)
    )
    cross_far = "Cross Far" in thresholds
    far = (
        "Cross Far is the model's name for a long view into another square; it is submitted as Cross Grid. "
        if cross_far
        else ""
    )
    if own["cross_grid"] == "geometry":
        far += "Cross Grid comes from the coordinates here; its bar still shows what the model sees in the picture. "
    return (
        f'<div class="gt gt-card" data-own="{bucket}">{panels}'
        f'<p class="gt-small">{far}The upright line in each bar is the threshold from which the class counts.</p>'
        '<div class="gt-slider"><label for="gt-distance">What if the distance were another?</label> '
        f'<output id="gt-distance-said" for="gt-distance">{escape(names[bucket])}</output>'
        f'<input type="range" id="gt-distance" min="0" max="{UNKNOWN_BUCKET}" step="1" value="{bucket}" '
        f'aria-valuetext="{escape(names[bucket])}" data-names="{escape(json.dumps(names))}">'
        '<div class="gt-ends" aria-hidden="true"><span>0 m</span><span>1 km</span><span>not known</span></div>'
        '<button type="button" class="gt-back" hidden>Back to this photo\'s own distance</button></div>'
        f"{curves(predictions, list(thresholds), bucket)}</div>"
    )


def at_distance(prediction: dict, thresholds: dict[str, float], bucket: int, own: bool) -> str:
    """Bars at one distance; where it is not the photo's own, which types it would have."""
    where = "the distance not known" if bucket == UNKNOWN_BUCKET else f"at {distance_name(bucket)}"
    chosen = set(prediction["types"])
    bars = "".join(
        _bar(name, score, thresholds[name], tag_of(name) in chosen) for name, score in prediction["scores"].items()
    )
    if_so = (
        "" if own else f'<p class="gt-if">Only if: the types would be {escape(", ".join(prediction["types"]))}.</p>'
    )
    return f'<h2>How likely each class is, {escape(where)}</h2>{if_so}<ul class="gt-bars">{bars}</ul>'


def _bar(name: str, score: float, threshold: float, on: bool) -> str:
    needed = f"counts from {percent(threshold)}"
    return (
        f'<li class="{"gt-on" if on else ""}"><span class="gt-name">{escape(name)}</span>'
        f'<span class="gt-track" title="{escape(needed)}"><span class="gt-fill" style="width:{100 * score:.1f}%"></span>'
        f'<span class="gt-mark" style="left:{100 * threshold:.1f}%"></span></span>'
        f'<span class="gt-value">{escape(percent(score))}<span class="gt-hidden">, {escape(needed)}</span></span></li>'
    )


def why_cross_grid(
    prediction: dict, subject: GridPoint | None, viewpoint: GridPoint | None, thresholds: dict[str, float]
) -> str:
    """One sentence: why Cross Grid was given or not, from coordinates or from the picture."""
    if "Cross Far" not in thresholds:
        return ""
    probability, threshold = prediction["scores"]["Cross Far"], thresholds["Cross Far"]
    said = is_cross_grid(subject, viewpoint)
    if said:
        of_subject, of_viewpoint = (square_of(p) or "another grid" for p in (subject, viewpoint))
        return f"Cross Grid, because the subject stands in {of_subject} and the photographer in {of_viewpoint}."
    looks = f"the model gives a long view {percent(probability)}, and it counts from {percent(threshold)}"
    if said is False:
        if LONG_VIEW in (prediction["note"] or ""):
            return f"Not Cross Grid, because both points are in {square_of(viewpoint)}; but {looks}. Is a place wrong?"
        return f"Not Cross Grid, because both points are in {square_of(viewpoint)}."
    if prediction["cross_grid"] == "model" and probability < threshold:
        return f"Cross Grid, because a long view is the likeliest, though no class reaches its threshold: {looks}."
    if prediction["cross_grid"] == "model":
        return f"Cross Grid, because the picture looks like a long view: {looks}. No coordinates say more."
    return f"Not Cross Grid: the picture does not look like a long view ({looks}), and no coordinates say otherwise."


def curves(predictions: list[dict], classes: list[str], bucket: int) -> str:
    """The answer over all distances, the photo staying the same: a line a class, and the same as a table."""
    table = [[p["scores"][name] for name in classes] for p in predictions]
    best = classes[max(range(len(classes)), key=lambda c: table[bucket][c])]
    description = f"Probability of each class over {len(table)} distances. At {distance_name(bucket)}: mostly {best}."
    lines = "".join(_line([row[c] for row in table], c) for c in range(len(classes)))
    band = (
        f'<rect class="gt-band" x="{_x(bucket) - STEP / 2:.1f}" y="{TOP}" width="{STEP:.1f}" height="{HEIGHT - BOTTOM - TOP}" '
        'fill="currentColor" fill-opacity=".13"/>'
    )
    legend = "".join(
        f'<li class="gt-c{c % 8}"><svg width="36" height="14" aria-hidden="true"><line x1="0" x2="36" y1="7" y2="7" '
        f'stroke-width="2.4" stroke-dasharray="{DASHES[c % 8]}"/>{_mark(18, 7, c)}</svg> <span>{escape(name)}</span></li>'
        for c, name in enumerate(classes)
    )
    return (
        f'<h2>The same photo at every distance</h2><svg class="gt-plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'data-step="{STEP:.4f}" aria-label="{escape(description)}">{_axes()}{band}{lines}</svg><ul class="gt-legend">{legend}</ul>'
        '<p class="gt-small">From the photographer to the subject; “?”: not known.</p>'
        f"<details><summary>The same as a table</summary>{_table(table, classes)}</details>"
    )


def _x(bucket: int) -> float:
    return LEFT + STEP * (bucket + (0.9 if bucket == UNKNOWN_BUCKET else 0.2))


def _y(probability: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - probability)


def _axes() -> str:
    parts = [
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{_y(p):.1f}" y2="{_y(p):.1f}" stroke="currentColor" stroke-opacity=".18"/>'
        f'<text x="{LEFT - 6}" y="{_y(p) + 4:.1f}" text-anchor="end">{p:.0%}</text>'
        for p in (0, 0.25, 0.5, 0.75, 1)
    ]
    names = (
        (0, "0 m"),
        (4, "8 m"),
        (7, "64 m"),
        (10, "512 m"),
        (13, "4 km"),
        (16, "33 km"),
        (19, "262 km"),
        (UNKNOWN_BUCKET, "?"),
    )
    for i, name in names:
        fine = ' class="gt-fine"' if i in (4, 10, 16) else ""  # left out on a phone
        parts.append(f'<text x="{_x(i):.1f}" y="{HEIGHT - 12}" text-anchor="middle"{fine}>{name}</text>')
    return "".join(parts)


def _line(values: list[float], c: int) -> str:
    """One class over the distances; a mark every fifth one, and at "not known"."""
    points = " ".join(f"{_x(i):.1f},{_y(p):.1f}" for i, p in enumerate(values[:UNKNOWN_BUCKET]))
    strong = max(values) >= 0.1
    marks = "".join(
        _mark(_x(i), _y(values[i]), c) for i in (*range(c % 5, UNKNOWN_BUCKET, 5), UNKNOWN_BUCKET) if strong
    )
    return (
        f'<g class="gt-c{c % 8}"><polyline points="{points}" style="fill:none" stroke-width="{2.4 if strong else 1.2}" '
        f'stroke-dasharray="{DASHES[c % 8]}"/>{marks}</g>'
    )


def _mark(x: float, y: float, c: int) -> str:
    return f'<g transform="translate({x:.1f} {y:.1f})">{MARKS[c % 8]}</g>'


def _table(table: list[list[float]], classes: list[str]) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in classes)
    rows = "".join(
        f'<tr><th scope="row">{distance_name(i)}</th>'
        + "".join(f"<td>{escape(percent(p))}</td>" for p in row)
        + "</tr>"
        for i, row in enumerate(table)
    )
    return (
        '<div class="gt-scroll" tabindex="0" role="region" aria-label="Probabilities at every distance"><table><thead><tr>'
        f'<th scope="col">distance</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def meanings(classes: list[str]) -> str:
    """The types that this model knows, each in a few words."""
    tags = [tag for tag in MEANINGS if tag in {tag_of(name) for name in classes}]
    rest = [tag_of(name) for name in classes if tag_of(name) not in MEANINGS]
    items = "".join(f"<li><strong>{escape(t)}</strong>: {escape(MEANINGS[t])}</li>" for t in tags)
    return f'<ul class="gt-meanings">{items}{"".join(f"<li><strong>{escape(t)}</strong></li>" for t in rest)}</ul>'
