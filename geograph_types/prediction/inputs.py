"""What is to be answered: rows with ready vectors, or photos with their places, of one source or of many.

A source is a file of rows, a table of photos, a folder of photos, a folder of Parquet, a folder that
prepare_dataset.py made, an address or a pattern of any of these, `-`, or `synthetic:N`.
"""

import glob
import json
import os
import select
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from geograph_types.cli import CommandError
from geograph_types.prediction import photo_inputs, row_inputs
from geograph_types.prediction.parts import InputBlock, Options, Part
from geograph_types.rows.photo_tables import csv_delimiter, heading_of, table_kind
from geograph_types.rows.published import CONFIGS
from geograph_types.rows.sources import SPLITS, is_url, line_blocks, local_path

EMBEDDING_NAMES = {"embedding", "embeddings"}
PARQUET_MAGIC = b"PAR1"

# Seconds that a pipe may take until its first byte.
PIPE_PATIENCE = 60


@dataclass(frozen=True)
class Input:
    """All sources of a run, in their order; they are either all rows or all photos."""

    parts: list[Part]
    shard: tuple[int, int] = (0, 1)  # which of how many; the first is 0
    passed_over: dict[str, int] = field(default_factory=dict)  # of folders: why → how many files

    @property
    def of_photos(self) -> bool:
        return self.parts[0].of_photos

    @property
    def key(self) -> str:
        return "path" if self.of_photos else "gridimage_id"

    @property
    def unit(self) -> str:
        return "photo" if self.of_photos else "row"

    @property
    def total(self) -> int | None:
        totals = [part.total for part in self.parts]
        return None if None in totals or self.shard[1] > 1 else sum(totals)

    @property
    def name(self) -> str:
        return self.parts[0].name if len(self.parts) == 1 else f"{len(self.parts)} files"

    def identity(self) -> dict[str, Any]:
        """What tells this input from another, or from a later state of the same files."""
        return {"input": [part.identity() for part in self.parts], "shard": list(self.shard)}

    def blocks(self, size: int, done: Any, options: Options) -> Iterator[tuple[list[int], InputBlock]]:
        """What is not `done` yet: (how far that is then, a block), the same blocks at each run.

        Args:
            size: rows or photos a block, but of JSONL what lies in some MB of it. done: of an earlier run, or None.
        """
        first, skip = done or (0, 0)
        for number, part in enumerate(self.parts[first:], first):
            own = self._own_blocks(part, number, size, skip, options)
            for place, block in own:
                if block.errors and len(self.parts) > 1:
                    block.errors = [error and f"{part.name}, {error}" for error in block.errors]
                yield [number, place], block
            skip = 0

    def _own_blocks(
        self, part: Part, number: int, size: int, skip: int, options: Options
    ) -> Iterator[tuple[int, InputBlock]]:
        """A part's blocks of this shard: photos in turn, rows by whole blocks in turn."""
        index, count = self.shard
        if part.of_photos:
            found = photo_inputs.blocks(part, size, skip, options, self.shard)
            yield from enumerate(found, skip + 1)
            return
        for place, block in enumerate(row_inputs.blocks(part, size, skip, options), skip + 1):
            if (place - 1 + number) % count == index:
                yield place, block


def open_input(names: list[str], config: str = "large", shard: tuple[int, int] = (0, 1)) -> Input:
    """Looks at the names, and into what they name, for what it is.

    Args:
        config: of a folder that prepare_dataset.py made.

    Raises:
        CommandError: something is not there, or is nothing that can be answered.
    """
    passed_over: dict[str, int] = {}
    parts = [part for name in names for part in _parts_of(name, config, passed_over)]
    photos = [part.of_photos for part in parts]
    if any(photos) and not all(photos):
        rows = parts[photos.index(False)].name
        raise CommandError(f"{parts[photos.index(True)].name} is photos and {rows} rows: answer them in two runs")
    if sum(part.source == "-" for part in parts) > 1:
        raise CommandError("- is named twice: standard input is read once")
    return Input(parts, shard, passed_over)


def _parts_of(name: str, config: str, passed_over: dict[str, int]) -> list[Part]:
    if name == "-" or name.startswith("synthetic:"):
        return [Part(name, name, "jsonl")]
    if is_url(name):
        path = local_path(name)
        return [_file_part(name, path)]
    path = Path(name)
    if not os.path.lexists(name) and glob.has_magic(name):
        matching = glob.glob(name, recursive=True)  # noqa: PTH207 (absolute and relative patterns alike)
        found = sorted(file for file in matching if not Path(file).is_dir())
        if not found:
            raise CommandError(f"{name}: no file matches")
        return [_file_part(file, Path(file)) for file in found]
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise CommandError(f"{name}: no such file or folder") from None
    if stat.S_ISDIR(mode):
        return _folder_parts(name, path, config, passed_over)
    if stat.S_ISFIFO(mode):
        return [Part(name, name, "jsonl", held=_wait_for(name))]
    if not stat.S_ISREG(mode):
        raise CommandError(f"{name}: a device or a socket; expected a file, a folder, a pipe or an address")
    return [_file_part(name, path)]


def _wait_for(name: str) -> Any:
    """A pipe that has something to read, held open."""
    held = os.fdopen(os.open(name, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    waiting = select.poll()
    waiting.register(held, select.POLLIN)
    if not waiting.poll(PIPE_PATIENCE * 1000):
        raise CommandError(f"{name}: a pipe into which nobody wrote for {PIPE_PATIENCE} seconds")
    return held


def _folder_parts(name: str, path: Path, config: str, passed_over: dict[str, int]) -> list[Part]:
    """A prepared dataset's rows of one config; else a folder's photos; else its Parquet files."""
    if prepared := [one for one in CONFIGS if any(path.glob(f"{one}/*-*.parquet"))]:
        if config not in prepared:
            raise CommandError(f"{name}: no config {config!r} in this dataset; it has {', '.join(prepared)}")
        files = [file for split in SPLITS for file in sorted((path / config).glob(f"{split}-*.parquet"))]
        return [_file_part(str(file), file) for file in files]
    from files_geograph import passed_over as words_of
    from photos_geograph import scan_folder

    photos, others = scan_folder(path)
    if photos:
        for reason, count in others.items():
            passed_over[reason] = passed_over.get(reason, 0) + count
        return [Part(name, name, "folder", len(photos))]
    files = sorted(path.rglob("*.parquet"))
    if not files:
        why = words_of(others)
        raise CommandError(f"{name}: no photos and no Parquet in this folder{f', only {why}' if why else ''}")
    return [_file_part(str(file), file) for file in files]


def _file_part(name: str, path: Path) -> Part:
    if not path.is_file():
        raise CommandError(f"{name}: no such file")
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise CommandError(f"{name}: empty")
    if start == PARQUET_MAGIC:
        return _parquet_part(name, path)
    if table_kind(path) == ".parquet":
        raise CommandError(f"{name}: not a Parquet file: it begins with {start!r}")
    if csv_delimiter(path):
        columns = heading_of(path)
        if columns & EMBEDDING_NAMES:
            return Part(name, str(path), "csv")
        if "path" in columns:
            return Part(name, str(path), "table")
        shown = ", ".join(sorted(columns)[:30]) or "nothing"
        raise CommandError(f"{name}: no column path, embedding or embeddings in its first line; it has {shown}")
    return Part(name, str(path), _kind_of_json(name, str(path)))


def _parquet_part(name: str, path: Path) -> Part:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names, total = set(file.schema_arrow.names), file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CommandError(f"{name}: a damaged Parquet file ({error})") from None
    shown = ", ".join(sorted(names)[:30])
    if names & EMBEDDING_NAMES:
        if "gridimage_id" not in names:
            raise CommandError(f"{name}: no column 'gridimage_id'; it has {shown}")
        return Part(name, str(path), "parquet", total)
    if "path" in names:
        return Part(name, str(path), "table", total)
    raise CommandError(f"{name}: no column path, embedding or embeddings; it has {shown}")


def _kind_of_json(name: str, source: str) -> str:
    """Rows, or a table of photos: what its first line that is an object says.

    Raises:
        CommandError: no line of its beginning is an object: no data that is known here.
    """
    for block in line_blocks(source):
        for line in block.data.split(b"\n"):
            try:
                row = orjson.loads(line.strip().rstrip(b","))
            except ValueError:
                continue
            if isinstance(row, dict):
                return "table" if "path" in row and not EMBEDDING_NAMES & row.keys() else "jsonl"
        start = json.dumps(block.data[:40].decode("utf-8", "replace"), ensure_ascii=False)
        raise CommandError(f"{name}: neither rows (JSONL, Parquet, CSV) nor a table of photos; it begins with {start}")
    raise CommandError(f"{name}: empty")
