"""Rows, Parquet, tables and files that nobody has thought of: taken, or refused in one line, never anything else."""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from geograph_types.cli import CommandError
from geograph_types.rows.fields import parse_row
from geograph_types.rows.jsonl import parse_block, parse_rows
from geograph_types.rows.parquet import ParquetReader
from geograph_types.rows.sources import open_source
from names_geograph import TAGS
from row_geograph import DISTANCES, MAX_ID
from tests.support.fuzzing import TRIED, cases, report
from tests.support.source_rows import base64_of, vector

DIM = 4
GOOD = vector(1, DIM)


@pytest.fixture(scope="module", autouse=True)
def counted():
    yield
    report()


WRITTEN = ["NaN", "1e400", "９", "1_0", "[", "[1,2,3,4]"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [
            "7706259",
            "16.0",
            " unknown ",
            "Aerial, Inside",
            "tra",
            "test",
            "0.5",
            "NaN",
            "1e400",
            "９",
            "1_0",
            "[",
            "[1,2,3,4]",
        ]
    )
)
VALUES = SCALARS | st.lists(SCALARS, max_size=6) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=3)
VECTORS = (
    st.sampled_from([GOOD.tolist(), base64_of(GOOD), base64_of(vector(2, DIM + 1)), [0] * DIM, [1e39] * DIM]) | VALUES
)
IDS = st.sampled_from([7, "7", 7.0, "7.0", 2**63, 0]) | VALUES
TYPES = st.sampled_from(["Aerial", "From Above,Inside", ["Extra"], [0], [7, 3], 99]) | VALUES
DISTANCE = st.sampled_from(["16", 16, "", "Unknown", None, 300, "3"]) | VALUES
FIELDS = {
    "gridimage_id": IDS,
    "types": TYPES,
    "distance": DISTANCE,
    "embeddings": VECTORS,
    "embedding": VECTORS,
    "weight": st.sampled_from([1.0, "0.5", None]) | VALUES,
    "split": st.sampled_from(["tra", "validation", None, 1]) | VALUES,
    "distance_bucket": st.sampled_from([5, 22, None]) | VALUES,
    "title": VALUES,
}
ROWS = st.fixed_dictionaries(
    {"gridimage_id": IDS, "embeddings": VECTORS},
    optional={name: field for name, field in FIELDS.items() if name not in ("gridimage_id", "embeddings")},
)


# Where a text is changed, and to what.
NOISE = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=6)), max_size=3)


def one_line(error: Exception) -> None:
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 600, text


def check_row(row) -> None:
    assert 0 < row.gridimage_id <= MAX_ID
    assert 0 <= row.distance < len(DISTANCES)
    assert row.embedding.shape == (DIM,)
    assert row.embedding.dtype == np.float32
    assert all(0 <= tag < len(TAGS) for tag in row.types)
    assert len(set(row.types)) == len(row.types)
    assert 0 <= row.weight < np.inf
    assert -1 <= row.split <= 2


@cases(60)
@given(row=ROWS, labelled=st.booleans())
def test_rows(row, labelled):
    TRIED["rows"] += 1
    try:
        found = parse_row(row, labelled, DIM)
    except ValueError as error:
        one_line(error)
        return
    check_row(found)
    assert bool(found.types) == labelled
    # As a line of JSON it means the same: numbers that JSON does not know apart.
    text = json.dumps(row)
    block = parse_block(text.encode(), 1, "s", labelled, embedding_dim=DIM)
    if len(block):
        assert block.gridimage_id.tolist() == [found.gridimage_id]
        assert block.distance.tolist() == [found.distance]
        assert block.embedding.tobytes() == found.embedding.tobytes()
    else:
        assert any(word in block.rejected[0].reason for word in ("embeddings", "JSON"))  # NaN, zeros, absurd


@cases(120)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=4),
    noise=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=6)), max_size=3),
)
def test_lines(rows, noise):
    TRIED["lines"] += 1
    text = bytearray(b"\n".join(json.dumps(row).encode() for row in rows))
    for place, data in noise:
        text[place % len(text) : place % len(text) + len(data)] = data
    block = parse_block(bytes(text), 1, "s", embedding_dim=DIM)
    assert (
        len(block) + len(block.rejected)
        >= sum(bool(line.strip()) for line in bytes(text).split(b"\n")) - len(noise) * 6
    )
    assert np.isfinite(block.embedding).all()
    for bad in block.rejected:
        one_line(ValueError(str(bad)))


def columns(names: list[str]) -> st.SearchStrategy:
    return st.fixed_dictionaries({name: st.lists(FIELDS[name], min_size=3, max_size=3) for name in names})


TYPED = st.sampled_from(
    [
        None,
        pa.string(),
        pa.int64(),
        pa.float64(),
        pa.float16(),
        pa.binary(),
        pa.list_(pa.float32()),
        pa.list_(pa.int64()),
    ]
)


def as_source(row: dict) -> dict:
    """A row of Parquet as one of JSONL means the same: null is not known there."""
    for name, value in row.items():
        if isinstance(value, bytes) and name != "embedding":
            row[name] = value.decode("utf-8", "replace")
    if row.get("distance") is None and row.get("distance_bucket") is None:
        row["distance"] = "Unknown"
    return row


@cases(40)
@given(data=st.data(), labelled=st.booleans())
def test_parquet(tmp_path_factory, data, labelled):
    TRIED["Parquet"] += 1
    names = [
        "gridimage_id",
        "embedding",
        "types",
        *data.draw(st.sets(st.sampled_from(["distance", "weight", "split", "distance_bucket", "title"]))),
    ]
    arrays = {}
    for name, values in data.draw(columns(names)).items():
        try:
            arrays[name] = pa.array(values, data.draw(TYPED))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            try:
                arrays[name] = pa.array([None if v is None else str(v) for v in values], pa.string())
            except UnicodeEncodeError:
                return
    path = tmp_path_factory.getbasetemp() / "fuzz.parquet"
    try:
        pq.write_table(pa.table(arrays), path)
    except pa.ArrowNotImplementedError:  # an object without fields
        return
    try:
        (block,) = ParquetReader(path, labelled=labelled, embedding_dim=DIM).blocks()
    except ValueError as error:
        one_line(error)
        return
    assert len(block) == 3
    for reason in block.problems.values():
        one_line(ValueError(reason))
    for i, row in enumerate(pa.table(arrays).to_pylist()):
        if i in block.problems:
            continue
        # A good row is good by the one reader, too, and the same.
        row = {
            name: value.decode("utf-8", "replace") if isinstance(value, bytes) and name != "embedding" else value
            for name, value in row.items()
        }
        row["distance"] = (
            "Unknown" if row.get("distance") is None and row.get("distance_bucket") is None else row.get("distance")
        )
        found = parse_row(row, labelled, DIM)
        assert (block.gridimage_id[i], block.bucket[i]) == (
            found.gridimage_id,
            0 if found.distance == 23 else found.distance,
        )
        assert block.embedding[i].tobytes() == found.embedding.astype("<f4").tobytes()
        if labelled:
            assert block.type_lists[block.types[i]] == found.types
            assert block.weight[i] == np.float32(found.weight)
    block.source_rows("s")


PACKERS = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


def packed(data: bytes, how: str) -> bytes:
    if how == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("rows.jsonl", data)
        return file.getvalue()
    return {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}[
        how
    ](data)


def parse(blocks):
    return (parse_block(block.data, block.first_line, block.source, embedding_dim=DIM) for block in blocks)


@cases(50)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=3),
    shape=st.sampled_from(["lines", "array", "rows", "csv", "bytes", "columns"]),
    how=st.sampled_from(["plain", "plain", "gz", "bz2", "xz", "zst", "zip"]),
    noise=NOISE,
    cut=st.none() | st.integers(0, 200),
    junk=st.binary(max_size=300),
)
def test_files(tmp_path_factory, rows, shape, how, noise, cut, junk):
    TRIED["files"] += 1
    names = sorted({name for row in rows for name in row})
    text = {
        "lines": "\n".join(map(json.dumps, rows)),
        "array": json.dumps(rows),
        "rows": json.dumps({"rows": rows}),
        "columns": json.dumps({name: {str(i): row.get(name) for i, row in enumerate(rows)} for name in names}),
        "csv": "\n".join([",".join(names), *(",".join(json.dumps(row.get(name)) for name in names) for row in rows)]),
        "bytes": "",
    }[shape]
    data = bytearray(packed(text.encode() or junk, how))
    for place, change in noise:
        if data:
            data[place % len(data) : place % len(data) + len(change)] = change
    path = tmp_path_factory.getbasetemp() / "fuzz.rows"
    path.write_bytes(bytes(data[:-cut]) if cut else bytes(data))
    try:
        for part in open_source(str(path), photo_folders=False):
            if part.kind == "photos":
                list(part.records())
                continue
            for block in part.checked(100, embedding_dim=DIM, extra=("subject",)):
                for reason in block.problems.values():
                    one_line(ValueError(reason))
            list(
                part.rows(
                    lambda blocks: (parse_block(b.data, b.first_line, b.source, embedding_dim=DIM) for b in blocks),
                    DIM,
                )
            )
    except (CommandError, ValueError) as error:
        one_line(error)


@cases(30)
@given(rows=st.lists(st.dictionaries(st.sampled_from(sorted(FIELDS)), SCALARS, max_size=9) | SCALARS, max_size=5))
def test_tables(rows):
    TRIED["tables"] += 1
    block = parse_rows(enumerate(rows, 2), "s", embedding_dim=DIM, extra=("subject",))
    assert len(block) + len(block.rejected) == len(rows)
