"""How much of a changed Parquet file the Hub would have to store anew, by how its pages are cut. For docs/data.md.

    .venv/bin/python -m benchmarks.dedup [--rows 24000]

A simulation of the Hub's own storage: files are cut by content into pieces of 64 KB on average, 8 to 128 KB, where a
rolling hash of the last bytes has 16 zeros; a piece that was there before is not stored again. Vectors are random.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from geograph_types.dataset.row_groups import as_table, open_writer
from geograph_types.dataset.writer import ROW_GROUP_ROWS
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.published import schema
from geograph_types.rows.splits import NO_SPLIT

LEAST, MOST, MASK_BITS, DIM = 8 << 10, 128 << 10, 16, 512
SCHEMA = schema(False, True, DIM)
BY_CONTENT = {
    "compression": {name: "none" if name == "embedding" else "snappy" for name in SCHEMA.names},
    "use_dictionary": ["distance", "types.list.element"],
    "use_content_defined_chunking": True,
    "write_page_index": True,
}
WAYS = {
    "pages cut by content": lambda path: pq.ParquetWriter(path, SCHEMA, **BY_CONTENT),
    "pages of 1 MB": lambda path: pq.ParquetWriter(
        path, SCHEMA, **BY_CONTENT | {"use_content_defined_chunking": False}
    ),
    "pages of 2 MB, as here": lambda path: open_writer(path, SCHEMA),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=24_000)
    flags = parser.parse_args()
    random = np.random.default_rng(0)
    rows = made(flags.rows, random)
    before = np.arange(1000, flags.rows)
    retagged = rows.types.copy()
    retagged[random.choice(flags.rows, flags.rows // 100, replace=False)] += 1
    changes = {
        "20 rows taken out": (np.delete(before, random.choice(len(before), 20, replace=False)), rows.types),
        "7 rows put in front": (np.concatenate([np.arange(7), before]), rows.types),
        "1 % of the tags changed": (before, retagged),
        "1,000 rows added": (np.concatenate([before, np.arange(1000)]), rows.types),
    }
    print(f"| | {' | '.join(changes)} |\n| --- |{' ---: |' * len(changes)}")
    gear = random.integers(0, 2**64, 256, dtype=np.uint64)
    with tempfile.TemporaryDirectory(prefix="geograph-dedup-") as folder:
        path = Path(folder, "rows.parquet")
        for name, open_way in WAYS.items():
            known = pieces(write(path, open_way, rows, before, rows.types), gear)
            cells = []
            for index, types in changes.values():
                found = pieces(write(path, open_way, rows, index, types), gear)
                new = sum(size for piece, size in found.items() if piece not in known)
                cells.append(f"{new / sum(found.values()):.1%}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def made(count: int, random: np.random.Generator) -> SourceRows:
    return SourceRows(
        gridimage_id=random.permutation(8_000_000)[:count].astype(np.int64),
        types=random.integers(0, 8, count).astype(np.int32),
        type_lists=[(i % 8,) for i in range(9)],
        distance=random.integers(0, 20, count).astype(np.uint8),
        weight=np.ones(count, np.float32),
        split=np.full(count, NO_SPLIT, np.int8),
        embedding=random.standard_normal((count, DIM), np.float32),
        line=np.zeros(count, np.int64),
    )


def write(path: Path, open_way, rows: SourceRows, index: np.ndarray, types: np.ndarray) -> Path:
    with open_way(path) as writer:
        for start in range(0, len(index), ROW_GROUP_ROWS):
            chosen = index[start : start + ROW_GROUP_ROWS]
            group = SourceRows(
                **{
                    name: getattr(rows, name)[chosen]
                    for name in ("gridimage_id", "distance", "weight", "split", "embedding", "line")
                },
                types=types[chosen],
                type_lists=rows.type_lists,
            )
            writer.write_table(as_table(group, SCHEMA), ROW_GROUP_ROWS)
    return path


def pieces(path: Path, gear: np.ndarray) -> dict[bytes, int]:
    """A file's different pieces → their sizes."""
    data = np.fromfile(path, np.uint8)
    rolled = gear[data]
    for step in (1, 2, 4, 8, 16, 32):  # h = 2 h + gear[byte], over the last 64 bytes
        shifted = np.zeros_like(rolled)
        shifted[step:] = rolled[:-step] << np.uint64(step)
        rolled = rolled + shifted
    cuts = np.flatnonzero(rolled >> np.uint64(64 - MASK_BITS) == 0) + 1
    found, start, whole = {}, 0, data.tobytes()
    while start < len(whole):
        place = np.searchsorted(cuts, start + LEAST)
        end = min(start + MOST, len(whole), int(cuts[place]) if place < len(cuts) else len(whole))
        found[hashlib.sha256(whole[start:end]).digest()] = end - start
        start = end
    return found


if __name__ == "__main__":
    main()
