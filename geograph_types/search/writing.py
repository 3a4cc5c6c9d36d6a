"""What was found, as a CSV and as a page to look through. Titles and tags are strangers' words: never markup."""

import csv
import hashlib
from pathlib import Path

from geograph_types.files import PACKAGE, harmless_cell, whole_file
from geograph_types.search.finding import Found
from names_geograph import TAGS

COLUMNS = ("gridimage_id", "title", "page", "score", "tags", "tag_in_question")
TEMPLATE = PACKAGE / "search" / "page.html"


def write_csv(found: list[Found], path: Path) -> None:
    """One line a photo, the best first."""
    with whole_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for photo in found:
            title = harmless_cell(" ".join((photo.title or "").split()))
            writer.writerow(
                [photo.gridimage_id, title, photo.page, f"{photo.score:.6g}", ",".join(photo.types), photo.tag or ""]
            )


def write_page(found: list[Found], path: Path, heading: str, score_name: str) -> None:
    """The page: opens without a network, links to the photos' own pages, writes down yes and no as a CSV."""
    from jinja2 import Environment

    numbers = ",".join(str(photo.gridimage_id) for photo in found)
    text = (
        Environment(autoescape=True)
        .from_string(TEMPLATE.read_text(encoding="utf-8"))
        .render(
            found=found,
            heading=heading,
            score_name=score_name,
            tags=TAGS,
            asks=any(photo.tag is None for photo in found),
            key=hashlib.sha256(f"{heading}\n{numbers}".encode()).hexdigest()[:16],
        )
    )
    with whole_file(path) as file:
        file.write(text)
