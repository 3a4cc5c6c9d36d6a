"""Anybody's Parquet → checked rows, by the names and types of its columns; and the dataset's own → arrays to train on.

    reader = ParquetReader("photos.parquet", labelled=False, extra=("subject", "viewpoint"))
    for block in reader.blocks(4096, skip=0):
        block.gridimage_id, block.bucket, block.embedding, block.extra["subject"]   # every row, in its order
        block.problems                                                              # {place in the block: why not}

Files that this project wrote are read without a copy or a Python object a row; others by the same rules of each field.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geograph_types.rows import arrow
from geograph_types.rows.fields import Rejected, Rows, SourceRows, is_published, keep, parse_weight, types_of
from geograph_types.rows.plain_vectors import vectors_of_group
from geograph_types.rows.published import METADATA_KEY, class_labels
from geograph_types.rows.splits import NO_SPLIT, SPLITS, parse_split, split_named, split_of_ids
from names_geograph import EMBEDDING_DIM, TAGS, UNKNOWN_BUCKET, UNKNOWN_DISTANCE
from row_geograph import (
    EMBEDDING_NAMES,
    bucket_code,
    differing,
    distance_code,
    norms_of,
    vector_of_row,
    vector_problems,
)

ROWS_A_BLOCK = 2048
ROWS_TO_TRAIN = 8192


class Group(NamedTuple):
    """A row group of a file."""

    place: int
    first: int  # the number of its first row, counted from 1
    rows: int


@dataclass
class CheckedRows(SourceRows):
    """Every row of a piece of a file, in its order; where `problems` says why one cannot be used, its other values do
    not count, but for `gridimage_id`, which is 0 where there is none."""

    problems: dict[int, str] = field(default_factory=dict)

    def source_rows(self, source: str) -> SourceRows:
        """The good rows, the others as `rejected`."""
        if not self.problems:
            return self
        good = np.ones(len(self), bool)
        good[list(self.problems)] = False
        for i in sorted(self.problems):
            identity = int(self.gridimage_id[i]) or None
            self.rejected.append(Rejected(source, int(self.line[i]), self.problems[i], identity))
        return keep(self, good)


class ParquetReader:
    """One Parquet file as rows.

    Attributes:
        names: its columns. total: its rows. embedding_dim: the width of vectors that counts; as given, or the file's.

    Raises:
        ValueError: no Parquet, damaged, two columns of a name, or without a column that is needed.
    """

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        *,
        labelled: bool = True,
        embedding_dim: int | None = None,
        extra: tuple[str, ...] = (),
    ):
        self.path, self.name, self.labelled, self.extra = Path(path), name or str(path), labelled, extra
        with self._open() as file:
            self.schema, self.total = file.schema_arrow, file.metadata.num_rows
        self.names = self.schema.names
        self.labels = class_labels(self.schema, self.names)
        self.own = own_metadata(self.schema) is not None
        self.vectors = [name for name in EMBEDDING_NAMES if name in self.names]
        self._check_names()
        self.embedding_dim = embedding_dim or self._width() or EMBEDDING_DIM

    def _open(self, source: pa.NativeFile | None = None) -> pq.ParquetFile:
        if self.path.is_file() and not self.path.stat().st_size:
            raise ValueError(f"{self.name}: empty")
        try:
            # pre_buffer would keep the whole file in memory.
            return pq.ParquetFile(source or self.path, pre_buffer=False)
        except FileNotFoundError:
            raise ValueError(f"{self.name}: no such file") from None
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(f"{self.name}: not a Parquet file, or damaged ({first_line(error)})") from None

    def _check_names(self) -> None:
        has = f"it has {', '.join(self.names[:30]) or 'none'}"
        if not self.vectors:
            raise ValueError(f"{self.name}: no column 'embedding' or 'embeddings'; {has}")
        for name in ("gridimage_id", *(("types",) if self.labelled else ())):
            if name not in self.names:
                raise ValueError(f"{self.name}: no column {name!r}; {has}")
        for name in self._wanted():
            if self.names.count(name) > 1:
                raise ValueError(f"{self.name}: {self.names.count(name)} columns are named {name!r}; keep one")

    def _wanted(self, strings: bool = True) -> list[str]:
        names = ["gridimage_id", *self.vectors, "distance", "distance_bucket", *self.extra]
        if not strings and self.own and "distance_bucket" in self.names:
            names.remove("distance")
        if self.labelled:
            names += ["types", "weight", "split", "title"]
        return [name for name in dict.fromkeys(names) if name in self.names]

    def _width(self) -> int | None:
        """The width of the file's vectors, as far as its schema says."""
        kind = self.schema.field(self.vectors[0]).type
        if isinstance(kind, pa.FixedShapeTensorType):
            return int(np.prod(kind.shape))
        return kind.list_size if pa.types.is_fixed_size_list(kind) else None

    def blocks(self, size: int = ROWS_A_BLOCK, skip: int = 0, strings: bool = True) -> Iterator[CheckedRows]:
        """All rows but the first `skip` blocks; the same blocks at each run.

        Args:
            size: rows a block at most. strings: whether the distance's string matters, or its bucket alone.

        Raises:
            ValueError: the file is damaged.
        """
        with self._open() as file, self.path.open("rb", buffering=0) as raw:
            for group in _groups(file.metadata):
                blocks = -(-group.rows // size)
                if skip < blocks:
                    yield from self._read(file, group, size, strings, skip, raw=raw)
                skip = max(0, skip - blocks)

    def pieces(self, size: int = ROWS_A_BLOCK, strings: bool = True) -> Iterator[Callable[[], list[CheckedRows]]]:
        """As `blocks`, but a row group of at most `size` rows is read by whoever calls its piece, so that several
        threads read side by side; a larger one is read here, block by block. Each call raises as `blocks`."""
        shared = pa.OSFile(str(self.path))  # it closes when the last piece lets go of it
        with self._open(shared) as file:
            for group in _groups(file.metadata):
                if group.rows <= size:
                    yield partial(self._piece, shared, file.metadata, group, size, strings)
                    continue
                for block in self._read(file, group, size, strings):
                    yield partial(list, [block])

    def _piece(self, shared: pa.NativeFile, metadata: pq.FileMetaData, *what: Any) -> list[CheckedRows]:
        # A reader of its own: Arrow's are not said to be safe for threads, its files are.
        return list(self._read(pq.ParquetFile(shared, metadata=metadata, pre_buffer=False), *what))

    def _read(
        self,
        file: pq.ParquetFile,
        group: Group,
        size: int,
        strings: bool,
        skip: int = 0,
        *,
        raw: BinaryIO | None = None,
    ) -> Iterator[CheckedRows]:
        """A row group without its first `skip` blocks; `raw`: the same file, for vectors that lie as they are."""
        first, plain = group.first, None
        try:
            if raw and len(self.vectors) == 1:
                field_read = self.schema.field(self.vectors[0])
                plain = vectors_of_group(raw, file.metadata, group.place, field_read, self.embedding_dim)
            names = [name for name in self._wanted(strings) if plain is None or name not in self.vectors]
            for batch in file.iter_batches(size, row_groups=[group.place], columns=names):
                start = first - group.first
                if skip:
                    skip -= 1
                else:
                    yield self._checked(batch, first, None if plain is None else plain[start : start + len(batch)])
                first += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.name}: damaged ({first_line(error)}); fetch or write it again") from None

    def _checked(self, batch: pa.RecordBatch, first: int, vectors: np.ndarray | None = None) -> CheckedRows:
        n, column = len(batch), {name: arrow.plain(batch.column(name)) for name in batch.schema.names}
        problems: dict[int, str] = {}
        ids = arrow.ids(column["gridimage_id"], problems)
        embedding = self._vectors(column, problems, n) if vectors is None else vectors
        norm = norms_of(embedding)
        for i, reason in vector_problems(embedding, norm).items():
            problems.setdefault(i, reason)
        return CheckedRows(
            gridimage_id=ids,
            distance=self._distance(column, problems, n),
            embedding=embedding,
            norm=norm,
            line=np.arange(first, first + n),
            extra={name: column[name] for name in self.extra if name in column},
            problems=problems,
            **self._labels(column, problems, n),
        )

    def _vectors(self, column: dict[str, pa.Array], problems: dict[int, str], n: int) -> np.ndarray:
        """float32 [n, dim]; of two columns of vectors by the rule of a row that has both names."""
        if len(self.vectors) == 1:
            return arrow.vectors(column[self.vectors[0]], self.embedding_dim, problems)
        found = np.zeros((n, self.embedding_dim), np.float32)
        for i, given in enumerate(zip(*(arrow.values_of(column[name]) for name in self.vectors), strict=True)):
            try:
                found[i] = vector_of_row(dict(zip(self.vectors, given, strict=True)), self.embedding_dim)
            except ValueError as error:
                problems.setdefault(i, str(error))
        return found

    def _distance(self, column: dict[str, pa.Array], problems: dict[int, str], n: int) -> np.ndarray:
        """uint8 [n], index into DISTANCES, as `code_of_row` says of one row."""
        codes, odd = np.full(n, UNKNOWN_BUCKET, np.uint8), {}
        given, known = np.zeros(n, bool), np.zeros(n, bool)
        if "distance" in column:
            rule = partial(distance_code, null=UNKNOWN_DISTANCE, floored=not self.labelled)
            codes = arrow.by_value(column["distance"], rule, odd, UNKNOWN_BUCKET).astype(np.uint8)
            given = arrow.is_given(column["distance"])
        if "distance_bucket" in column:
            bucket = arrow.buckets(column["distance_bucket"], bucket_code, problems)
            known = arrow.is_given(column["distance_bucket"])
        for i, reason in odd.items():
            if self.labelled or not known[i]:
                problems.setdefault(i, reason)
        if not known.any():
            return codes
        given[list(odd)] = False  # beside a good bucket it does not count, or the row is refused
        of_codes = np.where(codes > UNKNOWN_BUCKET, 0, codes)
        for i in np.flatnonzero(given & known & (of_codes != bucket)).tolist():
            problems.setdefault(i, differing(column["distance"][i].as_py(), of_codes[i], bucket[i]))
        return np.where(given, codes, bucket).astype(np.uint8)

    def _labels(self, column: dict[str, pa.Array], problems: dict[int, str], n: int) -> dict[str, Any]:
        split = np.full(n, split_named(self.name) if self.labelled else NO_SPLIT, np.int8)
        if not self.labelled:
            return {
                "types": np.zeros(n, np.int32),
                "type_lists": [()],
                "weight": np.ones(n, np.float32),
                "split": split,
            }
        if "split" in column:
            names, rule = self.labels.get("split"), partial(parse_split, numbered=is_published(self.names))
            if names:
                rule = lambda value: parse_split(names[value] if isinstance(value, int) else value)  # noqa: E731
            found = arrow.by_value(column["split"], rule, problems, NO_SPLIT).astype(np.int8)
            split = np.where(found == NO_SPLIT, split, found).astype(np.int8)
        types, lists = arrow.tags(column["types"], self._type_names(), types_of, problems)
        weight = np.ones(n, np.float32)
        if "weight" in column:
            weight = arrow.weights(column["weight"], parse_weight, problems)
        title = arrow.titles(column["title"]) if "title" in column else None
        return {"types": types, "type_lists": lists, "weight": weight, "split": split, "title": title}

    def _type_names(self) -> list[str] | None:
        """What numbers in `types` stand for: the file's own names, else ours where it has the published columns."""
        return self.labels.get("types") or (TAGS if is_published(self.names) else None)


def _groups(metadata: pq.FileMetaData) -> Iterator[Group]:
    first = 1
    for place in range(metadata.num_row_groups):
        rows = metadata.row_group(place).num_rows
        yield Group(place, first, rows)
        first += rows


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def own_metadata(schema: pa.Schema) -> dict | None:
    """What this project wrote of a file into its schema's metadata (`synthetic`, `version`); None where nothing."""
    try:
        found = json.loads((schema.metadata or {})[METADATA_KEY])
    except (KeyError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def is_synthetic(paths: Iterable[str | Path]) -> bool:
    """Whether any of these Parquet files holds rows that `synthetic.py` made."""
    return any((own_metadata(schema_of(path)) or {}).get("synthetic") is True for path in paths)


def schema_of(path: str | Path) -> pa.Schema:
    """A file's columns and metadata.

    Raises:
        ValueError: not a Parquet file.
    """
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: not a Parquet file, or damaged ({first_line(error)})") from None


def parquet_blocks(path: Path, source: str, embedding_dim: int | None = None) -> Iterator[SourceRows]:
    """A file's rows to publish, bad ones as `rejected`. A file named `train-…`, `validation-…` or `test-…` keeps its
    split where its rows name none.

    Raises:
        ValueError: as `ParquetReader`.
    """
    for block in ParquetReader(path, source, embedding_dim=embedding_dim).blocks():
        yield block.source_rows(source)


def iterate_parquet(
    paths: Iterable[str | Path], batch_size: int = ROWS_TO_TRAIN, embedding_dim: int | None = None
) -> Iterator[Rows]:
    """Parquet → rows to train on or to judge by, batch by batch, in constant memory.

    Raises:
        ValueError: a file without the columns that are needed, or a row that cannot be used, with its file and number.
    """
    for path in paths:
        for block in ParquetReader(path, embedding_dim=embedding_dim).blocks(batch_size, strings=False):
            yield _rows(block, path)


def _rows(block: CheckedRows, path: str | Path) -> Rows:
    if block.problems:
        first = min(block.problems)
        which = f"{path}, row {block.line[first]}, gridimage_id {block.gridimage_id[first]}"
        raise ValueError(
            f"{which}: {block.problems[first]}; prepare_dataset.py --source {Path(path).name} sets such rows aside"
        )
    return block.rows()


def read_parquet(paths: Iterable[str | Path], embedding_dim: int | None = None) -> Rows:
    """Parquet → all its rows, in one pass into arrays of the final size.

    Args:
        embedding_dim: the width of vectors; by default the first file's own.

    Raises:
        ValueError: as `iterate_parquet`, or no rows at all.
    """
    return _read(list(paths), embedding_dim)[0]


def _read(paths: list[str | Path], embedding_dim: int | None) -> tuple[Rows, np.ndarray]:
    """All rows, and the split that each says it is of, int8 [N]."""
    if not paths:
        raise ValueError("no file: no rows")
    readers = [ParquetReader(path) for path in paths]
    total, dim = sum(reader.total for reader in readers), embedding_dim or readers[0].embedding_dim
    if not total:
        raise ValueError(f"{paths[0]}: no rows")
    whole = Rows(
        gridimage_id=np.empty(total, np.int64),
        tags=np.empty((total, len(TAGS)), bool),
        distance=np.empty(total, np.uint8),
        embedding=np.empty((total, dim), np.float32),
        weight=np.empty(total, np.float32),
    )
    split, start = np.empty(total, np.int8), 0
    for reader in readers:
        reader.embedding_dim = dim
        for block in reader.blocks(ROWS_TO_TRAIN, strings=False):
            rows, end = _rows(block, reader.path), start + len(block)
            for name in whole.__dataclass_fields__:
                getattr(whole, name)[start:end] = getattr(rows, name)
            split[start:end] = block.split
            start = end
    return whole, split


def read_split(paths: list[Path], split: str, single_file: bool) -> Rows | None:
    """One split's rows of a dataset's files (see `dataset_files`); None where there are none.

    Args:
        single_file: whether the dataset is one Parquet file, which holds all splits: each row's own `split` counts,
            else, for a held-out split, the one that the file's name says, else the rule by ids.
    """
    if not single_file:
        rows = read_parquet(paths)
        return rows if len(rows) else None
    rows, given = _read(list(paths), None)
    named = split_named(str(paths[0]))
    if (given == named).all() and (named == NO_SPLIT or split == "train" or SPLITS[named] != split):
        given = None
    rows = rows[split_of_ids(rows.gridimage_id, given) == SPLITS.index(split)]
    return rows if len(rows) else None
