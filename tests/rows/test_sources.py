"""Where rows come from: every format that people have, folders, globs, pipes; what is none of them is named."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard

from geograph_types.cli import CommandError
from geograph_types.rows import json_text, readers, streams
from geograph_types.rows.jsonl import parse_block
from geograph_types.rows.sources import dataset_files, line_blocks, open_source
from tests.support.hub_server import HubServer
from tests.support.publishing import hub_environment
from tests.support.source_rows import base64_of, block_of, source_row, vector


def lines(source) -> bytes:
    return b"".join(block.data for block in line_blocks(str(source)))


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("compressed", [False, True])
def test_blocks_are_whole_lines_with_their_numbers(tmp_path, monkeypatch, compressed, end):
    monkeypatch.setattr(readers, "BLOCK_SIZE", 1000)
    monkeypatch.setattr(streams, "CHUNK", 300)
    text = b"\n".join(b"%d " % i + b"x" * (i % 97) for i in range(1, 500)) + end
    path = tmp_path / ("rows.gz" if compressed else "rows.jsonl")
    path.write_bytes(gzip.compress(text) if compressed else text)
    blocks = list(line_blocks(str(path)))
    assert len(blocks) > 5
    assert b"".join(block.data for block in blocks) == text
    for block in blocks:
        assert int(block.data.split()[0]) == block.first_line
        assert block is blocks[-1] or block.data.endswith(b"\n")


def test_a_gz_of_several_members_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf{}\n") + gzip.compress(b"[]\n"))
    assert lines(path) == b"{}\n[]\n"


def test_what_is_missing_empty_or_cut_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"none\.jsonl: no such file"):
        lines(tmp_path / "none.jsonl")
    with pytest.raises(CommandError, match="a folder"):
        lines(tmp_path)
    for name, data in {"empty.jsonl": b"", "blank.jsonl": b" \n\n", "empty.gz": gzip.compress(b"")}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CommandError, match=f"{name}: empty"):
            lines(tmp_path / name)
    whole = gzip.compress(b"{}\n" * 10000 + bytes(range(256)) * 99)
    (tmp_path / "cut.gz").write_bytes(whole[:-30])
    with pytest.raises(CommandError, match=r"cut\.gz: cut short"):
        lines(tmp_path / "cut.gz")
    (tmp_path / "bad.gz").write_bytes(whole[:40] + b"\0\0\0\0" + whole[44:])
    with pytest.raises(CommandError, match=r"bad\.gz: (damaged|cut short)"):
        lines(tmp_path / "bad.gz")


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_LINE", 5 << 20)
    (tmp_path / "zeros.bin").write_bytes(b"{}\n" + bytes(9 << 20))
    with pytest.raises(CommandError, match="a line longer than 5 MiB"):
        lines(tmp_path / "zeros.bin")


ROWS = [
    source_row(i, embeddings=base64_of(vector(i)), types=["Geograph", "Aerial,Inside"][i % 2]) for i in range(1, 6)
]
TEXT = block_of(*ROWS)
TABLE = pd.DataFrame(ROWS)


def parse(blocks):
    return (parse_block(block.data, block.first_line, block.source) for block in blocks)


def read(source, photo_folders=True):
    """(kinds, ids) of a source, read both ways, its vectors compared."""
    parts = open_source(str(source), photo_folders)
    blocks = [block for part in parts for block in part.rows(parse)]
    assert not [str(bad) for block in blocks for bad in block.rejected]
    checked = [block for part in open_source(str(source), photo_folders) for block in part.checked(2)]
    for found in (blocks, checked):
        for block in found:
            for i, identity in enumerate(block.gridimage_id.tolist()):
                assert block.embedding[i].tobytes() == vector(identity).tobytes()
                assert block.bucket[i] == 5
    ids = [i for block in blocks for i in block.gridimage_id.tolist()]
    assert [i for block in checked for i in block.gridimage_id.tolist()] == ids
    return [part.kind for part in parts], ids


def zip_of(**members) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", ".").replace("SLASH", "/"), data)
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    TABLE.to_parquet(file)
    return file.getvalue()


def json_of(value, **options) -> bytes:
    return json.dumps(value, **options).encode()


FORMATS = {
    "rows.jsonl": TEXT,
    "rows.jsonl.gz": gzip.compress(TEXT[:9000]) + gzip.compress(TEXT[9000:]),
    "rows.bz2": bz2.compress(TEXT[:9000]) + bz2.compress(TEXT[9000:]),
    "rows.xz": lzma.compress(TEXT),
    "rows.zst": zstandard.compress(TEXT),
    "kaggle.zip": zip_of(rows__jsonl=TEXT, README__txt="words", __MACOSXSLASHx=b"clutter"),
    "parquet.zip": zip_of(rows__parquet=parquet()),
    "parquet.parquet.gz": gzip.compress(parquet()),
    "named.jsonl": parquet(),
    "utf16.jsonl": TEXT.decode().encode("utf-16"),
    "marks.jsonl": b"\xef\xbb\xbf" + block_of(*ROWS[:2]) + b"\xef\xbb\xbf" + block_of(*ROWS[2:]),
    "joined.jsonl": block_of(*ROWS[:2])[:-1] + block_of(*ROWS[2:]),
    "commas.jsonl": TEXT.replace(b"\n", b",\n"),
    "windows.jsonl": TEXT.replace(b"\n", b"\r\n"),
    "array.json": json_of(ROWS),
    "pretty_array.json": json_of(ROWS, indent=2),
    "pretty_rows.json": b"\n".join(json_of(row, indent=2) for row in ROWS),
    "service.json": json_of({"sleep": 5, "rows": ROWS, "prefix": "x"}),
    "viewer.json": json_of({"features": [{"name": "a"}], "rows": [{"row_idx": 0, "row": r} for r in ROWS]}, indent=1),
    **{f"pandas_{orient}.json": TABLE.to_json(orient=orient).encode()
       for orient in ("columns", "records", "index", "split", "table")},
    "lists.json": json_of({name: [row[name] for row in ROWS] for name in ROWS[0]}),
    "rows.csv": TABLE.to_csv(index=False).encode(),
    "rows.tsv.gz": gzip.compress(TABLE.to_csv(index=False, sep="\t").encode()),
    "semicolons.csv": TABLE.to_csv(index=False, sep=";").encode(),
    "excel.csv": TABLE.to_csv(index=False).encode("utf-16"),
    "vectors.csv": pd.DataFrame([row | {"embeddings": vector(row["gridimage_id"]).tolist()} for row in ROWS])
    .to_csv(index=False).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_what_people_have_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(FORMATS[name])
    kinds, ids = read(tmp_path / name)
    assert ids == [1, 2, 3, 4, 5]
    assert len(kinds) == 1


def numpy_file(save, *arrays) -> bytes:
    file = io.BytesIO()
    save(file, *arrays)
    return file.getvalue()


def feather() -> bytes:
    file = io.BytesIO()
    pyarrow.feather.write_feather(pa.table({"a": [1]}), file)
    return file.getvalue()


OTHERS = {
    "pointer.jsonl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
    "error.jsonl": (b"\n<!DOCTYPE html><html>503", "a web page"),
    "a.npy": (numpy_file(np.save, np.zeros((3, 512), "f4")), "a NumPy array"),
    "a.npz": (numpy_file(np.savez, np.zeros(3)), "NumPy arrays"),
    "a.feather": (feather(), "an Arrow"),
    "a.pkl": (pickle.dumps(ROWS), "a pickle"),
    "a.pdf": (b"%PDF-1.4", "a PDF"),
    "a.jpg": (b"\xff\xd8\xff\xe0", "a photo"),
    "a.txt": (b"Dear all,\nno rows.\n", "no rows: .* it begins 'Dear all,'"),
    "other.csv": (b"id,name\n1,2\n", "no column 'path' or 'embeddings' in its first line; it has id, name"),
    "two.zip": (zip_of(a__jsonl=TEXT, b__jsonl=TEXT), r"one file of rows, this one has a\.jsonl, b\.jsonl"),
    "cut.zip": (zip_of(a__jsonl=TEXT)[:-30], "damaged zip"),
    "empty.zip": (zip_of(), "an empty zip"),
    "cut.bz2": (bz2.compress(TEXT)[:-30], "cut short"),
    "cut.xz": (lzma.compress(TEXT)[:-30], "cut short"),
    "cut.zst": (zstandard.compress(TEXT)[:-30], "cut short"),
    "more.gz": (gzip.compress(TEXT) + b"garbage", "after its compressed data stands something else"),
    "more.bz2": (bz2.compress(TEXT) + b"garbage", "after its compressed data stands something else"),
    "more.xz": (lzma.compress(TEXT) + b"garbage", "after its compressed data stands something else"),
    "cut.json": (json_of(ROWS)[:-500], "cut short: its JSON ends early"),
    "none.json": (b'{"rows": []}', "empty; expected rows"),
    "ragged.json": (
        json_of({"gridimage_id": [1, 2], "distance": [4]}),
        "different lengths: gridimage_id 2, distance 1",
    ),
    "short.json": (json_of({"columns": ["gridimage_id", "distance"], "data": [[1]]}), "a row of 1 values, and there"),
    "twice.json": (
        json_of({"columns": ["gridimage_id"] * 2, "data": [[1, 2]]}),
        "two columns are named 'gridimage_id'",
    ),
    "cut.parquet": (parquet()[:-300], "not a Parquet file, or damaged"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_none_of_these_is_named(tmp_path, name):
    data, words = OTHERS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CommandError, match=f"{name}: .*{words}|{name}: {words}") as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_bombs_are_not_unpacked_at_once(tmp_path):
    (tmp_path / "bomb.xz").write_bytes(lzma.compress(bytes(30 << 20), preset=0))
    with pytest.raises(CommandError, match="binary data"):
        open_source(str(tmp_path / "bomb.xz"))


def test_folders_and_globs(tmp_path):
    for name in ("a/one.jsonl", "a/two.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "a/one.jsonl").write_bytes(block_of(*ROWS[:2]))
    (tmp_path / "a/two.csv").write_bytes(TABLE[2:].to_csv(index=False).encode())
    (tmp_path / "a/notes.txt").write_text("not rows")
    assert read(tmp_path / "a", photo_folders=False) == (["json", "table"], [1, 2, 3, 4, 5])
    assert read(tmp_path / "*" / "*.jsonl") == (["json"], [1, 2])
    with pytest.raises(CommandError, match=r"\*\.none: no such files"):
        open_source(str(tmp_path / "*.none"))
    (tmp_path / "b").mkdir()
    with pytest.raises(CommandError, match="no photos or rows in this folder"):
        open_source(str(tmp_path / "b"))


def test_a_prepared_folder_is_its_largest_config(tmp_path):
    for config in ("small", "large"):
        (tmp_path / config).mkdir()
        rows = ROWS if config == "large" else ROWS[:2]
        pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows)), tmp_path / config / "train-00000-of-00001.parquet")
    (tmp_path / "tags.png").write_bytes(b"\x89PNG")
    (tmp_path / "README.md").write_text("card")
    (tmp_path / "rejected.jsonl").write_text('{"line": 1}\n')
    assert read(tmp_path) == (["parquet"], [1, 2, 3, 4, 5])


def test_photos_are_told_from_rows(tmp_path):
    (tmp_path / "a.csv").write_text("path,subject\na.jpg,TQ3080\nb.jpg\n")
    (tmp_path / "b.jsonl").write_text('{"path": "a.jpg"}\n')
    (tmp_path / "c.json").write_text('[{"path": "a.jpg"}, {"path": "b.jpg"}]')
    for name, count in {"a.csv": 2, "b.jsonl": 1, "c.json": 2}.items():
        (part,) = open_source(str(tmp_path / name))
        records = list(part.records())
        assert (part.kind, len(records), records[0][1]["path"]) == ("photos", count, "a.jpg")
    (part,) = open_source(str(tmp_path / "a.csv"))
    assert str(list(part.records())[1][1]) == "1 cells, expected 2 as in the first line"
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    assert [part.kind for part in open_source(str(tmp_path))] == ["photos"]
    with pytest.raises(CommandError, match="two columns are named 'path'"):
        (tmp_path / "a.csv").write_text("path,path\na,b\n")
        list(open_source(str(tmp_path / "a.csv"))[0].records())


def test_bad_rows_keep_their_place(tmp_path):
    bad = [b"{oops", source_row(7, distance="near"), source_row(8, embeddings=base64_of(vector(8, 768)))]
    (tmp_path / "a.jsonl").write_bytes(block_of(ROWS[0], *bad, b"", ROWS[1]))
    (part,) = open_source(str(tmp_path / "a.jsonl"))
    (block,) = part.checked(10, extra=("subject",))
    assert (block.gridimage_id.tolist(), block.line.tolist()) == ([1, 0, 7, 8, 2], [1, 2, 3, 4, 6])
    assert [sorted(block.problems), block.extra["subject"]] == [[1, 2, 3], [None] * 5]
    assert "3072 bytes (768 numbers), expected 2048 (512 float32)" in block.problems[3]
    assert block.embedding[4].tobytes() == vector(2).tobytes()


def test_junk_does_not_go_on_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "HOPELESS_ROWS", 100)
    (tmp_path / "junk.jsonl").write_bytes(b'{"id": 1}\n' * 500)
    with pytest.raises(CommandError, match=r"500 bad rows and no good one; line 1: no gridimage_id; the row has id"):
        list(open_source(str(tmp_path / "junk.jsonl"))[0].checked(10))


def test_pipes_and_devices(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(gzip.compress(TEXT * 200),), daemon=True).start()
    (part,) = open_source(str(pipe))
    assert sum(len(block) for block in part.rows(parse)) == 1000
    monkeypatch.setattr(streams, "PIPE_SILENCE", 0.2)
    with pytest.raises(CommandError, match="pipe into which nothing was written"):
        open_source(str(pipe))
    with pytest.raises(CommandError, match="/dev/zero: a device"):
        open_source("/dev/zero")


def test_objects_are_found_whatever_the_chunks():
    rows = [{"a": '{[\\"', "b": [1, {"c": 2}]}, {"a": "}", "b": {}}]
    text = json_of({"x": [{"not": "this"}], "rows": rows}, indent=1)
    for size in (1, 2, 7, 1000):
        chunks = [text[i : i + size] for i in range(0, len(text), size)]
        assert [json.loads(found) for found in json_text.objects(chunks, 2)] == rows


def test_dataset_files(tmp_path):
    for name in ("geograph-types/small/train-00000-of-00001.parquet", "flat/test-00000-of-00001.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    prepared = tmp_path / "geograph-types"
    assert dataset_files(str(prepared), "small", "train") == [prepared / "small" / "train-00000-of-00001.parquet"]
    (flat,) = dataset_files(str(tmp_path / "flat"), "small", "test")
    assert dataset_files(str(flat), "large", "train") == [flat]
    with pytest.raises(CommandError, match="no validation rows in config small; there are train rows"):
        dataset_files(str(prepared), "small", "validation")
    with pytest.raises(CommandError, match="no train rows in it; there are test rows"):
        dataset_files(str(tmp_path / "flat"), "small", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match=r"no small/train-\*\.parquet in it; prepare_dataset\.py makes such"):
        dataset_files(str(tmp_path / "empty"), "small", "train")
    with pytest.raises(CommandError, match="no split 'dev'"):
        dataset_files(str(prepared), "small", "dev")
    with pytest.raises(CommandError, match="no such folder"):
        dataset_files(str(tmp_path / "none"), "small", "train")


FROM_THE_HUB = """
import json
from geograph_types.cli import CommandError
from geograph_types.rows.sources import dataset_files, open_source
try:
    dataset_files("someone/photos", "tiny", "train")
except CommandError as error:
    told = str(error)
files = dataset_files("someone/photos", "small", "train")
parts = open_source("someone/photos")
found = [[part.kind, sum(len(block) for block in part.checked(10))] for part in parts]
try:
    open_source("nobody/nothing")
except CommandError as error:
    print(json.dumps([found, [path.name for path in files], told, str(error)]))
"""


def test_datasets_on_the_hub(tmp_path):
    for config in ("small", "large"):
        rows = ROWS if config == "large" else ROWS[:2]
        (tmp_path / "data" / config).mkdir(parents=True)
        pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows)), tmp_path / "data" / config / "train-00000.parquet")
    with HubServer() as hub:
        hub.put("datasets", "someone/photos", tmp_path / "data")
        result = subprocess.run(
            [sys.executable, "-c", FROM_THE_HUB],
            env=hub_environment(hub.url, tmp_path / "home"), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found, files, told, nothing = json.loads(result.stdout)
    assert found == [["parquet", 5]]
    assert files == ["train-00000.parquet"]
    assert "no config 'tiny'; there are large, small" in told
    assert "nobody/nothing: no such file or folder here, and the Hub gives none" in nothing
