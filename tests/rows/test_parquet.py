"""Anybody's Parquet, by its names and types; the dataset's own, back to arrays; which split a row is of."""

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluate_model import load_rows
from geograph_types.rows.jsonl import parse_block
from geograph_types.rows.parquet import (
    ParquetReader,
    is_synthetic,
    iterate_parquet,
    parquet_blocks,
    read_parquet,
    read_split,
)
from geograph_types.rows.splits import NO_SPLIT, split_named
from names_geograph import TAGS
from tests.support.commands import made_dataset
from tests.support.source_rows import base64_of, block_of, source_row, vector


@pytest.mark.parametrize(
    ("source", "split"),
    [
        ("geograph-types/large/train-00000-of-00001.parquet", 0),
        ("https://example.org/large/validation-00000-of-00002.parquet?download=true", 1),
        ("test.parquet", 2),
        ("training_rows.parquet", NO_SPLIT),
        ("train-set/rows.parquet", NO_SPLIT),
    ],
)
def test_a_file_keeps_the_split_that_its_name_says(source, split):
    assert split_named(source) == split


def test_a_file_of_the_test_split_is_judged_whole(tmp_path):
    made_dataset(tmp_path / "rows", "synthetic:300")
    (file,) = (tmp_path / "rows" / "large").glob("test-*.parquet")
    args = SimpleNamespace(dataset=str(file), dataset_config="small", split="test")
    assert len(load_rows(args)) == pq.read_metadata(file).num_rows


VECTORS = np.stack([vector(i) for i in range(5)])
COLUMNS = {
    "gridimage_id": [1, 2, 3, 4, 5],
    "types": ["Aerial, From Above", "Inside", "Geograph", "Extra", "Close Look"],
    "distance": ["16", "", "Unknown", None, "0"],
    "embedding": pa.array(list(VECTORS), pa.list_(pa.float32())),
}
REVERSED = TAGS[::-1]


def read(path, labelled=True, metadata=None, **changes):
    """One block of a file with these columns; `None` takes a column out."""
    table = pa.table({name: column for name, column in (COLUMNS | changes).items() if column is not None})
    if metadata is not None:
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path / "rows.parquet")
    (block,) = ParquetReader(path / "rows.parquet", labelled=labelled, extra=("subject",)).blocks()
    assert len(block) == 5
    return block


def features(**columns):
    return {b"huggingface": json.dumps({"info": {"features": columns}})}


def named(names):
    return {"names": names, "_type": "ClassLabel"}


def tags_of(block):
    return [tuple(TAGS[tag] for tag in block.type_lists[place]) for place in block.types]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([v.astype("f8") for v in VECTORS], pa.list_(pa.float64())),
        pa.array(list(VECTORS), pa.large_list(pa.float32())),
        pa.FixedSizeListArray.from_arrays(VECTORS.reshape(-1), 512),
        pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS),
        pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS.reshape(5, 1, 512)),
        pa.array([[v.tolist()] for v in VECTORS], pa.list_(pa.list_(pa.float32()))),
        [v.tobytes() for v in VECTORS],
        pa.array([v.tobytes() for v in VECTORS], pa.binary(2048)),
        [base64_of(v) for v in VECTORS],
        pa.array([base64_of(v).rstrip("=") for v in VECTORS]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type) if isinstance(column, pa.Array) else type(column[0]).__name__,
)
def test_vectors_of_any_type(tmp_path, column):
    for changes in ({"embedding": column}, {"embedding": None, "embeddings": column}):
        block = read(tmp_path, **changes)
        assert not block.problems
        assert block.embedding.tobytes() == VECTORS.tobytes()


def test_halves_are_widened(tmp_path):
    halves = VECTORS.astype("f2")
    block = read(tmp_path, embedding=pa.array(list(halves), pa.list_(pa.float16())))
    assert block.embedding.tobytes() == halves.astype("<f4").tobytes()


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_each_row_is_measured_by_itself(tmp_path, kind):
    """511 and 513 numbers side by side add up, and must not shift."""
    values = [
        VECTORS[0][:511].tolist(),
        [*VECTORS[1].tolist(), 0.5],
        VECTORS[2].tolist(),
        None,
        [None, *VECTORS[4][1:]],
    ]
    block = read(tmp_path, embedding=pa.array(values, kind))
    assert block.problems == {
        0: "embeddings of a wrong length: 511 numbers, expected 512",
        1: "embeddings of a wrong length: 513 numbers, expected 512",
        3: "embeddings of a wrong length: null, expected 512",
        4: "embeddings hold null",
    }
    assert block.embedding[2].tobytes() == VECTORS[2].tobytes()
    good = block.source_rows("rows.parquet")
    assert (good.gridimage_id.tolist(), good.embedding.tobytes()) == ([3], VECTORS[2].tobytes())
    assert [(bad.line, bad.gridimage_id) for bad in good.rejected] == [(1, 1), (2, 2), (4, 4), (5, 5)]


def test_vectors_that_no_photo_has(tmp_path):
    odd = [VECTORS[0] * np.nan, VECTORS[1] * 0, VECTORS[2] * 1e30, VECTORS[3], VECTORS[4]]
    block = read(tmp_path, embedding=pa.array(odd, pa.list_(pa.float32())))
    assert [block.problems[i].split(":")[0] for i in range(3)] == [
        "embeddings hold NaN or infinity", "embeddings are all zeros", "embeddings of an absurd norm",
    ]  # fmt: skip
    assert np.allclose(block.norm[3:], 10)


@pytest.mark.parametrize(
    ("ids", "expected", "bad"),
    [
        (["1", "2.0", " 3", "4", "5"], [1, 2, 3, 4, 5], []),
        ([1.0, 2.0, 3.5, None, 5.0], [1, 2, 0, 0, 5], [2, 3]),
        ([1, 0, -3, None, 5], [1, 0, 0, 0, 5], [1, 2, 3]),
        (pa.array([1, 2**63, 3, 4, 5], pa.uint64()), [1, 0, 3, 4, 5], [1]),
        ([b"1", b"x", b"3", b"4", b"5"], [1, 0, 3, 4, 5], [1]),
    ],
)
def test_numbers_of_any_type(tmp_path, ids, expected, bad):
    block = read(tmp_path, gridimage_id=ids)
    assert (block.gridimage_id.tolist(), sorted(block.problems)) == (expected, bad)


NUMBERS = [[0], [1, 2], [7], [3], [4]]
BY_NAME = [("Inside",), ("Geograph", "From Drone"), ("Aerial",), ("From Above",), ("Extra",)]


@pytest.mark.parametrize(
    ("types", "metadata", "expected"),
    [
        ([["Aerial"], ["Inside", "Extra"], ["Inside"], ["Extra"], ["Extra"]], None,
         [("Aerial",), ("Inside", "Extra"), ("Inside",), ("Extra",), ("Extra",)]),
        (NUMBERS, features(types={"feature": named(REVERSED), "_type": "List"}), BY_NAME),
        (NUMBERS, features(types=[named(REVERSED)]), BY_NAME),
        ([0, 6, 7, 3, 4], features(types=named(REVERSED)), [BY_NAME[0], ("Close Look",), *BY_NAME[2:]]),
    ],
)  # fmt: skip
def test_types_go_by_their_names(tmp_path, types, metadata, expected):
    block = read(tmp_path, types=types, metadata=metadata)
    assert not block.problems
    assert tags_of(block) == expected
    assert block.tags.sum() == sum(map(len, expected))


def test_types_that_nothing_names_are_refused(tmp_path):
    for metadata in (None, {b"huggingface": b"[1]", b"geograph": b"3"}, {b"huggingface": b"no JSON"}):
        block = read(tmp_path, types=NUMBERS, metadata=metadata)
        assert all("nothing says what they stand for" in block.problems[i] for i in range(5))
    assert not is_synthetic([tmp_path / "rows.parquet"])
    known = read(tmp_path, types=NUMBERS, distance_bucket=[5, 0, 22, 22, 0])  # the published columns
    assert tags_of(known) == [tuple(TAGS[i] for i in numbers) for numbers in NUMBERS]
    odd = read(tmp_path, types=[[9], [], None, [0], [1]], metadata=features(types=[named(REVERSED)]))
    assert [odd.problems[i].split(";")[0] for i in range(3)] == ["unknown tag 9", "no tag", "no types"]


@pytest.mark.parametrize(
    ("column", "buckets", "bad"),
    [
        ([16, 1, 0, None, 3], [5, 1, 0, 22, 22], [4]),
        ([16.0, 1.0, 0.0, None, float("nan")], [5, 1, 0, 22, 22], []),
        ([" 16", "16.0", "unknown", None, ""], [5, 5, 22, 22, 0], []),
        (None, [22] * 5, []),
    ],
)
def test_distances_of_any_type(tmp_path, column, buckets, bad):
    block = read(tmp_path, distance=column)
    assert (block.bucket.tolist(), sorted(block.problems)) == (buckets, bad)


def test_buckets_serve_where_there_is_no_distance(tmp_path):
    block = read(tmp_path, distance=None, distance_bucket=["5", "0", None, "22", "99"])
    assert (block.bucket.tolist(), sorted(block.problems)) == ([5, 0, 22, 22, 22], [4])
    block = read(tmp_path, distance=["16", None, None, "4", "8"], distance_bucket=[5, 3, None, 9, 4])
    assert (block.bucket.tolist(), sorted(block.problems)) == ([5, 3, 22, 3, 4], [3])
    block = read(tmp_path, labelled=False, distance=["16", "x", "9", "4", "x"], distance_bucket=[5, 3, None, 9, None])
    assert (block.bucket.tolist()[:3], sorted(block.problems)) == ([5, 3, 4], [3, 4])
    assert block.problems[3] == "distance '4' is bucket 3, and distance_bucket says 9; keep one"


@pytest.mark.parametrize("labelled", [True, False])
def test_two_columns_of_vectors_say_the_same_or_the_row_is_refused(tmp_path, labelled):
    other = [*(base64_of(vector(i)) for i in (0, 7, 2, 3)), None]
    block = read(tmp_path, labelled, embeddings=other)
    assert block.problems == {1: "embedding and embeddings are two different vectors; keep one"}
    good = [0, 2, 3, 4]
    np.testing.assert_array_equal(block.embedding[good], VECTORS[good])


def test_prediction_needs_vector_number_and_distance(tmp_path):
    block = read(
        tmp_path, labelled=False, types=None, weight=["x"] * 5, distance=[16, 300, 0, None, -1], subject=["a"] * 5
    )
    assert (block.bucket.tolist()[:4], sorted(block.problems)) == ([5, 9, 0, 22], [4])
    assert block.extra["subject"].to_pylist() == ["a"] * 5


def test_weights_and_splits(tmp_path):
    block = read(tmp_path, weight=["0.5", "x", None, "", "-1"], split=["tra", "test", None, "", "validation"])
    assert (sorted(block.problems), block.weight.tolist()[::2], block.split.tolist()) == (
        [1, 4], [0.5, 1.0, 1.0], [0, 2, -1, -1, 1],
    )  # fmt: skip
    block = read(tmp_path, split=[0, 1, 2, 0, None], metadata=features(split=named(["test", "train", "val"])))
    assert block.split.tolist() == [2, 0, 1, 2, NO_SPLIT]


def test_a_training_file_must_be_sound(tmp_path):
    for changes, message in (
        ({"weight": [1, float("nan"), 1, 1, 1]}, r"rows\.parquet, row 2, gridimage_id 2: bad weight nan"),
        ({"weight": [1.0, 1.0, -0.5, 1.0, 1.0]}, "row 3, gridimage_id 3: bad weight -0.5"),
        (
            {"embedding": pa.array([*VECTORS[:4], None], pa.list_(pa.float32()))},
            "row 5, gridimage_id 5: embeddings of a",
        ),
    ):
        read(tmp_path, **changes)
        with pytest.raises(ValueError, match=message):
            read_parquet([tmp_path / "rows.parquet"])
    read(tmp_path)  # text distances and no bucket: used all the same
    rows = read_parquet([tmp_path / "rows.parquet"])
    assert rows.distance.tolist() == [5, 0, 22, 22, 0]
    assert rows.tags.sum(axis=1).tolist() == [2, 1, 1, 1, 1]


def test_one_file_holds_all_splits(tmp_path):
    read(tmp_path, split=["tra", "tes", "tes", "val", "tra"])
    path = tmp_path / "rows.parquet"
    found = {split: read_split([path], split, single_file=True) for split in ("train", "validation", "test")}
    assert {split: rows.gridimage_id.tolist() for split, rows in found.items()} == {
        "train": [1, 5], "validation": [4], "test": [2, 3],
    }  # fmt: skip


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "rows.parquet"
    table = pa.table([pa.array([1]), pa.array([2]), pa.array(["Inside"]), pa.array([[1.0]])],
                     names=["gridimage_id", "gridimage_id", "types", "embedding"])  # fmt: skip
    pq.write_table(table, path)
    with pytest.raises(ValueError, match=r"rows\.parquet: 2 columns are named 'gridimage_id'"):
        ParquetReader(path)
    read(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"rows\.parquet: empty"):
        read_parquet([path])
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"rows\.parquet: not a Parquet file, or damaged"):
        read_parquet([path])
    path.write_bytes(whole[:200] + bytes(2000) + whole[2200:])
    with pytest.raises(ValueError, match=r"rows\.parquet: (damaged|not a Parquet)|rows\.parquet, row"):
        list(parquet_blocks(path, "rows.parquet")) and read_parquet([path])
    pq.write_table(pa.table(COLUMNS).slice(0, 0), path)
    with pytest.raises(ValueError, match=r"rows\.parquet: no rows"):
        read_parquet([path])


def test_blocks_can_be_skipped(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.concat_tables([pa.table(COLUMNS)] * 4), path, row_group_size=7)
    reader = ParquetReader(path, labelled=False)
    lines = [block.line.tolist() for block in reader.blocks(3)]
    assert [line for block in lines for line in block] == list(range(1, 21))
    for skip in range(len(lines) + 1):
        assert [block.line.tolist() for block in reader.blocks(3, skip)] == lines[skip:]


@pytest.mark.parametrize("size", [3, 7])
def test_pieces_read_side_by_side_are_the_blocks(tmp_path, size):
    """Row groups of seven: read by whoever calls their piece, or, where seven are too many, in parts before that."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.concat_tables([pa.table(COLUMNS)] * 4), path, row_group_size=7)
    reader = ParquetReader(path, labelled=False)
    pieces = list(reader.pieces(size))
    path.unlink()  # what is open stays so
    with ThreadPoolExecutor(4) as pool:
        found = [block for read in pool.map(lambda piece: piece(), pieces) for block in read]
    pq.write_table(pa.concat_tables([pa.table(COLUMNS)] * 4), path, row_group_size=7)
    for mine, plain in zip(found, reader.blocks(size), strict=True):
        assert mine.line.tolist() == plain.line.tolist() and mine.problems == plain.problems
        np.testing.assert_array_equal(mine.embedding, plain.embedding)
        np.testing.assert_array_equal(mine.gridimage_id, plain.gridimage_id)


def test_a_piece_that_is_damaged_says_so(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.concat_tables([pa.table(COLUMNS)] * 4), path, row_group_size=7)
    pieces = list(ParquetReader(path, labelled=False).pieces(7))
    path.write_bytes(path.read_bytes()[:200])  # cut short under way
    with pytest.raises(ValueError, match=r"rows\.parquet: damaged"):
        pieces[-1]()


def write_parquet(path, count, row_group_size=None):
    from geograph_types.dataset.row_groups import as_table
    from geograph_types.rows.published import schema

    block = parse_block(
        block_of(*(source_row(i + 1, types="Inside,Geograph", weight=0.5) for i in range(count))), 1, "s"
    )
    table = as_table(block, schema(False, True))
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
    (tmp_path / "text.parquet").write_text("no Parquet at all")
    with pytest.raises(ValueError, match=r"text\.parquet: not a Parquet file"):
        next(iterate_parquet([tmp_path / "text.parquet"]))
    pq.write_table(pa.table({"gridimage_id": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="no column 'embedding'"):
        read_parquet([tmp_path / "other.parquet"])
