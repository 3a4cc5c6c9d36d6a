"""Reading and answering published Parquet, against reading it and one bare forward; both whole processes.

    .venv/bin/python -m benchmarks.predict [--rows 240000] [--pairs 3]

The baseline loads the model as users do, reads the same columns with pyarrow, and runs the model once over them in
batches of the same size; it checks nothing, decides nothing and writes nothing. Ours is predict.py. Start included.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import in_turn, note, run_whole
from benchmarks.prepare import prepare, write_rows
from benchmarks.startup import make_model
from geograph_types.files import ROOT

# Batch by batch is the fastest plain way measured: `read_table` reaches half of it, as its memory is all new.
BARE = """
import sys, warnings
import pyarrow.parquet as pq, torch
from pathlib import Path
from transformers import AutoModel
warnings.filterwarnings("ignore")
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
rows = 0
with torch.inference_mode():
    for path in sorted(Path(sys.argv[2]).glob("large/*.parquet")):
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(4096, columns=["gridimage_id", "distance_bucket", "embedding"]):
                vectors = batch.column("embedding").flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
                distance = torch.from_numpy(batch.column("distance_bucket").to_numpy(zero_copy_only=False)).long()
                rows += len(model(embedding=torch.from_numpy(vectors), distance=distance).logits.sigmoid())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=240_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--output_suffix", default=".parquet", choices=(".parquet", ".jsonl", ".csv"))
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as scratch:
        folder = Path(scratch)
        run_whole(prepare(write_rows(folder, flags.rows), folder))
        dataset, model = folder / "geograph-types", make_model(folder)
        output = folder / f"answers{flags.output_suffix}"
        own = [sys.executable, ROOT / "predict.py", "--model", model, "--input", dataset, "--output", output]
        bare = [sys.executable, "-c", BARE, model, dataset]
        run_whole(bare)  # the files are in memory from here on, for both
        memory = []

        def ours() -> float:
            output.unlink(missing_ok=True)
            seconds, peak, _ = run_whole(own)
            memory.append(peak / 2**20)
            return seconds

        pairs = in_turn(lambda: run_whole(bare)[0], ours, flags.pairs)
    note("predict, rows/s", [flags.rows / own for _, own in pairs], "rows/s", rows=flags.rows)
    note("predict against reading and one forward", [base / own for base, own in pairs], goal="≥ 1.0")
    note("predict, peak memory", memory, "MiB", goal="≤ 700")


if __name__ == "__main__":
    main()
