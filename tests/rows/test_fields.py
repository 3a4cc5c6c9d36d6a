"""Source rows: what is taken, what is refused and why."""

import base64
import struct

import numpy as np
import pytest

from geograph_types.rows import fields
from geograph_types.rows.fields import parse_row, parse_types, parse_weight
from geograph_types.rows.jsonl import most_rows, parse_block, parse_rows
from geograph_types.rows.splits import NO_SPLIT, split_of_ids, splitmix64
from names_geograph import TAGS
from row_geograph import code_of_row, distance_code, most_look_normalised, parse_embedding, parse_id
from tests.support.source_rows import base64_of, block_of, source_row, vector


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
    assert (block.weight[0], block.split[0], block.bucket[0]) == (1.0, NO_SPLIT, 22)


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
        (" unknown ", "Unknown", 22),
        (float("nan"), "Unknown", 22),
        (" 16", "16", 5),
        ("16.0", "16", 5),
        ("  ", "", 0),
        (0.0, "0", 0),
        ("0.0", "0", 0),
    ],
)
def test_distances(value, text, bucket):
    block = parse_block(block_of(source_row(distance=value)), 1, "s")
    assert (fields.DISTANCES[block.distance[0]], block.bucket[0]) == (text, bucket)


@pytest.mark.parametrize("value", ["3", "-4", -4, 2097152, "far", True, 1.5, [], "016", "1_6", "nan", -1.0])
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
        (source_row(gridimage_id="7a"), "bad gridimage_id '7a'", None),
        (source_row(gridimage_id=None), "bad gridimage_id None", None),
        (source_row(gridimage_id=-5), "bad gridimage_id -5", None),
        (source_row(gridimage_id=7.5), "bad gridimage_id 7.5", None),
        (source_row(gridimage_id=1e300), "bad gridimage_id 1e+300", None),
        (source_row(gridimage_id="x" * 5000), "bad gridimage_id 'xxxx", None),
        (source_row(gridimage_id=True), "bad gridimage_id", None),
        (source_row(gridimage_id=2**63), "bad gridimage_id", None),
        (source_row(types=""), "no tag", 7),
        (source_row(types=" , "), "no tag", 7),
        (source_row(types="Geograph,Cross Far"), "unknown tag 'Cross Far'", 7),
        (source_row(types=["Geograph", 6]), "nothing says what they stand for", 7),
        (source_row(distance="3"), "impossible distance", 7),
        (source_row(weight=-0.5), "bad weight", 7),
        (source_row(weight="one"), "bad weight 'one'", 7),
        (source_row(weight=float("nan")), "bad weight nan", 7),
        (source_row(weight="inf"), "bad weight 'inf'", 7),
        (source_row(weight=1e39), "bad weight", 7),
        (source_row(split="dev"), "unknown split 'dev'", 7),
        (source_row(embeddings="AAAA"), "3 bytes, expected 2048", 7),
        (source_row(embeddings=source_row()["embeddings"][:-4] + "!!=="), "not base64", 7),
        (source_row(embeddings=None), "must be base64 text", 7),
        (source_row(embeddings=NAN), "NaN or infinity", 7),
        (source_row(embeddings=INFINITE), "NaN or infinity", 7),
        (source_row(embeddings=[0.0] * 512), "all zeros", 7),
        (source_row(embeddings=[3e38] * 512), "absurd norm", 7),
        (source_row(embeddings=[1e300] * 512), "NaN or infinity", 7),
        (source_row(embeddings=[0.1] * 511), "511 numbers, expected 512", 7),
        (source_row(embeddings=[0.1] * 511 + [None]), "must be numbers, got null", 7),
        (source_row(embeddings=[0.1] * 511 + ["1"]), "must be numbers", 7),
        (source_row(embeddings={"a": 1}), "must be base64 text or 512 numbers", 7),
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


def test_embeddings_go_where_they_are_wanted():
    data = block_of(source_row(1), source_row(2))
    out = np.zeros((most_rows(len(data)), 512), np.float32)
    block = parse_block(data, 1, "s", out=out)
    assert np.shares_memory(block.embedding, out)
    assert out[:2, 0].tolist() == [1, 2]


@pytest.mark.parametrize("value", [7706259, "7706259", " 7706259 ", 7706259.0, "7706259.0", np.int32(7706259)])
def test_a_number_in_any_form(value):
    assert parse_id(value) == 7706259


@pytest.mark.parametrize(
    ("value", "weight"), [(0.5, 0.5), ("0.5", 0.5), (None, 1.0), ("", 1.0), (0, 0.0), ("1e-3", 0.001)]
)
def test_weights(value, weight):
    assert parse_weight(value) == weight


V = vector(1)
TEXT = base64_of(V)


@pytest.mark.parametrize(
    "value",
    [
        TEXT,
        TEXT.rstrip("="),
        TEXT.translate({ord("+"): "-", ord("/"): "_"}),
        "\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)),
        [float(x) for x in V],
        [[float(x) for x in V]],
        V,
        V.astype("f8"),
        V.tobytes(),
        TEXT.encode(),
        str(V.tolist()),
        " ".join(map(str, V.tolist())).join("[]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_vector_in_any_form(value):
    assert parse_embedding(value).tobytes() == V.tobytes()
    if isinstance(value, str | list):
        block = parse_block(
            block_of(source_row(embeddings=value), source_row(8, embeddings=..., embedding=value)), 1, "s"
        )
        assert block.embedding.tobytes() == 2 * V.tobytes(), block.rejected


def test_any_width_that_is_asked_for():
    wide = vector(2, 768)
    line = block_of(source_row(embeddings=base64_of(wide)), source_row(8), source_row(9, embeddings=wide.tolist()))
    block = parse_block(line, 1, "s", embedding_dim=768)
    assert block.embedding.tobytes() == 2 * wide.tobytes()
    (bad,) = block.rejected
    assert bad.reason == "embeddings of a wrong length: 2048 bytes (512 numbers), expected 3072 (768 float32)"


def test_rows_of_the_dataset_saved_again():
    """As `datasets` writes them with `to_json`: a list, numbers for the tags, the published split."""
    saved = {"gridimage_id": 7, "types": [2, 6], "distance": "16", "distance_bucket": 5, "embedding": V.tolist()}
    row = parse_row(saved | {"weight": 0.5, "split": "validation", "title": None})
    assert (row.gridimage_id, row.distance, row.types, row.weight, row.split) == (7, 5, (2, 6), 0.5, 1)
    assert row.embedding.tobytes() == V.tobytes()
    assert parse_row(saved | {"types": ["Cross Grid", "Geograph"], "split": 2}).types == (2, 6)
    for labelled in (True, False):
        with pytest.raises(ValueError, match="distance '16' is bucket 5, and distance_bucket says 9; keep one"):
            parse_row(saved | {"distance_bucket": 9}, labelled)
    assert parse_row(saved | {"distance": float("nan")}).distance == 5  # as pandas writes what is missing


def test_a_source_of_normalised_vectors_is_one_where_most_look_so():
    assert most_look_normalised(np.array([1, 1, 10]))
    assert not most_look_normalised(np.array([1, 10, 10, 1]))
    assert not most_look_normalised(np.zeros(3))  # another fault
    assert not most_look_normalised(np.zeros(0))


def test_a_vector_by_both_names_is_one_vector():
    """Equal ones are fine, also where one has fewer digits; of two that contradict none is taken."""
    rounded = [float(f"{number:.7g}") for number in V.tolist()]
    row = source_row(embeddings=TEXT)
    for other in (TEXT, rounded, None):
        assert parse_row(row | {"embedding": other}).embedding == pytest.approx(V, rel=1e-6)
    lines = block_of(row | {"embedding": (V / 10).tolist()}, row)
    for labelled in (True, False):
        block = parse_block(lines, 4, "s", labelled)
        assert len(block) == 1
        where, reason = str(block.rejected[0]).split(": ")
        assert where == f"s, line 4, gridimage_id {row['gridimage_id']}"
        assert reason == "embedding and embeddings are two different vectors; keep one"


def test_prediction_asks_only_for_what_it_needs():
    row = {"gridimage_id": "7", "embeddings": TEXT, "distance": 300, "types": 3, "weight": "x", "split": "dev"}
    block = parse_block(block_of(row, row | {"distance": -1}), 1, "s", labelled=False)
    assert (block.gridimage_id.tolist(), block.bucket.tolist()) == ([7], [9])
    assert "impossible distance -1; expected metres" in block.rejected[0].reason
    assert code_of_row({"distance_bucket": 5}) == 5
    assert code_of_row({"distance_bucket": 5, "distance": "near"}, floored=True) == 5
    assert code_of_row({}) == 22


def test_lines_that_are_no_plain_rows():
    one, two = (block_of(source_row(i))[:-1] for i in (1, 2))
    bom = b"\xef\xbb\xbf"
    for text in (
        one + b",\n" + two + b",",
        one + b"\n" + bom + two,
        one + bom + two,
        one + two,
        one + b"\r\n\r\n" + two,
    ):
        block = parse_block(text, 1, "s")
        assert block.gridimage_id.tolist() == [1, 2], (text[-30:], block.rejected)
    assert parse_block(one + b"{oops", 1, "s").rejected[0].reason.startswith("broken JSON")
    assert parse_block(b"[" * 100_000, 1, "s").rejected[0].reason.startswith("broken JSON")


def test_rows_as_dicts():
    block = parse_rows([(2, source_row(1, weight="")), (5, ValueError("4 cells"))], "s", extra=("subject",))
    assert (block.gridimage_id.tolist(), block.line.tolist(), block.extra) == ([1], [2], {"subject": [None]})
    assert [str(bad) for bad in block.rejected] == ["s, line 5: 4 cells"]


def test_the_split_of_ids():
    ids = np.arange(1, 1001)
    tenth = splitmix64(ids) % np.uint64(10)
    assert split_of_ids(ids).tolist() == [0 if t < 8 else int(t) - 7 for t in tenth]
    assert split_of_ids(ids[:3], np.array([2, NO_SPLIT, 0], np.int8)).tolist()[::2] == [2, 0]


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
