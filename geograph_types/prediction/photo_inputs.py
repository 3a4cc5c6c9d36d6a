"""Photos of a folder or a table, with what is known of their places, block by block."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from decision_geograph import SAME_SQUARE, contradiction, doubt, verdict_of
from geograph_types.prediction.formats import whole_text
from geograph_types.prediction.parts import InputBlock, Options, Part
from geograph_types.rows.photo_tables import PhotoRecord, iterate_folder, iterate_table
from grid_geograph import least_metres


def blocks(part: Part, size: int, skip: int, options: Options, shard: tuple[int, int]) -> Iterator[InputBlock]:
    """All blocks of a shard but the first `skip`, `size` photos each; of n shards each gets every n-th photo."""
    if part.kind == "folder":
        records = iterate_folder(part.source, options.subject)
    else:
        records = iterate_table(part.opened, options.subject, options.allow_urls)
    index, count = shard
    records = islice(islice(records, index, None, count), skip * size, None)
    while chunk := list(islice(records, size)):
        yield _block([record.with_viewpoint() for record in chunk])


def count(part: Part) -> int:
    """Photos of a folder or a table."""
    records = iterate_folder(part.source) if part.kind == "folder" else iterate_table(part.opened, places=False)
    return sum(1 for _ in records)


def _block(records: list[PhotoRecord]) -> InputBlock:
    verdict = np.array([verdict_of(r.subject, r.viewpoint) for r in records], dtype=np.int8)
    doubts = [doubt(r.viewpoint) if v == SAME_SQUARE else None for r, v in zip(records, verdict, strict=True)]
    return InputBlock(
        key=pa.array([None if r.path is None else whole_text(r.path) for r in records], pa.string()),
        bucket=np.array([r.bucket for r in records], dtype=np.int64),
        embedding=None,
        photos=[r.file for r in records],
        verdict=verdict,
        doubts=doubts,
        remarks=[_remark(record) for record in records],
        errors=[r.error for r in records] if any(r.error for r in records) else None,
    )


def _remark(record: PhotoRecord) -> str | None:
    """What to say of a photo in any case."""
    apart = None
    if record.given and record.error is None:
        apart = contradiction(least_metres(record.bucket), record.subject, record.viewpoint)
    return "; ".join(filter(None, (record.note, apart))) or None
