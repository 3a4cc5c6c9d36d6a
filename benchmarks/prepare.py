"""How fast and in how much memory prepare_dataset.py works, against the plain way that a user would write.

    .venv/bin/python -m benchmarks.prepare [--rows 60000] [--pairs 3] [--million]

The plain way: load_dataset("json"), map with base64.b64decode, filter by split, to_parquet; one config, where the
command writes three. Both are whole processes, start included, taken in turn; the ratio is the median of pairs. Peak
memory is that of the command and its workers together, pages that they share counted once (PSS), at N and 4N rows.
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
        ratios, rates, growth = [], [], []
        for _ in range(flags.pairs):
            plain = plain_rows / run_whole([sys.executable, "-c", PLAIN, few, folder / "plain"])[0]
            _, memory, _ = run_whole(prepare(some, folder))
            seconds, long_memory, _ = run_whole(prepare(many, folder))
            rates.append(4 * flags.rows / seconds)
            ratios.append(rates[-1] / plain)
            growth.append(long_memory / memory)
        note("prepare, rows/s", rates, "rows/s", rows=4 * flags.rows)
        note("prepare against the plain way", ratios, goal="≥ 12", rows=4 * flags.rows)
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
