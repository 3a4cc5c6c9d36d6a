"""The pieces that an input is made of: its sources, what a run says of them, and blocks of rows or photos."""

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geograph_types.rows.photo_tables import iterate_table
from geograph_types.rows.sources import Source, is_url


@dataclass
class InputBlock:
    """Some rows of the input, in its order. Where `errors` says why one cannot be used, its numbers do not count."""

    key: pa.Array  # int64 gridimage_id, or string path [n]
    bucket: np.ndarray  # int64 [n], 0 to 22
    embedding: np.ndarray | None  # float32 [n, dim]; None: `photos` are to be encoded
    photos: list[str | Path | None] | None = None
    verdict: np.ndarray | None = None  # int8 [n], what coordinates say; None: nothing anywhere
    doubts: list[str | None] | None = None  # what to say where they put both points in one square
    remarks: list[str | None] | None = None  # what to say in any case
    errors: list[str | None] | None = None  # None: no errors

    def __len__(self) -> int:
        return len(self.key)

    def take(self, mask: np.ndarray) -> "InputBlock":
        """The rows where `mask` [n] is True."""
        lists = ("photos", "doubts", "remarks", "errors")
        kept = {n: [v for v, on in zip(x, mask, strict=True) if on] for n in lists if (x := getattr(self, n))}
        arrays = {n: x[mask] for n in ("bucket", "embedding", "verdict") if (x := getattr(self, n)) is not None}
        return replace(self, key=self.key.filter(pa.array(mask)), **arrays, **kept)


@dataclass(frozen=True)
class Part:
    """One source of an input: `kind` is jsonl, csv or parquet (rows), folder or table (photos)."""

    name: str  # as the user wrote it, for messages
    source: str  # what is opened: a path, "-" or "synthetic:N"
    kind: str
    total: int | None = None  # rows or photos, where that is cheap to know
    opened: Source | None = field(default=None, compare=False)  # of rows and tables

    @property
    def of_photos(self) -> bool:
        return self.kind in ("folder", "table")

    def identity(self) -> list[Any]:
        """What tells this source from another, or from a later state of the same: sizes and times, its photos' too."""
        path = Path(self.source)
        if self.opened is not None and self.opened.stream is not None:
            return [self.name, os.getpid()]  # cannot be gone back in: each run is its own
        if self.kind == "folder":
            from photos_geograph import list_photos

            return [str(path.resolve()), _digest(list_photos(path))]
        if not path.is_file():
            return [self.source]
        status = path.stat()
        # An address is one file here, anew whenever the server's ETag or length changes.
        own = [self.name if is_url(self.name) else str(path.resolve()), status.st_size, status.st_mtime_ns]
        return (
            [*own, _digest(r.file for r in iterate_table(self.opened, places=False))] if self.kind == "table" else own
        )


def _digest(files: Any) -> str:
    """The names, sizes and times of many files, as one hash."""
    digest = hashlib.sha256()
    for file in files:
        line = os.fsencode(str(file))
        try:
            status = os.stat(file)  # noqa: PTH116 (odd names)
            line += f"\0{status.st_size}\0{status.st_mtime_ns}".encode()
        except (OSError, ValueError, TypeError):
            line += b"\0"
        digest.update(line + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class Options:
    """What a run says of its input beyond its name."""

    embedding_dim: int
    subject: Any = None  # a point: the subject of all photos that have none of their own
    allow_urls: bool = False  # whether a table's addresses are fetched
