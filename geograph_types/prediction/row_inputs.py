"""Rows with ready vectors, of JSONL, CSV or Parquet, block by block: what a row does not need is not asked of it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from decision_geograph import NORMALISED, NOT_SAID, SAME_SQUARE, contradiction, doubt, verdict_of
from geograph_types.cli import say
from geograph_types.prediction.parts import InputBlock, Options, Part
from geograph_types.rows.arrow import is_given
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.jsonl import parse_block, parse_rows
from geograph_types.rows.parquet import CheckedRows, ParquetReader
from grid_geograph import bucket_for, least_metres
from places_geograph import as_point
from row_geograph import look_normalised

PLACES = ("subject", "viewpoint")
DISTANCES = ("distance", "distance_bucket")
CSV_ROWS = 1024


def blocks(part: Part, size: int, skip: int, options: Options) -> Iterator[InputBlock]:
    """All blocks but the first `skip`, the same at each run."""
    if part.kind == "parquet":
        return _parquet_blocks(part, size, skip, options.embedding_dim)
    return (_jsonl_blocks if part.kind == "jsonl" else _csv_blocks)(part, skip, options)


def _jsonl_blocks(part: Part, skip: int, options: Options) -> Iterator[InputBlock]:
    for block in islice(part.opened.line_blocks(), skip, None):
        yield of_lines(block.data, block.first_line, part.name, options)


def of_lines(data: bytes, first_line: int, name: str, options: Options) -> InputBlock:
    """Whole lines of JSONL → one answer each, blank ones apart. `name` is the source's, for messages."""
    extra = (*DISTANCES, *PLACES) if b'"viewpoint"' in data and b'"subject"' in data else ()
    rows = parse_block(data, first_line, name, labelled=False, embedding_dim=options.embedding_dim, extra=extra)
    return _of_source_rows(rows)


def _csv_blocks(part: Part, skip: int, options: Options) -> Iterator[InputBlock]:
    lines = islice(part.opened.records(), skip * CSV_ROWS, None)
    chosen = {"labelled": False, "embedding_dim": options.embedding_dim, "extra": (*DISTANCES, *PLACES)}
    while chunk := list(islice(lines, CSV_ROWS)):
        yield _of_source_rows(parse_rows(chunk, part.name, **chosen))


def count(part: Part) -> int:
    """Rows of a source that can only be read from its beginning."""
    if part.kind == "csv":
        return sum(1 for _ in part.opened.records())
    lines = (line for block in part.opened.line_blocks() for line in block.data.split(b"\n"))
    return sum(1 for line in lines if line and not line.isspace())


def _of_source_rows(rows: SourceRows) -> InputBlock:
    """The good rows and the bad ones, where they stood."""
    good, bad = len(rows), rows.rejected
    found = InputBlock(pa.array(rows.gridimage_id), rows.bucket.astype(np.int64), rows.embedding)
    found.remarks = _remarks(rows.norm)
    if rows.extra:
        given = [both != (None, None) for both in zip(*(rows.extra[name] for name in DISTANCES), strict=True)]
        _add_places(found, *(rows.extra[name] for name in PLACES), np.array(given, dtype=bool), rows.line)
    if not bad:
        return found
    # The bad rows go back to where they stood, with numbers that do not count.
    lines = np.concatenate([rows.line, np.array([r.line for r in bad], np.int64)])
    order = np.argsort(lines, kind="stable")
    n, verdict = len(bad), found.verdict

    def restored(values: list | None, fill: list) -> list | None:
        both = [*([None] * good if values is None else values), *fill]
        return [both[i] for i in order]

    ids = [*rows.gridimage_id.tolist(), *(r.gridimage_id for r in bad)]
    return InputBlock(
        key=pa.array([ids[i] for i in order], pa.int64()),
        bucket=np.concatenate([found.bucket, np.zeros(n, np.int64)])[order],
        embedding=np.concatenate([found.embedding, np.zeros((n, found.embedding.shape[1]), np.float32)])[order],
        verdict=None if verdict is None else np.append(verdict, np.full(n, NOT_SAID, np.int8))[order],
        doubts=None if found.doubts is None else restored(found.doubts, [None] * n),
        remarks=None if found.remarks is None else restored(found.remarks, [None] * n),
        errors=restored(found.errors, [f"line {r.line}: {r.reason}" for r in bad]),
    )


def _parquet_blocks(part: Part, size: int, skip: int, dim: int) -> Iterator[InputBlock]:
    reader = ParquetReader(part.opened.path, part.name, labelled=False, embedding_dim=dim)
    if set(PLACES) <= set(reader.names):
        reader.extra = (*PLACES, *DISTANCES)
    for block in reader.blocks(size, skip, strings=False):
        yield _of_checked(block)


def _of_checked(block: CheckedRows) -> InputBlock:
    n = len(block)
    key = pa.array(block.gridimage_id, mask=block.gridimage_id == 0)
    found = InputBlock(key, block.bucket.astype(np.int64), block.embedding, remarks=_remarks(block.norm))
    if block.problems:
        found.errors = [f"row {block.line[i]}: {block.problems[i]}" if i in block.problems else None for i in range(n)]
    if block.extra:
        places = (block.extra[name].to_pylist() for name in PLACES)
        given = [is_given(block.extra[name]) for name in DISTANCES if name in block.extra]
        _add_places(found, *places, np.any([np.zeros(n, bool), *given], axis=0), block.line, unit="row")
    return found


def _add_places(
    block: InputBlock, subjects: list, viewpoints: list, given: np.ndarray, lines: np.ndarray, *, unit: str = "line"
) -> None:
    """What two points say of each row: its distance where none is `given` [n], or that they contradict it."""
    n = len(block)
    block.verdict, block.doubts = np.full(n, NOT_SAID, np.int8), [None] * n
    errors: dict[int, str] = {}
    for i, places in enumerate(zip(subjects, viewpoints, strict=True)):
        if places == (None, None):
            continue
        try:
            subject, viewpoint = (_point(name, value) for name, value in zip(PLACES, places, strict=True))
        except ValueError as error:
            errors[i] = f"{unit} {lines[i]}: {error}"
            continue
        block.verdict[i] = verdict_of(subject, viewpoint)
        if block.verdict[i] == SAME_SQUARE:
            block.doubts[i] = doubt(viewpoint)
        if not given[i]:
            block.bucket[i] = bucket_for(None, subject, viewpoint)
        elif note := contradiction(least_metres(int(block.bucket[i])), subject, viewpoint):
            block.remarks = block.remarks or [None] * n
            block.remarks[i] = "; ".join(filter(None, (block.remarks[i], note)))
    if errors:
        known = block.errors or [None] * n
        block.errors = [known[i] or errors.get(i) for i in range(n)]


def _point(name: str, value: Any) -> Any:
    try:
        return as_point(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


_warned: list[bool] = []


def _remarks(norm: np.ndarray | None) -> list[str | None] | None:
    """Normalised vectors are named, once on stderr and at each row: the model takes them for other photos."""
    if norm is None or not (short := look_normalised(norm)).any():
        return None
    if not _warned:
        _warned.append(True)
        length = norm[short.argmax()]
        say(f"warning: vectors of length {length:.2f} look normalised; the model knows CLIP's own, of about 10")
    return [NORMALISED if on else None for on in short.tolist()]
