"""What the Space asks of the model: one photo or embedding with its places, or many; nothing is fetched or kept."""

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decision_geograph import decide, failed
from grid_geograph import GridPoint, bucket_of, distance_between, format_grid_ref
from places_geograph import as_point

MAX_PHOTOS = 50
MAX_ROW_CHARACTERS = 20_000
THUMBNAIL = 112  # pixels


@dataclass
class Question:
    """One photo's embedding and what is known of its place."""

    embedding: np.ndarray
    bucket: int
    subject: GridPoint | None = None
    viewpoint: GridPoint | None = None
    which: dict[str, Any] = field(default_factory=dict)


class SpaceModel:
    """A classifier behind the page. The vision tower is loaded at the first photo."""

    def __init__(self, name: str, vision_model: str | None = None):
        from transformers import pipeline

        self.pipeline = pipeline("geograph-types", model=name, trust_remote_code=True, vision_model=vision_model)
        self.model = self.pipeline.model
        self.config = self.model.config
        self.classes = list(self.config.classes)
        self.thresholds = dict(zip(self.classes, self.config.thresholds, strict=True))

    def photo(self, path: str, distance: str, subject: str, viewpoint: str) -> Question:
        """An uploaded photo → its question.

        Raises:
            ValueError: a photo or a place that cannot be used. OSError: no vision tower.
        """
        places = read_places(distance, subject, viewpoint)
        # Bytes rather than the name: a name could be an address, and addresses are not fetched here.
        embedding = self.pipeline.encoder.encode_one(Path(path).read_bytes())
        return Question(embedding, *places)

    def row(self, text: str, distance: str = "", subject: str = "", viewpoint: str = "") -> Question:
        """A source row as JSON → its question; the row's own distance and places go before those given beside it.

        Raises:
            ValueError: not a source row.
        """
        if len(text) > MAX_ROW_CHARACTERS:
            raise ValueError(f"a row has at most {MAX_ROW_CHARACTERS:,} characters, this text has {len(text):,}")
        try:
            row = json.loads(text)
        except ValueError as error:
            raise ValueError(f"not JSON: {error}; paste one row of a source file") from None
        if not isinstance(row, dict) or "embeddings" not in row:
            raise ValueError('expected one row as a JSON object with "embeddings" (base64)')
        from row_geograph import parse_embedding

        embedding = np.frombuffer(parse_embedding(row["embeddings"]), "<f4").copy()
        if not np.isfinite(embedding).all():
            raise ValueError("embeddings hold NaN or infinity")
        given = row.get("distance", distance)
        given = "0" if given is None or ("distance" in row and given == "") else str(given)
        which = {"gridimage_id": row["gridimage_id"]} if isinstance(row.get("gridimage_id"), int) else {}
        there, here = str(row.get("subject", subject) or ""), str(row.get("viewpoint", viewpoint) or "")
        return Question(embedding, *read_places(given, there, here), which)

    @torch.inference_mode()
    def table(self, question: Question) -> list[list[float]]:
        """Probabilities [23][7]: the same photo at every distance."""
        buckets = torch.arange(self.config.num_distance_buckets)
        embedding = torch.from_numpy(question.embedding).to(self.model.device).expand(len(buckets), -1)
        return self.model(embedding, buckets.to(self.model.device)).logits.float().sigmoid().cpu().tolist()

    def prediction(self, question: Question, table: list[list[float]], bucket: int | None = None) -> dict[str, Any]:
        """The contract's prediction at a distance: the question's own, or another bucket."""
        row = table[question.bucket if bucket is None else bucket]
        answer = decide(row, self.config.thresholds, self.classes, question.subject, question.viewpoint)
        return {**question.which, **answer}

    def many(self, paths: list[str]) -> tuple[list[dict[str, Any]], list[str | None]]:
        """Uploaded photos → their predictions and thumbnails (data URLs), in order; each with its own error.

        A viewpoint in the photo's GPS tag changes nothing without a subject, so none is read.

        Raises:
            ValueError: too many. OSError: no vision tower.
        """
        if len(paths) > MAX_PHOTOS:
            raise ValueError(f"at most {MAX_PHOTOS} photos at once, got {len(paths)}; predict.py takes any number")
        photos = [Path(path).read_bytes() for path in paths]
        answers, thumbnails = [], []
        for path, photo, vector in zip(paths, photos, self.pipeline.encoder.encode(photos), strict=True):
            name = {"path": Path(path).name}
            if isinstance(vector, Exception):
                answers.append(name | failed(getattr(vector, "reason", vector)))
                thumbnails.append(None)
                continue
            question = Question(vector, bucket_of(None), which=name)
            answers.append(self.prediction(question, self.table(question)))
            thumbnails.append(thumbnail(photo))
        return answers, thumbnails


def read_places(distance: str, subject: str, viewpoint: str) -> tuple[int, GridPoint | None, GridPoint | None]:
    """What a visitor wrote → bucket, subject, viewpoint; the distance is that between the two where none is given.

    Raises:
        ValueError: which field cannot be read, and why.
    """
    points = []
    for name, text in (("subject", subject), ("viewpoint", viewpoint)):
        try:
            points.append(read_place(text))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    given = str(distance if distance is not None else "").strip().removesuffix("m").strip()
    try:
        return bucket_of(given if given else distance_between(*points)), *points
    except ValueError as error:
        raise ValueError(f"distance: {error}") from None


def read_place(text: str | None) -> GridPoint | None:
    """What a visitor wrote of a place → its point; blank → None."""
    return as_point(text or None)


def viewpoint_in(path: str) -> str | None:
    """The grid reference of a photo's GPS tag, to 10 m; None without one."""
    from PIL import Image

    from geograph_types.rows.places import viewpoint_of

    try:
        point = viewpoint_of(path)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None  # what is wrong with the photo is said when it is looked at
    if point is None:
        return None
    return format_grid_ref(GridPoint(point.grid, point.easting // 10 * 10, point.northing // 10 * 10, 10))


def thumbnail(photo: bytes) -> str:
    """A small JPEG as a data URL."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(photo)) as image:
        image.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))
        small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
