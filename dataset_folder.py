"""The published folder: Parquet shards of three nested configs, written in constant memory and moved into place whole.

`large` is written while rows arrive; `medium` and `small` are then copied out of it.
"""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cli import CommandError
from rows import DISTANCES, EMBEDDING_DIM, NO_SPLIT, TAGS, Rejected, SourceRows, keep, splitmix64
from sources import SPLITS

CONFIGS = ("small", "medium", "large")

ROW_GROUP_ROWS = 4096  # 8 MB of embeddings: well under the viewer's limits, and little to hold in memory
SHARD_ROWS = 200_000  # about 410 MB a file
RARE_MINIMUM = 32  # rows of each tag that every split of `small` keeps, or all it has

METADATA_KEY = b"geograph"
VERSION = "1.0.0"


@cache
def schema(with_title: bool, synthetic: bool) -> pa.Schema:
    """The published columns, with the features that `datasets` reads from the metadata."""
    from datasets import ClassLabel, Features, List, Value

    features = {
        "gridimage_id": Value("int64"),
        "types": List(ClassLabel(names=list(TAGS))),
        "distance": Value("string"),
        "distance_bucket": Value("int8"),
        "embedding": List(Value("float32"), length=EMBEDDING_DIM),
        "weight": Value("float32"),
    }
    if with_title:
        features["title"] = Value("string")
    arrow = Features(features).arrow_schema
    about = json.dumps({"synthetic": synthetic, "version": VERSION}).encode()
    return arrow.with_metadata({**arrow.metadata, METADATA_KEY: about})


def to_table(block: SourceRows, with_title: bool, synthetic: bool) -> pa.Table:
    """Checked rows → a table of the published columns; the embeddings are not copied."""
    lengths = np.array([len(types) for types in block.type_lists], dtype=np.int32)[block.types]
    offsets = np.zeros(len(block) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    padded = np.zeros((len(block.type_lists), len(TAGS)), dtype=np.int64)
    for row, types in enumerate(block.type_lists):
        padded[row, : len(types)] = types
    values = padded[block.types][np.arange(len(TAGS)) < lengths[:, None]]
    columns = [
        pa.array(block.gridimage_id),
        pa.ListArray.from_arrays(offsets, pa.array(values)),
        pa.DictionaryArray.from_arrays(pa.array(block.distance.astype(np.int8)), list(DISTANCES)).dictionary_decode(),
        pa.array(block.bucket.astype(np.int8)),
        pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(block.embedding).reshape(-1)), EMBEDDING_DIM),
        pa.array(block.weight),
    ]
    if with_title:
        columns.append(pa.array(block.title or [None] * len(block), type=pa.string()))
    return pa.Table.from_arrays(columns, schema=schema(with_title, synthetic))


def open_writer(path: Path, arrow: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer as `datasets` sets one up: content-defined chunks, so that the Hub stores a changed file's
    unchanged parts once, and a page index, so that its viewer need not scan."""
    return pq.ParquetWriter(
        path,
        arrow,
        compression="snappy",
        use_dictionary=["distance", "types.list.element"],
        use_content_defined_chunking=True,
        write_page_index=True,
    )


class LargeWriter:
    """Writes arriving rows to `folder`, a file a split and shard, in the order of the source."""

    def __init__(self, folder: Path, synthetic: bool):
        self.folder = folder
        self.synthetic = synthetic
        self.with_title = False
        self.paths: dict[str, list[Path]] = {split: [] for split in SPLITS}
        self._titled: dict[Path, bool] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows_in_shard = dict.fromkeys(SPLITS, 0)
        self._waiting: dict[str, list[pa.Table]] = {split: [] for split in SPLITS}
        folder.mkdir(parents=True)

    def add(self, block: SourceRows, split: np.ndarray) -> None:
        """`split`: int8 [n], index into `SPLITS`."""
        if block.title is not None and not self.with_title:
            self.flush()
            self.with_title = True
        table = to_table(block, self.with_title, self.synthetic)
        for index, name in enumerate(SPLITS):
            part = table.take(np.flatnonzero(split == index))
            self._waiting[name].append(part)
            if sum(map(len, self._waiting[name])) >= ROW_GROUP_ROWS:
                self._write(name)

    def _write(self, split: str) -> None:
        table = pa.concat_tables(self._waiting[split])
        self._waiting[split] = []
        if not len(table):
            return
        writer = self._writers.get(split)
        if writer is None or self._rows_in_shard[split] >= SHARD_ROWS:
            self._close(split)
            path = self.folder / f"{split}-{len(self.paths[split]):05d}.parquet"
            self.paths[split].append(path)
            self._titled[path] = self.with_title
            writer = self._writers[split] = open_writer(path, schema(self.with_title, self.synthetic))
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._rows_in_shard[split] += len(table)

    def _close(self, split: str) -> None:
        if (writer := self._writers.pop(split, None)) is not None:
            writer.close()
        self._rows_in_shard[split] = 0

    def flush(self) -> None:
        """Writes what waits and closes the shards: the next row starts new ones."""
        for split in SPLITS:
            if self._waiting[split]:
                self._write(split)
            self._close(split)

    def close(self) -> None:
        """Finishes all shards; those from before the first title get a column of nulls."""
        self.flush()
        for path, titled in self._titled.items():
            if titled != self.with_title:
                copy_rows([path], [path.with_suffix(".titled")], None, self.with_title, self.synthetic)
                path.with_suffix(".titled").replace(path)


def copy_rows(
    paths: list[Path], targets: list[Path], keep: np.ndarray | None, with_title: bool, synthetic: bool
) -> None:
    """Copies the rows where `keep` is True (None: all), in order, from some files into one or more."""
    arrow = schema(with_title, synthetic)
    targets = iter(targets)
    writer, written, start, waiting = None, 0, 0, []

    def write(tables: list[pa.Table]) -> None:
        nonlocal writer, written
        if writer is None or written >= SHARD_ROWS:
            if writer is not None:
                writer.close()
            writer, written = open_writer(next(targets), arrow), 0
        table = pa.concat_tables(tables)
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        written += len(table)

    for path in paths:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                if keep is not None:
                    table = table.take(np.flatnonzero(keep[start : start + len(table)]))
                    start += file.metadata.row_group(group).num_rows
                if with_title and "title" not in table.schema.names:
                    table = table.append_column("title", pa.nulls(len(table), pa.string()))
                waiting.append(table.cast(arrow))
                if sum(map(len, waiting)) >= ROW_GROUP_ROWS:
                    write(waiting)
                    waiting = []
    if sum(map(len, waiting)):
        write(waiting)
    if writer is not None:
        writer.close()


def splits_of(block: SourceRows) -> np.ndarray:
    """The split of each row, int8 [n]: the official one, or by `splitmix64(id) % 10` (0 to 7 train, 8, 9)."""
    bucket = (splitmix64(block.gridimage_id) % np.uint64(10)).astype(np.int8)
    return np.where(block.split == NO_SPLIT, np.clip(bucket - 7, 0, 2), block.split).astype(np.int8)


def select(ids: np.ndarray, tags: np.ndarray, split: np.ndarray, small: int, medium: int) -> dict[str, np.ndarray]:
    """Which rows each config holds, as bool [N]; the same rows whatever their order.

    The N rows with the smallest `splitmix64(splitmix64(id))`; and of each tag, in each split, the
    `RARE_MINIMUM` smallest: in `small`, and so in `medium` too.
    """
    order = np.argsort(splitmix64(splitmix64(ids)), kind="stable")
    chosen_small = np.zeros(len(ids), dtype=bool)
    chosen_small[order[:small]] = True
    for tag in range(tags.shape[1]):
        for index in range(len(SPLITS)):
            has = tags[order, tag] & (split[order] == index)
            chosen_small[order[np.flatnonzero(has)[:RARE_MINIMUM]]] = True
    chosen_medium = chosen_small.copy()
    chosen_medium[order[:medium]] = True
    return {"small": chosen_small, "medium": chosen_medium, "large": np.ones(len(ids), dtype=bool)}


def derive_configs(
    writer: LargeWriter, split: np.ndarray, chosen: dict[str, np.ndarray], folder: Path, pool: Executor
) -> None:
    """Makes `small` and `medium` out of `large`, and gives all files their final names."""
    jobs = []
    for name in ("medium", "small"):
        (folder / name).mkdir()
        for index, part in enumerate(SPLITS):
            keep = chosen[name][split == index]
            if not keep.any():
                continue
            shards = -(-int(keep.sum()) // SHARD_ROWS)
            if keep.all():  # nothing is left out: the bytes are the same
                for path, target in zip(writer.paths[part], _names(folder / name, part, shards), strict=False):
                    shutil.copyfile(path, target)
                continue
            targets = _names(folder / name, part, shards + 1)
            jobs.append(
                (
                    folder / name,
                    part,
                    pool.submit(copy_rows, writer.paths[part], targets, keep, writer.with_title, writer.synthetic),
                )
            )
    for *_, job in jobs:
        job.result()
    for name in CONFIGS:
        for part in SPLITS:
            paths = sorted((folder / name).glob(f"{part}-*.parquet"))
            for i, path in enumerate(paths):
                path.rename(path.with_name(f"{part}-{i:05d}-of-{len(paths):05d}.parquet"))


def _names(folder: Path, split: str, count: int) -> list[Path]:
    return [folder / f"{split}-{i:05d}.parquet" for i in range(count)]


class SeenIds:
    """The ids met so far: sorted arrays of doubling sizes, 8 bytes an id."""

    def __init__(self):
        self._runs: list[np.ndarray] = []

    def first_time(self, ids: np.ndarray) -> np.ndarray:
        """bool [n]: whether each id is met for the first time; the ids are remembered."""
        new = np.zeros(len(ids), dtype=bool)
        new[np.unique(ids, return_index=True)[1]] = True
        for run in self._runs:
            place = np.searchsorted(run, ids)
            new &= run[np.minimum(place, len(run) - 1)] != ids
        if new.any():
            self._runs.append(np.sort(ids[new]))
        while len(self._runs) > 1 and len(self._runs[-1]) * 2 > len(self._runs[-2]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")
        return new


@contextmanager
def folder_in_place(final: Path) -> Iterator[Path]:
    """A folder to build in, beside the final one, which it replaces only when the block ends without an error.

    Raises:
        CommandError: something else than a dataset of ours stands there already.
    """
    if final.exists() and not is_dataset_folder(final) and (not final.is_dir() or any(final.iterdir())):
        raise CommandError(f"{final}: exists and is no dataset folder; name another --output_dir or remove it")
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(final)
    building = final.with_name(f".{final.name}.building-{os.getpid()}")
    building.mkdir()
    try:
        yield building
        old = final.with_name(f".{final.name}.old-{os.getpid()}")
        if final.exists():
            final.rename(old)
        building.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def is_dataset_folder(path: Path) -> bool:
    """Whether `prepare_dataset.py` made it: a card, and configs of Parquet."""
    return (path / "README.md").is_file() and any(any((path / c).glob("*.parquet")) for c in CONFIGS)


def _remove_abandoned(final: Path) -> None:
    """What a killed run left: its process is gone, so nobody will finish it."""
    for path in final.parent.glob(f".{final.name}.*-*"):
        kind, _, pid = path.name.removeprefix(f".{final.name}.").partition("-")
        if kind not in ("building", "old") or not pid.isdigit() or _alive(int(pid)):
            continue
        if kind == "old" and not final.exists():  # killed between the two renames: what stood there stands there again
            path.rename(final)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def keep_new(block: SourceRows, seen: SeenIds, source: str) -> SourceRows:
    """The block without rows whose id was met before; those join its rejected ones."""
    new = seen.first_time(block.gridimage_id)
    if new.all():
        return block
    for i in np.flatnonzero(~new):
        identity = int(block.gridimage_id[i])
        block.rejected.append(
            Rejected(source, int(block.line[i]), "duplicate gridimage_id; the first row counts", identity)
        )
    block.rejected.sort(key=lambda bad: bad.line)
    return keep(block, new)
