"""Folders and tables of photos → records."""

import functools
import gzip
import http.server
import json
import os
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geograph_types.cli import CommandError
from geograph_types.rows.photo_tables import iterate_photos
from geograph_types.rows.places import point_of
from grid_geograph import parse_grid_ref

HEADING = "path,distance,subject,viewpoint,latitude,longitude\n"


def records(tmp_path, text: str, name: str = "photos.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return list(iterate_photos(tmp_path / name))


def test_a_folder_in_sorted_order(tmp_path):
    for name in ("b.JPG", "a.png", "sub/c.jpeg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = list(iterate_photos(tmp_path))
    assert [record.path for record in found] == ["a.png", "b.JPG", "sub/c.jpeg"]
    assert found[2].file == tmp_path / "sub/c.jpeg"
    assert {record.bucket for record in found} == {22}


def test_places_and_distances(tmp_path):
    lines = {
        "a.jpg,16,,,,": 5,
        "a.jpg,100.5,,,,": 7,
        "a.jpg,Unknown,,,,": 22,
        "a.jpg,0,,,,": 0,
        "a.jpg,,,,,": 22,  # blank is not given, rather than zero
        "a.jpg,,TQ 3003 8048,TQ 3011 8062,,": 8,
        "a.jpg,16,TQ 3003 8048,TQ 3011 8062,,": 5,
        "a.jpg,,TQ30038048,,51.5,-0.12": 11,  # south of the river, 1.1 km away
    }
    found = records(tmp_path, HEADING + "\n".join(lines))
    assert [record.error for record in found] == [None] * len(lines)
    assert [record.bucket for record in found] == list(lines.values())
    assert found[5].subject == parse_grid_ref("TQ 3003 8048")
    assert found[-1].viewpoint == point_of(51.5, -0.12)


def test_the_bucket_of_a_published_row(tmp_path):
    """As the pipeline takes it; what contradicts its distance is refused."""
    text = "path,distance,distance_bucket\na.jpg,,9\na.jpg,300,9\na.jpg,16,9\na.jpg,16,\na.jpg,near,3\n"
    found = records(tmp_path, text)
    assert [record.bucket for record in found] == [9, 9, 22, 5, 3]
    assert found[2].error == "line 4: distance '16' is bucket 5, and distance_bucket says 9; keep one"
    assert [record.given for record in found] == [True, True, False, True, True]


def test_lines_that_cannot_be_used(tmp_path):
    lines = [
        "a.jpg,-4,,,,",
        "a.jpg,near,,,,",
        "a.jpg,,ZZ 1,,,",
        "a.jpg,,,,51.5,",
        "a.jpg,,,,north,west",
        ",16,,,,",
        "a.jpg,16",
        "a.jpg,16,,,,",
    ]
    found = records(tmp_path, HEADING + "\n".join(lines))
    assert [record.error is None for record in found] == [False] * 7 + [True]
    assert [record.line for record in found] == list(range(2, 10))
    for record in found[:7]:
        assert record.error.startswith(f"line {record.line}: ") and record.file is None
    assert [found[0].path, found[5].path] == ["a.jpg", None]


def test_csv_as_people_write_it(tmp_path):
    text = '\ufeffpath,title\r\n"with, comma.jpg","two\nlines"\r\n\r\nb.jpg,x\r\n'
    found = records(tmp_path, text)
    assert [record.path for record in found] == ["with, comma.jpg", "b.jpg"]
    assert found[0].row["title"] == "two\nlines"
    with gzip.open(tmp_path / "photos.csv.gz", "wt", encoding="utf-8") as file:
        file.write("path\na.jpg\n")
    assert [record.path for record in iterate_photos(tmp_path / "photos.csv.gz")] == ["a.jpg"]
    assert [record.path for record in records(tmp_path, "path\tdistance\na.jpg\t16\n", "photos.tsv")] == ["a.jpg"]


def test_names_that_are_not_utf8(tmp_path):
    name = b"caf\xe9.jpg"
    (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    (tmp_path / "photos.csv").write_bytes(b"path\n" + name + b"\n")
    (record,) = iterate_photos(tmp_path / "photos.csv")
    assert record.file.read_bytes() == b"x"


def test_the_same_from_json_and_parquet(tmp_path):
    rows = [
        {"path": "a.jpg", "distance": 16, "subject": None, "viewpoint": None},
        {"path": "b.jpg", "distance": None, "subject": "TQ 3003 8048", "viewpoint": "TQ 3011 8062"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "photos.parquet")
    lines = [json.dumps(row) for row in rows]
    found = records(tmp_path, "\n".join([*lines, "{broken", "[1]"]), "photos.jsonl")
    table = list(iterate_photos(tmp_path / "photos.parquet"))
    assert [(r.path, r.bucket, r.subject, r.viewpoint) for r in table] == [
        (r.path, r.bucket, r.subject, r.viewpoint) for r in found[:2]
    ]
    assert [r.bucket for r in table] == [5, 8]
    assert "broken JSON" in found[2].error and "expected an object" in found[3].error


def test_where_a_relative_path_is_looked_for(tmp_path, monkeypatch):
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "beside.jpg").write_bytes(b"x")
    (tmp_path / "here.jpg").write_bytes(b"x")
    (tmp_path / "table" / "photos.csv").write_text(f"path\nbeside.jpg\nhere.jpg\n{tmp_path}/here.jpg\nno.jpg\n")
    monkeypatch.chdir(tmp_path)
    found = [str(record.file) for record in iterate_photos(tmp_path / "table" / "photos.csv")]
    table = tmp_path / "table"
    assert found == [str(table / "beside.jpg"), "here.jpg", str(tmp_path / "here.jpg"), str(table / "no.jpg")]
    (tmp_path / "web.csv").write_text("path\nhttps://example.org/a.jpg\n")
    assert next(iterate_photos("web.csv")).file == "https://example.org/a.jpg"


def test_a_table_that_was_fetched_names_its_address_and_where_it_looks(tmp_path, monkeypatch):
    """Nothing lies beside a copy in a cache, and its name says nothing to anybody."""
    monkeypatch.setenv("GEOGRAPH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.jpg").write_bytes(b"x")
    (tmp_path / "photos.csv").write_text(f"path\na.jpg\nb.jpg\n{tmp_path}/c.jpg\n")
    monkeypatch.chdir(tmp_path / "here")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/photos.csv"
        found, missing, absolute = iterate_photos(address + "?key=secret")
        server.shutdown()
    assert (found.path, str(found.file), found.error) == ("a.jpg", "a.jpg", None)
    assert missing.error == (
        f"line 3: 'b.jpg': no such file from the current folder, where relative paths are looked for, as {address} "
        "was fetched"
    )
    assert (str(absolute.file), absolute.error) == (f"{tmp_path}/c.jpg", None)


def test_tables_that_are_none(tmp_path):
    with pytest.raises(CommandError, match="no such"):
        list(iterate_photos(tmp_path / "missing.csv"))
    with pytest.raises(CommandError, match="no column 'path'"):
        records(tmp_path, "photo,distance\n")
    with pytest.raises(CommandError, match="empty"):
        records(tmp_path, "")
    twice = pa.Table.from_arrays([pa.array(["a.jpg"]), pa.array(["b.jpg"])], names=["path", "path"])
    pq.write_table(twice, tmp_path / "photos.parquet")
    with pytest.raises(CommandError, match="two columns are named 'path'"):
        list(iterate_photos(tmp_path / "photos.parquet"))
    (tmp_path / "photos.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(CommandError, match="not a Parquet file"):
        list(iterate_photos(tmp_path / "photos.parquet"))
    (tmp_path / "photos.csv.gz").write_bytes(gzip.compress(b"path\n" + b"a.jpg\n" * 9999)[:-20])
    with pytest.raises(CommandError, match="cut short"):
        list(iterate_photos(tmp_path / "photos.csv.gz"))
