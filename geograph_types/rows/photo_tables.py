"""Photos and their places: a folder, or a CSV, Parquet or JSONL of `path`, → one record a photo, streaming."""

import csv
import gzip
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError
from geograph_types.rows.arrow import values_of
from geograph_types.rows.sources import is_url, line_blocks
from grid_geograph import GridPoint, bucket_for
from names_geograph import UNKNOWN_BUCKET
from places_geograph import as_point, point_of

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET_ROWS = 1024

csv.field_size_limit(1 << 24)  # a vector as text is longer than csv's own limit allows

Lines = Iterator[tuple[int, dict[str, Any] | ValueError]]


@dataclass(frozen=True)
class PhotoRecord:
    """One photo of a folder or a table; `error` where the table's line cannot be used."""

    path: str | None  # as the input names it; a folder's photos relative to the folder
    file: str | Path | None  # what to open: a file or an address
    bucket: int = UNKNOWN_BUCKET  # 0 to 22
    subject: GridPoint | None = None
    viewpoint: GridPoint | None = None
    error: str | None = None
    line: int = 0  # of the table, its heading included; of a folder, the photo's number
    row: dict[str, Any] = field(default_factory=dict)  # the table's line, as it was read
    given: bool = False  # whether the distance was, rather than taken from the points
    note: str | None = None  # what to say of it in any case

    def with_viewpoint(self) -> "PhotoRecord":
        """The same, with the viewpoint of the photo's GPS tag where none is given and it can say something."""
        if self.error or self.subject is None or self.viewpoint is not None or is_url(str(self.file)):
            return self
        from geograph_types.rows.places import viewpoint_or_note

        viewpoint, note = viewpoint_or_note(self.file)
        if viewpoint is None:
            return replace(self, note=note) if note else self
        bucket = self.bucket if self.given else bucket_for(None, self.subject, viewpoint)
        return replace(self, viewpoint=viewpoint, bucket=bucket)


def iterate_folder(folder: str | Path, subject: GridPoint | None = None) -> Iterator[PhotoRecord]:
    """A folder's photos, sorted; `subject` is that of all of them."""
    from photos_geograph import list_photos

    path = Path(folder)
    for number, photo in enumerate(list_photos(path), 1):
        name = photo.relative_to(path) if photo.is_absolute() or photo.is_relative_to(path) else photo
        yield PhotoRecord(name.as_posix(), path / name, subject=subject, line=number)


def iterate_table(
    source: str | Path, subject: GridPoint | None = None, allow_urls: bool = True, *, places: bool = True
) -> Iterator[PhotoRecord]:
    """A table (.csv, .tsv, .jsonl, .parquet; .gz but for Parquet) with the column `path`.

    A relative `path` is looked for beside its table, then from the current folder. `distance` is in metres, or
    "Unknown"; where it is blank it is taken from `subject` and `viewpoint`, and the viewpoint, where that is blank,
    from `latitude` and `longitude` (degrees, WGS 84). A line that cannot be used becomes a record with its `error`.

    Args:
        subject: of photos that name none themselves. allow_urls: whether a `path` may be an address.
        places: whether they matter; without, only `path`, `file` and `row` count.

    Raises:
        CommandError: no such table, or one without a column `path`.
    """
    folder = Path(source).parent
    for line, row in table_rows(source):
        yield _record(row, line, folder, subject, allow_urls) if places else _bare_record(row, line, folder)


def iterate_photos(source: str | Path) -> Iterator[PhotoRecord]:
    """A folder of photos or a table of them."""
    if Path(source).is_dir():
        return iterate_folder(source)
    if not Path(source).exists() and not is_url(str(source)) and str(source) != "-":
        raise CommandError(f"{source}: no such folder or file")
    return iterate_table(source)


def table_kind(source: str | Path) -> str:
    """The suffix that says what a table is, compression aside: ".csv", ".parquet"; ".jsonl" where nothing does."""
    suffixes = [suffix.lower() for suffix in Path(source).suffixes]
    packed = len(suffixes) > 1 and suffixes[-1] in (".gz", ".bz2", ".xz", ".zst", ".zip")
    kind = suffixes[-2] if packed else suffixes[-1] if suffixes else ""
    return kind if kind in (*DELIMITERS, ".parquet") else ".jsonl"


def csv_delimiter(source: str | Path) -> str | None:
    """What parts a table's cells; None where it is no CSV."""
    return DELIMITERS.get(table_kind(source))


def heading_of(source: str | Path) -> set[str]:
    """The columns that a CSV's first line names."""
    with _open_text(source) as file:
        return set(_heading(csv.reader(_without_nul(file), delimiter=csv_delimiter(source))))


def table_rows(source: str | Path) -> Lines:
    """Line numbers, and the table's rows or why one cannot be read."""
    source, kind = str(source), table_kind(source)
    if kind == ".parquet":
        return _parquet_rows(source)
    return _csv_rows(source, DELIMITERS[kind]) if kind in DELIMITERS else _json_rows(source)


def _open_text(source: str | Path):
    # File names that are not UTF-8 come through as they are on the disk.
    with open(source, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return (gzip.open if packed else open)(source, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")


def _without_nul(lines: Iterable[str]) -> Iterator[str]:
    return (line.replace("\0", "") for line in lines)


def _heading(reader: Iterator[list[str]]) -> list[str]:
    return [name.strip() for name in next(reader, [])]


def _csv_rows(source: str, delimiter: str) -> Lines:
    try:
        with _open_text(source) as file:
            reader = csv.reader(_without_nul(file), delimiter=delimiter)
            heading = _heading(reader)
            if not {"path", "embedding", "embeddings"} & set(heading):
                found = ", ".join(heading) or "none"
                raise CommandError(f"{source}: no column 'path' in its first line; it has {found}")
            for cells in reader:
                if not cells:
                    continue
                row: dict[str, Any] | ValueError = dict(zip(heading, cells, strict=False))
                if len(cells) != len(heading):
                    row = ValueError(f"{len(cells)} cells, expected {len(heading)} as in the first line")
                yield reader.line_num, row
    except csv.Error as error:
        raise CommandError(f"{source}: line {reader.line_num}: {error}") from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise CommandError(f"{source}: damaged: {error}") from None


def _parquet_rows(source: str) -> Lines:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise CommandError(f"{source}: not a Parquet file ({error})") from None
    with file:
        names = file.schema_arrow.names
        if "path" not in names:
            raise CommandError(f"{source}: no column 'path'; it has {', '.join(names)}")
        line = 0
        for batch in file.iter_batches(PARQUET_ROWS):
            columns = [values_of(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                line += 1
                yield line, dict(zip(names, values, strict=True))


def _json_rows(source: str) -> Lines:
    import orjson

    for block in line_blocks(source):
        for line, text in enumerate(block.data.split(b"\n"), block.first_line):
            if not text.strip():
                continue
            try:
                row = orjson.loads(text)
            except ValueError as error:
                row = ValueError(f"broken JSON: {error}")
            yield line, row


def _record(row: Any, line: int, folder: Path, subject: GridPoint | None, allow_urls: bool) -> PhotoRecord:
    try:
        path = _path(row)
        own = _point(row, "subject")
        viewpoint = _point(row, "viewpoint")
        if viewpoint is None:
            viewpoint = _from_degrees(_cell(row, "latitude"), _cell(row, "longitude"))
        if is_url(path) and not allow_urls:
            raise ValueError("an address; --allow_urls lets photos be fetched")
        subject, distance = own or subject, _cell(row, "distance")
        bucket = bucket_for(distance, subject, viewpoint)
    except ValueError as error:
        named = row.get("path") if isinstance(row, dict) else None
        text = named if isinstance(named, str) and named.strip() else None
        known = row if isinstance(row, dict) else {}
        return PhotoRecord(text, None, error=f"line {line}: {error}", line=line, row=known)
    file = _file(path, folder)
    return PhotoRecord(path, file, bucket, subject, viewpoint, line=line, row=row, given=distance is not None)


def _bare_record(row: Any, line: int, folder: Path) -> PhotoRecord:
    try:
        path = _path(row)
    except ValueError as error:
        return PhotoRecord(None, None, error=str(error), line=line)
    return PhotoRecord(path, _file(path, folder), line=line, row=row)


def _path(row: Any) -> str:
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, got {type(row).__name__}")
    path = row.get("path")
    if not isinstance(path, str) or not path.strip():
        raise ValueError("no path")
    return path


def _cell(row: dict[str, Any], name: str) -> Any:
    """A table's value; None where it is blank: in a table of photos a blank cell is not given, rather than zero."""
    value = row.get(name)
    if isinstance(value, str):
        value = value.strip()
    return None if value == "" or value != value else value  # a Parquet's NaN, as pandas writes blanks


def _point(row: dict[str, Any], name: str) -> GridPoint | None:
    try:
        return as_point(_cell(row, name))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _from_degrees(latitude: Any, longitude: Any) -> GridPoint | None:
    if latitude is None and longitude is None:
        return None
    if latitude is None or longitude is None:
        raise ValueError("latitude and longitude must both be given, or neither")
    try:
        degrees = float(latitude), float(longitude)
    except (TypeError, ValueError):
        raise ValueError(f"latitude and longitude must be degrees, got {latitude!r}, {longitude!r}") from None
    return point_of(*degrees)


def _file(path: str, folder: Path) -> str | Path:
    """What to open; `os.path` answers for names that no file system takes, too."""
    if is_url(path):
        return path
    beside = os.path.join(folder, path)  # noqa: PTH118
    return Path(path) if os.path.exists(path) and not os.path.exists(beside) else Path(beside)  # noqa: PTH110
