"""Many files, shards, prepared folders; one bad row, name or photo ends no run; an output is never an input."""

import csv
import json
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import predict
from configuration_geograph import GeographConfig
from geograph_types.cli import CommandError
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.rows.synthetic import lines_of
from modeling_geograph import GeographModel
from tests.support.photo_factory import make_photos
from tests.support.source_rows import block_of, source_row
from tests.support.tiny_tower import make_tiny_tower


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    torch.manual_seed(3)
    save_model_repository(GeographModel(GeographConfig()).eval(), folder / "model")
    make_tiny_tower(folder / "tower")
    return folder


@pytest.fixture
def answer(given, monkeypatch, capsys, tmp_path):
    """Runs the command → what it said; its output is tmp_path/`output`."""

    def run(*inputs, output="a.jsonl", flags=()):
        command = ["predict.py", "--model", given / "model", "--vision_model", given / "tower", "--input", *inputs]
        monkeypatch.setattr(sys, "argv", [*map(str, command), "--output", str(tmp_path / output), *map(str, flags)])
        capsys.readouterr()
        predict.main()
        return capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def lines():
    return b"".join(lines_of("synthetic:90")).splitlines(keepends=True)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_many_files_are_answered_as_one(answer, lines, tmp_path):
    for i in range(3):
        (tmp_path / f"part{i}.jsonl").write_bytes(b"".join(lines[30 * i : 30 * i + 30]))
    (tmp_path / "all.jsonl").write_bytes(b"".join(lines))
    answer(tmp_path / "all.jsonl", output="all.csv")
    answer(tmp_path / "part*.jsonl", output="pattern.csv")
    answer(*(tmp_path / f"part{i}.jsonl" for i in range(3)), output="names.csv")
    whole = (tmp_path / "all.csv").read_bytes()
    assert whole == (tmp_path / "pattern.csv").read_bytes() == (tmp_path / "names.csv").read_bytes()
    (tmp_path / "part1.jsonl").write_bytes(b"{broken\n" + lines[0])
    answer(tmp_path / "part*.jsonl")
    errors = [row["error"] for row in rows_of(tmp_path / "a.jsonl") if row["error"]]
    assert len(errors) == 1 and errors[0].startswith(f"{tmp_path}/part1.jsonl, line 1: ")


def test_shards_together_are_the_whole_with_one_manifest(answer, lines, tmp_path):
    for i in range(3):
        (tmp_path / f"part{i}.jsonl").write_bytes(b"".join(lines[30 * i : 30 * i + 30]))
    answer(tmp_path / "part*.jsonl", output="whole.parquet")
    assert "1 of 2 shards to come" in answer(tmp_path / "part*.jsonl", output="s.parquet", flags=("--shard", "1/2"))
    assert "all shards are there" in answer(tmp_path / "part*.jsonl", output="s.parquet", flags=("--shard", "2/2"))
    manifest = json.loads((tmp_path / "s.manifest.json").read_text())
    assert manifest["complete"] and manifest["rows"] == 90 and manifest["errors"] == 0
    found = [row for file in manifest["files"] for row in pq.read_table(tmp_path / file["file"]).to_pylist()]
    wanted = pq.read_table(tmp_path / "whole.parquet").to_pylist()
    key = lambda row: row["gridimage_id"]  # noqa: E731
    assert sorted(found, key=key) == sorted(wanted, key=key)
    for wrong in ("0/2", "3/2", "x", "1"):
        with pytest.raises(SystemExit) as stop:
            answer(tmp_path / "part*.jsonl", output="s.parquet", flags=("--shard", wrong))
        assert stop.value.code == 2


def test_photos_in_shards(answer, tmp_path):
    make_photos(tmp_path / "photos", 5, 64, 48)
    found = []
    for shard in ("1/2", "2/2"):
        answer(tmp_path / "photos", flags=("--shard", shard))
        found.append([row["path"] for row in rows_of(tmp_path / f"a-0000{shard[0]}-of-00002.jsonl")])
    assert [len(names) for names in found] == [3, 2]
    assert sorted(found[0] + found[1]) == [f"photo_0000{i}.jpg" for i in range(5)]


def test_one_bad_name_or_place_ends_no_run(answer, tmp_path):
    make_photos(tmp_path / "photos", 3, 64, 48)
    with open(os.fsencode(tmp_path / "photos") + b"/not\xff-text.jpg", "wb") as file:
        file.write(b"no photo")
    (tmp_path / "photos" / "notes.txt").write_text("x")
    said = answer(tmp_path / "photos")
    assert "passed over 1 .txt file" in said and "4 photos; 1 of them could not be done" in said
    rows = [
        {"path": "photos/photo_00000.jpg", "subject": "TQ 3003 8048", "viewpoint": "TQ 3103 8048"},
        {"path": "x" * 300 + ".jpg"},
        {"path": "photos/photo_00001.jpg", "subject": 5},
        {"path": "http://127.0.0.1:9/photo.jpg"},
        {"path": 7},
        {"path": "photos/\0.jpg"},
        {"path": "photos/photo_00002.jpg", "subject": None, "distance": 17},
        {"path": "photos/photo_00002.jpg", "distance": "16"},
    ]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer(tmp_path / "table.jsonl")
    found = rows_of(tmp_path / "a.jsonl")
    assert [bool(row["error"]) for row in found] == [False, True, True, True, True, True, False, False]
    assert found[0]["cross_grid"] == "geometry" and "--allow_urls" in found[3]["error"]
    assert found[6]["scores"] == pytest.approx(found[7]["scores"], abs=1e-5)  # 17 m are floored to 16


def test_what_is_no_data_is_named_and_leaves_no_file(answer, lines, tmp_path):
    (tmp_path / "page.html").write_text("<html><body>Not found</body></html>")
    (tmp_path / "no-vectors.jsonl").write_text('{"gridimage_id": 1}\n')
    (tmp_path / "rows.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "photos").mkdir()
    make_photos(tmp_path / "photos", 1, 64, 48)
    for name, words in {"page.html": "web page", "no-vectors.jsonl": "none of its 1 .*: no embeddings"}.items():
        with pytest.raises(CommandError, match=words):
            answer(tmp_path / name)
    with pytest.raises(CommandError, match="two runs"):
        answer(tmp_path / "rows.jsonl", tmp_path / "photos")
    with pytest.raises(CommandError, match="device"):
        answer("/dev/zero")
    assert not (tmp_path / "a.jsonl").exists() and not list(tmp_path.glob("*.partial"))


def test_an_output_is_never_an_input(answer, lines, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b"".join(lines))
    (tmp_path / "link.jsonl").symlink_to(rows)
    os.link(rows, tmp_path / "hard.jsonl")
    for output in ("rows.jsonl", "link.jsonl", "hard.jsonl"):
        with pytest.raises(CommandError, match="is the input"):
            answer(rows, output=output)
    make_photos(tmp_path / "photos", 1, 64, 48)
    with pytest.raises(CommandError, match="inside the input"):
        answer(tmp_path / "photos", output="photos/a.csv")
    assert rows.read_bytes() == b"".join(lines)


def test_normalised_vectors_are_named(answer, lines, tmp_path):
    rows = [json.loads(line) for line in lines[:3]]
    unit = np.random.default_rng(0).standard_normal(512)
    del rows[1]["embeddings"]
    rows[1]["embedding"] = (unit / np.linalg.norm(unit)).tolist()
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer(tmp_path / "rows.jsonl")
    assert [row["note"] for row in rows_of(tmp_path / "a.jsonl")] == [None, "its embedding looks normalised", None]


def test_rows_whose_points_say_another_distance(answer, tmp_path):
    """The same from JSONL and Parquet; where no distance is given, the points give it."""
    places = {"subject": "TQ 3003 8048", "viewpoint": "TQ 3103 8048"}  # 1,000 m
    given = [{"distance": "16"}, {"distance_bucket": 5}, {}, {"distance": "512"}]
    rows = [source_row(i + 1) | {"distance": None} | places | more for i, more in enumerate(given)]
    (tmp_path / "rows.jsonl").write_bytes(block_of(*rows))
    names = dict.fromkeys([*rows[0], "distance_bucket"])
    table = {name: [row.get(name) for row in rows] for name in names}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    found = []
    for name in ("rows.jsonl", "rows.parquet"):
        answer(tmp_path / name)
        found.append(rows_of(tmp_path / "a.jsonl"))
    assert found[0] == found[1]
    says = "the distance says 16 m, but the two points are 1,000 m apart: one of them is wrong"
    assert [row["note"] for row in found[0]] == [says, says, None, None]


def test_a_csv_is_harmless_and_opens_in_excel(answer, tmp_path):
    make_photos(tmp_path / "photos", 1, 64, 48)
    (tmp_path / "table.csv").write_text('path\nphotos/photo_00000.jpg\n"=cmd|x.jpg"\n@x.jpg\n"  =1+1.jpg"\n')
    answer(tmp_path / "table.csv", output="a.csv", flags=("--excel",))
    assert (tmp_path / "a.csv").read_bytes().startswith(b'\xef\xbb\xbf"path"')
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [
            "photos/photo_00000.jpg",
            "'=cmd|x.jpg",
            "'@x.jpg",
            "'  =1+1.jpg",
        ]
