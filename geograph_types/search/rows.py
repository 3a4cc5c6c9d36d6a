"""Rows to look through, from files of any size and datasets, block by block, in constant memory."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geograph_types.cli import CommandError
from geograph_types.rows import arrow
from geograph_types.rows.fields import is_published, types_of
from geograph_types.rows.jsonl import parse_block
from geograph_types.rows.parquet import CheckedRows, ParquetReader, class_labels, first_line
from geograph_types.rows.sources import dataset_files, is_url, line_blocks, local_path
from geograph_types.rows.splits import SPLITS
from names_geograph import TAGS
from row_geograph import norms_of

BLOCK_ROWS = 4096

# int32 [n], index into lists of indices into TAGS.
Labels = tuple[np.ndarray, list[tuple[int, ...]]]


@dataclass
class Block:
    """Some rows; bad ones are left out. Tags and titles are looked up when asked for, as few ever are."""

    gridimage_id: np.ndarray  # int64 [n]
    bucket: np.ndarray  # uint8 [n], 0 to 22
    embedding: np.ndarray  # float32 [n, D]
    norm: np.ndarray  # float32 [n], the vectors' lengths
    labels: Callable[[np.ndarray | None], Labels]  # of some places, int [k], or of all rows
    title_of: Callable[[int], str | None]
    bad: int = 0

    def __len__(self) -> int:
        return len(self.gridimage_id)

    @property
    def tags(self) -> np.ndarray:
        """bool [n, 8]."""
        types, lists = self.labels(None)
        table = np.zeros((max(len(lists), 1), len(TAGS)), bool)
        for row, tags in enumerate(lists):
            table[row, list(tags)] = True
        return table[types]

    def tags_of(self, places: np.ndarray) -> list[tuple[str, ...]]:
        """The tags of some rows, int [k]; () where nobody gave one."""
        types, lists = self.labels(places)
        return [tuple(TAGS[tag] for tag in lists[row]) for row in types.tolist()]

    def take(self, keep: np.ndarray) -> "Block":
        """The rows where `keep` [n] is True."""
        places = np.flatnonzero(keep)
        return Block(
            self.gridimage_id[places],
            self.bucket[places],
            self.embedding[places],
            self.norm[places],
            lambda some: self.labels(places if some is None else places[some]),
            lambda i: self.title_of(int(places[i])),
            self.bad,
        )


# Reads some rows.
Piece = Callable[[], list[Block]]


def files_of(source: str) -> list[str]:
    """A source as files: itself, or of a folder or a dataset on the Hub all its Parquet.

    Raises:
        CommandError: there are none.
    """
    path = Path(source)
    if path.is_file() or is_url(source) or source == "-" or source.startswith("synthetic:"):
        return [source]
    if path.is_dir():
        for folder in (path / "large", path):
            if found := sorted(folder.glob("*.parquet")):
                return [str(file) for file in found]
        raise CommandError(f"{source}: no Parquet files in it, nor in {path / 'large'}")
    found = []
    for split in SPLITS:
        try:
            found += dataset_files(source, "large", split)
        except CommandError as error:
            if split == SPLITS[0]:
                raise error
    return [str(file) for file in found]


def pieces(source: str, embedding_dim: int) -> Iterator[Piece]:
    """The rows of one file, piece by piece, each read when it is called, by several threads at a time if wished.

    Raises:
        CommandError, ValueError: it is not there, damaged, or holds no rows; from here or from a piece.
    """
    if is_parquet(source):
        yield from _parquet_pieces(local_path(source), source, embedding_dim)
    else:
        for lines in line_blocks(source):
            fields = ("types", "title")
            block = _of_json(
                parse_block(
                    lines.data, lines.first_line, source, labelled=False, embedding_dim=embedding_dim, extra=fields
                )
            )
            yield partial(list, [block])


def is_parquet(source: str) -> bool:
    return source.split("?")[0].lower().endswith(".parquet")


def _parquet_pieces(path: Path, name: str, embedding_dim: int) -> Iterator[Piece]:
    reader = ParquetReader(path, name, labelled=False, embedding_dim=embedding_dim, extra=("types", "title"))
    names = class_labels(reader.schema, ["types"]).get("types") or (TAGS if is_published(reader.names) else None)
    for read in reader.pieces(BLOCK_ROWS, strings=False):
        yield lambda read=read: [_of_parquet(rows, names) for rows in read()]


def _of_parquet(rows: CheckedRows, names: list[str] | None) -> Block:
    """`names`: what numbers in its types stand for."""
    block = Block(
        rows.gridimage_id,
        rows.bucket,
        rows.embedding,
        rows.norm,
        partial(_labels_of, rows.extra.get("types"), names, len(rows)),
        partial(_title, rows.extra.get("title")),
        len(rows.problems),
    )
    if not rows.problems:
        return block
    good = np.ones(len(rows), bool)
    good[list(rows.problems)] = False
    return block.take(good)


def _labels_of(types: pa.Array | None, names: list[str] | None, count: int, places: np.ndarray | None) -> Labels:
    """Tags that nobody knows are as if there were none."""
    if types is None:
        return np.zeros(count if places is None else len(places), np.int32), [()]
    return arrow.tags(types if places is None else types.take(pa.array(places)), names, types_of, {})


def _title(titles: Any, place: int) -> str | None:
    value = None if titles is None else titles[place]
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    return None if value is None else str(value)


def _of_json(rows: Any) -> Block:
    return Block(
        rows.gridimage_id,
        rows.bucket,
        rows.embedding,
        norms_of(rows.embedding),
        partial(_labels_of_json, rows.extra["types"]),
        partial(_title, rows.extra["title"]),
        len(rows.rejected),
    )


def _labels_of_json(values: list[Any], places: np.ndarray | None) -> Labels:
    values = values if places is None else [values[place] for place in places.tolist()]
    lists: dict[tuple[int, ...], int] = {(): 0}
    types = np.zeros(len(values), np.int32)
    for place, value in enumerate(values):
        with contextlib.suppress(ValueError):  # tags that nobody knows: as if there were none
            types[place] = lists.setdefault(types_of(value) if value else (), len(lists))
    return types, list(lists)


def ids_of(source: str) -> Iterator[np.ndarray]:
    """The photos' numbers alone, int64, block by block; of Parquet no vector is read."""
    for name in files_of(source):
        if is_parquet(name):
            try:
                with pq.ParquetFile(local_path(name), pre_buffer=False) as file:
                    for batch in file.iter_batches(1 << 16, columns=["gridimage_id"]):
                        yield arrow.ids(arrow.plain(batch.column(0)), {})
            except (pa.ArrowException, OSError, KeyError) as error:
                raise CommandError(f"{name}: its gridimage_id cannot be read ({first_line(error)})") from None
        else:
            for lines in line_blocks(name):
                yield parse_block(lines.data, lines.first_line, name, labelled=False).gridimage_id


def width_of(source: str) -> int | None:
    """The width of a source's vectors, where its schema tells."""
    name = files_of(source)[0]
    return ParquetReader(local_path(name), name, labelled=False).embedding_dim if is_parquet(name) else None
