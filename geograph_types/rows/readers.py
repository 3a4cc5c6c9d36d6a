"""One file of rows, whatever its format, read block by block: to publish, to predict, or field by field.

for part in open_source("rows.jsonl.gz"):                 # in sources.py: one Source a file
    for block in part.rows(pool.parse):                   # good rows, the others as `rejected`: to publish
    for block in part.checked(4096, embedding_dim=512):   # every row in its order, with `problems`: to predict
    for line, row in part.records():                      # the fields of each line: a table of photos
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.rows import formats, json_text
from geograph_types.rows.arrow import values_of
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.jsonl import parse_block, parse_rows, rows_in
from geograph_types.rows.parquet import CheckedRows, ParquetReader, own_metadata, parquet_blocks, schema_of
from geograph_types.rows.streams import open_file, text_chunks, unpacked
from names_geograph import EMBEDDING_DIM

SYNTHETIC = "synthetic:"

# Bytes of whole lines handed on at a time: some hundreds of rows, so that all buffers stay in the cache.
BLOCK_SIZE = 2 << 20

# A row has about 3,000 bytes; what has no end of line for so long is something else.
LONGEST_LINE = 64 << 20
# Blank lines alone, and bad rows alone, do not go on for ever.
MOST_BLANK = 256 << 20
HOPELESS_ROWS = 10_000

TABLE_ROWS_A_BLOCK = 512

# What is known of a source.
JSON, TABLE, PARQUET, PHOTOS = "json", "table", "parquet", "photos"


@dataclass(frozen=True)
class Block:
    """Whole lines of one source."""

    source: str
    first_line: int  # 1 for the first line of the source
    data: bytes
    position: int  # bytes of the source read so far, as stored (compressed where it is)


@dataclass
class Source:
    """One file or stream whose kind is known.

    `name` is what messages and cards may show: no password, no token. `kind`: "json", "table" (CSV with vectors) or
    "parquet" hold rows; "photos" is a folder or a table of photos.
    """

    name: str
    kind: str
    path: Path | None = None  # None: standard input, or made-up rows
    shape: str = json_text.LINES  # of JSON
    plain: bool = False  # whether its bytes are lines of JSON as they lie on the disk
    delimiter: str | None = None  # of a table, also of photos
    version: str | None = None  # what the server says of an address's content
    fetched: bool = False  # from an address or the Hub: `path` is a copy, and no photo lies beside it
    origin: str | None = None  # what opens it again, on another machine too; None: what can be read but once
    stream: io.BufferedReader | None = field(default=None, repr=False)  # what can be read but once
    unpacked: IO | None = field(default=None, repr=False)  # Parquet out of a zip: removed with this object

    @property
    def is_synthetic(self) -> bool:
        """Whether these rows are made up: here, or in Parquet that says so of itself."""
        if self.name.startswith(SYNTHETIC):
            return True
        return self.kind == PARQUET and bool((own_metadata(schema_of(self.path)) or {}).get("synthetic"))

    def identity(self) -> list:
        """What tells this content from another under the same name."""
        if self.path is None or self.stream is not None:
            return [self.name]
        status = self.path.stat()
        return [self.name, status.st_size, self.version or status.st_mtime_ns]

    def line_blocks(self) -> Iterator[Block]:
        """JSON of any shape → blocks of whole lines, a row each.

        Raises:
            CommandError: empty, damaged, cut in the middle.
        """
        if self.name.startswith(SYNTHETIC):
            from geograph_types.rows.synthetic import lines_of

            yield from _blocks(self.name, lines_of(self.name), lambda: 0)
            return
        if self.stream is not None:
            stream, self.stream = self.stream, _used(self.name)
            yield from self._blocks_of(stream, lambda: 0)
            return
        with open_file(self.name, self.path) as raw:
            yield from self._blocks_of(unpacked(self.name, raw), raw.tell)

    def _blocks_of(self, file: io.BufferedReader, tell: Callable[[], int]) -> Iterator[Block]:
        chunks = text_chunks(self.name, file)
        try:
            if self.shape != json_text.LINES:
                chunks = json_text.lines_of(chunks, self.shape)
            yield from _blocks(self.name, chunks, tell)
        except ValueError as error:
            raise CommandError(f"{self.name}: {error}") from None

    def rows(
        self,
        parse: Callable[[Iterable[Block]], Iterator[SourceRows]],
        embedding_dim: int = EMBEDDING_DIM,
        parse_file: Callable[[str, Path], Iterator[SourceRows]] | None = None,
    ) -> Iterator[SourceRows]:
        """Rows to publish, in order: good ones as arrays, bad ones as `rejected`.

        Args:
            parse: a `ParserPool`'s, which does lines of JSON on all cores. parse_file: the same of a plain file.
        """
        if self.plain and parse_file:
            yield from parse_file(self.name, self.path)
        elif self.kind == JSON:
            yield from parse(self.line_blocks())
        elif self.kind == PARQUET:
            yield from parquet_blocks(self.path, self.name, embedding_dim)
        else:
            rows = self.records()
            while chunk := list(islice(rows, TABLE_ROWS_A_BLOCK)):
                yield parse_rows(chunk, self.name, embedding_dim=embedding_dim)

    def checked(
        self, size: int, skip: int = 0, *, embedding_dim: int = EMBEDDING_DIM, extra: tuple[str, ...] = ()
    ) -> Iterator[CheckedRows]:
        """Rows to be predicted, every one in its order, with `problems`; the same blocks at each run.

        Args:
            size: rows a block; of JSON what lies in some MB. skip: how many blocks are done already.
            extra: other fields to keep, such as `subject`: `block.extra[name]`, a list or an Arrow array.

        Raises:
            CommandError: damaged, or so many bad rows and no good one that it is something else.
        """
        good = bad = 0
        for block in self._checked(size, skip, embedding_dim, extra):
            bad += len(block.problems)
            good += len(block) - len(block.problems)
            if not good and not skip and bad > HOPELESS_ROWS:
                line, reason = block.line[min(block.problems)], block.problems[min(block.problems)]
                raise CommandError(f"{self.name}: {bad:,} bad rows and no good one; line {line}: {reason}")
            yield block

    def _checked(self, size: int, skip: int, embedding_dim: int, extra: tuple[str, ...]) -> Iterator[CheckedRows]:
        options: dict[str, Any] = {"embedding_dim": embedding_dim, "extra": extra}
        if self.kind == PARQUET:
            yield from ParquetReader(self.path, self.name, labelled=False, **options).blocks(size, skip)
        elif self.kind == JSON:
            for block in islice(self.line_blocks(), skip, None):
                yield in_order(parse_block(block.data, block.first_line, self.name, labelled=False, **options))
        else:
            rows = islice(self.records(), skip * size, None)
            while chunk := list(islice(rows, size)):
                yield in_order(parse_rows(chunk, self.name, labelled=False, **options))

    def records(self) -> Iterator[tuple[int, Any]]:
        """Line numbers, and each line's fields as a dict, or the ValueError that says why it cannot be read."""
        if self.delimiter is not None:
            yield from self._table_records()
        elif self.path is not None and self.stream is None and _begins_as_parquet(self.path):
            yield from _parquet_records(self.name, self.path)
        else:
            for block in self.line_blocks():
                for line, text in enumerate(block.data.split(b"\n"), block.first_line):
                    if text.strip():
                        yield from ((line, row) for row in _rows_in(text))

    def _table_records(self) -> Iterator[tuple[int, Any]]:
        csv.field_size_limit(LONGEST_LINE)
        if self.stream is not None:
            stream, self.stream = self.stream, _used(self.name)
            yield from self._cells(stream)
            return
        with open_file(self.name, self.path) as raw:
            yield from self._cells(unpacked(self.name, raw))

    def _cells(self, file: io.BufferedReader) -> Iterator[tuple[int, Any]]:
        reader = csv.reader(_text_lines(self.name, file), delimiter=self.delimiter)
        try:
            heading = [name.strip().removeprefix("\ufeff") for name in next(reader, [])]
            if doubled := next((name for name in heading if name and heading.count(name) > 1), None):
                raise CommandError(f"{self.name}: two columns are named {doubled!r}; keep one")
            for cells in reader:
                if not cells:
                    continue
                row: Any = dict(zip(heading, cells, strict=False))
                if len(cells) != len(heading):
                    row = ValueError(f"{len(cells)} cells, expected {len(heading)} as in the first line")
                yield reader.line_num, row
        except csv.Error as error:
            raise CommandError(f"{self.name}: line {reader.line_num}: {error}") from None


def _text_lines(name: str, file: io.BufferedReader) -> Iterator[str]:
    """Lines with their ends; bytes that are not UTF-8 come through as they are on the disk (file names)."""
    for block in _blocks(name, text_chunks(name, file), lambda: 0):
        yield from io.StringIO(block.data.replace(b"\0", b"").decode("utf-8", "surrogateescape"), newline="")


def _rows_in(text: bytes) -> list[Any]:
    try:
        return rows_in(text)
    except ValueError as error:
        return [error]


def _parquet_records(name: str, path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            names = file.schema_arrow.names
            if doubled := next((one for one in names if names.count(one) > 1), None):
                raise CommandError(f"{name}: two columns are named {doubled!r}; keep one")
            line = 0
            for batch in file.iter_batches(1024):
                for values in zip(*(values_of(column) for column in batch.columns), strict=True):
                    line += 1
                    yield line, dict(zip(batch.schema.names, values, strict=True))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name}: damaged ({str(error).splitlines()[0]})") from None


def _begins_as_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == formats.PARQUET_MAGIC


def _used(name: str) -> Any:
    class Used:
        def __getattr__(self, _: str):
            raise CommandError(f"{name}: a stream can be read but once")

    return Used()


def in_order(rows: SourceRows) -> CheckedRows:
    """Good rows and rejected ones, put back where they stood; numbers of bad ones do not count."""
    n, bad = len(rows), rows.rejected
    order = np.argsort(np.concatenate([rows.line, [r.line for r in bad]]), kind="stable")
    place = {int(old): new for new, old in enumerate(order)}
    gap = len(bad)

    def filled(array: np.ndarray, value: Any = 0) -> np.ndarray:
        return np.concatenate([array, np.full((gap, *array.shape[1:]), value, array.dtype)])[order] if gap else array

    ids = np.concatenate([rows.gridimage_id, [r.gridimage_id or 0 for r in bad]]).astype(np.int64)[order]
    return CheckedRows(
        gridimage_id=ids,
        types=filled(rows.types),
        type_lists=rows.type_lists or [()],
        distance=filled(rows.distance),
        weight=filled(rows.weight),
        split=filled(rows.split),
        embedding=filled(rows.embedding),
        line=np.concatenate([rows.line, [r.line for r in bad]]).astype(np.int64)[order],
        extra={name: [[*values, *[None] * gap][i] for i in order] for name, values in rows.extra.items()},
        norm=None if rows.norm is None else filled(rows.norm),
        problems={place[n + i]: r.reason for i, r in enumerate(bad)},
    )


def blank(source: str) -> str:
    return f"{source}: {MOST_BLANK >> 20} MiB of blank lines and no row"


def too_long(source: str, line: int) -> str:
    return f"{source}, from line {line} on: a line longer than {LONGEST_LINE >> 20} MiB; is this JSONL?"


def _blocks(source: str, chunks: Iterator[bytes], tell: Callable[[], int]) -> Iterator[Block]:
    line, parts, size, empty, seen = 1, [], 0, True, 0
    for chunk in chunks:
        if empty and chunk.startswith(b"\xef\xbb\xbf"):
            chunk = chunk[3:]
        empty = empty and not chunk.strip()
        seen += len(chunk)
        if empty and seen > MOST_BLANK:
            raise CommandError(blank(source))
        parts.append(chunk)
        size += len(chunk)
        if size < BLOCK_SIZE or b"\n" not in chunk:
            if size > LONGEST_LINE:
                raise CommandError(too_long(source, line))
            continue
        end = chunk.rfind(b"\n") + 1
        parts[-1], rest = chunk[:end], chunk[end:]
        data = b"".join(parts)
        yield Block(source, line, data, tell())
        line += data.count(b"\n")
        parts, size = [rest], len(rest)
    if empty:
        raise CommandError(f"{source}: empty; expected rows")
    if size:
        yield Block(source, line, b"".join(parts), tell())
