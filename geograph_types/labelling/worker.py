"""The work for a service: the next batch is fetched and the last list posted while one is answered."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from operator import itemgetter
from queue import SimpleQueue
from typing import Any

import numpy as np

from geograph_types.cli import progress, say
from geograph_types.labelling.answers import Handed, embeddings_of, labels_of, read_rows, scores_of, to_body
from geograph_types.labelling.journal import EMBEDDINGS, LABELS
from geograph_types.labelling.photos import Photos, PhotosUnreachable
from geograph_types.labelling.posting import Posting
from geograph_types.labelling.service import Batch, Service
from row_geograph import most_look_normalised, norms_of


@dataclass(frozen=True)
class Rules:
    """What is posted, and when the work ends."""

    threshold: float = 0.2
    score: str = "probability"
    submit_embeddings: bool = False
    batches: int | None = None  # lists of labels to make; None: as long as there are photos
    empty_answers: int = 3  # answers with nothing new, one after another, that end the work; 0: none does


@dataclass
class Totals:
    """What was done in this run."""

    lists: int = 0
    photos: int = 0
    failed: int = 0
    unnamed: int = 0
    repeated: int = 0  # photos handed out again that are on their way, kept or taken


@dataclass
class Worker:
    """Asks, answers, posts, until there is nothing to do, all asked for is done, or `service.stop` is set."""

    model: Any
    service: Service
    posting: Posting
    photos: Photos
    rules: Rules
    totals: Totals = field(default_factory=Totals)

    def __post_init__(self) -> None:
        self._fetcher = Fetcher()

    def run(self) -> Totals:
        """Raises CommandError where the service or the tower of photos cannot be had at all."""
        try:
            self._work()
        except Exception:
            self.posting.wait()  # what is on its way arrives first
            raise
        finally:
            self._fetcher.end()
        self.posting.wait()
        return self.totals

    def _work(self) -> None:
        with progress(unit="photo") as bar:
            empty, ahead, early = 0, True, False  # early: asked for while a list was on its way
            coming = self._fetch() if self._asks_more(0) else None
            while coming is not None:
                batch, handed = self._wait_for(coming)
                if batch is None or handed is None:
                    break
                new = self._only_new(batch, handed)
                # A service that hands photos out until it has their labels is asked again after the post only.
                ahead = ahead and len(new) == len(handed)
                if not len(new):
                    if early and len(handed):
                        self.posting.wait()
                        coming, early = self._fetch() if self._asks_more(0) else None, False
                        continue
                    empty += 1
                    coming = self._after_nothing(batch, handed, empty)
                    continue
                empty = 0
                early = ahead and self._asks_more(1)
                coming = self._fetch() if early else None
                self._answer(new)
                bar.update(len(new))
                if coming is None and self._asks_more(0):
                    self.posting.wait()
                    coming = self._fetch() if self._asks_more(0) else None

    def _asks_more(self, underway: int) -> bool:
        """Whether to ask for another batch while `underway` ones are not counted yet: never one too many."""
        enough = self.rules.batches is not None and self.totals.lists + underway >= self.rules.batches
        return not (enough or self.service.stop.is_set() or self.posting.gave_up)

    def _fetch(self) -> Future:
        """Asks for a batch and reads its rows, in a thread of its own."""

        def fetch() -> tuple[Batch | None, Handed | None]:
            batch = self.service.ask()
            if batch is None:
                return None, None
            handed = read_rows(batch.rows, batch.prefix, self.model.config.embedding_dim)
            batch.rows.clear()  # here, while they are in this core's own memory: elsewhere that takes far longer
            return batch, handed

        return self._fetcher.run(fetch)

    def _wait_for(self, coming: Future) -> tuple[Batch | None, Handed | None]:
        """The batch; none where `stop` comes first, as an answer may be long in coming."""
        while not wait([coming], timeout=0.2).done:
            if self.service.stop.is_set():
                return None, None
        return coming.result()

    def _only_new(self, batch: Batch, handed: Handed) -> Handed:
        """Without the photos whose labels are on their way, kept, or taken."""
        self.totals.unnamed += handed.unnamed
        known = self.posting.known(handed.image_id, batch.asked_at)
        if not known:
            return handed
        self.totals.repeated += len(known)
        return handed.take(i for i, image_id in enumerate(handed.image_id) if image_id not in known)

    def _after_nothing(self, batch: Batch, handed: Handed, empty: int) -> Future | None:
        """Asks again, later, where a batch held nothing new; None where that is enough."""
        if not self.posting.idle():
            self.posting.wait()  # what it handed out again was on its way
            return self._fetch() if self._asks_more(0) else None
        settling = self.posting.settling() if len(handed) else 0.0
        if self.rules.empty_answers and empty >= self.rules.empty_answers and not settling:
            return None
        if not self._asks_more(0):
            return None
        seconds = max(settling, self.service.wait_after(empty))
        what = f"only photos that were labelled ({len(handed)})" if len(handed) else "no photos"
        said = f" ({batch.message})" if batch.message else ""
        say(f"{self.service.name}: {what}{said}; asking again in {seconds:.0f} s")
        self.service.pause(seconds)
        return self._fetch()

    def _answer(self, handed: Handed) -> None:
        """Vectors for photos, scores, lists; the lists go on their way."""
        ready = np.array([photo is None for photo in handed.photo]) & ~handed.failed
        try:
            made = self.photos.encode(handed)
        except PhotosUnreachable as error:
            seconds = self.service.wait_after(1)
            say(f"{self.service.name}: {error}; this batch is left for another time")
            return self.service.pause(seconds)
        if not self.totals.lists and ready.any():
            warn_of_normalised(handed.embedding[ready])
        config = self.model.config
        scores = scores_of(self.model, handed, self.rules.score)
        handed.failed |= ~np.isfinite(scores).all(axis=1)
        labels = labels_of(handed, scores, config.classes, self.rules.threshold)
        counted = dict(Counter(map(itemgetter("label"), labels)).most_common())
        self.posting.put(LABELS, to_body(labels), handed.image_id, counted)
        if self.rules.submit_embeddings and made.any():
            vectors = embeddings_of(handed, made)
            self.posting.put(EMBEDDINGS, to_body(vectors), [entry["image_id"] for entry in vectors])
        self.totals.lists += 1
        self.totals.photos += len(handed)
        self.totals.failed += int(handed.failed.sum())


def warn_of_normalised(embedding: np.ndarray) -> None:
    """A word where vectors look normalised: the model was trained on others."""
    norm = norms_of(embedding)
    if most_look_normalised(norm):
        told = f"median length {np.median(norm):.2f}, CLIP's own have about 10"
        say(f"the vectors look normalised ({told}): the answers will be poor")


class Fetcher:
    """A thread for one thing after another; it does not hold the program back at its end."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Callable[[], Any], Future] | None] = SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def run(self, function: Callable[[], Any]) -> Future:
        result: Future = Future()
        self._waiting.put((function, result))
        return result

    def end(self) -> None:
        """After what it was given."""
        self._waiting.put(None)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            function, result = job
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)
            del job, function, result  # what was fetched is not kept until the next comes
