"""Vectors read where they lie: what pyarrow reads, or nothing."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geograph_types.dataset.row_groups import as_table, open_writer, row_groups
from geograph_types.rows.fields import SourceRows
from geograph_types.rows.plain_vectors import read_vectors, vector_column
from geograph_types.rows.published import schema
from geograph_types.rows.splits import NO_SPLIT

ROWS, DIM = 300, 64
KIND = pa.list_(pa.float32(), DIM)


def vectors() -> list[list[float]]:
    return np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32).tolist()


def with_nulls(whole: bool) -> list:
    found = vectors()
    if whole:
        found[7] = None
    else:
        found[7][3] = None
    return found


def read(path) -> tuple[bool, np.ndarray]:
    with pq.ParquetFile(path) as file, path.open("rb", buffering=0) as raw:
        groups = range(file.num_row_groups)
        out = np.zeros((ROWS, DIM), np.float32)
        sizes = np.cumsum([0, *(file.metadata.row_group(i).num_rows for i in groups)])
        place = vector_column(file.metadata, "embedding")
        return all(
            read_vectors(raw, file.metadata.row_group(i), place, out[sizes[i] : sizes[i + 1]]) for i in groups
        ), out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data_page_size": 4096, "write_batch_size": 64},
        {"row_group_size": 110, "write_statistics": True, "use_content_defined_chunking": True},
        {"write_page_checksum": True},
    ],
)
def test_plain_pages_are_read_as_they_are(tmp_path, options):
    table = pa.table({"id": list(range(ROWS)), "embedding": pa.array(vectors(), KIND)})
    path = tmp_path / "rows.parquet"
    pq.write_table(
        table, path, **{"compression": "none", "use_dictionary": False, "write_statistics": False} | options
    )
    found, out = read(path)
    assert found
    assert out.tolist() == table["embedding"].to_pylist()


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (vectors(), {"compression": "snappy"}),
        (vectors(), {"use_dictionary": True}),
        (vectors(), {"data_page_version": "2.0"}),
        (vectors(), {"use_byte_stream_split": True}),
        (with_nulls(False), {}),
        (with_nulls(True), {}),
    ],
)
def test_other_pages_are_left_to_pyarrow(tmp_path, values, options):
    path = tmp_path / "rows.parquet"
    table = pa.table({"embedding": pa.array(values, KIND)})
    try:
        pq.write_table(table, path, **{"compression": "none", "use_dictionary": False} | options)
    except pa.ArrowNotImplementedError as error:
        pytest.skip(f"this pyarrow does not write such a file: {error}")
    assert not read(path)[0]


def test_our_own_files_are_read_so(tmp_path, monkeypatch):
    from geograph_types.rows import arrow, parquet
    from geograph_types.rows.published import schema
    from tests.rows.test_parquet import write_parquet

    block = write_parquet(tmp_path / "any.parquet", 20)
    table = pq.read_table(tmp_path / "any.parquet")
    with open_writer(tmp_path / "own.parquet", schema(False, True)) as writer:
        writer.write_table(table.slice(0, 13))
        writer.write_table(table.slice(13))
    monkeypatch.setattr(arrow, "vectors", None)  # nothing looks at each number
    found = parquet.ParquetReader(tmp_path / "own.parquet").blocks(3, skip=1)
    assert b"".join(part.embedding.tobytes() for part in found) == block.embedding[3:].tobytes()
    assert parquet.read_parquet([tmp_path / "own.parquet"]).embedding.tobytes() == block.embedding.tobytes()


def test_row_groups_laid_out_otherwise_are_read_all_the_same(tmp_path):
    embedding = np.random.default_rng(0).standard_normal((ROWS, DIM), dtype=np.float32)
    rows = SourceRows(
        gridimage_id=np.arange(ROWS, dtype=np.int64),
        types=np.zeros(ROWS, np.int32),
        type_lists=[(0, 2)],
        distance=np.full(ROWS, 5, np.uint8),
        weight=np.ones(ROWS, np.float32),
        split=np.full(ROWS, NO_SPLIT, np.int8),
        embedding=embedding,
        line=np.zeros(ROWS, np.int64),
    )
    path = tmp_path / "rows.parquet"
    pq.write_table(as_table(rows, schema(False, False, DIM)), path, data_page_version="2.0", row_group_size=128)
    assert not read(path)[0]
    found = [(group.gridimage_id.copy(), group.embedding.copy()) for group in row_groups([path])]
    assert [len(ids) for ids, _ in found] == [128, 128, 44]
    assert np.array_equal(np.concatenate([vectors for _, vectors in found]), embedding)
