"""Sources read on many machines, by Ray Data: a source file each, a table's photos made into vectors.

Each worker leaves its checked rows, the bad ones too, in a folder of the dataset that is being built; the dataset is
built from these in the order of the sources, by the code that builds it from rows read here: the same bits.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError, said_of
from geograph_types.dataset.arguments import PrepareArguments
from geograph_types.dataset.building import part_reader
from geograph_types.ray_jobs import deal
from geograph_types.rows.block_files import read_blocks, write_blocks
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.jsonl import parse_block
from geograph_types.rows.sources import PHOTOS, Block, Source, open_source

PARSED = ".parsed"
SEE_ONE_FOLDER = "all machines of the cluster must see one folder; let --output_dir lie on a disk that they share"


@dataclass(frozen=True)
class Settings:
    """What every worker needs besides its number: (name, what opens it) of all sources, and the flags."""

    folder: str
    sources: tuple[tuple[str, str], ...]
    embedding_dim: int
    args: PrepareArguments


class Reading:
    """A worker: reads source after source into files."""

    def __init__(self, settings: Settings):
        self.settings, self.embedding_dim = settings, settings.embedding_dim
        self.read = part_reader(settings.args, self)

    def parse(self, blocks: Iterable[Block]) -> Iterator[SourceRows]:
        """As a ParserPool's, in this process."""
        for block in blocks:
            yield parse_block(block.data, block.first_line, block.source, embedding_dim=self.embedding_dim)

    def __call__(self, number: int) -> dict[str, Any]:
        """`error`: why the source could not be read to its end, as one line, or ""."""
        name, origin = self.settings.sources[number]
        told = ""
        try:
            if not Path(self.settings.folder).is_dir():
                raise CommandError(f"{self.settings.folder}: not there on a machine of the cluster: {SEE_ONE_FOLDER}")
            (part,) = open_source(origin, photo_folders=False)
            write_blocks(file_of(self.settings.folder, number), self.read(replace(part, name=name)))
        except (CommandError, ValueError, OSError) as error:
            told = said_of(error)
        return {"number": number, "error": told}


def file_of(folder: str | Path, number: int) -> Path:
    return Path(folder) / f"{number:06d}.arrow"


class RayPool:
    """Workers on this machine or a cluster that read the sources; use as a context, or `close` it."""

    def __init__(self, args: PrepareArguments, folder: Path, parts: list[Source], embedding_dim: int):
        if streams := [part.name for part in parts if part.origin is None]:
            raise CommandError(f"{streams[0]}: a stream, which other processes cannot read; name a file")
        self._folder = folder / PARSED
        self._folder.mkdir()
        sources = tuple((part.name, part.origin) for part in parts)
        settings = Settings(str(self._folder), sources, embedding_dim, args)
        self._numbers = iter(range(len(parts)))
        gpus = any(part.kind == PHOTOS for part in parts)
        self._done = deal(range(len(parts)), Reading, settings, args.ray_address, gpus=gpus)
        self._errors: dict[int, str] = {}  # of the sources that were read

    def __enter__(self) -> "RayPool":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, and removes what they left."""
        self._done.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def blocks(self, part: Source) -> Iterator[SourceRows]:
        """The next source's checked rows, as soon as it is read; its file is removed after them.

        Raises:
            CommandError: what its worker said, after the rows before that.
        """
        number = next(self._numbers)
        while number not in self._errors:
            answer = next(self._done, None)
            if answer is None:
                raise CommandError(f"{part.name}: no worker read it")
            self._errors[answer["number"]] = answer["error"]
        path, error = file_of(self._folder, number), self._errors[number]
        if path.is_file():
            yield from read_blocks(path)
            path.unlink()
        elif not error:
            raise CommandError(f"{part.name}: what was read of it is not here: {SEE_ONE_FOLDER}")
        if error:
            raise CommandError(error)
