"""Parquet that was published before → checked rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.rows.fields import DISTANCE_CODES, NO_SPLIT, TAGS, Rejected, SourceRows, without_bad_numbers
from geograph_types.rows.sources import SPLITS


def parquet_blocks(path: Path, source: str) -> Iterator[SourceRows]:
    """Published Parquet → checked rows. A file named `train-…`, `validation-…` or `test-…` keeps its split.

    Raises:
        CommandError: missing, not Parquet, or without the published columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, pre_buffer=False)
    except FileNotFoundError:
        raise CommandError(f"{source}: no such file") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise CommandError(f"{source}: not a Parquet file ({error})") from None
    with file:
        names = set(file.schema_arrow.names)
        needed = ("gridimage_id", "types", "distance", "embedding")
        if missing := [name for name in needed if name not in names]:
            raise CommandError(f"{source}: no column {missing[0]!r}; expected a file that prepare_dataset.py made")
        split = split_named(source)
        columns = [c for c in (*needed, "weight", "title") if c in names]
        line = 1
        for batch in file.iter_batches(2048, columns=columns):
            yield _checked(batch, source, line, split)
            line += len(batch)


def split_named(source: str) -> int:
    """The split that a file's or an address's name says, as an index into `SPLITS`, or NO_SPLIT."""
    name = source.split("?")[0].rsplit("/", 1)[-1].removesuffix(".parquet").partition("-")[0]
    return SPLITS.index(name) if name in SPLITS else NO_SPLIT


def _checked(batch, source: str, first_line: int, split: int) -> SourceRows:
    n = len(batch)
    values = batch.column("embedding").flatten()
    if len(values) != n * 512 or values.null_count:
        raise CommandError(f"{source}: rows {first_line} to {first_line + n - 1}: embedding must be 512 float32 each")
    rejected, good, types, lists = [], np.ones(n, bool), np.zeros(n, np.int32), {}
    ids = batch.column("gridimage_id").fill_null(0).to_numpy(zero_copy_only=False)
    codes = np.zeros(n, np.uint8)
    distances = batch.column("distance").to_pylist()
    for i, tags in enumerate(batch.column("types").to_pylist()):
        tags = tuple(dict.fromkeys(tags or ()))
        reason = None
        if ids[i] <= 0:
            reason = f"bad gridimage_id {ids[i]}; expected a whole number above 0"
        elif not tags:
            reason = "no tag"
        elif not all(isinstance(tag, int) and 0 <= tag < len(TAGS) for tag in tags):
            reason = f"unknown tag {tags!r}"
        elif (distances[i] or "") not in DISTANCE_CODES:
            reason = f"impossible distance {distances[i]!r}"
        if reason:
            rejected.append(Rejected(source, first_line + i, reason, int(ids[i]) or None))
            good[i] = False
            continue
        types[i] = lists.setdefault(tags, len(lists))
        codes[i] = DISTANCE_CODES[distances[i] or ""]
    weight = np.ones(n, np.float32)
    if "weight" in batch.schema.names:
        weight = batch.column("weight").fill_null(1.0).to_numpy(zero_copy_only=False).astype(np.float32)
    for i in np.flatnonzero(good & ~(np.isfinite(weight) & (weight >= 0))):
        rejected.append(Rejected(source, first_line + int(i), f"bad weight {weight[i]}", int(ids[i])))
        good[i] = False
    title = batch.column("title").to_pylist() if "title" in batch.schema.names else None
    if title is not None and not any(t is not None for t in title):
        title = None
    block = SourceRows(
        gridimage_id=ids[good].astype(np.int64),
        types=types[good],
        type_lists=list(lists),
        distance=codes[good],
        weight=weight[good],
        split=np.full(int(good.sum()), split, np.int8),
        embedding=values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(n, 512)[good],
        line=np.arange(first_line, first_line + n)[good],
        title=None if title is None else [t for t, on in zip(title, good, strict=True) if on],
        rejected=rejected,
    )
    return without_bad_numbers(block, source)
