"""What is to be answered: rows with ready vectors, or photos with their places, of one source or of many.

A source is a file of rows or a table of photos in any format that `rows` reads, a folder of photos or of such files, a
folder that prepare_dataset.py made, an address or a pattern of any of these, a Hub id, `-`, or `synthetic:N`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError
from geograph_types.prediction import photo_inputs, row_inputs
from geograph_types.prediction.parts import InputBlock, Options, Part
from geograph_types.rows.formats import is_data
from geograph_types.rows.parquet import ParquetReader
from geograph_types.rows.published import CONFIGS
from geograph_types.rows.sources import PARQUET, PHOTOS, Source, open_source
from geograph_types.rows.splits import SPLITS


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
    if names.count("-") > 1:
        raise CommandError("- is named twice: standard input is read once")
    return Input(parts, shard, passed_over)


def _parts_of(name: str, config: str, passed_over: dict[str, int]) -> list[Part]:
    path = Path(name)
    if name != "-" and path.is_dir():
        return _folder_parts(name, path, config, passed_over)
    return [_part(part) for part in open_source(name)]


# What an opened source is called here.
KINDS = {"json": "jsonl", "table": "csv", "parquet": "parquet", "photos": "table"}


def _part(opened: Source) -> Part:
    total = None
    if opened.kind == PARQUET:
        total = ParquetReader(opened.path, opened.name, labelled=False).total
    if opened.kind == PHOTOS and opened.path and opened.path.is_dir():
        return Part(opened.name, str(opened.path), "folder")
    return Part(opened.name, str(opened.path or opened.name), KINDS[opened.kind], total, opened)


def _folder_parts(name: str, path: Path, config: str, passed_over: dict[str, int]) -> list[Part]:
    """A prepared dataset's rows of one config; else a folder's photos; else its Parquet files."""
    if prepared := [one for one in CONFIGS if any(path.glob(f"{one}/*-*.parquet"))]:
        if config not in prepared:
            raise CommandError(f"{name}: no config {config!r} in this dataset; it has {', '.join(prepared)}")
        files = [file for split in SPLITS for file in sorted((path / config).glob(f"{split}-*.parquet"))]
        return [_part(part) for file in files for part in open_source(str(file))]
    from files_geograph import passed_over as words_of
    from photos_geograph import scan_folder

    photos, others = scan_folder(path)
    if photos:
        for reason, count in others.items():
            passed_over[reason] = passed_over.get(reason, 0) + count
        return [Part(name, name, "folder", len(photos))]
    if not any(is_data(file.name) for file in path.rglob("*")):
        why = words_of(others)
        raise CommandError(f"{name}: no photos and no rows in this folder{f', only {why}' if why else ''}")
    return [_part(part) for part in open_source(name)]
