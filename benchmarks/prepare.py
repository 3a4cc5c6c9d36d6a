"""How fast and in how much memory prepare_dataset.py works, against the plain way that a user would write.

    python -m benchmarks.prepare [--rows 60000] [--pairs 3]

The plain way: load_dataset("json"), map with base64.b64decode, filter by split, to_parquet; one config, where the
command writes three. Both are whole processes, start included, taken in turn; the ratio is the median of pairs. Peak
memory is that of the command and its workers together, pages that they share counted once (PSS), at N and 4N rows.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent

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
    parser.add_argument("--plain_rows", type=int, default=20_000, help="the plain way is slow")
    parser.add_argument("--pairs", type=int, default=3)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as name:
        folder = Path(name)
        few, some, many = (
            write_rows(folder / f"{n}.jsonl", n) for n in (flags.plain_rows, flags.rows, 4 * flags.rows)
        )
        ratios, rates = [], []
        for _ in range(flags.pairs):
            seconds, _ = timed([sys.executable, "-c", PLAIN, str(few), str(plain_folder(folder))], folder)
            plain = flags.plain_rows / seconds
            seconds, memory = timed(prepare(some, folder), folder)
            long_seconds, long_memory = timed(prepare(many, folder), folder)
            rates.append(4 * flags.rows / long_seconds)
            ratios.append(rates[-1] / plain)
            print(
                f"plain {plain:,.0f} rows/s; prepare_dataset.py {flags.rows / seconds:,.0f} rows/s at {flags.rows:,}, "
                f"{rates[-1]:,.0f} at {4 * flags.rows:,}: {ratios[-1]:.1f} times; without its start "
                f"{3 * flags.rows / (long_seconds - seconds):,.0f} rows/s; "
                f"peak {memory >> 20} and {long_memory >> 20} MiB ({long_memory / memory:.2f} times)"
            )
    print(f"median: {median(rates):,.0f} rows/s, {median(ratios):.1f} times the plain way (target 8)")


def write_rows(path: Path, count: int) -> Path:
    from geograph_types.rows.synthetic import lines_of

    with path.open("wb") as file:
        file.writelines(lines_of(f"synthetic:{count}"))
    return path


def prepare(source: Path, folder: Path) -> list[str]:
    output = str(folder / "geograph-types")
    return [sys.executable, str(ROOT / "prepare_dataset.py"), "--source", str(source), "--output_dir", output]


def plain_folder(folder: Path) -> Path:
    (folder / "plain").mkdir(exist_ok=True)
    return folder / "plain"


def timed(command: list[str], folder: Path) -> tuple[float, int]:
    """Seconds, and the peak of the memory (bytes) that a command and its children use."""
    import psutil

    cache = tempfile.mkdtemp(dir=folder)  # datasets must not find the rows of an earlier run in its cache
    environment = os.environ | {"HF_HOME": cache, "HF_DATASETS_CACHE": cache, "HF_HUB_OFFLINE": "1"}
    start, peak = time.perf_counter(), 0
    process = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, memory_of(process))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{command[1]}: exit status {process.returncode}")
    return time.perf_counter() - start, peak


def memory_of(process) -> int:
    import psutil

    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += getattr(one.memory_full_info(), "pss", 0) or one.memory_info().rss
    except psutil.Error:
        pass  # it ended meanwhile
    return total


if __name__ == "__main__":
    main()
