"""The command on every kind of input, on bad rows and photos, killed and started again."""

import base64
import csv
import gzip
import json
import os
import sys
import time
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import predict
from configuration_geograph import GeographConfig
from decision_geograph import decide
from geograph_types.cli import CommandError
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.prediction.answering import Predictor
from geograph_types.rows.synthetic import lines_of
from modeling_geograph import GeographModel
from names_geograph import CLASSES
from pipeline_geograph import GeographPipeline
from tests.support import warm
from tests.support.photo_factory import make_every_format, make_photos, photo_with_gps
from tests.support.tiny_tower import make_tiny_tower


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    torch.manual_seed(3)
    # Not all classes at one threshold, so that a wrong order shows.
    model = GeographModel(GeographConfig(thresholds=[0.5, 0.45, 0.5, 0.55, 0.5, 0.4, 0.5])).eval()
    folder = tmp_path_factory.mktemp("model")
    save_model_repository(model, folder)
    return folder


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    return make_tiny_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def source_rows():
    return [json.loads(line) for line in b"".join(lines_of("synthetic:300")).splitlines()]


def vectors_of(rows) -> np.ndarray:
    return np.stack([np.frombuffer(base64.b64decode(row["embeddings"]), "<f4") for row in rows])


def write_published(path, rows, **more):
    """Rows as prepare_dataset.py publishes them."""
    bucket = [22 if r["distance"] == "Unknown" else int(r["distance"]).bit_length() for r in rows]
    flat = pa.array(vectors_of(rows).reshape(-1))
    columns = {
        "gridimage_id": pa.array([r["gridimage_id"] for r in rows]),
        "types": pa.array([[0]] * len(rows), pa.list_(pa.int64())),
        "distance": pa.array([r["distance"] for r in rows]),
        "distance_bucket": pa.array(bucket, pa.int8()),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, 512),
        "weight": pa.array([1.0] * len(rows), pa.float32()),
    }
    pq.write_table(pa.table(columns | more), path, row_group_size=128)
    return path


def run(monkeypatch, capsys, *flags) -> str:
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, flags)])
    capsys.readouterr()
    predict.main()
    return capsys.readouterr().err


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["rows.jsonl", "rows.jsonl.gz", "published.parquet", "source.parquet"])
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_rows_get_what_the_pipeline_says(kind, suffix, model_folder, source_rows, tmp_path, monkeypatch, capsys):
    path = tmp_path / kind
    text = "".join(json.dumps(row) + "\n" for row in source_rows)
    if kind == "rows.jsonl":
        path.write_text(text)
    elif kind == "rows.jsonl.gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif kind == "published.parquet":
        write_published(path, source_rows)
    else:
        pq.write_table(pa.Table.from_pylist(source_rows), path)
    output = tmp_path / f"answers{suffix}"
    said = run(monkeypatch, capsys, "--model", model_folder, "--input", path, "--output", output)
    found = read(output)
    classify = GeographPipeline(GeographModel.from_pretrained(model_folder), task="geograph-types")
    wanted = classify(source_rows, batch_size=300)
    assert [row["gridimage_id"] for row in found] == [row["gridimage_id"] for row in source_rows]
    for row, right in zip(found, wanted, strict=True):
        assert row.keys() == right.keys()
        assert row["scores"] == pytest.approx(right["scores"], abs=1e-5)
        assert [row[k] for k in ("types", "cross_grid", "note", "error")] == [
            right[k] for k in ("types", "cross_grid", "note", "error")
        ]
    assert {row["cross_grid"] for row in found} == {"model", None}
    assert "300 rows" in said and "could not" not in said
    assert not list(tmp_path.glob("*.partial"))


def test_bad_rows_get_their_error(model_folder, source_rows, tmp_path, monkeypatch, capsys):
    rows = [dict(row) for row in source_rows[:8]]
    rows[1]["embeddings"] = "!!!"
    rows[2]["distance"] = "near"
    rows[3]["embeddings"] = base64.b64encode(np.full(512, np.nan, "<f4").tobytes()).decode()
    del rows[4]["gridimage_id"]
    rows[5]["types"] = "a tag that does not matter here"
    lines = [json.dumps(row) for row in rows]
    lines.insert(6, "{broken")
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    output = tmp_path / "a.jsonl"
    said = run(monkeypatch, capsys, "--model", model_folder, "--input", tmp_path / "rows.jsonl", "--output", output)
    found = read(output)
    words = [None, "base64", "distance", "NaN", "gridimage_id", None, "JSON", None, None]
    for row, word in zip(found, words, strict=True):
        assert (row["error"] is None) if word is None else (word in row["error"] and row["types"] == [])
        assert (row["scores"] is None) == (word is not None)
    assert found[3]["gridimage_id"] == rows[3]["gridimage_id"] and found[4]["gridimage_id"] is None
    assert "9 rows; 5 of them could not be done" in said


def test_bad_rows_of_parquet_get_their_error(model_folder, source_rows, tmp_path, monkeypatch, capsys):
    vectors = [vector.tolist() for vector in vectors_of(source_rows[:6])]
    vectors[1], vectors[2], vectors[3][7] = None, [1.0, 2.0], float("nan")
    more = {
        "embedding": pa.array([*vectors, *vectors_of(source_rows[6:]).tolist()], pa.list_(pa.float32())),
        "distance": pa.array(["16"] * len(source_rows)),
        "distance_bucket": pa.array([5] * 4 + [23] + [5] * (len(source_rows) - 5), pa.int8()),
    }
    path = write_published(tmp_path / "rows.parquet", source_rows, **more)
    run(monkeypatch, capsys, "--model", model_folder, "--input", path, "--output", tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert [i for i, row in enumerate(found) if row["error"]] == [1, 2, 3, 4]
    assert all(row["scores"] is None and row["types"] == [] for row in found[1:5])
    more = ("--output", tmp_path / "b.parquet", "--subject", "TQ 3003 8048")
    with pytest.raises(CommandError, match="rows with vectors, and --subject is for photos; leave it out"):
        run(monkeypatch, capsys, "--model", model_folder, "--input", path, *more)


def test_rows_with_places(model_folder, source_rows, tmp_path, monkeypatch, capsys):
    places = [
        ("TQ 3003 8048", "TQ 3103 8048"),
        ("TQ 3003 8048", "TQ 3011 8062"),
        (None, "TQ 3011 8062"),
        ("odd", "TQ1"),
    ]
    classify = GeographPipeline(GeographModel.from_pretrained(model_folder), task="geograph-types")
    rows = [row | {"subject": places[i % 4][0], "viewpoint": places[i % 4][1]} for i, row in enumerate(source_rows)]
    far = [{key: value for key, value in row.items() if key != "distance"} for row in rows]
    for asked, name in ((rows, "rows.jsonl"), (far, "rows.jsonl"), (rows, "rows.parquet"), (far, "rows.parquet")):
        wanted = classify(asked, batch_size=300)
        if name == "rows.jsonl":
            (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in asked))
        else:
            pq.write_table(pa.Table.from_pylist(asked), tmp_path / name)
        output = tmp_path / "a.jsonl"
        run(monkeypatch, capsys, "--model", model_folder, "--input", tmp_path / name, "--output", output)
        found = read(output)
        for row, right in zip(found, wanted, strict=True):
            assert [row[key] for key in ("types", "cross_grid", "note")] == [
                right[key] for key in ("types", "cross_grid", "note")
            ]
            assert (row["error"] is None) == (right["error"] is None)
        assert {row["cross_grid"] for row in found} == {"geometry", "model", None}
        assert any(row["note"] for row in found)


def test_a_folder_of_photos(model_folder, tower, tmp_path, monkeypatch, capsys):
    good, bad = make_every_format(tmp_path / "photos" / "sub")
    make_photos(tmp_path / "photos", 3, 90, 70)
    flags = ("--model", model_folder, "--input", tmp_path / "photos", "--vision_model", tower)
    said = run(monkeypatch, capsys, *flags, "--output", tmp_path / "a.parquet", "--write_embeddings")
    found = read(tmp_path / "a.parquet")
    names = sorted(path.relative_to(tmp_path / "photos").as_posix() for path in [*good, *bad])
    assert [row["path"] for row in found] == ["photo_00000.jpg", "photo_00001.jpg", "photo_00002.jpg", *names]
    failed = {row["path"] for row in found if row["error"]}
    assert failed == {f"sub/{path.name}" for path in bad}
    assert f"{len(found)} photos; {len(bad)} of them could not be done" in said
    model = GeographModel.from_pretrained(model_folder)
    for row in found:
        assert (row["embedding"] is None) == (row["path"] in failed)
        if row["embedding"]:
            with torch.no_grad():
                logits = model(torch.tensor([row["embedding"]]), torch.tensor([22])).logits
            right = decide(logits.sigmoid()[0].numpy(), model.config.thresholds, CLASSES)
            assert row["types"] == right["types"] and row["scores"] == pytest.approx(right["scores"], abs=1e-5)


def test_a_table_of_photos_with_places(model_folder, tower, tmp_path, monkeypatch, capsys):
    make_photos(tmp_path, 4, 90, 70)
    (tmp_path / "photos.csv").write_text(
        "path,subject,viewpoint,distance\n"
        "photo_00003.jpg,TQ 3003 8048,TQ 3103 8048,\n"
        "photo_00001.jpg,,,16\n"
        "missing.jpg,,,\n"
        "photo_00002.jpg,bad,,\n"
    )
    output = tmp_path / "a.csv"
    flags = ("--model", model_folder, "--input", tmp_path / "photos.csv", "--vision_model", tower)
    run(monkeypatch, capsys, *flags, "--output", output)
    found = read(output)
    assert [row["path"] for row in found] == ["photo_00003.jpg", "photo_00001.jpg", "missing.jpg", "photo_00002.jpg"]
    assert found[0]["cross_grid"] == "geometry" and found[0]["types"].startswith("Cross Grid")
    assert 0 < float(found[0]["Cross Far"]) < 1
    assert [bool(row["error"]) for row in found] == [False, False, True, True]


def test_a_gps_tag_says_where_the_photographer_stood(model_folder, tower, tmp_path, monkeypatch, capsys):
    """It is in TQ 30 80; a subject in the next square makes it Cross Grid, from a table and from a folder."""
    photos = tmp_path / "photos"
    photos.mkdir()
    photo_with_gps(photos / "a.jpg", (51, 30, Fraction(2834, 100)), "N", (0, 7, Fraction(4000, 100)), "W")
    make_photos(photos, 1, 90, 70)
    (tmp_path / "photos.csv").write_text(
        "path,subject,viewpoint\nphotos/a.jpg,TQ 3103 8048,\nphotos/a.jpg,TQ 3003 8048,\nphotos/a.jpg,,\n"
        "photos/a.jpg,TQ 3103 8048,TQ 3103 8048\n"
    )
    flags = ("--model", model_folder, "--vision_model", tower, "--output", tmp_path / "a.jsonl", "--input")
    run(monkeypatch, capsys, *flags, tmp_path / "photos.csv")
    found = read(tmp_path / "a.jsonl")
    assert [row["cross_grid"] == "geometry" for row in found] == [True, False, False, False]
    run(monkeypatch, capsys, *flags, photos, "--subject", "TQ 3103 8048")
    found = {row["path"]: row["cross_grid"] for row in read(tmp_path / "a.jsonl")}
    assert found["a.jpg"] == "geometry" and len(found) == 2 and list(found.values()).count("geometry") == 1


def test_the_same_flags_choose_the_same(model_folder, source_rows, tmp_path, monkeypatch, capsys):
    path = write_published(tmp_path / "rows.parquet", source_rows)
    for threshold, counts in (("0", {7}), ("1", {1})):
        output = tmp_path / "a.jsonl"
        run(
            *(monkeypatch, capsys, "--model", model_folder, "--input", path),
            *("--output", output, "--threshold", threshold),
        )
        assert {len(row["types"]) for row in read(output)} == counts


@pytest.mark.parametrize("flags", [("--input", "missing.jsonl"), ("--output", "a.txt"), ("--write_embeddings",)])
def test_wrong_usage_in_one_line(flags, tmp_path):
    both = ("--input", tmp_path, "--output", tmp_path / "a.csv", *flags)
    done = warm.run("predict.py", "--model", tmp_path, *both)
    said = done.stderr
    assert done.returncode == (1 if "--input" in flags else 2)
    assert "Traceback" not in said and "error: " in said.splitlines()[-1]


def killed_once(flags, output, after: int) -> None:
    """Starts the command, and kills it when `after` blocks are kept."""
    state = output.with_name(f"{output.name}.partial") / "state.json"
    process = warm.start("predict.py", *flags, "--output", output)
    deadline = time.monotonic() + 120
    while not (state.exists() and json.loads(state.read_text())["done"] >= [0, after]):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not output.exists()


def test_killed_and_started_again(model_folder, source_rows, tmp_path, monkeypatch, capsys):
    path = write_published(tmp_path / "rows.parquet", source_rows * 6)
    flags = ("--model", model_folder, "--input", path, "--batch_size", "1")
    output, whole = tmp_path / "a.parquet", tmp_path / "whole.parquet"
    run(monkeypatch, capsys, *flags, "--output", whole)
    killed_once(flags, output, after=1)
    assert "going on after" in run(monkeypatch, capsys, *flags, "--output", output)
    assert output.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def stopped_after(monkeypatch, blocks: int) -> None:
    """The next run is stopped when so many blocks are answered."""
    answers, asked = Predictor.answers, []

    def stopping(self, block):
        asked.append(block)
        if len(asked) > blocks:
            raise KeyboardInterrupt
        return answers(self, block)

    monkeypatch.setattr(Predictor, "answers", stopping)


def test_stopped_among_photos(model_folder, tower, tmp_path, monkeypatch, capsys):
    photos = make_photos(tmp_path, 80, 64, 48)
    table = tmp_path / "photos.csv"
    table.write_text("path\n" + "\n".join(photo.name for photo in photos) + "\n")
    flags = ("--model", model_folder, "--input", table, "--vision_model", tower)
    flags = (*flags, "--batch_size", "1", "--dtype", "float32", "--write_embeddings")
    whole, output = tmp_path / "whole.parquet", tmp_path / "a.parquet"
    run(monkeypatch, capsys, *flags, "--output", whole)
    flags = (*flags, "--output", output)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped_after(patch, 1)
        run(patch, capsys, *flags)
    assert not output.exists()
    assert "going on after 32" in run(monkeypatch, capsys, *flags)
    assert output.read_bytes() == whole.read_bytes()
    # A photo of an untouched table that is another one now: nothing of the stopped run is taken over.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped_after(patch, 1)
        run(patch, capsys, *flags)
    photos[3].write_bytes(photos[4].read_bytes())
    assert "another input; starting anew" in run(monkeypatch, capsys, *flags)
    vectors = [row["embedding"] for row in read(output)]
    assert vectors[3] == vectors[4]
    # So is a tower whose files changed.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopped_after(patch, 1)
        run(patch, capsys, *flags)
    os.utime(tower / "config.json", ns=(1, 1))
    assert "another vision tower; starting anew" in run(monkeypatch, capsys, *flags)
    assert not list(tmp_path.glob("*.partial"))


def test_memory_does_not_grow_with_the_input(model_folder, source_rows, tmp_path):
    peaks, measured = [], tmp_path / "measured.py"
    # VmHWM rather than ru_maxrss, which a process has from whoever started it.
    measured.write_text(
        "import predict\npredict.main()\n"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    for times in (20, 120):
        path = write_published(tmp_path / f"{times}.parquet", source_rows * times)
        flags = ("--model", model_folder, "--input", path, "--output", tmp_path / "a.parquet", "--batch_size", "512")
        done = warm.run(measured, *flags)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout) / 1024)
    # 30,000 rows more are 60 MB of vectors.
    assert peaks[1] - peaks[0] < 30
