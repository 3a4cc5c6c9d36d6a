"""`report.html`, which opens without a network, and `report.md`, a section for the model's card; both from metrics."""

import base64
import re
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.files import whole_file

TEMPLATES = Path(__file__).resolve().parent / "templates"
# Where the report stands in a model's card.
START, END, BEFORE = "<!-- evaluation -->", "<!-- end of evaluation -->", "\n## Beware\n"
# Below it, an interval of a share near 0.8 is wider than ± 0.08: too wide for a plain yes.
FEW_ANSWERS = 100
PICTURES = {
    "reliability.png": "For each class, predicted probability against the share of photos that are of the class",
    "precision_recall.png": "Precision against recall, a curve a class",
    "confusion.png": "Two tables: for the photos of each class, what is predicted and what else they truly are",
    "by_distance.png": "Macro F1 for each of the 23 distances",
    "distance_reliance.png": "Mean probability of each class as the distance alone changes",
}


def write_reports(output: Path, metrics: dict) -> None:
    """Writes both into `output`, where the pictures already are."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "signed": signed, "span": span}
    pictures = {
        name: {"alt": alt, "data": base64.b64encode((output / name).read_bytes()).decode()}
        for name, alt in PICTURES.items()
    }
    values = {
        "m": metrics,
        "verdicts": verdicts(metrics),
        "weakest": weakest(metrics),
        "around": answers_around(metrics),
    }
    values["other_rules"] = other_rules(metrics)
    for name in ("report.html", "report.md"):
        with whole_file(output / name) as file:
            file.write(environment.get_template(name).render(pictures=pictures, **values).strip() + "\n")


def update_card(model: Path, output: Path) -> None:
    """Puts `report.md` and its two telling pictures into the card of a model folder, in place of an earlier report.

    Raises:
        CommandError: the folder has no card, or one without the section Beware, before which the report goes.
    """
    card = model / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    text = re.sub(f"{START}.*?{END}\n+", "", text, flags=re.DOTALL)
    if text.count(BEFORE) != 1:
        raise CommandError(f"{card}: no card with one section {BEFORE.strip()!r} to put the report before")
    parts = [START, (output / "report.md").read_text(encoding="utf-8").strip()]
    for name in ("reliability.png", "distance_reliance.png"):
        with whole_file(model / name, "wb") as file:
            file.write((output / name).read_bytes())
        parts.append(f"![{PICTURES[name]}]({name})")
    section = "\n\n".join([*parts, END]) + "\n"
    with whole_file(card) as file:
        file.write(text.replace(BEFORE, f"\n{section}{BEFORE}"))


def share(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def span(pair: list[float] | None, digits: int = 3) -> str:
    """An interval as "0.812 to 0.854"."""
    return "–" if pair is None else f"{pair[0]:.{digits}f} to {pair[1]:.{digits}f}".replace("-", "−")


def verdicts(metrics: dict) -> list[dict]:
    """Is it better, by how much, and is that sure? One sentence a comparison."""
    sentences = []
    for name, other in metrics["compared_with"].items():
        difference = other["ours_minus_this"]["f1_macro"]
        if difference["sure"] is False:
            what = "no clear difference to"
        else:  # sure, or no interval was asked for
            what = "better than" if difference["difference"] > 0 else "worse than"
        sentences.append({"name": name, "what": what, **difference})
    return sentences


def weakest(metrics: dict) -> list[tuple[str, dict, list[float]]]:
    """The three classes with the lowest F1, and their intervals."""
    classes = sorted(metrics["per_class"].items(), key=lambda item: item[1]["f1"])[:3]
    return [(name, f, metrics["intervals"]["per_class"][name]["f1"]) for name, f in classes]


def answers_around(metrics: dict) -> dict:
    """Answers around 0.8, with `verdict`: honest where the interval holds their mean, else too modest or too sure."""
    found = metrics["answers_around_0.8"]
    if not found["n"]:
        return found | {"verdict": None}
    low, high = found["interval"]
    verdict = "Yes" if found["n"] >= FEW_ANSWERS else "Nothing speaks against it, but the answers are few"
    if found["predicted"] < low:
        verdict = "Yes, and more: it is too modest"
    elif found["predicted"] > high:
        verdict = "No: it is too sure of itself"
    return found | {"verdict": verdict}


def other_rules(metrics: dict) -> dict[str, dict]:
    """The compared models that were trained by another rule for Cross Far than the one all are judged by."""
    rule = metrics["cross_far_min_distance"]
    return {
        name: other
        for name, other in metrics["compared_with"].items()
        if other["cross_far_min_distance"] not in (None, rule)
    }
