"""Source rows: what is taken, what is refused and why; Parquet back to arrays."""

import base64
import json
import struct

import numpy as np
import pytest

from geograph_types.rows import fields
from geograph_types.rows.fields import (
    distance_code,
    iterate_parquet,
    parse_block,
    parse_types,
    read_parquet,
    splitmix64,
)
from names_geograph import TAGS


def source_row(identity=7, **changes) -> dict:
    vector = np.arange(512, dtype="<f4") / 100 + identity
    row = {
        "gridimage_id": identity,
        "types": "Geograph",
        "distance": "16",
        "embeddings": base64.b64encode(vector.tobytes()).decode(),
        "weight": 1.0,
        "split": "tra",
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def block_of(*lines) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def test_tags_are_those_of_the_configuration():
    assert list(fields.TAGS) == TAGS


def test_a_good_row_comes_out_bit_for_bit():
    vector = np.frombuffer(np.random.default_rng(0).bytes(2048), "<u4") & 0xBFFFFFFF  # subnormals, -0, all finite
    text = base64.b64encode(vector.tobytes()).decode()
    row = source_row(8, types=" Cross Grid , From Above,Cross Grid", distance=256, embeddings=text, weight=0.25)
    block = parse_block(block_of(row | {"title": "A bridge", "path": "x.jpg"}), 5, "s")
    assert not block.rejected
    assert block.embedding.tobytes() == vector.tobytes()
    assert [block.gridimage_id[0], block.bucket[0], block.weight[0], block.split[0], block.line[0]] == [
        8,
        9,
        0.25,
        0,
        5,
    ]
    assert [fields.TAGS[i] for i in block.type_lists[block.types[0]]] == ["Cross Grid", "From Above"]
    assert block.tags[0].tolist() == [tag in ("Cross Grid", "From Above") for tag in TAGS]
    assert block.title == ["A bridge"]


def test_what_is_absent_has_its_meaning():
    block = parse_block(block_of(source_row(weight=..., split=..., distance=...)), 1, "s")
    assert (block.weight[0], block.split[0], block.bucket[0]) == (1.0, fields.NO_SPLIT, 22)


@pytest.mark.parametrize(
    ("value", "text", "bucket"),
    [
        ("", "", 0),
        (None, "", 0),
        (0, "0", 0),
        ("0", "0", 0),
        ("1", "1", 1),
        (16, "16", 5),
        (16.0, "16", 5),
        ("1048576", "1048576", 21),
        ("Unknown", "Unknown", 22),
    ],
)
def test_distances(value, text, bucket):
    block = parse_block(block_of(source_row(distance=value)), 1, "s")
    assert (fields.DISTANCES[block.distance[0]], block.bucket[0]) == (text, bucket)


@pytest.mark.parametrize("value", ["3", "-4", -4, 2097152, "far", True, 1.5, [], "unknown", "016"])
def test_impossible_distances(value):
    with pytest.raises(ValueError, match="impossible distance"):
        distance_code(value)


NAN = base64.b64encode(struct.pack("<512f", *[0.0] * 511, float("nan"))).decode()
INFINITE = base64.b64encode(struct.pack("<512f", float("-inf"), *[0.0] * 511)).decode()


@pytest.mark.parametrize(
    ("line", "reason", "identity"),
    [
        (b'{"gridimage_id": 5, "types', "broken JSON", None),
        (b"[1, 2]", "expected an object", None),
        (b"\xff\xfe{}", "broken JSON", None),
        (source_row(gridimage_id=...), "no gridimage_id", None),
        (source_row(types=...), "no types", 7),
        (source_row(embeddings=...), "no embeddings", 7),
        (source_row(gridimage_id=0), "bad gridimage_id", None),
        (source_row(gridimage_id="7"), "bad gridimage_id", None),
        (source_row(gridimage_id=True), "bad gridimage_id", None),
        (source_row(gridimage_id=2**63), "bad gridimage_id", None),
        (source_row(types=""), "no tag", 7),
        (source_row(types=" , "), "no tag", 7),
        (source_row(types="Geograph,Cross Far"), "unknown tag 'Cross Far'", 7),
        (source_row(types=["Geograph"]), "types must be text", 7),
        (source_row(distance="3"), "impossible distance", 7),
        (source_row(weight=-0.5), "bad weight", 7),
        (source_row(weight="1"), "bad weight", 7),
        (source_row(weight=1e39), "bad weight", 7),
        (source_row(split="dev"), "unknown split 'dev'", 7),
        (source_row(embeddings="AAAA"), "3 bytes, expected 2048", 7),
        (source_row(embeddings=source_row()["embeddings"][:-4] + "!!=="), "not base64", 7),
        (source_row(embeddings=None), "must be base64 text", 7),
        (source_row(embeddings=NAN), "NaN or infinity", 7),
        (source_row(embeddings=INFINITE), "NaN or infinity", 7),
    ],
)
def test_bad_rows_are_named(line, reason, identity):
    block = parse_block(block_of(source_row(1), line, b"", source_row(2)), 10, "rows.jsonl")
    assert block.gridimage_id.tolist() == [1, 2]
    assert block.embedding[:, 0].tolist() == [1, 2]
    (bad,) = block.rejected
    assert reason in bad.reason
    assert (bad.source, bad.line, bad.gridimage_id) == ("rows.jsonl", 11, identity)
    assert ("gridimage_id" in bad.as_json()) == (identity is not None)


def test_finite_numbers_with_an_infinite_sum_are_good():
    large = base64.b64encode(np.full(512, 3e38, "<f4").tobytes()).decode()
    assert len(parse_block(block_of(source_row(embeddings=large)), 1, "s")) == 1


def test_embeddings_go_where_they_are_wanted():
    data = block_of(source_row(1), source_row(2))
    out = np.zeros((fields.most_rows(len(data)), 512), np.float32)
    block = parse_block(data, 1, "s", out=out)
    assert np.shares_memory(block.embedding, out)
    assert out[:2, 0].tolist() == [1, 2]


def test_splitmix64_as_published():
    expected = [10451216379200822465, 10905525725756348110, 5679431656575767848]
    assert splitmix64(np.array([1, 2, 7706259])).tolist() == expected


def test_types_are_known_tags():
    assert parse_types("Inside, Aerial") == (7, 0)
    with pytest.raises(ValueError, match="unknown tag 'inside'"):
        parse_types("inside")


def test_the_official_row(shared):
    text = (shared / "data" / "geograph_7706259.json").read_bytes()
    assert rb"\/" in text  # PHP's way to write base64's slash
    block = parse_block(text.replace(b"\n", b" "), 1, "s", labelled=False)  # it has no types
    assert block.gridimage_id.tolist() == [7706259]
    assert block.bucket.tolist() == [5]
    assert 9 < np.linalg.norm(block.embedding[0]) < 11


def write_parquet(path, count, row_group_size=None):
    import pyarrow.parquet as pq

    from geograph_types.dataset.writer import schema, small_columns

    block = parse_block(
        block_of(*(source_row(i + 1, types="Inside,Geograph", weight=0.5) for i in range(count))), 1, "s"
    )
    import pyarrow as pa

    table = small_columns(block, False)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.embedding.reshape(-1)), 512)
    table = table.append_column("embedding", vectors).select(schema(False, True).names).cast(schema(False, True))
    pq.write_table(table, path, row_group_size=row_group_size)
    return block


def test_parquet_becomes_arrays(tmp_path):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    blocks = [write_parquet(first, 40, row_group_size=7), write_parquet(second, 3)]
    found = read_parquet([first, second])
    assert [a.dtype for a in (found.gridimage_id, found.tags, found.distance, found.weight)] == [
        np.int64, bool, np.uint8, np.float32,
    ]  # fmt: skip
    assert found.gridimage_id.tolist() == [*range(1, 41), 1, 2, 3]
    assert found.embedding.tobytes() == b"".join(b.embedding.tobytes() for b in blocks)
    assert (found.tags == [tag in ("Inside", "Geograph") for tag in TAGS]).all()
    assert (found.distance == 5).all()
    assert (found.weight == 0.5).all()
    assert found[np.array([2, 0])].gridimage_id.tolist() == [3, 1]
    sizes = [len(batch) for batch in iterate_parquet([first], batch_size=16)]
    assert sum(sizes) == 40
    assert max(sizes) <= 16


def test_other_files_are_refused_by_name(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "text.parquet").write_text("no Parquet at all")
    with pytest.raises(ValueError, match=r"text\.parquet: not a Parquet file"):
        next(iterate_parquet([tmp_path / "text.parquet"]))
    pq.write_table(pa.table({"gridimage_id": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="no column 'embedding'"):
        read_parquet([tmp_path / "other.parquet"])
    short = pa.table({"gridimage_id": [1], "embedding": pa.array([[1.0, 2.0]], pa.list_(pa.float32()))})
    pq.write_table(short, tmp_path / "short.parquet")
    with pytest.raises(ValueError, match="512 float32"):
        read_parquet([tmp_path / "short.parquet"])
