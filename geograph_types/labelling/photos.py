"""The photos of a batch: fetched by many threads, encoded on all cores meanwhile."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import urllib3

from files_geograph import within
from geograph_types.cli import CommandError
from geograph_types.labelling.answers import Handed, not_finite
from geograph_types.labelling.service import read_at_most, redirects
from photos_geograph import DOWNLOAD_LIMIT, DOWNLOAD_SECONDS, DOWNLOAD_TIMEOUT, PhotoError

FETCHERS = 16
TRIES = 3
# Where so many photos and all of them fail on the way, the photos' server is down: they are not called failed.
ENOUGH_TO_TELL = 4
# Where so many in a row, whole lists of them, are not there or no photos, the addresses are wrong: the same.
ENOUGH_TO_STOP = 20


class PhotosUnreachable(Exception):
    """No photo of the batch could be fetched: a fault of the way, not of the photos."""


class _OnTheWay(PhotoError):
    """The photo did not arrive; another time it may."""


class Photos:
    """Fetches and encodes. `tower`: gives the encoder; called at the first photo."""

    def __init__(self, tower: Callable[[], object], stop: threading.Event):
        self._tower, self._stop, self._encoder = tower, stop, None
        self._failed_in_a_row = 0
        self._pool = urllib3.PoolManager(
            num_pools=8, maxsize=FETCHERS, block=True, timeout=urllib3.Timeout(DOWNLOAD_TIMEOUT)
        )

    def encode(self, handed: Handed) -> np.ndarray:
        """Fills in the vectors that are missing, or `failed`; gives bool [n], which were made.

        Raises:
            PhotosUnreachable: the server of the photos does not answer.
            CommandError: none of so many photos is there that their addresses must be wrong.
        """
        places = [i for i, photo in enumerate(handed.photo) if photo is not None]
        made = np.zeros(len(handed), bool)
        if not places:
            return made
        if self._encoder is None:
            self._encoder = self._tower()
        lost = 0
        with ThreadPoolExecutor(FETCHERS) as fetchers:
            found = list(self._vectors(fetchers, [handed.photo[i] for i in places]))
        for i, vector in zip(places, found, strict=True):
            if isinstance(vector, PhotoError):
                handed.failed[i] = True
                lost += isinstance(vector, _OnTheWay)
            else:
                handed.embedding[i], made[i] = vector, True
        if lost and self._stop.is_set():
            raise PhotosUnreachable("stopped before all photos were fetched")
        if lost == len(places) >= ENOUGH_TO_TELL:
            raise PhotosUnreachable(f"none of {lost} photos could be fetched ({found[0]})")
        failed = all(isinstance(vector, PhotoError) for vector in found)
        self._failed_in_a_row = self._failed_in_a_row + len(found) if failed else 0
        if self._failed_in_a_row >= ENOUGH_TO_STOP:
            raise CommandError(
                f"none of the last {self._failed_in_a_row} photos could be had, such as {found[0]}; the service's "
                f"prefix seems to be wrong: nothing is posted of this list's {len(handed)}"
            )
        bad = made & not_finite(handed.embedding)
        handed.failed |= bad
        return made & ~bad

    def _vectors(self, fetchers: ThreadPoolExecutor, addresses: list[str]) -> Iterator[np.ndarray | PhotoError]:
        """A vector or an error for each address, in order; a few more photos than are being encoded lie in memory."""
        jobs, rest, errors = [], iter(addresses), {}
        jobs = [fetchers.submit(self.fetch, address) for address in islice(rest, 4 * FETCHERS)]

        def arrived() -> Iterator[bytes]:
            for place in range(len(addresses)):
                data = jobs[place].result()
                jobs[place] = None
                jobs.extend(fetchers.submit(self.fetch, address) for address in islice(rest, 1))
                if isinstance(data, PhotoError):
                    errors[place] = data
                else:
                    yield data

        vectors = self._encoder.encode(arrived())
        encoded = list(vectors)
        good = iter(encoded)
        for place in range(len(addresses)):
            yield errors[place] if place in errors else next(good)

    def fetch(self, address: str) -> bytes | PhotoError:
        """A photo's bytes, or why there are none."""
        if not address.lower().startswith(("http://", "https://")):
            return PhotoError(f"{address}: only http and https are fetched")
        error: PhotoError = _OnTheWay(f"{address}: stopped")
        for attempt in range(TRIES):
            if self._stop.wait(2.0 ** (attempt - 1) if attempt else 0):
                return error
            try:
                status, data = within(DOWNLOAD_SECONDS, lambda: self._answer(address))
            except (urllib3.exceptions.LocationValueError, UnicodeError):
                return PhotoError(f"{address}: not an address")
            except urllib3.exceptions.HTTPError as problem:
                error = _OnTheWay(f"{address}: {type(problem).__name__}")
                continue
            except TimeoutError as problem:
                return _OnTheWay(f"{address}: {problem}")
            if status == 200:
                return PhotoError(f"{address}: too large") if data is None else data
            if status < 500 and status not in (408, 425, 429):
                return PhotoError(f"{address}: the server answered {status}")
            error = _OnTheWay(f"{address}: the server answered {status}")
        return error

    def _answer(self, address: str) -> tuple[int, bytes | None]:
        response = self._pool.request("GET", address, preload_content=False, retries=redirects())
        return response.status, read_at_most(response, DOWNLOAD_LIMIT)
