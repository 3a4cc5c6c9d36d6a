"""The same answers from several processes, whatever dies on the way: a real Ray on this machine."""

import os
import signal
import time

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configuration_geograph import GeographConfig
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.prediction import units
from geograph_types.prediction.inputs import open_input
from geograph_types.rows.synthetic import lines_of
from modeling_geograph import GeographModel
from tests.support import warm

ROWS = 3000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, 3,000 rows as JSONL, and what the local engine answers."""
    place = tmp_path_factory.mktemp("ray")
    save_model_repository(GeographModel(GeographConfig()), place / "model")
    with (place / "rows.jsonl").open("wb") as file:
        file.writelines(lines_of(f"synthetic:{ROWS}"))
    with (place / "rows.jsonl").open("a") as file:
        file.write('{"gridimage_id": 5, "embeddings": "broken"}\n')
    predict(place, "--input", place / "rows.jsonl", "--output", place / "local.parquet")
    return place


def predict(place, *flags) -> str:
    done = warm.run("predict.py", "--model", place / "model", *flags)
    assert done.returncode == 0, done.stderr
    return done.stderr


def answers_of(folder) -> pa.Table:
    table = pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("part-*.parquet")))
    table = table.sort_by("input_row")
    assert table["input_row"].to_pylist() == list(range(len(table))), "each row once, in the order of the input"
    return table.drop_columns(["input_row"])


def same(ours: pa.Table, local: pa.Table) -> None:
    assert ours.column_names == local.column_names
    for name in ("gridimage_id", "types", "cross_grid", "note"):
        assert ours[name].to_pylist() == local[name].to_pylist(), name
    # The line is that of each part's own file.
    found, expected = ([text and text.split(": ", 1)[1] for text in t["error"].to_pylist()] for t in (ours, local))
    assert found == expected
    for found, expected in zip(ours["scores"].to_pylist(), local["scores"].to_pylist(), strict=True):
        assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_units_cover_every_row_once(place, monkeypatch):
    monkeypatch.setattr(units, "BYTES_A_UNIT", 1_000_000)
    monkeypatch.setattr(units, "BYTES_A_READ", 100_000)
    found = units.divide(open_input([str(place / "rows.jsonl")]), 100)
    assert len(found) > 5
    assert [unit.first_row for unit in found[1:]] == [a.first_row + a.rows for a in found[:-1]]
    assert sum(unit.rows for unit in found) == ROWS + 1
    assert found[-1].first_line == found[-1].first_row + 1


def test_addresses_of_folders_and_patterns_become_their_files(place):
    assert units.expanded([f"file://{place}/*.jsonl"]) == [f"file://{place}/rows.jsonl"]
    assert units.expanded(["rows.jsonl", "https://host/x.jsonl"]) == ["rows.jsonl", "https://host/x.jsonl"]


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(place, tmp_path):
    pytest.importorskip("ray")
    for number in range(3):  # several files, so that there are several units
        lines = (place / "rows.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / f"rows-{number}.jsonl").write_bytes(b"".join(lines[1000 * number : 1000 * (number + 1)]))
    (tmp_path / "rows-3.jsonl").write_bytes(lines[-1])
    flags = ("--engine", "ray", "--input", f"file://{tmp_path}/rows-*.jsonl", "--output", tmp_path / "answers")
    run = warm.start("predict.py", "--model", place / "model", *flags)
    killed = kill_a_worker(run)
    said = run.communicate(timeout=400)[1]
    assert run.returncode == 0, said
    assert killed, "a worker was there to be killed"
    same(answers_of(tmp_path / "answers"), pq.read_table(place / "local.parquet"))
    # What is missing, and only that, is done by the same command.
    gone = tmp_path / "answers" / "part-00001.parquet"
    kept = (tmp_path / "answers" / "part-00002.parquet").stat().st_mtime_ns
    gone.unlink()
    assert "3 of 4 parts are there" in predict(place, *flags)
    assert (tmp_path / "answers" / "part-00002.parquet").stat().st_mtime_ns == kept
    same(answers_of(tmp_path / "answers"), pq.read_table(place / "local.parquet"))


def kill_a_worker(run: warm.Process) -> bool:
    """`kill -9` on an actor that holds a model, as soon as there is one."""
    end = time.monotonic() + 300
    while run.poll() is None and time.monotonic() < end:
        for process in psutil.Process(run.pid).children(recursive=True):
            try:
                if "ray::" in " ".join(process.cmdline()) and "MapWorker" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)
                    return True
            except (psutil.Error, ProcessLookupError):
                continue
        time.sleep(0.05)
    return False
