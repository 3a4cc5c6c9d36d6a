"""A file read in stretches: every line once, whole, with its number; what is odd is as when it is read as a whole."""

import gzip
import json

import numpy as np
import pytest

from geograph_types.cli import CommandError
from geograph_types.rows import readers, stretches, workers
from geograph_types.rows.sources import open_source
from geograph_types.rows.stretches import stretches_of
from geograph_types.rows.synthetic import lines_of
from geograph_types.rows.workers import ParserPool
from tests.support.source_rows import block_of, source_row

LINES = [b"%d " % i + b"x" * (i * 37 % 211) for i in range(1, 200)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n\n"])
def test_every_line_once_however_long_a_stretch_is(tmp_path, monkeypatch, end):
    monkeypatch.setattr(stretches, "TAIL", 8)
    path, text = tmp_path / "rows.jsonl", b"\n".join(LINES) + end
    path.write_bytes(text)
    for size in (1, 2, 50, 211, 390, 4096, 4097, len(text) - 1, len(text), 1 << 20):
        read = []
        for stretch in stretches_of("s", path, size):
            with stretches.lines_of(stretch) as (memory, begin, stop):
                read.append(memory[begin:stop])
        assert b"".join(read) == text
        assert all(piece.endswith(b"\n") for piece in read[:-1] if piece and not text.endswith(piece))


@pytest.fixture(scope="module")
def pool():
    with ParserPool(2) as found:
        yield found


def read(path, pool, plain):
    (part,) = open_source(str(path))
    assert part.plain == plain
    blocks = [
        (b.gridimage_id, b.line, b.embedding.copy(), b.rejected)
        for b in part.rows(pool.parse, pool.embedding_dim, pool.parse_file)
    ]
    arrays = [np.concatenate([block[i] for block in blocks]) for i in range(3)]
    return *(array.tobytes() for array in arrays), [bad for block in blocks for bad in block[3]]


def test_the_same_rows_as_of_a_packed_file(tmp_path, pool):
    rows = b"".join(lines_of("synthetic:1700")).splitlines()
    rows[5], rows[700] = b"{oops", json.dumps({"gridimage_id": 5, "x": "y" * (2 << 20)}).encode()
    rows[900:900] = [b"", b"  "]
    rows[1600] = b"\xef\xbb\xbf" + rows[1600] + b",\r"
    text = b"\xef\xbb\xbf" + b"\n".join(rows)
    (tmp_path / "rows.jsonl").write_bytes(text)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "rows.jsonl").write_bytes(gzip.compress(text, 1))
    plain, packed = read(tmp_path / "rows.jsonl", pool, True), read(tmp_path / "packed" / "rows.jsonl", pool, False)
    assert plain[:3] == packed[:3]
    assert [(bad.line, bad.reason) for bad in plain[3]] == [(bad.line, bad.reason) for bad in packed[3]]
    assert [bad.line for bad in plain[3]] == [6, 701]


def test_a_line_longer_than_a_slot_has_its_own_memory(tmp_path, pool):
    wide = source_row(3) | {"note": "z" * (workers.INPUT_BYTES + 9)}
    (tmp_path / "rows.jsonl").write_bytes(block_of(source_row(1), wide, source_row(2)))
    assert np.frombuffer(read(tmp_path / "rows.jsonl", pool, True)[0], np.int64).tolist() == [1, 3, 2]


def test_a_line_without_end_and_blank_lines_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_LINE", 5 << 20)
    monkeypatch.setattr(stretches, "LONGEST_LINE", 5 << 20)
    monkeypatch.setattr(workers, "MOST_BLANK", 6 << 20)
    (tmp_path / "zeros.jsonl").write_bytes(block_of(source_row(1)) + bytes(12 << 20))
    (tmp_path / "blank.jsonl").write_bytes(b" \n" * (5 << 20))
    with ParserPool(1) as own:
        with pytest.raises(CommandError, match=r"from line 1 on: a line longer than 5 MiB; is this JSONL\?"):
            list(own.parse_file("zeros.jsonl", tmp_path / "zeros.jsonl"))
        with pytest.raises(CommandError, match="6 MiB of blank lines and no row"):
            list(own.parse_file("blank.jsonl", tmp_path / "blank.jsonl"))
        (tmp_path / "gone.jsonl").write_bytes(b"\n")
        left = list(stretches_of("gone.jsonl", tmp_path / "gone.jsonl"))
        (tmp_path / "gone.jsonl").unlink()
        monkeypatch.setattr(workers, "stretches_of", lambda *which: left)
        with pytest.raises(CommandError, match=r"gone\.jsonl: cannot be read"):
            list(own.parse_file("gone.jsonl", tmp_path / "gone.jsonl"))
