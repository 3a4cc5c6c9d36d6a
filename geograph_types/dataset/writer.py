"""Rows → Parquet as `datasets` and the Hub's viewer like it: three nested configs, in constant memory, in order.

`large` is written while rows arrive, by a thread of its own; `medium` and `small` are then copied out of it.
"""

import shutil
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from geograph_types.cli import CommandError
from geograph_types.dataset.row_groups import RowGroup, TypeLists, arrow_bytes, as_table, open_writer, row_groups
from geograph_types.prefetch import Background
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.published import CONFIGS, schema
from geograph_types.rows.splits import SPLITS

ROW_GROUP_ROWS = 4096  # 8 MB of embeddings: well under the viewer's limits, and little to hold in memory
ROW_GROUP_BYTES = 64 << 20  # vectors of more than 4,096 numbers have fewer rows a group
# Row groups a file, from the first file of a split on; then the last number again and again, about 400 MB. So a split
# of some ten thousand rows has several files, which several workers can stream, and one of millions not too many.
GROUPS_A_SHARD = (1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16, 32, 32, 32, 32, 48)
WRITES_WAITING = 1  # row groups on their way to the disk


class GroupWriter:
    """Writes row groups in the background, in memory that goes round."""

    def __init__(self, synthetic: bool):
        self.synthetic, self.with_title = synthetic, False
        self._background = Background(WRITES_WAITING)
        self._types = TypeLists()
        self._free: deque[RowGroup] = deque()

    def __enter__(self) -> "GroupWriter":
        self._background.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._background.__exit__(*error)
        self._free.clear()

    def numbered(self, rows: SourceRows) -> SourceRows:
        """The rows with `types` as its groups have them."""
        return replace(rows, types=self._types.numbers_of(rows), type_lists=self._types.lists)

    def new_group(self, dim: int) -> RowGroup:
        rows = min(ROW_GROUP_ROWS, max(1, ROW_GROUP_BYTES // (4 * dim)))
        return self._free.popleft() if self._free else RowGroup(rows, dim)

    def open(self, path: Path, dim: int) -> pq.ParquetWriter:
        return open_writer(path, schema(self.with_title, self.synthetic, dim))

    def write(self, writer: pq.ParquetWriter, group: RowGroup) -> int:
        """Writes a group, and takes its memory back; returns its size as `datasets` counts it."""
        table = as_table(group.rows(self._types.lists), writer.schema)
        self._background.run(self._write, writer, table, group)
        return arrow_bytes(table)

    def _write(self, writer: pq.ParquetWriter, table, group: RowGroup) -> None:
        writer.write_table(table, len(table))
        group.clear()
        self._free.append(group)

    def close(self, writer: pq.ParquetWriter) -> None:
        self._background.run(writer.close)

    def wait(self) -> None:
        """Until all is written."""
        self._background.wait()


class SplitWriter:
    """One split of one config: rows arrive, row groups leave, a file a shard."""

    def __init__(self, folder: Path, split: str, groups: GroupWriter):
        self.folder, self.split, self.groups = folder, split, groups
        self.paths: list[Path] = []
        self.titled: list[bool] = []
        self.num_bytes: list[int] = []  # of each file, as `datasets` counts them
        self._writer: pq.ParquetWriter | None = None
        self._group: RowGroup | None = None
        self._written = 0

    def add(self, rows: SourceRows, index: np.ndarray) -> None:
        """Adds the rows `index` of `rows`, which are copied; `rows.types` as `GroupWriter.numbered` gives them."""
        while len(index):
            if self._group is None:
                self._group = self.groups.new_group(rows.embedding.shape[1])
            now, index = np.split(index, [self._group.room])
            self._group.add(rows, now, self.groups.with_title)
            if not self._group.room:
                self._write()

    def _write(self) -> None:
        group, self._group = self._group, None
        if self._writer is None:
            self.paths.append(self.folder / f"{self.split}-{len(self.paths):05d}.parquet")
            self.titled.append(self.groups.with_title)
            self.num_bytes.append(0)
            self._writer = self.groups.open(self.paths[-1], group.embedding.shape[1])
        self.num_bytes[-1] += self.groups.write(self._writer, group)
        self._written += 1
        if self._written >= GROUPS_A_SHARD[min(len(self.paths), len(GROUPS_A_SHARD)) - 1]:
            self._end_file()

    def close(self) -> None:
        """Writes what waits and ends the shard: a later row starts a new one."""
        if self._group is not None:
            self._write()
        self._end_file()

    def _end_file(self) -> None:
        if self._writer is not None:
            self.groups.close(self._writer)
            self._writer, self._written = None, 0


class DatasetWriter:
    """Writes `large` while rows arrive; `finish` makes the smaller configs and gives all files their names."""

    def __init__(self, folder: Path, synthetic: bool):
        self.folder, self.synthetic = folder, synthetic
        self.embedding_dim: int | None = None  # that of the first rows
        self.num_bytes: dict[str, list[int]] = {}  # config → Arrow bytes of each split
        self._groups = GroupWriter(synthetic)
        self._writers = {"large": self._splits("large")}

    @property
    def with_title(self) -> bool:
        return self._groups.with_title

    def __enter__(self) -> "DatasetWriter":
        self._groups.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._groups.__exit__(*error)

    def _splits(self, config: str) -> list[SplitWriter]:
        (self.folder / config).mkdir()
        return [SplitWriter(self.folder / config, split, self._groups) for split in SPLITS]

    def add(self, block: SourceRows, split: np.ndarray) -> None:
        """`split`: int8 [n], index into `SPLITS`.

        Raises:
            CommandError: vectors of another width than those before.
        """
        if not len(block):
            return
        width = block.embedding.shape[1]
        if width != (self.embedding_dim or width):
            raise CommandError(
                f"vectors of {width} numbers after ones of {self.embedding_dim}: all sources must come from one tower"
            )
        self.embedding_dim = width
        block, first = self._groups.numbered(block), 0
        if block.title is not None and not self._groups.with_title:
            # What follows has a column more. Where it begins is a matter of rows, not of blocks.
            first = next((i for i, title in enumerate(block.title) if title is not None), len(block))
            self._add(block, split, 0, first)
            if first < len(block):
                self._begin_titles()
        self._add(block, split, first, len(block))

    def _add(self, block: SourceRows, split: np.ndarray, start: int, end: int) -> None:
        for index, writer in enumerate(self._writers["large"]):
            writer.add(block, start + np.flatnonzero(split[start:end] == index))

    def _begin_titles(self) -> None:
        for writer in self._writers["large"]:
            writer.close()
        self._groups.with_title = True

    def finish(self, split: np.ndarray, chosen: dict[str, np.ndarray]) -> None:
        """Ends `large`, copies `medium` and `small` out of it.

        Args:
            split: int8 [N], of all rows. chosen: config → bool [N].
        """
        for writer in self._writers["large"]:
            writer.close()
        self._groups.wait()
        for writer in self._writers["large"]:
            self._add_titles(writer)
        smaller = [config for config in CONFIGS if config != "large"]
        self._writers |= {config: self._splits(config) for config in smaller}
        for index in range(len(SPLITS)):
            self._copy(index, {config: chosen[config][split == index] for config in smaller})
        self._groups.wait()
        self._name_files()

    def _copy(self, index: int, keep: dict[str, np.ndarray]) -> None:
        """One split of `large` → the smaller configs; config → bool [rows of the split], those that it holds."""
        large = self._writers["large"][index]
        for config in [config for config, mask in keep.items() if mask.all()]:  # the bytes are the same
            for path in large.paths:
                shutil.copyfile(path, self.folder / config / path.name)
            self._writers[config][index].num_bytes = large.num_bytes
            del keep[config]
        start = 0
        for rows in row_groups(large.paths) if keep else ():
            rows = self._groups.numbered(rows)
            for config, mask in keep.items():
                self._writers[config][index].add(rows, np.flatnonzero(mask[start : start + len(rows)]))
            start += len(rows)
        for config in keep:
            self._writers[config][index].close()

    def _add_titles(self, writer: SplitWriter) -> None:
        """Shards from before the first title get a column of nulls."""
        for i, (path, titled) in enumerate(zip(writer.paths, writer.titled, strict=True)):
            if titled == self.with_title:
                continue
            untitled = path.rename(path.with_suffix(".untitled"))
            again = SplitWriter(path.parent, writer.split, self._groups)
            again.paths, again.num_bytes = writer.paths[:i], writer.num_bytes[:i]  # so that it takes the same name
            for rows in row_groups([untitled]):
                again.add(self._groups.numbered(rows), np.arange(len(rows)))
            again.close()
            self._groups.wait()
            writer.num_bytes[i] = again.num_bytes[i]
            untitled.unlink()

    def _name_files(self) -> None:
        for config, writers in self._writers.items():
            for split in SPLITS:
                paths = sorted((self.folder / config).glob(f"{split}-*.parquet"))
                for i, path in enumerate(paths):
                    path.rename(path.with_name(f"{split}-{i:05d}-of-{len(paths):05d}.parquet"))
            self.num_bytes[config] = [sum(writer.num_bytes) for writer in writers]
