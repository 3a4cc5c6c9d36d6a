"""An input divided into units of work: answered anywhere, in any order, again after a kill, they give the same rows.

A unit is a run of whole blocks of one source (photos, Parquet), or a run of lines by its bytes (JSONL that is not
compressed). What can only be read from its beginning is one unit a file.
"""

import glob
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.prediction import photo_inputs, row_inputs
from geograph_types.prediction.inputs import Input, open_input
from geograph_types.prediction.parts import InputBlock, Options, Part
from geograph_types.rows.addresses import cache_folder
from geograph_types.rows.sources import local_path, open_source, public_name

# Rows of Parquet or photos a unit: minutes of work, so that a lost one costs little and Ray's own cost nothing.
ROWS_A_UNIT, PHOTOS_A_UNIT = 200_000, 2048
BYTES_A_UNIT = 256 << 20
BYTES_A_READ = 2 << 20


@dataclass(frozen=True)
class Unit:
    """Some rows of the input; `number` names its file of answers.

    Attributes:
        start, stop: blocks of a source, or bytes of its lines; stop -1: to the end.
        first_row: where its first row stands in the whole input. first_line: of JSONL.
        rows: how many it has; -1: not known before it is read.
    """

    number: int
    part: Part
    start: int = 0
    stop: int = -1
    first_row: int = 0
    first_line: int = 1
    rows: int = -1

    def blocks(self, size: int, options: Options) -> Iterator[InputBlock]:
        """Its rows, block by block; the same as the whole input's at that place."""
        part = reopened(self.part)
        if part.kind == "jsonl" and self.stop >= 0:
            line = self.first_line
            for data in whole_lines(Path(part.source), self.start, self.stop):
                yield row_inputs.of_lines(data, line, part.name, options)
                line += data.count(b"\n")
            return
        if part.of_photos:
            found = photo_inputs.blocks(part, size, self.start, options, (0, 1))
        else:
            found = row_inputs.blocks(part, size, self.start, options)
        yield from islice(found, None if self.stop < 0 else self.stop - self.start)


def reopened(part: Part) -> Part:
    """The same source on the machine where this runs: an address is fetched once on each."""
    source = local_copy(part.name) if is_remote(part.name) else part.source
    opened = None if part.kind == "folder" else next(iter(open_source(source)))
    return _named(replace(part, source=source, opened=opened), part.name)


def _named(part: Part, name: str) -> Part:
    """A copy of what an address holds goes by the address, and nothing lies beside it."""
    if is_remote(name) and part.opened is not None:
        part = replace(part, opened=replace(part.opened, name=public_name(name), fetched=True))
    return replace(part, name=name)


def is_remote(name: str) -> bool:
    return "://" in name


def expanded(names: list[str]) -> list[str]:
    """Addresses of folders and patterns, as fsspec reads them → the files there, in sorted order; other names as they
    are."""
    import fsspec

    found = []
    for name in names:
        if not is_remote(name) or name.startswith(("http://", "https://")):
            found.append(name)
            continue
        system, path = fsspec.core.url_to_fs(name)
        if glob.has_magic(path):
            files = sorted(system.glob(path))
        else:
            files = sorted(system.find(path)) if system.isdir(path) else [path]
        found += [system.unstrip_protocol(file) for file in files]
    return found


def check_flags(output: str, is_file: bool, shard: str | None, names: list[str]) -> None:
    """What goes with `--engine ray`.

    Raises:
        ValueError: an output that names a file, or an input that cannot be divided.
    """
    if is_file:
        raise ValueError(f"--engine ray writes a folder of Parquet parts; --output {output!r} names a file")
    if shard or "-" in names:
        raise ValueError("--engine ray divides the input itself: neither --shard nor --input - goes with it")


def open_everywhere(names: list[str], config: str = "large") -> Input:
    """As `open_input`, but the names may be any address that fsspec reads; its parts keep the address as their name.

    Raises:
        CommandError: as `open_input`; an address that cannot be read.
    """
    try:
        files = expanded(names)
        copies = [local_copy(name) if is_remote(name) else name for name in files]
    except (OSError, ValueError, ImportError) as error:
        raise CommandError(f"{', '.join(names)}: cannot be read: {' '.join(str(error).split())}") from None
    if not files:
        raise CommandError(f"{', '.join(names)}: no file matches")
    parts, passed_over = [], {}
    for name, copy in zip(files, copies, strict=True):
        asked = open_input([copy], config)
        passed_over |= asked.passed_over
        parts += [_named(part, name) for part in asked.parts] if is_remote(name) else asked.parts
    if len({part.of_photos for part in parts}) > 1:
        raise CommandError("some of the input is photos, some rows: answer them in two runs")
    return Input(parts, passed_over=passed_over)


def local_copy(name: str) -> str:
    """An address → a file here, fetched once on each machine."""
    if name.startswith(("http://", "https://")):
        return str(local_path(name))
    import fsspec

    return fsspec.open_local(f"filecache::{name}", filecache={"cache_storage": str(cache_folder() / "fsspec")})


def whole_lines(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from `start` to `stop`, in pieces that end with a line."""
    with path.open("rb") as file:
        file.seek(start)
        rest = b""
        while start < stop and (chunk := file.read(min(BYTES_A_READ, stop - start))):
            start += len(chunk)
            data = rest + chunk
            end = data.rfind(b"\n") + 1 if start < stop else len(data)
            if end:
                yield data[:end]
            rest = data[end:]


def divide(asked: Input, size: int) -> list[Unit]:
    """The units of an input, in its order, each knowing where its first row stands.

    Args:
        size: rows or photos a block.
    """
    units: list[Unit] = []
    row = 0
    for part in asked.parts:
        for start, stop, rows, line in _runs(part, size):
            if rows:
                units.append(Unit(len(units), replace(part, opened=None), start, stop, row, line, rows))
            row += rows
    return units


def _runs(part: Part, size: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop, rows, first line) of each run of a source."""
    if part.kind == "parquet":
        yield from _runs_of_parquet(part, size)
    elif part.of_photos:
        total = photo_inputs.count(part) if part.total is None else part.total
        for start in range(0, total, blocks_a_unit := max(PHOTOS_A_UNIT // size, 1) * size):
            stop = min(start + blocks_a_unit, total)
            yield start // size, -(-stop // size), stop - start, 1
    elif part.kind == "jsonl" and is_plain(part):
        yield from _runs_of_lines(Path(part.source))
    else:  # from its beginning only; it is read twice, since counting is quick beside answering
        yield 0, -1, row_inputs.count(part), 1


def _runs_of_parquet(part: Part, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Whole row groups, as a reader can skip them."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(part.source)
    start = block = rows = 0
    for group in range(metadata.num_row_groups):
        count = metadata.row_group(group).num_rows
        block += -(-count // size)
        rows += count
        if rows >= ROWS_A_UNIT:
            yield start, block, rows, 1
            start, rows = block, 0
    if rows:
        yield start, block, rows, 1


def _runs_of_lines(path: Path) -> Iterator[tuple[int, int, int, int]]:
    position = start = rows = 0
    line = first_line = 1
    for data in whole_lines(path, 0, path.stat().st_size):
        position += len(data)
        lines = data.split(b"\n")
        line += len(lines) - 1
        rows += sum(1 for text in lines if text and not text.isspace())
        if position - start >= BYTES_A_UNIT:
            yield start, position, rows, first_line
            start, rows, first_line = position, 0, line
    if rows:
        yield start, position, rows, first_line


def is_plain(part: Part) -> bool:
    """Whether a source is a file of lines as they are, so that one can begin in its middle."""
    path = Path(part.source)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    return start[:1] == b"{" and b"\0" not in start
