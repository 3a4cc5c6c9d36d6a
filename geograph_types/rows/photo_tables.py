"""Photos and their places: a folder, or a CSV, Parquet or JSONL of `path`, → one record a photo, streaming."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from geograph_types.cli import CommandError
from geograph_types.rows.sources import Source, is_url, open_source, public_name
from grid_geograph import GridPoint, bucket_for
from names_geograph import UNKNOWN_BUCKET
from places_geograph import as_point, point_of
from row_geograph import bucket_of_code, code_of_row, shown

Lines = Iterator[tuple[int, dict[str, Any] | ValueError]]


class _Table(NamedTuple):
    """Where the relative paths of a table are looked for: beside it, then from the current folder."""

    name: str
    folder: Path | None  # None: it was fetched, and no photo lies beside it

    @classmethod
    def of(cls, source: "str | Path | Source") -> "_Table":
        if isinstance(source, Source):
            return cls(source.name, None if source.fetched else (source.path or Path()).parent)
        return cls(public_name(str(source)), None if is_url(str(source)) else Path(source).parent)


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
    source: str | Path | Source, subject: GridPoint | None = None, allow_urls: bool = True, *, places: bool = True
) -> Iterator[PhotoRecord]:
    """A table (CSV, TSV, JSON, Parquet, also packed) with the column `path`.

    A relative `path` is looked for beside its table, then from the current folder; that of a table that was fetched
    from the current folder alone. `distance` is in metres, or "Unknown", or there is a `distance_bucket`; where both
    are blank it is taken from `subject` and `viewpoint`, and the viewpoint, where that is blank, from `latitude` and
    `longitude` (degrees, WGS 84). A line that cannot be used becomes a record with its `error`.

    Args:
        subject: of photos that name none themselves. allow_urls: whether a `path` may be an address.
        places: whether they matter; without, only `path`, `file` and `row` count.

    Raises:
        CommandError: no such table, or one without a column `path`.
    """
    table = _Table.of(source)
    for line, row in table_rows(source):
        yield _record(row, line, table, subject, allow_urls) if places else _bare_record(row, line, table)


def iterate_photos(source: str | Path | Source) -> Iterator[PhotoRecord]:
    """A folder of photos or a table of them."""
    if isinstance(source, Source):
        return iterate_table(source)
    if Path(source).is_dir():
        return iterate_folder(source)
    if not Path(source).exists() and not is_url(str(source)) and str(source) != "-":
        raise CommandError(f"{source}: no such folder or file")
    return iterate_table(source)


def table_rows(source: str | Path | Source) -> Lines:
    """Line numbers, and the table's rows or why one cannot be read; whatever its format.

    Raises:
        CommandError: no such table, or a damaged one.
    """
    parts = [source] if isinstance(source, Source) else open_source(str(source))
    for part in parts:
        yield from part.records()


def _record(row: Any, line: int, table: _Table, subject: GridPoint | None, allow_urls: bool) -> PhotoRecord:
    try:
        path = _path(row)
        own = _point(row, "subject")
        viewpoint = _point(row, "viewpoint")
        if viewpoint is None:
            viewpoint = _from_degrees(_cell(row, "latitude"), _cell(row, "longitude"))
        if is_url(path) and not allow_urls:
            raise ValueError("an address; --allow_urls lets photos be fetched")
        subject, distance = own or subject, _cell(row, "distance")
        said = _cell(row, "distance_bucket")
        if said is None:
            bucket = bucket_for(distance, subject, viewpoint)
        else:
            bucket = bucket_of_code(code_of_row({"distance": distance, "distance_bucket": said}, floored=True))
        file = _file(path, table)
        if table.folder is None and not (is_url(path) or os.path.isabs(path) or os.path.exists(path)):  # noqa: PTH110, PTH117
            raise ValueError(
                f"{shown(path)}: no such file from the current folder, where relative paths are looked for, as "
                f"{table.name} was fetched"
            )
    except ValueError as error:
        named = row.get("path") if isinstance(row, dict) else None
        text = named if isinstance(named, str) and named.strip() else None
        known = row if isinstance(row, dict) else {}
        return PhotoRecord(text, None, error=f"line {line}: {error}", line=line, row=known)
    given = distance is not None or said is not None
    return PhotoRecord(path, file, bucket, subject, viewpoint, line=line, row=row, given=given)


def _bare_record(row: Any, line: int, table: _Table) -> PhotoRecord:
    try:
        path = _path(row)
    except ValueError as error:
        return PhotoRecord(None, None, error=str(error), line=line)
    return PhotoRecord(path, _file(path, table), line=line, row=row)


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


def _file(path: str, table: _Table) -> str | Path:
    """What to open; `os.path` answers for names that no file system takes, too."""
    if is_url(path):
        return path
    if table.folder is None:
        return Path(path)
    beside = os.path.join(table.folder, path)  # noqa: PTH118
    return Path(path) if os.path.exists(path) and not os.path.exists(beside) else Path(beside)  # noqa: PTH110
