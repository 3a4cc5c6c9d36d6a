"""prepare_dataset.py as a user calls it: what it publishes, what it refuses, what is left when it is stopped."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from geograph_types.cli import CommandError
from geograph_types.dataset.rejections import kind_of
from geograph_types.files import ROOT
from geograph_types.rows.parquet import read_parquet
from geograph_types.rows.splits import splitmix64
from geograph_types.rows.synthetic import lines_of
from names_geograph import TAGS
from tests.support import warm

SPLITS = ("train", "validation", "test")


def prepare(*flags, stdin=b"", cwd=None) -> subprocess.CompletedProcess:
    return warm.run("prepare_dataset.py", *flags, stdin=stdin, cwd=cwd)


def rows_of(spec: str) -> list[dict]:
    return [json.loads(line) for line in b"".join(lines_of(spec)).splitlines()]


def write(path: Path, rows: list) -> Path:
    path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows))
    return path


def ids_in(folder: Path, config: str) -> dict[str, list[int]]:
    files = {split: sorted((folder / config).glob(f"{split}-*.parquet")) for split in SPLITS}
    return {s: [i for f in files[s] for i in pq.read_table(f)["gridimage_id"].to_pylist()] for s in SPLITS}


@pytest.fixture(scope="module")
def source_rows() -> list[dict]:
    """3,000 rows: some without a split, some with a title, distances of every kind."""
    rows = rows_of("synthetic:3000:1")
    for i, row in enumerate(rows):
        if i % 3 == 0:
            del row["split"]
        if i >= 2500:
            row["title"] = f"Photo {i}"
    rows[0]["distance"], rows[1]["distance"], rows[2]["distance"] = None, 64, ""
    del rows[3]["distance"]
    rows[4]["types"] = " Inside , From Above"
    return rows


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, source_rows) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    source = write(folder / "rows.jsonl", source_rows)
    result = prepare(
        "--source", source, "--output_dir", "geograph-types", "--small", 600, "--medium", 1500, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    return folder / "geograph-types"


def test_every_row_is_published_as_it_was(prepared, source_rows):
    by_id = {row["gridimage_id"]: row for row in source_rows}
    order = [row["gridimage_id"] for row in source_rows]
    found = ids_in(prepared, "large")
    assert sorted(i for ids in found.values() for i in ids) == sorted(order)
    official = {"tra": "train", "val": "validation", "tes": "test"}
    for split, ids in found.items():
        members = set(ids)
        assert ids == [i for i in order if i in members]  # the source's order
        for i in ids:
            bucket = int(splitmix64(np.array([i]))[0] % np.uint64(10))
            by_hash = "train" if bucket < 8 else "validation" if bucket == 8 else "test"
            assert split == (official[by_id[i]["split"]] if "split" in by_id[i] else by_hash)
        files = sorted((prepared / "large").glob(f"{split}-*.parquet"))
        for row in (row for file in files for row in pq.read_table(file).to_pylist()):
            source = by_id[row["gridimage_id"]]
            assert np.array(row["embedding"], "<f4").tobytes() == base64.b64decode(source["embeddings"])
            assert [TAGS[t] for t in row["types"]] == [tag.strip() for tag in source["types"].split(",")]
            distance = source.get("distance", "Unknown")
            assert row["distance"] == ("" if distance is None else str(distance))
            assert row["weight"] == source["weight"]
            assert row["title"] == source.get("title")


def test_configs_are_nested_and_keep_rare_tags(prepared, source_rows):
    found = {config: ids_in(prepared, config) for config in ("small", "medium", "large")}
    ids = np.array([row["gridimage_id"] for row in source_rows])
    order = ids[np.argsort(splitmix64(splitmix64(ids)))]
    chosen = {config: {i for split in found[config].values() for i in split} for config in found}
    assert set(order[:600]) <= chosen["small"] <= chosen["medium"] <= chosen["large"] == set(ids)
    assert set(order[:1500]) <= chosen["medium"]
    tags_of = {row["gridimage_id"]: {tag.strip() for tag in row["types"].split(",")} for row in source_rows}
    needed = set(order[:600])
    for split in SPLITS:
        assert [i for i in found["large"][split] if i in chosen["small"]] == found["small"][split]
        for tag in TAGS:
            has = [i for i in order if i in set(found["large"][split]) and tag in tags_of[i]]
            assert set(has[:32]) <= chosen["small"]
            needed |= set(has[:32])
    assert chosen["small"] == needed


def test_the_same_rows_whatever_the_order_and_the_place(prepared, source_rows, tmp_path):
    shuffled = [source_rows[i] for i in np.random.default_rng(0).permutation(len(source_rows))]
    half = write(tmp_path / "a.jsonl", shuffled[:1234])
    (tmp_path / "b.jsonl.gz").write_bytes(
        gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in shuffled[1234:]))
    )
    out = tmp_path / "again"
    result = prepare("--source", half, tmp_path / "b.jsonl.gz", "--output_dir", out, "--small", 600, "--medium", 1500)
    assert result.returncode == 0, result.stderr
    for config in ("small", "medium", "large"):
        there, here = ids_in(prepared, config), ids_in(out, config)
        assert {s: sorted(i) for s, i in there.items()} == {s: sorted(i) for s, i in here.items()}


LOAD = """
import json, sys
from datasets import load_dataset, load_dataset_builder
rows = load_dataset("geograph-types", "small")
stream = load_dataset("geograph-types", "small", split="test", streaming=True)
first = next(iter(stream))
assert first == rows["test"][0], first
assert sum(1 for _ in stream) == len(rows["test"])
assert load_dataset("geograph-types", "large", split="train").num_rows > rows["train"].num_rows
told = load_dataset_builder("geograph-types", "small").info
assert {s: i.num_bytes for s, i in told.splits.items()} == {s: rows[s].info.splits[s].num_bytes for s in rows}, told
assert told.dataset_size == rows["train"].info.dataset_size
assert told.download_size == rows["train"].info.download_size
print(json.dumps({"features": rows["train"].features.to_dict(), "counts": rows.num_rows}))
"""


def test_datasets_loads_it_from_the_folder_above(prepared, tmp_path):
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=prepared.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    from datasets import ClassLabel, Features, List, Value

    expected = Features(
        {
            "gridimage_id": Value("int64"),
            "types": List(ClassLabel(names=list(TAGS))),
            "distance": Value("string"),
            "distance_bucket": Value("int8"),
            "embedding": List(Value("float32"), length=512),
            "weight": Value("float32"),
            "title": Value("string"),
        }
    )
    assert Features.from_dict(told["features"]) == expected
    assert told["counts"] == {split: len(ids) for split, ids in ids_in(prepared, "small").items()}


@pytest.mark.parametrize("with_title", [False, True])
def test_the_features_are_written_as_datasets_writes_them(with_title):
    from datasets import Features

    from geograph_types.dataset.card import _yaml_features
    from geograph_types.rows.published import features, schema

    ours = schema(with_title, False)
    theirs = Features.from_dict(features(with_title))
    assert theirs.arrow_schema.equals(ours)
    assert json.loads(theirs.arrow_schema.metadata[b"huggingface"]) == json.loads(ours.metadata[b"huggingface"])
    assert theirs._to_yaml_list() == _yaml_features(with_title, 512)


def test_the_files_suit_the_viewer(prepared):
    for file in prepared.rglob("*.parquet"):
        metadata = pq.read_metadata(file)
        for group in range(metadata.num_row_groups):
            assert metadata.row_group(group).total_byte_size < 100 << 20
            column = metadata.row_group(group).column(0)
            assert column.has_offset_index
            assert column.has_column_index
        assert json.loads(pq.read_schema(file).metadata[b"geograph"])["synthetic"] is False


def test_the_card_counts_this_very_data(prepared):
    from geograph_types.hub.checks import check
    from geograph_types.hub.publishing import files_to_publish

    check(files_to_publish(prepared), "dataset", prepared)
    text = (prepared / "README.md").read_text()
    counts = {config: ids_in(prepared, config) for config in ("small", "medium", "large")}
    for config, splits in counts.items():
        cells = " | ".join(f"{len(ids):,}" for ids in splits.values())
        assert f"| `{config}` | {cells} |" in text
    assert "Synthetic" not in text
    assert "| `title` |" in text
    assert "rejected.jsonl" not in files_to_publish(prepared)
    assert (prepared / "tags.png").read_bytes().startswith(b"\x89PNG")


def test_the_code_on_the_card_runs(prepared, tmp_path):
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", (prepared / "README.md").read_text(), re.M | re.S))
    code += "\nassert len(targets) == len(dataset['train']) and all(map(sum, targets))"
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "-c", code], cwd=prepared.parent, env=environment, capture_output=True)
    assert result.returncode == 0, result.stderr


def test_bad_rows_are_set_aside_and_counted(tmp_path):
    good = rows_of("synthetic:20")
    bad = [b'{"gridimage_id": 5, ', good[0], good[3] | {"gridimage_id": 77, "distance": "3"}]
    source = write(tmp_path / "rows.jsonl", [*good[:10], bad[0], b"", *good[10:], bad[1], bad[2]])
    out = tmp_path / "out"
    result = prepare("--source", source, "--output_dir", out)
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [(row["line"], row.get("gridimage_id")) for row in found] == [
        (11, None), (23, good[0]["gridimage_id"]), (24, 77),
    ]  # fmt: skip
    assert all(row["source"] == str(source) for row in found)
    assert ["broken JSON" in found[0]["reason"], "duplicate" in found[1]["reason"]] == [True, True]
    closing = result.stderr.splitlines()[-1]
    assert closing.startswith("3 rows rejected (")
    assert "1 impossible distance" in closing
    assert "3 rows were rejected" in (out / "README.md").read_text()
    assert sum(map(len, ids_in(out, "large").values())) == 20


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("impossible distance -4; expected '', 0", "impossible distance"),
        ("bad gridimage_id None; expected a whole number above 0", "bad gridimage_id"),
        ("embeddings of a wrong length: 3 bytes, expected 2048 (512 float32)", "embeddings of a wrong length"),
        ("unknown tag 'Foo'; known are Aerial", "unknown tag"),
        ("duplicate gridimage_id; the first row counts", "duplicate gridimage_id"),
    ],
)
def test_reasons_are_counted_without_their_particulars(reason, kind):
    assert kind_of(reason) == kind


def test_standard_input_may_be_compressed(tmp_path):
    lines = b"".join(lines_of("synthetic:30"))
    assert prepare("--source", "-", "--output_dir", tmp_path / "out", stdin=gzip.compress(lines)).returncode == 0
    assert sum(map(len, ids_in(tmp_path / "out", "large").values())) == 30


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_refused(result, *words: str) -> None:
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    for word in words:
        assert word in line, line


def test_strict_stops_at_the_first_and_leaves_nothing(tmp_path):
    source = write(tmp_path / "rows.jsonl", [*rows_of("synthetic:5"), b"{}", *rows_of("synthetic:5:9")])
    assert_refused(prepare("--source", source, "--output_dir", tmp_path / "out", "--strict"), "line 6", "gridimage_id")
    assert left_in(tmp_path) == ["rows.jsonl"]


def test_another_format_is_an_error_by_itself(tmp_path):
    good = rows_of("synthetic:880")
    source = write(tmp_path / "rows.jsonl", [*good, *[b'{"id": 1}'] * 120])
    result = prepare("--source", source, "--output_dir", tmp_path / "out")
    assert_refused(result, "120 of 1,000", "no gridimage_id", "line 881", "out.rejected.jsonl")
    assert left_in(tmp_path) == ["out.rejected.jsonl", "rows.jsonl"]
    assert len((tmp_path / "out.rejected.jsonl").read_text().splitlines()) == 120
    few = write(tmp_path / "few.jsonl", [*good[:4], *[b"{}"] * 4])  # too few to judge
    assert prepare("--source", few, "--output_dir", tmp_path / "out").returncode == 0
    assert prepare("--source", source, "--output_dir", tmp_path / "out", "--max_rejected", 0.13).returncode == 0


def test_sources_that_cannot_be_read_publish_nothing(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    whole = gzip.compress(b"".join(lines_of("synthetic:2000")), compresslevel=1)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "bad.jsonl", [b"{}"])
    before = left_in(tmp_path)
    for name, word in {
        "empty.jsonl": "empty",
        "none.jsonl": "no such",
        "cut.jsonl.gz": "cut short",
        "bad.jsonl": "no good row in it; the first:",
    }.items():
        result = (
            prepare("--source", "synthetic:10", tmp_path / name, "--output_dir", tmp_path / "out")
            if name != "bad.jsonl"
            else prepare("--source", tmp_path / name, "--output_dir", tmp_path / "out")
        )
        assert_refused(result, name, word)
    assert left_in(tmp_path) == sorted([*before, "out.rejected.jsonl"])
    assert json.loads((tmp_path / "out.rejected.jsonl").read_text())["line"] == 1


def test_a_kill_leaves_the_older_dataset_whole(tmp_path):
    out = tmp_path / "out"
    assert prepare("--source", "synthetic:30", "--output_dir", out).returncode == 0
    before = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    process = warm.start("prepare_dataset.py", "--source", "synthetic:500000", "--output_dir", out)
    import psutil

    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.building-*/large/*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    assert {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive  # no worker waits for ever for a parent that is gone
    assert prepare("--source", "synthetic:20", "--output_dir", out).returncode == 0
    assert left_in(tmp_path) == ["out"]  # what the killed run left is gone, too


def test_synthetic_rows_say_so_and_parquet_goes_round(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert prepare("--source", "synthetic:300:2", "--output_dir", first).returncode == 0
    assert "> **Synthetic rows.**" in (first / "README.md").read_text()
    files = sorted((first / "large").glob("*.parquet"))
    assert json.loads(pq.read_schema(files[0]).metadata[b"geograph"])["synthetic"] is True
    result = prepare("--source", *files, "--output_dir", second)
    assert result.returncode == 0, result.stderr
    assert "> **Synthetic rows.**" in (second / "README.md").read_text()
    for file in files:
        assert pq.read_table(file).equals(pq.read_table(second / "large" / file.name))


def test_titles_that_come_late_give_all_files_the_column(tmp_path, monkeypatch):
    from geograph_types.dataset import writer
    from geograph_types.dataset.arguments import PrepareArguments
    from geograph_types.dataset.building import build
    from geograph_types.rows.workers import ParserPool

    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 64)
    monkeypatch.setattr(writer, "GROUPS_A_SHARD", (1, 8))
    rows = rows_of("synthetic:2400")
    rows[2300]["title"] = "The only one"
    source = write(tmp_path / "rows.jsonl", rows)
    (tmp_path / "out").mkdir()
    with ParserPool() as pool:
        build(PrepareArguments([str(source)], small=300, medium=1000), tmp_path / "out", pool)
    files = sorted((tmp_path / "out" / "large").glob("train-*.parquet"))
    assert len(files) > 3
    titles = [
        title
        for file in sorted((tmp_path / "out").glob("large/*"))
        for title in pq.read_table(file)["title"].to_pylist()
    ]
    assert [title for title in titles if title] == ["The only one"]
    order = [row["gridimage_id"] for row in rows if row["split"] == "tra"]
    assert ids_in(tmp_path / "out", "large")["train"] == order
    assert set(ids_in(tmp_path / "out", "medium")["train"]) < set(order)


def test_a_source_is_read_once_and_its_rows_are_not_kept(tmp_path, monkeypatch):
    """What keeps memory flat, without a clock: bytes read, and bytes held while blocks go by."""
    import tracemalloc

    import pyarrow as pa

    from geograph_types.dataset import building, writer
    from geograph_types.dataset.arguments import PrepareArguments
    from geograph_types.rows import workers
    from geograph_types.rows.workers import ParserPool

    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 256)
    source, read, held = tmp_path / "rows.jsonl", [], []
    source.write_bytes(b"".join(lines_of("synthetic:12000")))
    stretches_of, keep_new = workers.stretches_of, building.keep_new

    def counted(*which):
        for stretch in stretches_of(*which, 2 << 20):
            read.append(stretch.stop - stretch.start)
            yield stretch

    def weighed(block, *others):
        held.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes())
        return keep_new(block, *others)

    monkeypatch.setattr(workers, "stretches_of", counted)
    monkeypatch.setattr(building, "keep_new", weighed)
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    try:
        with ParserPool(1) as pool:
            building.build(PrepareArguments([str(source)]), tmp_path / "out", pool)
    finally:
        tracemalloc.stop()
    assert sum(read) == source.stat().st_size
    middle = len(held) // 2
    assert middle > 6  # by then as many row groups are on their way as ever will be
    assert held[-1] - held[middle] < 3_000_000, "the rows since are 12 MB of vectors"


LOADED = """
import runpy, sys
sys.argv = ["prepare_dataset.py", "--source", "synthetic:200", "--small", "20", "--medium", "90"]
try:
    runpy.run_module("prepare_dataset", run_name="__main__")
finally:
    heavy = {"pandas", "matplotlib", "datasets", "torch", "transformers", "huggingface_hub.hf_api"}
    print("loaded:", *heavy & sys.modules.keys())
"""


def test_no_library_is_loaded_that_takes_longer_than_the_work(tmp_path):
    """`pa.array`, `to_numpy` and `fill_null` load pandas, and the Hub's client much that nobody needs here."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "loaded:"


def test_normalised_vectors_are_refused_or_said(tmp_path, capsys):
    from geograph_types.dataset.arguments import PrepareArguments
    from geograph_types.dataset.building import build
    from geograph_types.rows.workers import ParserPool

    rows = rows_of("synthetic:40")
    for row in rows:
        vector = np.frombuffer(base64.b64decode(row["embeddings"]), "<f4")
        row["embeddings"] = base64.b64encode((vector / np.linalg.norm(vector)).tobytes()).decode()
    args = PrepareArguments([str(write(tmp_path / "rows.jsonl", rows))])
    for name, allowed in (("refused", False), ("allowed", True)):
        (tmp_path / name).mkdir()
        args.allow_normalised = allowed
        with ParserPool(1) as pool:
            if allowed:
                build(args, tmp_path / name, pool)
            else:
                with pytest.raises(CommandError, match=r"look normalised \(median length 1.00.*--allow_normalised"):
                    build(args, tmp_path / name, pool)
    text = (tmp_path / "allowed" / "README.md").read_text()
    assert "between 1.00 and 1.00" in text
    assert "**They are normalised.**" in text
    mixed = rows[:15] + rows_of("synthetic:40")[15:]
    args = PrepareArguments([str(write(tmp_path / "mixed.jsonl", mixed))])
    (tmp_path / "mixed").mkdir()
    with ParserPool(1) as pool:
        build(args, tmp_path / "mixed", pool)
    assert "**But 15 of them look normalised**" in (tmp_path / "mixed" / "README.md").read_text()
    assert "warning: 15 of 40 vectors look normalised" in capsys.readouterr().err


def test_the_card_tells_the_measured_norm(prepared, source_rows):
    norms = [np.linalg.norm(np.frombuffer(base64.b64decode(row["embeddings"]), "<f4")) for row in source_rows]
    text = (prepared / "README.md").read_text()
    assert "between {:.2f} and {:.2f}".format(*np.percentile(norms, [5, 95])) in text
    assert "**not normalised**" in text


def test_no_secret_and_no_markup_of_a_source_reaches_the_card():
    from geograph_types.dataset.card import _sources

    shown = _sources(
        [
            "https://me:secret@example.org/a/rows.jsonl?token=hidden#frag",
            "s3://key:hidden@bucket/rows.parquet",
            "/home/me/private/<img src=x>`*b*`{{ y }}\x1b[31m.jsonl",
            "-",
            "synthetic:20",
        ]
    )
    assert shown == (
        "`https://example.org/a/rows.jsonl`, `s3://bucket/rows.parquet`, "
        "`` <img src=x>`*b*`{ { y }}\\x1b[31m.jsonl ``, standard input, `synthetic:20`"
    )


def test_wrong_usage():
    assert prepare("--source", "synthetic:5", "--small", "9", "--medium", "3").returncode == 2
    assert prepare().returncode == 2


def test_the_shared_rows(shared, tmp_path):
    result = prepare("--source", shared / "data" / "geograph_rows.jsonl.gz", "--output_dir", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    rows = read_parquet(sorted((tmp_path / "out" / "large").glob("*.parquet")))
    assert len(rows) == 8000
    assert not (tmp_path / "out" / "rejected.jsonl").read_text()
