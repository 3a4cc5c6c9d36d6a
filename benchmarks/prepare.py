"""How fast and in how much memory prepare_dataset.py works, against the plain way that a user would write.

    .venv/bin/python -m benchmarks.prepare [--rows 60000] [--pairs 3] [--million]

The plain way: load_dataset("json"), map with base64.b64decode, filter by split, to_parquet; one config, where the
command writes three. Both are whole processes, start included, taken in turn; the ratio is the median of pairs. The
bare work: processes, one a core, that only parse, decode and write one config's vectors, without a check. Peak memory
is that of the command and its workers together, pages that they share counted once (PSS), at N and 4N rows.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import note, run_whole
from geograph_types.files import ROOT

PLAIN = """
import base64, sys
import numpy as np
from datasets import load_dataset
source, output = sys.argv[1:]
rows = load_dataset("json", data_files=source, split="train")
rows = rows.map(lambda row: {"embedding": np.frombuffer(base64.b64decode(row["embeddings"]), "<f4")},
                remove_columns=["embeddings"])
for split in ("tra", "val", "tes"):
    rows.filter(lambda found: found == split, input_columns=["split"]).to_parquet(f"{output}/{split}.parquet")
"""

BARE = """
import multiprocessing, os, sys
import numpy as np, orjson, pyarrow as pa, pyarrow.parquet as pq, pybase64
source, output = sys.argv[1:]
cores = os.cpu_count()

def work(core):
    writer, size = None, os.path.getsize(source)
    with open(source, "rb") as file:
        file.seek(size * core // cores)
        if core:
            file.readline()
        while (left := size * (core + 1) // cores - file.tell()) > 0:
            rows = [orjson.loads(line) for line in file.readlines(min(left, 12 << 20))]
            vectors = np.empty((len(rows), 512), "<f4")
            for place, row in enumerate(rows):
                vectors[place] = np.frombuffer(pybase64.b64decode(row["embeddings"], validate=True), "<f4")
            numbers = pa.Array.from_buffers(pa.float32(), vectors.size, [None, pa.py_buffer(vectors)])
            table = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(numbers, 512)})
            options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
            writer = writer or pq.ParquetWriter(f"{output}/{core}.parquet", table.schema, **options)
            writer.write_table(table)
    writer and writer.close()

processes = [multiprocessing.Process(target=work, args=[core]) for core in range(cores)]
[process.start() for process in processes]
[process.join() for process in processes]
sys.exit(max(process.exitcode for process in processes))
"""

# Of a run of a second not every moment is looked at: the most of some.
SHORT_RUNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--plain_rows", type=int, help="fewer for the plain way, which is slow (four times --rows)")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--million", action="store_true", help="memory at 1,000,000 rows, too (3 GB on the disk)")
    flags = parser.parse_args()
    plain_rows = flags.plain_rows or 4 * flags.rows  # as many: its start would weigh more on fewer
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as name:
        folder = Path(name)
        few, some, many = (write_rows(folder, n) for n in (plain_rows, flags.rows, 4 * flags.rows))
        (folder / "plain").mkdir()
        ratios, rates, growth, bare = [], [], [], []
        for _ in range(flags.pairs):
            plain = plain_rows / run_whole([sys.executable, "-c", PLAIN, few, folder / "plain"])[0]
            memory = max(run_whole(prepare(some, folder))[1] for _ in range(SHORT_RUNS))
            seconds, long_memory, _ = run_whole(prepare(many, folder))
            rates.append(4 * flags.rows / seconds)
            ratios.append(rates[-1] / plain)
            growth.append(long_memory / memory)
            bare.append(run_whole([sys.executable, "-c", BARE, many, folder / "plain"])[0] / seconds)
        note("prepare, rows/s", rates, "rows/s", rows=4 * flags.rows)
        note("prepare against the plain way", ratios, goal="≥ 12", rows=4 * flags.rows)
        note("prepare beside the bare work on all cores", bare, rows=4 * flags.rows)
        note("prepare, memory at four times the rows", growth, goal="≤ 1.10", MiB=long_memory >> 20)
        if flags.million:
            many.unlink()
            _, most, _ = run_whole(prepare(write_rows(folder, 1_000_000), folder))
            note("prepare, memory at 1,000,000 rows", [most / memory], goal="≤ 1.10", MiB=most >> 20)


def write_rows(folder: Path, count: int) -> Path:
    from geograph_types.rows.synthetic import lines_of

    path = folder / f"{count}.jsonl"
    with path.open("wb") as file:
        file.writelines(lines_of(f"synthetic:{count}"))
    return path


def prepare(source: Path, folder: Path) -> list:
    return [sys.executable, ROOT / "prepare_dataset.py", "--source", source, "--output_dir", folder / "geograph-types"]


if __name__ == "__main__":
    main()
