"""What is to be answered: rows with ready embeddings, or photos with their places, block by block."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from decision_geograph import doubt, verdict_of
from geograph_types.cli import CommandError
from geograph_types.rows.jsonl import parse_block
from geograph_types.rows.parquet import CheckedRows, ParquetReader
from geograph_types.rows.photo_tables import CSV_SUFFIXES, PhotoRecord, count_photos, iterate_photos
from geograph_types.rows.sources import is_url, line_blocks
from grid_geograph import bucket_for
from names_geograph import EMBEDDING_DIM
from places_geograph import as_point


@dataclass
class Questions:
    """Some rows of the input, in its order. Where `errors` says why one cannot be used, its numbers do not count."""

    key: pa.Array  # int64 gridimage_id, or string path [n]
    distance: np.ndarray  # int64 [n], buckets
    embedding: np.ndarray | None  # float32 [n, 512]; None: `photos` are to be encoded
    photos: list[str | Path | None] | None = None
    verdict: np.ndarray | None = None  # int8 [n], what coordinates say; None: nothing anywhere
    notes: list[str | None] | None = None  # what to say where they put both points in one square
    errors: list[str | None] | None = None  # None: no errors

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True)
class Input:
    """An input whose kind is known: `kind` is "jsonl" or "parquet" rows, or "photos"."""

    source: str
    kind: str
    total: int | None  # rows or photos, where that is cheap to know

    @property
    def key(self) -> str:
        return "path" if self.kind == "photos" else "gridimage_id"

    @property
    def unit(self) -> str:
        return "photo" if self.kind == "photos" else "row"

    def blocks(self, size: int, skip: int) -> Iterator[Questions]:
        """All questions but the first `skip` blocks, the same blocks at each run; `size` rows or photos each,
        but of JSONL what lies in some MB of it."""
        if self.kind == "photos":
            return _photo_blocks(self.source, size, skip)
        return (_parquet_blocks if self.kind == "parquet" else _jsonl_blocks)(self.source, size, skip)

    def identity(self) -> dict[str, Any]:
        """What tells this input from another, or from a later state of the same file."""
        path = Path(self.source)
        if path.is_dir():
            import hashlib

            listing = hashlib.sha256()
            for record in iterate_photos(path):
                status = Path(record.file).stat()
                listing.update(f"{record.path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="replace"))
            return {"input": [str(path.resolve()), listing.hexdigest()]}
        if path.is_file():
            status = path.stat()
            return {"input": [str(path.resolve()), status.st_size, status.st_mtime_ns]}
        # Standard input cannot be gone back in: each run is its own.
        return {"input": [self.source, os.getpid() if self.source == "-" else 0]}


def open_input(source: str) -> Input:
    """Looks at the input's name, and into it, for what it is.

    Raises:
        CommandError: it is not there, or is nothing that can be answered.
    """
    path = Path(source)
    if path.is_dir():
        total = count_photos(path)
        if not total:
            raise CommandError(f"{source}: no photos in this folder (.jpg, .png, .gif, .webp, .tif or .bmp files)")
        return Input(source, "photos", total)
    if not (path.is_file() or is_url(source) or source == "-" or source.startswith("synthetic:")):
        raise CommandError(f"{source}: no such file or folder")
    name = source.lower().removesuffix(".gz")
    if name.endswith(tuple(CSV_SUFFIXES)):
        return Input(source, "photos", None)
    if name.endswith(".parquet"):
        try:
            with pq.ParquetFile(path) as file:
                names, total = set(file.schema_arrow.names), file.metadata.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise CommandError(f"{source}: not a Parquet file ({error})") from None
        if names & {"embedding", "embeddings"}:
            if "gridimage_id" not in names:
                raise CommandError(f"{source}: no column 'gridimage_id'; it has {', '.join(sorted(names))}")
            return Input(source, "parquet", total)
        if "path" in names:
            return Input(source, "photos", total)
        raise CommandError(f"{source}: no column embedding, embeddings or path; it has {', '.join(sorted(names))}")
    return Input(source, _kind_of_json(source), None)


def _kind_of_json(source: str) -> str:
    """Rows, or a table of photos: what the first line that is an object says."""
    if source == "-":
        return "jsonl"
    for block in line_blocks(source):
        for line in block.data.split(b"\n"):
            try:
                row = orjson.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                return "photos" if "path" in row and "embeddings" not in row else "jsonl"
        break
    return "jsonl"


def _photo_blocks(source: str, size: int, skip: int) -> Iterator[Questions]:
    records = islice(iterate_photos(source), skip * size, None)
    while chunk := list(islice(records, size)):
        yield _of_photos(chunk)


def _of_photos(records: list[PhotoRecord]) -> Questions:
    verdict = np.array([verdict_of(r.subject, r.viewpoint) for r in records], dtype=np.int8)
    return Questions(
        key=pa.array([None if r.path is None else _text(r.path) for r in records], pa.string()),
        distance=np.array([r.distance for r in records], dtype=np.int64),
        embedding=None,
        photos=[r.file for r in records],
        verdict=verdict,
        notes=[doubt(r.viewpoint) if v == 0 else None for r, v in zip(records, verdict, strict=True)],
        errors=[r.error for r in records] if any(r.error for r in records) else None,
    )


def _text(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _jsonl_blocks(source: str, size: int, skip: int) -> Iterator[Questions]:
    for block in islice(line_blocks(source), skip, None):
        rows = parse_block(block.data, block.first_line, source, labelled=False)
        good, bad = len(rows), rows.rejected
        places = _json_places(block.data, block.first_line, rows) if _may_have_places(block.data) else None
        distance, embedding = rows.bucket.astype(np.int64), rows.embedding
        if places is not None:
            distance = np.where(places.distance < 0, distance, places.distance)
        if not bad and (places is None or places.errors is None):
            verdict, notes = (None, None) if places is None else (places.verdict, places.notes)
            yield Questions(pa.array(rows.gridimage_id), distance, embedding, None, verdict, notes)
            continue
        # The bad rows go back to where they stood, with numbers that do not count.
        order = np.argsort(np.concatenate([rows.line, [r.line for r in bad]]), kind="stable")
        ids = [*rows.gridimage_id.tolist(), *(r.gridimage_id for r in bad)]
        fill = len(bad)
        own = [None] * good if places is None or places.errors is None else places.errors
        errors = [*own, *(f"line {r.line}: {r.reason}" for r in bad)]
        verdict = notes = None
        if places is not None:
            verdict = np.concatenate([places.verdict, np.full(fill, -1, np.int8)])[order]
            notes = [[*places.notes, *[None] * fill][i] for i in order]
        yield Questions(
            key=pa.array([ids[i] for i in order], pa.int64()),
            distance=np.concatenate([distance, np.zeros(fill, np.int64)])[order],
            embedding=np.concatenate([embedding, np.zeros((fill, EMBEDDING_DIM), np.float32)])[order],
            verdict=verdict,
            notes=notes,
            errors=[errors[i] for i in order],
        )


@dataclass
class _Places:
    """What the rows of a block say of their places, beyond a distance."""

    distance: np.ndarray  # int64 [n], bucket; -1: as the row's own distance says
    verdict: np.ndarray  # int8 [n]
    notes: list[str | None]
    errors: list[str | None] | None


def _may_have_places(data: bytes) -> bool:
    return b'"subject"' in data and b'"viewpoint"' in data


def _json_places(data: bytes, first_line: int, rows) -> _Places:
    lines = data.split(b"\n")
    return _places([orjson.loads(lines[line - first_line]) for line in rows.line.tolist()])


def _places(rows: list[dict[str, Any]]) -> _Places:
    n = len(rows)
    found = _Places(np.full(n, -1, np.int64), np.full(n, -1, np.int8), [None] * n, [None] * n)
    for i, row in enumerate(rows):
        try:
            subject, viewpoint = as_point(row.get("subject")), as_point(row.get("viewpoint"))
            found.verdict[i] = verdict_of(subject, viewpoint)
            if found.verdict[i] == 0:
                found.notes[i] = doubt(viewpoint)
            if "distance" not in row:
                found.distance[i] = bucket_for(None, subject, viewpoint)
        except (ValueError, AttributeError) as error:
            found.errors[i] = str(error)
    if not any(found.errors):
        found.errors = None
    return found


def _parquet_blocks(source: str, size: int, skip: int) -> Iterator[Questions]:
    reader = ParquetReader(source, labelled=False, extra=("subject", "viewpoint"))
    for block in reader.blocks(size, skip):
        yield _of_checked(block, "distance" in reader.names or "distance_bucket" in reader.names)


def _of_checked(block: CheckedRows, has_distance: bool) -> Questions:
    n, problems, distance = len(block), dict(block.problems), block.bucket.astype(np.int64)
    verdict = notes = None
    if len(block.extra) == 2:
        rows = zip(*(block.extra[name].to_pylist() for name in ("subject", "viewpoint")), strict=True)
        places = _places([{"subject": subject, "viewpoint": viewpoint} for subject, viewpoint in rows])
        verdict, notes = places.verdict, places.notes
        if not has_distance:
            distance = np.where(places.distance >= 0, places.distance, distance)
        for i, error in enumerate(places.errors or ()):
            if error:
                problems.setdefault(i, error)
    key = pa.array(block.gridimage_id, mask=block.gridimage_id == 0)
    errors = [f"row {block.line[i]}: {problems[i]}" if i in problems else None for i in range(n)] if problems else None
    return Questions(key, distance, block.embedding, None, verdict, notes, errors)
