"""Sources → the dataset folder: all rows in one pass, then the smaller configs, then the card."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from geograph_types.cli import CommandError, progress, say
from geograph_types.dataset.arguments import PrepareArguments
from geograph_types.dataset.card import load_libraries, write_card
from geograph_types.dataset.corrections import read_corrections
from geograph_types.dataset.rejections import Rejections
from geograph_types.dataset.selection import SeenIds, keep_new, pack_tags, select
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.parquet import ParquetReader
from geograph_types.rows.sources import PARQUET, PHOTOS, Source, open_source, public_name
from geograph_types.rows.splits import split_of_ids
from row_geograph import NORMALISED_BELOW, look_normalised, most_look_normalised, norms_of


@dataclass
class Built:
    """What was written: config → split → rows, and the bad rows by kind of reason."""

    counts: dict[str, dict[str, int]]
    rejected: Counter


@dataclass
class Contents:
    """What the card tells of the rows; N of them."""

    tags: np.ndarray  # uint8 [N], as `pack_tags` gives them
    split: np.ndarray  # int8 [N]
    chosen: dict[str, np.ndarray]  # config → bool [N]
    norm: np.ndarray  # float32 [N], the lengths of the vectors
    corrected: str = ""  # what people's corrections changed


REMEMBERED = {"ids": np.int64, "tags": np.uint8, "split": np.int8, "norm": np.float32}


class Remembered:
    """The little of each row that is needed at the end: 14 bytes a row."""

    def __init__(self):
        # Bytes grow where they lie: pieces to be joined would be there twice for a moment.
        self._bytes = {name: bytearray() for name in REMEMBERED}

    def add(self, block: SourceRows, split: np.ndarray) -> None:
        norm = norms_of(block.embedding) if block.norm is None else block.norm
        columns = {"ids": block.gridimage_id, "tags": pack_tags(block.tags), "split": split, "norm": norm}
        for name, kind in REMEMBERED.items():
            self._bytes[name] += np.ascontiguousarray(columns[name], kind).data.cast("B")

    def __bool__(self) -> bool:
        return bool(self._bytes["ids"])

    def contents(self, small: int, medium: int) -> Contents:
        """Once only: the ids are overwritten."""
        ids, tags, split, norm = (np.frombuffer(self._bytes[name], kind) for name, kind in REMEMBERED.items())
        return Contents(tags, split, select(ids, tags, split, small, medium), norm)


def build(args: PrepareArguments, folder: Path, pool: Any, parts: list[Source] | None = None) -> Built:
    """Reads all sources into `folder`.

    Args:
        pool: a `ParserPool`, or with `--engine ray` a `RayPool`. parts: what `open_sources` found, where that was
            asked already.

    Raises:
        CommandError: a source that cannot be read or has no good row, too many bad rows, normalised vectors.
    """
    from geograph_types.dataset.writer import DatasetWriter

    # The card's libraries take a tenth of a second to load: meanwhile the workers parse.
    threading.Thread(target=load_libraries, daemon=True).start()
    parts = open_sources(args) if parts is None else parts
    synthetic = any(part.is_synthetic for part in parts)
    if synthetic and args.push_to_hub:
        raise CommandError(
            "--push_to_hub: these rows are synthetic; prepare them, then publish.py dataset --allow_synthetic"
        )
    seen, remembered = SeenIds(), Remembered()
    corrections = read_corrections(args.corrections) if args.corrections else None
    with (
        DatasetWriter(folder, synthetic) as writer,
        progress(unit="row") as bar,
        Rejections(args, folder) as rejections,
    ):
        for source, block in blocks_of(args, pool, parts):
            block = keep_new(block, seen, source)
            if corrections:
                block = corrections.apply(block, source)
            read = len(block) + len(block.rejected)
            bar.update(read)
            rejections.note(block.rejected, read)
            split = split_of_ids(block.gridimage_id, block.split)
            writer.add(block, split)
            remembered.add(block, split)
        pool.close()
        del seen
        rejections.judge()
        if not remembered:
            rejections.nothing_good()
        contents = remembered.contents(args.small, args.medium)
        contents.corrected = corrections.described() if corrections else ""
        check_norms(args, contents.norm)
        writer.finish(contents.split, contents.chosen)
    return Built(write_card(folder, args.source, contents, rejections.reasons, writer), rejections.reasons)


def check_norms(args: PrepareArguments, norm: np.ndarray) -> None:
    """Refuses rows most of which look normalised."""
    if most_look_normalised(norm) and not args.allow_normalised:
        where = ", ".join(map(public_name, args.source))
        raise CommandError(
            f"{where}: most vectors look normalised (median length {np.median(norm):.2f}, CLIP's own "
            "have about 10), and models trained on CLIP's own answer wrongly on them: give the vectors as CLIP makes "
            "them, or say --allow_normalised"
        )
    if short := int(look_normalised(norm).sum()):
        say(f"warning: {short:,} of {len(norm):,} vectors look normalised (shorter than {NORMALISED_BELOW})")


def open_sources(args: PrepareArguments) -> list[Source]:
    """Every file of every source, with its kind, in the order in which they are read."""
    return [part for source in args.source for part in open_source(source, photo_folders=False)]


def width_of(args: PrepareArguments, parts: list[Source]) -> int | None:
    """How many numbers a vector has: as told, or as the first Parquet source's own columns say; None: as usual."""
    if args.embedding_dim is None:
        for part in parts:
            if part.kind == PARQUET:
                return ParquetReader(part.path, part.name).embedding_dim
    return args.embedding_dim


def blocks_of(args: PrepareArguments, pool: Any, parts: list[Source]) -> Iterator[tuple[str, SourceRows]]:
    """All sources' checked rows, block by block, in order: read here, or in the same way by Ray's workers."""
    read = part_reader(args, pool) if args.engine == "local" else pool.blocks
    for part in parts:
        yield from ((part.name, block) for block in read(part))


def part_reader(args: PrepareArguments, pool: Any) -> Callable[[Source], Iterator[SourceRows]]:
    """What reads one source's checked rows, block by block; the tower is loaded at the first table of photos.

    Args:
        pool: `parse` and `embedding_dim`, as a ParserPool has them.
    """

    @cache
    def load() -> Any:
        from geograph_types.rows.photo_rows import load_encoder

        return load_encoder(args.vision_model)

    def read(part: Source) -> Iterator[SourceRows]:
        if part.kind == PHOTOS:
            from geograph_types.rows.photo_rows import photo_blocks

            return photo_blocks(part, part.name, load, args.embedding_dim)
        return part.rows(pool.parse, pool.embedding_dim, getattr(pool, "parse_file", None))

    return read
