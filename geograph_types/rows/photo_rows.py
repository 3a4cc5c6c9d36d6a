"""A CSV of photos → dataset rows, their embeddings made on the way."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geograph_types.cli import CommandError, naming_flag
from geograph_types.rows.fields import Rejected, SourceRows, id_of_row, labels_of_row
from geograph_types.rows.photo_tables import PhotoRecord, iterate_photos
from geograph_types.rows.sources import Source
from row_geograph import DISTANCE_CODES, DISTANCES

PHOTOS_A_BLOCK = 256


def load_encoder(vision_model: str | None) -> Any:
    """The CLIP tower, a Hub id or a folder; by default the one that official vectors come from.

    Raises:
        CommandError: no tower.
    """
    from encoder_geograph import GeographEncoder

    with naming_flag("--vision_model DIR"):
        return GeographEncoder.for_config(None, vision_model)


def photo_blocks(
    path: Path | Source, source: str, load: Callable[[], Any], embedding_dim: int | None = None
) -> Iterator[SourceRows]:
    """A CSV with `path`, `gridimage_id`, `types`, and `distance` or places → checked rows, in its order.

    `weight`, `split` and `title` may be there too. The rest of a line is checked before its photo is opened.

    Args:
        load: gives the GeographEncoder; called when the first line is known to be one of photos.
        embedding_dim: the width that its vectors must have; by default whatever the tower gives.

    Raises:
        CommandError: no such file, an empty one, or without those columns; no tower.
    """
    records, waiting = iterate_photos(path), deque()

    def files() -> Iterator[Any]:
        """The photos of the good lines; what became of each line waits for its photo's vector."""
        for record in records:
            checked = _checked(record, source)
            waiting.append(checked)
            if not isinstance(checked, Rejected):
                yield record.file

    first = next(records, None)
    if first is None:
        raise CommandError(f"{source}: empty; expected a line a photo below its heading")
    if missing := [name for name in ("gridimage_id", "types") if first.row and name not in first.row]:
        raise CommandError(f"{source}: no column {missing[0]!r} in its first line")
    records = _chain(first, records)
    encoder = load()
    dim = encoder.embedding_dim
    if dim != (embedding_dim or dim):
        raise CommandError(
            f"the vision tower gives vectors of {dim} numbers, and --embedding_dim says {embedding_dim}"
        )
    good, rejected = [], []
    for vector in encoder.encode(files()):
        while isinstance(waiting[0], Rejected):
            rejected.append(waiting.popleft())
        line, row = waiting.popleft()
        if isinstance(vector, ValueError):
            rejected.append(Rejected(source, line, f"photo: {vector}", row[0]))
        else:
            good.append((line, row, vector))
        if len(good) + len(rejected) >= PHOTOS_A_BLOCK:
            yield _block(good, rejected, dim)
            good, rejected = [], []
    rejected += waiting
    yield _block(good, rejected, dim)


def _chain(first: PhotoRecord, rest: Iterator[PhotoRecord]) -> Iterator[PhotoRecord]:
    yield first
    yield from rest


def _checked(record: PhotoRecord, source: str) -> tuple[int, tuple] | Rejected:
    """Line and values of a row, or why it cannot be one."""
    row, identity = record.row, None
    try:
        if record.error:
            raise ValueError(record.error.removeprefix(f"line {record.line}: "))
        identity = id_of_row(row)
        tags, weight, split, title = labels_of_row(row, labelled=True)
        distance = str(row.get("distance") or "").strip()
        code = DISTANCE_CODES.get(distance) if distance else None
        if code is None:  # other metres, or from places
            code = DISTANCE_CODES[DISTANCES[record.bucket]]
    except ValueError as error:
        return Rejected(source, record.line, str(error), identity)
    return record.line, (identity, tags, code, weight, split, title or None)


def _block(good: list[tuple[int, tuple, np.ndarray]], rejected: list[Rejected], dim: int) -> SourceRows:
    ids, tags, codes, weights, splits, titles = zip(*(row for _, row, _ in good), strict=True) if good else [()] * 6
    lists: dict[tuple[int, ...], int] = {}
    return SourceRows(
        gridimage_id=np.array(ids, np.int64),
        types=np.array([lists.setdefault(t, len(lists)) for t in tags], np.int32),
        type_lists=list(lists),
        distance=np.array(codes, np.uint8),
        weight=np.array(weights, np.float32),
        split=np.array(splits, np.int8),
        embedding=np.array([vector for *_, vector in good], np.float32).reshape(-1, dim),
        line=np.array([line for line, *_ in good], np.int64),
        title=list(titles) if any(titles) else None,
        rejected=sorted(rejected, key=lambda bad: bad.line),
    )
