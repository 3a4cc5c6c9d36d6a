"""Checked rows in a file, block by block as they were: read on one machine, used on another. Arrow's stream format."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geograph_types.files import whole_file
from geograph_types.rows import arrow
from geograph_types.rows.fields import Rejected, SourceRows

ARRAYS = {
    "gridimage_id": pa.int64(),
    "types": pa.int32(),
    "distance": pa.uint8(),
    "weight": pa.float32(),
    "split": pa.int8(),
    "line": pa.int64(),
}
BLOCK = b"block"  # the key of what stands beside a block's columns


def write_blocks(path: str | Path, blocks: Iterable[SourceRows]) -> None:
    """All blocks into a file that appears when it is whole.

    An error of `blocks` is raised when those before it are in the file.
    """
    failed: BaseException | None = None
    with whole_file(path, "wb") as file:
        writer = None
        found = iter(blocks)
        while True:
            try:
                block = next(found, None)
            except Exception as error:
                failed, block = error, None
            if block is None:
                break
            batch, beside = _batch_of(block)
            writer = writer or pa.ipc.new_stream(file, batch.schema)
            writer.write_batch(batch, custom_metadata={BLOCK: json.dumps(beside).encode()})
        if writer is not None:
            writer.close()
    if failed is not None:
        raise failed


def read_blocks(path: str | Path) -> Iterator[SourceRows]:
    """What `write_blocks` wrote: the same blocks, bit for bit, one at a time in memory."""
    if not Path(path).stat().st_size:
        return
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        while True:
            try:
                found = reader.read_next_batch_with_custom_metadata()
            except StopIteration:
                return
            yield _block_of(found.batch, json.loads(found.custom_metadata[BLOCK]))


def _batch_of(block: SourceRows) -> tuple[pa.RecordBatch, dict[str, Any]]:
    n, width = block.embedding.shape
    vectors = arrow.column_of(np.ascontiguousarray(block.embedding, dtype=np.float32).reshape(-1))
    columns = {name: arrow.column_of(getattr(block, name)).cast(kind) for name, kind in ARRAYS.items()}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(vectors, width)
    columns["title"] = arrow.strings_of(block.title or [None] * n)
    columns["norm"] = arrow.column_of(np.zeros(n, np.float32) if block.norm is None else block.norm)
    beside = {
        "type_lists": block.type_lists,
        "rejected": [(bad.source, bad.line, bad.reason, bad.gridimage_id) for bad in block.rejected],
        "titled": block.title is not None,
        "measured": block.norm is not None,
    }
    return pa.RecordBatch.from_pydict(columns), beside


def _block_of(batch: pa.RecordBatch, beside: dict[str, Any]) -> SourceRows:
    def array(name: str) -> np.ndarray:
        return arrow.numbers_of(batch[name])

    vectors = batch["embedding"]
    return SourceRows(
        **{name: array(name) for name in ARRAYS},
        type_lists=[tuple(types) for types in beside["type_lists"]],
        embedding=arrow.numbers_of(vectors.flatten()).reshape(len(batch), vectors.type.list_size),
        title=batch["title"].to_pylist() if beside["titled"] else None,
        rejected=[Rejected(*bad) for bad in beside["rejected"]],
        norm=array("norm") if beside["measured"] else None,
    )
