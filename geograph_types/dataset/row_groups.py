"""Row groups of the published files: rows gathered in arrays, written as Parquet, read back from it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geograph_types.rows import arrow
from geograph_types.rows.fields import SourceRows, types_of
from geograph_types.rows.plain_vectors import read_vectors, vector_column
from geograph_types.rows.splits import NO_SPLIT
from names_geograph import TAGS
from row_geograph import DISTANCE_CODES, DISTANCES

FIELDS = {"gridimage_id": np.int64, "types": np.int32, "distance": np.uint8, "weight": np.float32}
TYPES, VECTORS = "types.list.element", "embedding.list.element"
COLUMN_PATHS = {"types": TYPES, "embedding": VECTORS}  # lists, as Parquet names them
PAGE_BYTES = 2 << 20


class RowGroup:
    """Memory for the rows of one row group; used again when they are written."""

    def __init__(self, rows: int, dim: int):
        self.embedding = np.empty((rows, dim), np.float32)
        self.fields = {name: np.empty(rows, kind) for name, kind in FIELDS.items()}
        self.title: list[str | None] = []
        self.filled = 0

    @property
    def room(self) -> int:
        return len(self.embedding) - self.filled

    def add(self, rows: SourceRows, index: np.ndarray, with_title: bool) -> None:
        """Copies the rows `index` [at most `room`] of `rows`, whose `types` point into the writer's own lists."""
        start, self.filled = self.filled, self.filled + len(index)
        for name, array in {**self.fields, "embedding": self.embedding}.items():
            # mode: otherwise numpy makes a copy first, to be able to raise in the middle
            np.take(getattr(rows, name), index, axis=0, out=array[start : self.filled], mode="clip")
        if with_title:
            self.title += [None] * len(index) if rows.title is None else [rows.title[i] for i in index.tolist()]

    def rows(self, type_lists: list[tuple[int, ...]]) -> SourceRows:
        """What is in it, in the same memory."""
        n = self.filled
        return SourceRows(
            **{name: array[:n] for name, array in self.fields.items()},
            type_lists=type_lists,
            split=np.full(n, NO_SPLIT, np.int8),
            embedding=self.embedding[:n],
            line=np.zeros(n, np.int64),
            title=self.title or None,
        )

    def clear(self) -> None:
        self.title, self.filled = [], 0


class TypeLists:
    """All lists of tags that were met, each with one number."""

    def __init__(self):
        self.lists: list[tuple[int, ...]] = []
        self._numbers: dict[tuple[int, ...], int] = {}

    def numbers_of(self, rows: SourceRows) -> np.ndarray:
        """int32 [n]: `rows.types` as places in `lists`."""
        for tags in rows.type_lists:
            if tags not in self._numbers:
                self._numbers[tags] = len(self.lists)
                self.lists.append(tags)
        return np.array([self._numbers[tags] for tags in rows.type_lists], np.int32)[rows.types]


def small_columns(rows: SourceRows, with_title: bool) -> dict[str, pa.Array]:
    """All published columns but the embedding."""
    lengths = np.array([len(types) for types in rows.type_lists], dtype=np.int32)[rows.types]
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    padded = np.zeros((len(rows.type_lists), len(TAGS)), dtype=np.int64)
    for row, types in enumerate(rows.type_lists):
        padded[row, : len(types)] = types
    values = padded[rows.types][np.arange(len(TAGS)) < lengths[:, None]]
    columns = {
        "gridimage_id": arrow.column_of(rows.gridimage_id),
        "types": pa.ListArray.from_arrays(arrow.column_of(offsets), arrow.column_of(values)),
        "distance": arrow.strings_of(DISTANCES).take(arrow.column_of(rows.distance)),
        "distance_bucket": arrow.column_of(rows.bucket.astype(np.int8)),
        "weight": arrow.column_of(rows.weight),
    }
    if with_title:
        columns["title"] = arrow.strings_of(rows.title or [None] * len(rows))
    return columns


def as_table(rows: SourceRows, schema: pa.Schema) -> pa.Table:
    """All published columns, the vectors in the memory of `rows`."""
    columns = small_columns(rows, "title" in schema.names)
    vectors = arrow.column_of(rows.embedding.reshape(-1))
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(vectors, rows.embedding.shape[1])
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def arrow_bytes(table: pa.Table) -> int:
    """The size of a table of one chunk as `datasets` counts it when it has read it: lists and what is in them then
    carry a bit each for nulls that we never have, the list of a vector apart."""
    vectors, types = (table[name].chunk(0) for name in ("embedding", "types"))
    bits = len(vectors) * vectors.type.list_size, len(types), len(types.values)
    return table.nbytes + sum(-(-number // 8) for number in bits)


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer as the Hub and its viewer like it, with a page index.

    Vectors stay as they are, since floats do not compress. The Hub stores a changed file's unchanged parts once. Of
    such vectors it finds these by itself, as well in pages of 2 MB as in those that `datasets` cuts by content, which
    takes a third of the time to write.
    """
    columns = [COLUMN_PATHS.get(name, name) for name in schema.names]
    return pq.ParquetWriter(
        path,
        schema,
        compression={name: "none" if name == VECTORS else "snappy" for name in columns},
        use_dictionary=["distance", TYPES],
        write_statistics=[name for name in columns if name != VECTORS],
        write_page_index=True,
        data_page_size=PAGE_BYTES,
        write_batch_size=1 << 16,  # numbers
    )


def row_groups(paths: list[Path]) -> Iterator[SourceRows]:
    """Files as `open_writer` writes them, row group by row group. Each is valid until the next one is asked for."""
    memory = None
    for path in paths:
        with pq.ParquetFile(path, pre_buffer=False) as file, path.open("rb", buffering=0) as raw:
            names, place = file.schema_arrow.names, vector_column(file.metadata, "embedding")
            dim = file.schema_arrow.field("embedding").type.list_size
            small = [name for name in names if name != "embedding"]
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if memory is None or memory.shape[0] < group.num_rows:
                    memory = np.empty((group.num_rows, dim), np.float32)
                vectors = memory[: group.num_rows]
                if not read_vectors(raw, group, place, vectors):  # another pyarrow lays pages out in another way
                    column = file.read_row_group(number, ["embedding"], use_threads=False)["embedding"]
                    vectors[:] = arrow.numbers_of(arrow.plain(column).flatten()).reshape(-1, dim)
                yield _rows_of(file.read_row_group(number, small, use_threads=False), vectors)


def _rows_of(table: pa.Table, vectors: np.ndarray) -> SourceRows:
    problems: arrow.Problems = {}
    column = {name: arrow.plain(table[name]) for name in table.column_names}
    types, lists = arrow.tags(column["types"], list(TAGS), types_of, problems)
    return SourceRows(
        gridimage_id=arrow.numbers_of(column["gridimage_id"]),
        types=types,
        type_lists=lists,
        distance=arrow.by_value(column["distance"], DISTANCE_CODES.__getitem__, problems, 0).astype(np.uint8),
        weight=arrow.numbers_of(column["weight"]),
        split=np.full(len(table), NO_SPLIT, np.int8),
        embedding=vectors,
        line=np.zeros(len(table), np.int64),
        title=arrow.titles(column["title"]) if "title" in column else None,
    )
