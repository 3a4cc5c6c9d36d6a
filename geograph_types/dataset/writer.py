"""Rows → Parquet as `datasets` and the Hub's viewer like it: three nested configs, in constant memory, in order.

`large` is written while rows arrive, by a thread of its own; `medium` and `small` are then copied out of it.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geograph_types.cli import CommandError
from geograph_types.prefetch import Background
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.published import CONFIGS, schema
from geograph_types.rows.splits import SPLITS
from names_geograph import TAGS
from row_geograph import DISTANCES

ROW_GROUP_ROWS = 4096  # 8 MB of embeddings: well under the viewer's limits, and little to hold in memory
# Row groups a file, from the first file of a split on; then the last number again and again, about 400 MB. So a split
# of some ten thousand rows has several files, which several workers can stream, and one of millions not too many.
GROUPS_A_SHARD = (1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16, 32, 32, 32, 32, 48)
WRITES_WAITING = 1  # row groups on their way to the disk


def small_columns(block: SourceRows, with_title: bool) -> pa.Table:
    """All published columns but the embedding."""
    lengths = np.array([len(types) for types in block.type_lists], dtype=np.int32)[block.types]
    offsets = np.zeros(len(block) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    padded = np.zeros((len(block.type_lists), len(TAGS)), dtype=np.int64)
    for row, types in enumerate(block.type_lists):
        padded[row, : len(types)] = types
    values = padded[block.types][np.arange(len(TAGS)) < lengths[:, None]]
    columns = {
        "gridimage_id": pa.array(block.gridimage_id),
        "types": pa.ListArray.from_arrays(offsets, pa.array(values)),
        "distance": pa.array(DISTANCES).take(pa.array(block.distance)),
        "distance_bucket": pa.array(block.bucket.astype(np.int8)),
        "weight": pa.array(block.weight),
    }
    if with_title:
        columns["title"] = pa.array(block.title or [None] * len(block), type=pa.string())
    return pa.table(columns)


def open_writer(path: Path, arrow: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer as `datasets` sets one up: content-defined chunks, so that the Hub stores a changed file's
    unchanged parts once, and a page index, so that its viewer need not scan. Floats do not compress."""
    return pq.ParquetWriter(
        path,
        arrow,
        compression={name: "none" if name == "embedding" else "snappy" for name in arrow.names},
        use_dictionary=["distance", "types.list.element"],
        use_content_defined_chunking=True,
        write_page_index=True,
    )


class SplitWriter:
    """One split of one config: rows arrive, row groups leave, a file a shard."""

    def __init__(self, folder: Path, split: str, synthetic: bool, background: Background):
        self.folder, self.split, self.synthetic, self.background = folder, split, synthetic, background
        self.paths: list[Path] = []
        self.titled: list[bool] = []
        self._writer: pq.ParquetWriter | None = None
        self._groups = 0
        self._clear()

    def _clear(self) -> None:
        self._small: list[pa.Table] = []
        self._embedding = None
        self._filled = 0

    def add(self, small: pa.Table, embedding: np.ndarray, index: np.ndarray) -> None:
        """Adds the rows `index` of `small` and `embedding` [n, dim], which is copied."""
        while len(index):
            if self._embedding is None:
                self._embedding = np.empty((ROW_GROUP_ROWS, embedding.shape[1]), np.float32)
            now, index = np.split(index, [ROW_GROUP_ROWS - self._filled])
            np.take(embedding, now, axis=0, out=self._embedding[self._filled : self._filled + len(now)], mode="clip")
            self._small.append(small.take(now))
            self._filled += len(now)
            if self._filled == ROW_GROUP_ROWS:
                self._write()

    def _write(self) -> None:
        small, dim = pa.concat_tables(self._small).combine_chunks(), self._embedding.shape[1]
        arrow = schema("title" in small.column_names, self.synthetic, dim)
        if self._writer is None:
            self.paths.append(self.folder / f"{self.split}-{len(self.paths):05d}.parquet")
            self.titled.append("title" in arrow.names)
            self._writer = open_writer(self.paths[-1], arrow)
        vectors = pa.array(self._embedding[: self._filled].reshape(-1))
        columns = {**dict(zip(small.column_names, small.columns, strict=True))}
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(vectors, dim)
        table = pa.Table.from_arrays([columns[name] for name in arrow.names], schema=arrow)
        self.background.run(self._writer.write_table, table, ROW_GROUP_ROWS)
        self._groups += 1
        self._clear()
        if self._groups >= GROUPS_A_SHARD[min(len(self.paths), len(GROUPS_A_SHARD)) - 1]:
            self.close()

    def close(self) -> None:
        """Writes what waits and ends the shard: a later row starts a new one."""
        if self._filled:
            self._write()
        if self._writer is not None:
            self.background.run(self._writer.close)
            self._writer, self._groups = None, 0


class DatasetWriter:
    """Writes `large` while rows arrive; `finish` makes the smaller configs and gives all files their names."""

    def __init__(self, folder: Path, synthetic: bool):
        self.folder, self.synthetic, self.with_title = folder, synthetic, False
        self.embedding_dim: int | None = None  # that of the first rows
        self.num_bytes: dict[str, list[int]] = {config: [] for config in CONFIGS}  # Arrow bytes of each split
        self._background = Background(WRITES_WAITING)
        self._large = self._splits("large", self._background)

    def __enter__(self) -> "DatasetWriter":
        self._background.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._background.__exit__(*error)

    def _splits(self, config: str, background: Background) -> list[SplitWriter]:
        (self.folder / config).mkdir()
        return [SplitWriter(self.folder / config, split, self.synthetic, background) for split in SPLITS]

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
        if block.title is not None and not self.with_title:
            self.with_title = True
            for writer in self._large:  # what follows has a column more
                writer.close()
        small = small_columns(block, self.with_title)
        for index, writer in enumerate(self._large):
            writer.add(small, block.embedding, np.flatnonzero(split == index))

    def finish(self, split: np.ndarray, chosen: dict[str, np.ndarray]) -> None:
        """Ends `large`, copies `medium` and `small` out of it.

        Args:
            split: int8 [N], of all rows. chosen: config → bool [N].
        """
        for writer in self._large:
            writer.close()
        self._background.__exit__(None)
        for writer in self._large:
            self._add_titles(writer)
        smaller = [config for config in CONFIGS if config != "large"]
        with Background(WRITES_WAITING) as background:
            writers = {config: self._splits(config, background) for config in smaller}
            for index, large in enumerate(self._large):
                keep = {config: chosen[config][split == index] for config in smaller}
                for config in smaller:
                    if keep[config].all():  # nothing is left out: the bytes are the same
                        for path in large.paths:
                            shutil.copyfile(path, self.folder / config / path.name)
                        del keep[config]
                start = 0
                for small, embedding in row_groups(large.paths) if keep else ():
                    for config, mask in keep.items():
                        rows = np.flatnonzero(mask[start : start + len(embedding)])
                        writers[config][index].add(small, embedding, rows)
                    start += len(embedding)
                for config in smaller:
                    writers[config][index].close()
        self._name_files()

    def _add_titles(self, writer: SplitWriter) -> None:
        """Shards from before the first title get a column of nulls."""
        for i, (path, titled) in enumerate(zip(writer.paths, writer.titled, strict=True)):
            if titled == self.with_title:
                continue
            untitled = path.rename(path.with_suffix(".untitled"))
            with Background(WRITES_WAITING) as background:
                again = SplitWriter(path.parent, writer.split, self.synthetic, background)
                again.paths = writer.paths[:i]  # so that it takes the same name
                for small, embedding in row_groups([untitled]):
                    small = small.append_column("title", pa.nulls(len(small), pa.string()))
                    again.add(small, embedding, np.arange(len(small)))
                again.close()
            untitled.unlink()

    def _name_files(self) -> None:
        for config in CONFIGS:
            for split in SPLITS:
                paths = sorted((self.folder / config).glob(f"{split}-*.parquet"))
                self.num_bytes[config].append(sum(map(arrow_bytes, paths)))
                for i, path in enumerate(paths):
                    path.rename(path.with_name(f"{split}-{i:05d}-of-{len(paths):05d}.parquet"))


def arrow_bytes(path: Path) -> int:
    """The size of a file as `datasets` counts it: of the Arrow tables that it reads, which carry a bit a number for
    nulls that we never have. Its vectors are counted and not read."""
    total = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        dim = file.schema_arrow.field("embedding").type.list_size
        small = [name for name in file.schema_arrow.names if name != "embedding"]
        for batch in file.iter_batches(file.metadata.row_group(0).num_rows, columns=small):
            numbers = len(batch) * dim
            total += batch.nbytes + 4 * numbers + -(-numbers // 8)
    return total


def row_groups(paths: list[Path]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Our own Parquet, row group by row group: the small columns, and the embeddings [n, dim]."""
    for path in paths:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, use_threads=False)  # one after another needs less memory
                vectors = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                yield table.drop_columns("embedding"), vectors.reshape(len(table), -1)
