"""Photos and their places: a folder, or a CSV, Parquet or JSONL of `path`, → one record a photo, streaming."""

import csv
import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from degrees_geograph import point_of
from geograph_types.cli import CommandError
from geograph_types.rows.sources import is_url, line_blocks
from grid_geograph import GridPoint, bucket_for
from places_geograph import as_point

# What a table of photos may say of each; other columns are kept in `row` for whoever wants them.
PLACE_COLUMNS = ("distance", "subject", "viewpoint", "latitude", "longitude")

CSV_SUFFIXES = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class PhotoRecord:
    """One photo of a folder or a table; `error` where the table's line cannot be used."""

    path: str | None  # as the input names it; a folder's photos relative to the folder
    file: str | Path | None  # what to open: a file or an address
    distance: int  # bucket, 0 to 22
    subject: GridPoint | None = None
    viewpoint: GridPoint | None = None
    error: str | None = None
    line: int = 0  # of the table, its heading included; of a folder, the photo's number
    row: dict[str, Any] = field(default_factory=dict)  # the table's line, as it was read


def iterate_photos(source: str | Path) -> Iterator[PhotoRecord]:
    """A folder of photos, or a table (.csv, .tsv, .jsonl, .parquet; .gz but for Parquet) with the column `path`.

    A relative `path` is looked for beside its table, then from the current folder. `distance` is in metres, or
    "Unknown"; where it is blank it is taken from `subject` and `viewpoint` (grid references), and the viewpoint, where
    that is blank, from `latitude` and `longitude` (degrees, WGS 84). A line that cannot be used becomes a record with
    its `error`.

    Raises:
        CommandError: no such folder or table, or a table without a column `path`.
    """
    path = Path(source)
    if path.is_dir():
        from photos_geograph import list_photos

        for number, photo in enumerate(list_photos(path), 1):
            name = photo.relative_to(path) if photo.is_absolute() or photo.is_relative_to(path) else photo
            yield PhotoRecord(name.as_posix(), path / name, bucket_for(None, None, None), line=number)
        return
    if not path.exists() and not is_url(str(source)) and str(source) != "-":
        raise CommandError(f"{source}: no such folder or file")
    rows = _rows_of(str(source))
    for line, row in rows:
        yield _record(row, line, path.parent)


def count_photos(source: str | Path) -> int | None:
    """How many records `iterate_photos` gives, where that is cheap to know: for the progress bar."""
    path = Path(source)
    if path.is_dir():
        from photos_geograph import list_photos

        return len(list_photos(path))
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_metadata(path).num_rows
    return None


def _rows_of(source: str) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    """Line numbers, and the table's rows or why one cannot be read."""
    suffixes = [suffix.lower() for suffix in Path(source).suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""
    if kind in CSV_SUFFIXES:
        return _csv_rows(source, CSV_SUFFIXES[kind])
    if kind == ".parquet":
        return _parquet_rows(source)
    return _json_rows(source)


def _csv_rows(source: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    # File names that are not UTF-8 come through as they are on the disk.
    opener = gzip.open if source.lower().endswith(".gz") else open
    try:
        with opener(source, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            heading = [name.strip() for name in next(reader, [])]
            if "path" not in heading:
                raise CommandError(
                    f"{source}: no column 'path' in its first line; it has {', '.join(heading) or 'none'}"
                )
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


def _parquet_rows(source: str) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise CommandError(f"{source}: not a Parquet file ({error})") from None
    with file:
        if "path" not in file.schema_arrow.names:
            raise CommandError(f"{source}: no column 'path'; it has {', '.join(file.schema_arrow.names)}")
        line = 0
        for batch in file.iter_batches(1024):
            for row in batch.to_pylist():
                line += 1
                yield line, row


def _json_rows(source: str) -> Iterator[tuple[int, dict[str, Any] | ValueError]]:
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


def _record(row: Any, line: int, folder: Path) -> PhotoRecord:
    unknown = bucket_for(None, None, None)
    path = row.get("path") if isinstance(row, dict) else None
    try:
        if isinstance(row, ValueError):
            raise row
        if not isinstance(row, dict):
            raise ValueError(f"expected an object, got {type(row).__name__}")
        if not isinstance(path, str) or not path.strip():
            raise ValueError("no path")
        subject, viewpoint = as_point(_cell(row, "subject")), as_point(_cell(row, "viewpoint"))
        if viewpoint is None:
            viewpoint = _from_degrees(_cell(row, "latitude"), _cell(row, "longitude"))
        distance = bucket_for(_cell(row, "distance"), subject, viewpoint)
    except ValueError as error:
        text = path if isinstance(path, str) and path.strip() else None
        return PhotoRecord(text, None, unknown, error=f"line {line}: {error}", line=line, row=_dict(row))
    return PhotoRecord(path, _file(path, folder), distance, subject, viewpoint, line=line, row=row)


def _dict(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else {}


def _cell(row: dict[str, Any], name: str) -> Any:
    """A table's value; None where it is blank: in a table of photos a blank cell is not given, rather than zero."""
    value = row.get(name)
    if isinstance(value, str):
        value = value.strip()
    return None if value == "" or value != value else value  # a Parquet's NaN, as pandas writes blanks


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
    if is_url(path):
        return path
    beside = folder / path
    return beside if beside.exists() or not os.path.exists(path) else Path(path)  # noqa: PTH110 (odd names)
