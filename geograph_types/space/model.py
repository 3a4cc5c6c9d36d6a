"""What the Space asks of the model: every answer is the pipeline's, the one that users get elsewhere."""

import re
import threading
import time
from collections import OrderedDict
from hashlib import sha256
from typing import Any

import numpy as np

from geograph_types.hub.models import load_pipeline
from geograph_types.space.asking import Mistake, Question, metres_of
from names_geograph import NUM_DISTANCE_BUCKETS

# Vectors of photos that were just looked at: another distance for the same photo needs no second look.
REMEMBERED = 64
# Seconds from the begin of fetching the vision tower in which visitors wait for it (who asks later is told at once:
# questions are answered one by one, and each would keep the next ones waiting), and between two tries to fetch it.
PATIENCE, BETWEEN_TRIES = 8, 30
FETCHING = "The part that looks at photos is still being fetched. Please try again in a minute."
UNREACHABLE = "The part that looks at photos cannot be fetched just now. Please try again in a few minutes."


class SpaceModel:
    """A classifier behind the page. Its vision tower is loaded in the background, from the first moment on."""

    def __init__(self, name: str, vision_model: str | None = None, revision: str | None = None):
        self.pipeline = load_pipeline(name, revision, vision_model=vision_model)
        self.config = self.pipeline.model.config
        self.classes = list(self.config.classes)
        self.thresholds = dict(zip(self.classes, self.config.thresholds, strict=True))
        self._remembered: OrderedDict[bytes, tuple[np.ndarray, str | None]] = OrderedDict()
        self._tower = _Tower(self.pipeline)

    def look_at(self, question: Question, name: str = "This file") -> None:
        """Fills in the photo's vector.

        Raises:
            Mistake: not a photo, or no vision tower yet.
        """
        key = sha256(question.photo).digest()
        if key not in self._remembered:
            self._remembered[key] = self._encode(question.photo, name)
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        question.embedding, note = self._remembered[key]
        question.notes = [*([note] if note else []), *question.notes]

    def _encode(self, photo: bytes, name: str) -> tuple[np.ndarray, str | None]:
        encoder = self._tower.encoder()
        try:
            # A model brings its own code, which may be of version 1.0.0: there was no note then, and no reason.
            with_note = getattr(encoder, "encode_one_with_note", None)
            return with_note(photo) if with_note else (encoder.encode_one(photo), None)
        except ValueError as error:
            reason = getattr(error, "reason", None) or str(error).removeprefix("bytes: ")
            raise Mistake("photo", f"{name} cannot be used: {for_visitors(reason)}.") from None

    def prediction(self, question: Question) -> dict[str, Any]:
        """The contract's prediction; what contradicts itself is added to its note."""
        answer = {**question.which, **self.pipeline(question.item())}
        return with_notes(answer, question)

    def at_every_distance(self, question: Question) -> list[dict[str, Any]]:
        """Predictions [23]: the same photo and points at every distance."""
        items = [question.item(metres_of(bucket)) for bucket in range(NUM_DISTANCE_BUCKETS)]
        return self.pipeline(items, batch_size=NUM_DISTANCE_BUCKETS)


class _Tower:
    """The pipeline's vision tower, loaded in the background, and again after a failure."""

    def __init__(self, pipeline: Any):
        self._pipeline, self._lock = pipeline, threading.Lock()
        self._done, self._failed_at = threading.Event(), 0.0
        self._begin()

    def _begin(self) -> None:
        self._done.clear()
        self._began = time.monotonic()
        threading.Thread(target=self._load, daemon=True, name="geograph-tower").start()

    def _load(self) -> None:
        import logging

        try:
            _ = self._pipeline.encoder
            self._failed_at = 0.0
        except Exception as error:  # whatever it is: the owner reads it in the log, visitors get a sentence
            self._failed_at = time.monotonic()
            logging.getLogger("geograph.space").warning("%s", " ".join(str(error).split()))
        self._done.set()

    def encoder(self) -> Any:
        """The encoder.

        Raises:
            Mistake: it is not there yet, in a visitor's words.
        """
        with self._lock:
            if self._failed_at and time.monotonic() - self._failed_at > BETWEEN_TRIES:
                self._failed_at = 0.0
                self._begin()
        if not self._done.wait(max(self._began + PATIENCE - time.monotonic(), 0)):
            raise Mistake("", FETCHING)
        if self._failed_at:
            raise Mistake("", UNREACHABLE)
        encoder = self._pipeline.encoder
        encoder.allow_urls = False
        return encoder


def with_notes(answer: dict[str, Any], question: Question) -> dict[str, Any]:
    notes = [*(answer["note"] or "").split("; "), *question.notes]
    return answer | {"note": "; ".join(dict.fromkeys(note for note in notes if note)) or None}


def for_visitors(reason: str) -> str:
    """What is wrong with a photo, without what only the owner of the machine can do about it."""
    return re.sub(r": install [\w-]+ \([^)]*\), or ", ", which cannot be read here: please ", reason).rstrip(".")
