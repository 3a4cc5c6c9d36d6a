"""A Ray cluster of several node processes on this machine: predict.py and prepare_dataset.py on it, a node killed.

    .venv/bin/python -m benchmarks.cluster [--rows 60000] [--files 6] [--nodes 3]

One head and several more nodes, a CPU each and a raylet of its own, as many machines would have; the commands join
them by `--ray_address`. When the first part of the answers is there, a node that holds a model is ended by `kill -9`,
its workers with it. The answers are compared with the local engine's, value by value, and the dataset bit by bit. All
nodes share the cores of one machine, so the seconds say what Ray costs, not what machines bring.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import note, run_whole
from benchmarks.prepare import write_rows
from benchmarks.startup import make_model
from geograph_types.files import ROOT

PORT = 6399
# Any free ports for the workers: several nodes of one machine would take the same ones otherwise.
NODE = (
    "--block", "--node-ip-address=127.0.0.1", "--num-cpus=1", "--min-worker-port=0", "--max-worker-port=0",
    "--disable-usage-stats",
)  # fmt: skip
MEMORY = 200 << 20  # of each node's object store: only numbers travel through it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--files", type=int, default=6, help="as many units of work")
    parser.add_argument("--nodes", type=int, default=3, help="besides the head")
    flags = parser.parse_args()
    # Ray's nodes ask for a token; this one dies with the cluster.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as name:
        folder = Path(name)
        model, sources = make_model(folder), divided(write_rows(folder, flags.rows), flags.files)
        with cluster(folder, flags.nodes) as nodes:
            ask(flags, folder, model, sources, nodes)
            prepare(flags, folder, sources, len(nodes))


def divided(source: Path, files: int) -> list[Path]:
    """The rows in several files of their own."""
    lines = source.read_bytes().splitlines(keepends=True)
    source.unlink()
    found, share = [], -(-len(lines) // files)
    for number in range(files):
        found.append(source.with_name(f"rows-{number}.jsonl"))
        found[-1].write_bytes(b"".join(lines[share * number : share * (number + 1)]))
    return found


@contextmanager
def cluster(folder: Path, count: int):
    """The nodes besides the head, as the processes that `ray start --block` is."""
    ray, common = Path(sys.executable).with_name("ray"), [*NODE, f"--object-store-memory={MEMORY}"]
    head = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder / 'ray'}"]
    nodes: list[subprocess.Popen] = []
    with (folder / "ray.log").open("w") as log:
        options = {"stdout": log, "stderr": log}
        try:
            nodes.append(subprocess.Popen([ray, "start", *head, *common], **options))
            wait_for(lambda: raylet_of(nodes[0]), folder, nodes)
            for _ in range(count):
                nodes.append(subprocess.Popen([ray, "start", f"--address={address()}", *common], **options))
            wait_for(lambda: all(map(raylet_of, nodes)), folder, nodes)
            yield nodes[1:]
        finally:
            for node in nodes:
                kill(node)


def address() -> str:
    return f"127.0.0.1:{PORT}"


def raylet_of(node: subprocess.Popen) -> psutil.Process | None:
    return next((p for p in below(node) if p.name() == "raylet"), None)


def below(node: subprocess.Popen) -> list[psutil.Process]:
    try:
        return psutil.Process(node.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def words_of(process: psutil.Process) -> str:
    """Its command line; none where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def wait_for(what, folder: Path, nodes: list[subprocess.Popen]) -> None:
    end = time.monotonic() + 180
    while not what():
        if time.monotonic() > end or any(node.poll() is not None for node in nodes):
            raise SystemExit(f"a node did not start:\n{(folder / 'ray.log').read_text()[-2000:]}")
        time.sleep(0.2)


def kill(node: subprocess.Popen) -> None:
    """The raylet, its workers and what started them, at once."""
    for process in [*below(node), psutil.Process(node.pid)] if node.poll() is None else []:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    node.wait()


def ask(flags, folder: Path, model: Path, sources: list[Path], nodes: list[subprocess.Popen]) -> None:
    """predict.py here and on the cluster, where a node is killed on the way."""
    command = [sys.executable, ROOT / "predict.py", "--model", model, "--input", *sources, "--output"]
    seconds, _, _ = run_whole([*command, folder / "answers.parquet"])
    note("predict, local engine", [seconds], "s", rows=flags.rows)
    start, in_all, output = time.perf_counter(), len(nodes), folder / "answers"
    with (folder / "predict.log").open("w+") as log:
        run = subprocess.Popen(
            [*command, output, "--engine", "ray", "--ray_address", address()], stdout=log, stderr=log
        )
        killed = "nothing was killed"
        while run.poll() is None:
            done = len(list(output.glob("part-*.parquet")))
            busy = [node for node in nodes if any("MapWorker" in words_of(p) for p in below(node))]
            if done and busy and len(nodes) == in_all:
                kill(busy[-1])
                nodes.remove(busy[-1])
                killed = f"a node of {in_all} besides the head, after {done} of {flags.files} parts"
            time.sleep(0.02)
        if run.returncode:
            log.seek(0)
            raise SystemExit(f"predict.py: exit status {run.returncode}\n{log.read()[-2000:]}")
    found = pa.concat_tables(pq.read_table(path) for path in sorted(output.glob("part-*.parquet")))
    same = equal(found.sort_by("input_row"), pq.read_table(folder / "answers.parquet"))
    note("predict, on the cluster", [time.perf_counter() - start], "s", rows=flags.rows, killed=killed, answers=same)


def equal(ours: pa.Table, local: pa.Table) -> str:
    """Whether each row is there once, in order, with the local engine's values."""
    if ours["input_row"].to_pylist() != list(range(len(local))):
        return "DIFFERENT: rows lost or doubled"
    ours, furthest = ours.drop_columns(["input_row"]), 0.0
    for name in local.column_names:
        if name == "scores":
            for a, b in zip(
                ours[name].combine_chunks().flatten(), local[name].combine_chunks().flatten(), strict=True
            ):
                furthest = max(furthest, abs(a.to_numpy() - b.to_numpy()).max())
        elif ours[name].to_pylist() != local[name].to_pylist():
            return f"DIFFERENT: {name}"
    return f"equal, probabilities to {furthest:.0e}" if furthest < 1e-6 else f"DIFFERENT: scores, by {furthest:.0e}"


def prepare(flags, folder: Path, sources: list[Path], left: int) -> None:
    """prepare_dataset.py here and on the nodes that are left."""
    command = [sys.executable, ROOT / "prepare_dataset.py", "--source", *sources, "--output_dir"]
    note("prepare, local engine", [run_whole([*command, folder / "local"])[0]], "s", rows=flags.rows)
    cluster = [folder / "cluster", "--engine", "ray", "--ray_address", address()]
    seconds, _, _ = run_whole([*command, *cluster])
    same = contents_of(folder / "local") == contents_of(folder / "cluster")
    note("prepare, on the cluster", [seconds], "s", rows=flags.rows, nodes=left + 1,
         dataset="equal, bit for bit" if same else "DIFFERENT")  # fmt: skip


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    main()
