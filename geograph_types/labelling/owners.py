"""Which list answered a photo last: in memory, 16 bytes a photo, filled from the journal when that is opened."""

from collections.abc import Iterable, Sequence

import numpy as np

# Photos in a dict before they are sorted into the arrays.
RECENT = 1 << 16


class Owners:
    """Photo → list, the last one that was told."""

    def __init__(self, told: Iterable[tuple[int, np.ndarray]] = ()):
        """`told`: lists in their order, each with its photos, int64 [n]."""
        lists = list(told)
        self._recent: dict[int, int] = {}
        self._ids = np.zeros(0, np.int64)  # sorted, each once
        self._numbers = np.zeros(0, np.int64)
        if lists:
            ids = np.concatenate([photos for _, photos in lists])
            numbers = np.repeat([number for number, _ in lists], [len(photos) for _, photos in lists])
            self._sort_in(ids, numbers)

    def put(self, image_ids: Sequence[int], number: int) -> None:
        self._recent.update(dict.fromkeys(image_ids, number))
        if len(self._recent) >= RECENT:
            ids = np.fromiter(self._recent.keys(), np.int64, len(self._recent))
            numbers = np.fromiter(self._recent.values(), np.int64, len(self._recent))
            self._sort_in(ids, numbers)
            self._recent = {}

    def of(self, image_ids: Sequence[int]) -> dict[int, int]:
        """Those of the photos that a list has, each with it."""
        found: dict[int, int] = {}
        if len(self._ids):
            asked = np.asarray(image_ids, np.int64)
            place = np.minimum(np.searchsorted(self._ids, asked), len(self._ids) - 1)
            known = self._ids[place] == asked
            found = dict(zip(asked[known].tolist(), self._numbers[place[known]].tolist(), strict=True))
        if self._recent and not self._recent.keys().isdisjoint(image_ids):
            found |= {image_id: self._recent[image_id] for image_id in image_ids if image_id in self._recent}
        return found

    def _sort_in(self, ids: np.ndarray, numbers: np.ndarray) -> None:
        ids, numbers = np.concatenate([self._ids, ids]), np.concatenate([self._numbers, numbers])
        order = np.argsort(ids, kind="stable")
        ids, numbers = ids[order], numbers[order]
        last = np.append(ids[1:] != ids[:-1], True)  # of a photo that is there twice
        self._ids, self._numbers = ids[last], numbers[last]
