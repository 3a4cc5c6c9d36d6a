"""The same answers and the same dataset from several processes, whatever dies on the way: a real Ray on this machine.

Ray is started once, by the code that starts it where no cluster is named; the commands join it by its address.
"""

import gzip
import os
import signal
import threading
import time

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configuration_geograph import GeographConfig
from geograph_types.dataset.arguments import PrepareArguments
from geograph_types.dataset.ray_engine import Reading, Settings
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.prediction import units
from geograph_types.prediction.inputs import open_input
from geograph_types.ray_jobs import session
from geograph_types.rows.block_files import read_blocks
from geograph_types.rows.synthetic import lines_of
from modeling_geograph import GeographModel
from tests.support import warm
from tests.support.commands import in_process, made_dataset
from tests.support.photo_factory import landscape
from tests.support.tiny_tower import make_tiny_tower

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


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray on this machine."""
    pytest.importorskip("ray")
    with session(None) as ray:
        yield ray.get_runtime_context().gcs_address


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
def test_a_killed_worker_loses_and_doubles_nothing(place, tmp_path, cluster):
    for number in range(3):  # several files, so that there are several units
        lines = (place / "rows.jsonl").read_bytes().splitlines(keepends=True)
        (tmp_path / f"rows-{number}.jsonl").write_bytes(b"".join(lines[1000 * number : 1000 * (number + 1)]))
    (tmp_path / "rows-3.jsonl").write_bytes(lines[-1])
    flags = ("--engine", "ray", "--ray_address", cluster, "--output", tmp_path / "answers")
    flags = (*flags, "--input", f"file://{tmp_path}/rows-*.jsonl")
    run_and_kill("predict.py", "--model", place / "model", *flags)
    same(answers_of(tmp_path / "answers"), pq.read_table(place / "local.parquet"))
    # What is missing, and only that, is done by the same command.
    gone = tmp_path / "answers" / "part-00001.parquet"
    kept = (tmp_path / "answers" / "part-00002.parquet").stat().st_mtime_ns
    gone.unlink()
    assert "3 of 4 parts are there" in predict(place, *flags)
    assert (tmp_path / "answers" / "part-00002.parquet").stat().st_mtime_ns == kept
    same(answers_of(tmp_path / "answers"), pq.read_table(place / "local.parquet"))


def run_and_kill(*command: object) -> None:
    """Runs a command, with `kill -9` on one of its workers as soon as there is one."""
    run = warm.start(*command)
    killed = kill_a_worker(run)
    said = run.communicate(timeout=400)[1]
    assert run.returncode == 0, said
    assert killed, "a worker was there to be killed"


def kill_a_worker(run: warm.Process) -> bool:
    end = time.monotonic() + 300
    while run.poll() is None and time.monotonic() < end:
        for process in psutil.Process().children(recursive=True):
            try:
                if "ray::" in " ".join(process.cmdline()) and "MapWorker" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)
                    return True
            except (psutil.Error, ProcessLookupError):
                continue
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """JSONL with bad rows, Parquet, a table of photos with titles, and the tower for these."""
    folder = tmp_path_factory.mktemp("sources")
    lines = b"".join(lines_of("synthetic:3000:2")).splitlines(keepends=True)
    bad = [b'{"gridimage_id": 5, "embeddings": "broken"}\n', b"nonsense\n", lines[7]]
    (folder / "a.jsonl").write_bytes(b"".join([*lines[:1500], *bad]))
    (folder / "rest.jsonl").write_bytes(b"".join(lines[1500:]))
    made = made_dataset(folder / "rest", folder / "rest.jsonl")
    next(made.glob("large/train-*.parquet")).rename(folder / "b.parquet")
    table = ["path,gridimage_id,types,distance,title"]
    for number in range(6):
        landscape(120, 90, number).save(folder / f"{number}.png")
        table.append(f"{number}.png,{50_000_000 + number},Inside,16,Photo {number}")
    (folder / "c.csv").write_text("\n".join([*table, "none.png,60000000,Inside,16,", "1.png,60000001,Outside,16,"]))
    make_tiny_tower(folder / "tower")
    return folder


def flags_of(sources) -> list:
    names = [sources / name for name in ("a.jsonl", "b.parquet", "c.csv")]
    return ["--source", *names, "--vision_model", sources / "tower", "--small", 300, "--medium", 1000]


def contents_of(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_dataset_is_the_same_bit_for_bit(sources, tmp_path, cluster):
    local = in_process("prepare_dataset", *flags_of(sources), "--output_dir", tmp_path / "local")
    assert local.returncode == 0, local.stderr
    ray = ("--output_dir", tmp_path / "ray", "--engine", "ray", "--ray_address", cluster)
    run_and_kill("prepare_dataset.py", *flags_of(sources), *ray)
    expected = contents_of(tmp_path / "local")
    assert expected["rejected.jsonl"].count(b"\n") == 5
    assert contents_of(tmp_path / "ray") == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["local", "ray"]


def test_a_worker_says_in_one_line_what_it_could_not_read(sources, tmp_path):
    (tmp_path / "cut.jsonl").write_bytes((sources / "a.jsonl").read_bytes()[:4_000_000] + b'{"gridimage_id": 7')
    packed = gzip.compress((tmp_path / "cut.jsonl").read_bytes())
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) - 20])
    origins = tuple((name, str(tmp_path / name)) for name in ("cut.jsonl.gz", "gone.jsonl"))
    work = Reading(Settings(str(tmp_path), origins, 512, PrepareArguments(["x"])))
    assert work(0) == {"number": 0, "error": "cut.jsonl.gz: cut short: its compressed data end early; fetch it again"}
    assert sum(map(len, read_blocks(tmp_path / "000000.arrow"))) > 100, "what stood before that is there"
    assert work(1)["error"] == f"{tmp_path / 'gone.jsonl'}: no such file or folder"


def test_what_other_processes_cannot_read_is_refused(tmp_path):
    flags = ("--source", "-", "--engine", "ray", "--output_dir", tmp_path / "out")
    assert "standard input" in in_process("prepare_dataset", *flags).last_line
    os.mkfifo(tmp_path / "pipe")
    fill = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b'{"gridimage_id": 1, "embedding": []}\n',))
    fill.start()
    done = in_process("prepare_dataset", "--source", tmp_path / "pipe", *flags[2:])
    fill.join()
    assert done.returncode == 1
    assert done.last_line.endswith("a stream, which other processes cannot read; name a file")
    assert not (tmp_path / "out").exists()
