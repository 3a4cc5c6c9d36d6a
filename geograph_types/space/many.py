# ruff: noqa: E501 (markup)
"""Many photos at once: answered one by one, shown as a table, and as a CSV that spreadsheets open."""

import base64
import csv
import io
from collections.abc import Iterator
from html import escape
from typing import Any

from decision_geograph import failed
from geograph_types.files import harmless_cell
from geograph_types.space.asking import Mistake, question_of_photo, read_upload
from geograph_types.space.model import SpaceModel
from geograph_types.space.view import percent
from photos_geograph import open_photo

MAX_PHOTOS = 50
THUMBNAIL = 112  # pixels


def answers(space: SpaceModel, uploads: list[Any], subject: str, limit: int) -> Iterator[tuple[dict, str | None]]:
    """Uploads → their predictions and thumbnails (data URLs), in order; each with its own error.

    One subject serves all; where a photo has a GPS tag, that is its viewpoint.

    Raises:
        Mistake: none or too many, a subject that cannot be read, or no vision tower.
    """
    if not uploads:
        raise Mistake("files", "Choose photos first.")
    if len(uploads) > MAX_PHOTOS:
        raise Mistake("files", f"These are {len(uploads)} photos: choose at most {MAX_PHOTOS} at once.")
    try:
        question_of_photo(b"", subject=subject)
    except Mistake as error:
        raise Mistake("many-subject", str(error)) from None
    for upload in uploads:
        which = {"path": upload.name}
        try:
            data = read_upload(upload.path, upload.name, limit)
            question = question_of_photo(data, subject=subject)
            question.which = which
            space.look_at(question, upload.name)
            yield space.prediction(question), thumbnail(data)
        except Mistake as error:
            if error.field != "photo":
                raise
            yield which | failed(error), None


def thumbnail(photo: bytes) -> str | None:
    """A small JPEG as a data URL; None where there is none to be had."""
    try:
        small = open_photo(photo, shrink_to=THUMBNAIL, urls=False).image.convert("RGB")
    except Exception:  # Pillow has a different one for each way a file can be broken; the answer itself says it
        return None
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def progress(done: int, total: int) -> str:
    return (
        f'<div class="gt gt-progress"><label for="gt-many-bar">{done} of {total} photos answered</label> '
        f'<progress id="gt-many-bar" max="{total}" value="{done}"></progress></div>'
    )


def table(done: list[tuple[dict, str | None]], classes: list[str]) -> str:
    """Answers as a table with thumbnails, the types beside each; and the link to the CSV, which is in the link itself."""
    text = "\ufeff" + csv_of([item for item, _ in done], classes)
    link = "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()
    rows = "".join(_row(item, picture) for item, picture in done)
    bad = sum(item["error"] is not None for item, _ in done)
    said = f"{len(done)} photos answered." if not bad else f"{len(done) - bad} photos answered, {bad} could not be."
    return (
        f'<div class="gt gt-many"><p role="status">{said} <a href="{link}" download="types.csv">Download as CSV</a></p>'
        '<table><thead><tr><th scope="col">Photo</th><th scope="col">Types</th><th scope="col" class="gt-wide">Most likely</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(item: dict, picture: str | None) -> str:
    name = escape(item["path"])
    image = f'<img src="{picture}" alt="">' if picture else ""
    if item["error"]:
        said, scores = f'<span class="gt-note">{escape(item["error"])}</span>', ""
    else:
        note = f'<span class="gt-note">{escape(item["note"])}</span>' if item["note"] else ""
        types = ", ".join(item["types"])
        by = " (from the coordinates)" if item["cross_grid"] == "geometry" else ""
        said = f"<strong>{escape(types.replace('Cross Grid', f'Cross Grid{by}', 1))}</strong>{note}"
        scores = escape("; ".join(f"{n} {percent(p)}" for n, p in list(item["scores"].items())[:3]))
    return f'<tr><th scope="row">{image}<span>{name}</span></th><td>{said}</td><td class="gt-wide">{scores}</td></tr>'


def csv_of(predictions: list[dict], classes: list[str]) -> str:
    """The answers with the columns that predict.py writes; no cell is a formula."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["path", "types", *classes, "cross_grid", "note", "error"])
    for item in predictions:
        scores = [f"{item['scores'][name]:.6f}" for name in classes] if item["scores"] else [""] * len(classes)
        cells = [item["path"], ",".join(item["types"]), *scores, item["cross_grid"], item["note"], item["error"]]
        writer.writerow([harmless_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return file.getvalue()
