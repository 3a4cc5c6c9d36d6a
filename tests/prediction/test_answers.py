"""Answers column by column, the three formats, and a run that goes on where another stopped."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64
import pytest

from decision_geograph import decide, failed
from geograph_types.cli import CommandError
from geograph_types.prediction.answers import AnswerFile
from geograph_types.prediction.formats import answer
from names_geograph import CLASSES

HALF = [0.5] * 7
PLACES = {-1: (None, None), 0: ("TQ 3003 8048", "TQ 3011 8062"), 1: ("TQ 3003 8048", "TQ 3103 8048")}
NOTE = "looks like a long view, but both points are in TQ3080"
BAD = 3


def some(n: int = 200, seed: int = 0, embedding: bool = False):
    """Answers, and what `decide` says of each row; row 3 has an error."""
    rng = np.random.default_rng(seed)
    probabilities = (rng.integers(0, 11, (n, 7)) / 10).astype(np.float32)
    verdict = rng.integers(-1, 2, n).astype(np.int8)
    errors = [f'"odd",\nline {i}' if i == BAD else None for i in range(n)]
    vectors = rng.standard_normal((n, 512)).astype(np.float32) if embedding else None
    key = pa.array(np.arange(1, n + 1))
    made = answer(
        *(key, probabilities, HALF, CLASSES),
        **{"verdict": verdict, "doubts": [NOTE] * n, "errors": errors, "embedding": vectors},
    )
    wanted = [decide(probabilities[i], HALF, CLASSES, *PLACES[verdict[i]]) for i in range(n)]
    wanted[BAD] = {**failed(""), "error": errors[BAD]}
    return made, [{"gridimage_id": i + 1, **row} for i, row in enumerate(wanted)], vectors


def written(path, answers, identity=None, embeddings=False):
    file = AnswerFile(path, "gridimage_id", CLASSES, identity or {}, embeddings=embeddings)
    for done, part in enumerate(answers, 1):
        file.write(part, done)
    file.finish()
    return path


def test_parquet_says_what_decide_says(tmp_path):
    answers, wanted, _ = some()
    table = pq.read_table(written(tmp_path / "a.parquet", [answers]))
    assert table.column_names == ["gridimage_id", "types", "scores", "cross_grid", "note", "error"]
    assert table.schema.field("gridimage_id").type == pa.int64()
    assert table.schema.field("types").type == pa.list_(pa.string())
    assert [field.name for field in table.schema.field("scores").type] == CLASSES
    assert table.to_pylist() == wanted


def test_json_lines_say_what_decide_says(tmp_path):
    answers, wanted, _ = some()
    lines = written(tmp_path / "a.jsonl", [answers]).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert found == wanted
    assert [list(row["scores"] or ()) for row in found] == [list(row["scores"] or ()) for row in wanted]


def test_csv_says_what_decide_says(tmp_path):
    answers, wanted, _ = some()
    with written(tmp_path / "a.csv", [answers]).open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["gridimage_id", "types", *CLASSES, "cross_grid", "note", "error"]
    for row, right in zip(found, wanted, strict=True):
        assert row["gridimage_id"] == str(right["gridimage_id"])
        assert row["types"] == ",".join(right["types"])
        for name in ("cross_grid", "note", "error"):
            assert row[name] == (right[name] or "")
        if right["scores"] is None:
            assert {row[name] for name in CLASSES} == {""}
        else:
            assert {name: np.float32(row[name]) for name in CLASSES} == right["scores"]


def test_embeddings_bit_for_bit(tmp_path):
    answers, _, vectors = some(embedding=True)
    column = pq.read_table(written(tmp_path / "a.parquet", [answers], embeddings=True))["embedding"].to_pylist()
    lines = written(tmp_path / "a.jsonl", [answers], embeddings=True).read_text().splitlines()
    for i, vector in enumerate(vectors):
        text = json.loads(lines[i])["embeddings"]
        if i == BAD:
            assert column[i] is None and text is None
            continue
        assert np.array_equal(np.float32(column[i]), vector)
        assert pybase64.b64decode(text) == vector.astype("<f4").tobytes()


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_stopped_run_goes_on(tmp_path, suffix, capsys):
    parts = [some(50, seed)[0] for seed in range(6)]
    whole = written(tmp_path / f"whole{suffix}", parts).read_bytes()
    path = tmp_path / f"a{suffix}"
    first = AnswerFile(path, "gridimage_id", CLASSES, {"input": 1})
    for done in (1, 2, 3):
        first.write(parts[done - 1], done)
        first._save()
    first.write(parts[3], 4)
    first._journal.write(b"half a bl")  # what a sudden end may leave behind the last checkpoint
    first._journal.close()
    assert not path.exists()
    second = AnswerFile(path, "gridimage_id", CLASSES, {"input": 1})
    assert (second.done, second.rows, second.errors) == (3, 150, 3)
    assert "going on after 150 answers" in capsys.readouterr().err
    for done in (4, 5, 6):
        second.write(parts[done - 1], done)
    second.finish()
    assert path.read_bytes() == whole
    assert not second.folder.exists()


def test_another_input_starts_anew(tmp_path, capsys):
    answers = some(50)[0]
    first = AnswerFile(tmp_path / "a.csv", "gridimage_id", CLASSES, {"input": 1, "model": 1})
    first.write(answers, 1)
    first._journal.close()
    second = AnswerFile(tmp_path / "a.csv", "gridimage_id", CLASSES, {"input": 1, "model": 2})
    assert second.done is None
    assert "another model" in capsys.readouterr().err
    second.write(answers, 1)
    second.finish()
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 52  # one of them has two lines


@pytest.mark.parametrize("content", [b"", b"{", b'{"size": 99999999, "identity": {}}'])
def test_a_damaged_note_starts_anew(tmp_path, content):
    (tmp_path / "a.csv.partial").mkdir()
    (tmp_path / "a.csv.partial" / "state.json").write_bytes(content)
    assert AnswerFile(tmp_path / "a.csv", "path", CLASSES, {}).done is None


def test_two_runs_do_not_write_one_file(tmp_path):
    first = AnswerFile(tmp_path / "a.csv", "path", CLASSES, {})
    with pytest.raises(CommandError, match="another run is writing it"):
        AnswerFile(tmp_path / "a.csv", "path", CLASSES, {})
    first.finish()


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_no_rows_at_all(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}", [])
    if suffix == ".parquet":
        assert pq.read_table(path).num_rows == 0
    else:
        assert len(path.read_text().splitlines()) == (suffix == ".csv")


def test_an_older_answer_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    file = AnswerFile(path, "gridimage_id", CLASSES, {})
    file.write(some(10)[0], 1)
    assert path.read_text() == "old"
    file.finish()
    assert path.read_text().startswith('"gridimage_id"')
