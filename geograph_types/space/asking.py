"""What a visitor gave → a question that the pipeline can answer, or one sentence at the field that is wrong.

Page, API and many photos read everything here, so the same input always gives the same answer.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from decision_geograph import contradiction, metres_said
from geograph_types.rows.places import viewpoint_or_note
from grid_geograph import GridPoint, bucket_for, bucket_of, distance_between, format_grid_ref, least_metres
from names_geograph import UNKNOWN_DISTANCE
from places_geograph import as_point
from row_geograph import bucket_of_code, check_vector, code_of_row, vector_of_row

NOT_KNOWN = ("unknown", "not known", "none", "?", "-")
MAX_PLACE_CHARACTERS = 100
MAX_ROW_CHARACTERS = 40_000
FAR_APART = 100_000  # metres between two points from which a person should look again
GPS_DIFFERS = 1000  # metres between a typed viewpoint and the photo's GPS tag


class Mistake(ValueError):
    """What a visitor should mend: one sentence, and the field that it is about."""

    def __init__(self, field: str, sentence: str):
        super().__init__(sentence)
        self.field = field


@dataclass
class Question:
    """One photo or vector with what is known of its place.

    Attributes:
        distance: metres, "Unknown", or None where it follows from the points. embedding: float32 [D].
        gps: the photo's GPS tag where it gave the viewpoint. notes: what a person should know.
    """

    distance: float | str | None = None
    subject: GridPoint | None = None
    viewpoint: GridPoint | None = None
    embedding: np.ndarray | None = None
    photo: bytes | None = None
    gps: GridPoint | None = None
    which: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def bucket(self) -> int:
        return bucket_for(self.distance, self.subject, self.viewpoint)

    def item(self, distance: float | str | None = None) -> dict[str, Any]:
        """What the pipeline is asked; at another distance where one is given. Points go as text: the model brings its
        own classes."""
        places = {"subject": self.subject, "viewpoint": self.viewpoint}
        known = {name: format_grid_ref(point) for name, point in places.items() if point is not None}
        distance = self.distance if distance is None else distance
        return {"embedding": self.embedding, **known, **({} if distance is None else {"distance": distance})}


def question_of_photo(photo: bytes, distance: Any = "", subject: Any = "", viewpoint: Any = "") -> Question:
    """A photo and what was typed. A blank viewpoint is read from the photo's GPS tag.

    Raises:
        Mistake: a field that cannot be read.
    """
    question = Question(read_distance(distance), read_place("subject", subject), photo=photo)
    question.viewpoint = read_place("viewpoint", viewpoint)
    point, note = viewpoint_or_note(photo) if photo else (None, None)
    if note:
        question.notes.append(note)
    if point is not None and not str(viewpoint or "").strip():
        question.viewpoint = question.gps = point
    elif point is not None and (apart := _apart(question.viewpoint, point)) is not None and apart > GPS_DIFFERS:
        where = format_grid_ref(point)
        question.notes.append(f"its GPS tag says {where}, {metres_said(apart)} from the viewpoint given")
    question.notes += contradictions(question)
    return question


def question_of_row(text: Any, dim: int, distance: Any = "", subject: Any = "", viewpoint: Any = "") -> Question:
    """A row of the dataset, or of its source, as JSON. What the row says goes before what was typed beside it.

    Args:
        dim: width of the vectors that the model takes.

    Raises:
        Mistake: no such row, or a field that cannot be read.
    """
    row = _json_object(text)
    embedding = vector_in(row, dim)
    typed = read_distance(distance)
    given = row.get("distance", UNKNOWN_DISTANCE)
    if "distance_bucket" in row:
        bucket = _bucket_in(row)  # one that contradicts the distance is refused
        given = metres_of(bucket) if row.get("distance") is None else given
    unknown = isinstance(given, str) and given.strip().lower() == "unknown"
    if unknown:
        given = UNKNOWN_DISTANCE if typed is None and "distance" in row else typed
    else:
        given = 0.0 if given is None or given == "" else read_distance(given, "row")
    question = Question(given, embedding=embedding)
    for name, typed in (("subject", subject), ("viewpoint", viewpoint)):
        own = row.get(name)
        setattr(question, name, read_place("row" if own else name, own or typed))
    if unknown and typed is None and question.subject and question.viewpoint:
        question.distance = None  # the points say it
    if not unknown and typed is not None and bucket_of(typed) != question.bucket:
        question.notes.append("the row's own distance counts, not the one typed")
    if isinstance(row.get("gridimage_id"), int) and not isinstance(row["gridimage_id"], bool):
        question.which = {"gridimage_id": row["gridimage_id"]}
    question.notes += contradictions(question)
    return question


def read_distance(text: Any, field_name: str = "distance") -> float | str | None:
    """Metres as people write them: "300", "300 m", "1,200", "2.5 km", "unknown"; blank → None."""
    said = str("" if text is None else text).strip().lower()
    if not said:
        return None
    if said in NOT_KNOWN:
        return UNKNOWN_DISTANCE
    match = re.fullmatch(r"(\d{1,3}(?:,\d{3})+|\d+)?(\.\d*)?\s*(km|k|m|metres?|meters?|kilometres?)?\.?", said)
    number = f"{(match[1] or '').replace(',', '')}{match[2] or ''}" if match else ""
    if number in ("", "."):
        raise Mistake(
            field_name,
            f"“{shortened(text)}” is no distance: write metres, such as 300, or unknown, or leave it blank.",
        )
    metres = float(number) * (1000 if (match[3] or "").startswith("k") else 1)
    if metres > 2_000_000:
        raise Mistake(field_name, f"{shortened(text)} is farther than Britain and Ireland are long: write metres.")
    return metres


def read_place(field_name: str, text: Any) -> GridPoint | None:
    """A grid reference, or latitude and longitude; blank or "unknown" → None.

    Raises:
        Mistake: anything else.
    """
    said = str(text or "").strip()
    if not said or said.lower() in NOT_KNOWN:
        return None
    if len(said) > MAX_PLACE_CHARACTERS:
        raise Mistake(field_name, "A place has at most 100 characters: a grid reference, or latitude, longitude.")
    try:
        return as_point(said)
    except ValueError as error:
        sentence = re.sub(r"^('[^']*'): \S+ \S+ lies", r"\1 lies", str(error))
        end = "" if sentence.endswith(("?", ".")) else "."
        raise Mistake(field_name, f"{sentence[:1].upper()}{sentence[1:]}{end}") from None


def contradictions(question: Question) -> list[str]:
    """What cannot all be true, as sentences."""
    distance = question.distance if isinstance(question.distance, float) else None
    if note := contradiction(distance, question.subject, question.viewpoint):
        return [note]
    apart = distance_between(question.subject, question.viewpoint)
    if apart is not None and apart > FAR_APART:
        return [f"the two points are {metres_said(apart)} apart: is one of them wrong?"]
    return []


def vector_in(row: dict[str, Any], dim: int) -> np.ndarray:
    """The embedding of a row, float32 [dim]."""
    try:
        return check_vector(vector_of_row(row, dim))
    except ValueError as error:
        raise Mistake("row", f"This row: {str(error).rstrip('.')}.") from None


def _bucket_in(row: dict[str, Any]) -> int:
    try:
        return bucket_of_code(code_of_row(row, floored=True))
    except ValueError as error:
        raise Mistake("row", f"This row: {str(error).rstrip('.')}.") from None


def _json_object(text: Any) -> dict[str, Any]:
    if isinstance(text, dict):
        return text
    text = text if isinstance(text, str) else ""
    if not text.strip():
        raise Mistake("row", "Paste a row first: one line of a source file, or one row of the dataset as JSON.")
    if len(text) > MAX_ROW_CHARACTERS:
        raise Mistake("row", f"A row has at most {MAX_ROW_CHARACTERS:,} characters; this text has {len(text):,}.")
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise Mistake("row", "This is not JSON: paste one whole row, from { to }.") from None
    if not isinstance(row, dict):
        raise Mistake("row", "Expected one row, a JSON object: paste it from { to }.")
    return row


def read_upload(path: str | Path, name: str, limit: int) -> bytes:
    """The bytes of an upload, or the sentence that says what is wrong with it."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        raise Mistake("photo", "This photo is no longer kept here: please choose it again.") from None
    if not data:
        raise Mistake("photo", f"{name} is empty.")
    if len(data) > limit:
        raise Mistake("photo", f"{name} is too large: at most {limit // 1024**2} MB.")
    return data


def shortened(text: Any, most: int = 40) -> str:
    text = " ".join(str(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def metres_of(bucket: int) -> float | str:
    """A distance that falls into the bucket."""
    metres = least_metres(bucket)
    return UNKNOWN_DISTANCE if metres is None else metres


def _apart(one: GridPoint | None, other: GridPoint) -> float | None:
    return distance_between(one, other) if one is not None and one.precision < 1000 else None
