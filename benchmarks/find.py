"""find_photos.py beside reading the same columns of the same Parquet.

    .venv/bin/python -m benchmarks.find [--rows 100000] [--pairs 5]

The baseline reads each batch's numbers, tags and vectors with pyarrow and touches every vector once (their sum, as
Arrow hands out memory that was never read otherwise); for a search by a model it runs the model once over them. Ours
is the whole search for 200 photos, by likeness to twenty others and by a model's probability, but for starting Python
and loading the model. The target is 0.8.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.measuring import in_turn, note
from geograph_types.dataset.row_groups import open_writer
from geograph_types.rows.published import schema
from geograph_types.search.finding import find
from geograph_types.search.scoring import Likeness, Probability
from modeling_geograph import GeographModel

DIM, GROUP = 512, 4096


def write_rows(path: Path, rows: int) -> None:
    """Published Parquet of random vectors."""
    generator, arrow = np.random.default_rng(0), schema(False, True)
    with open_writer(path, arrow) as writer:
        for start in range(0, rows, GROUP):
            n = min(GROUP, rows - start)
            vectors = generator.standard_normal((n, DIM), dtype=np.float32) * 0.45
            columns = {
                "gridimage_id": pa.array(np.arange(start + 1, start + n + 1)),
                "types": pa.array([[6]] * n, pa.list_(pa.int64())),
                "distance": pa.array(["16"] * n),
                "distance_bucket": pa.array(np.full(n, 5, np.int8)),
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
                "weight": pa.array(np.ones(n, np.float32)),
            }
            writer.write_table(pa.Table.from_arrays([columns[name] for name in arrow.names], schema=arrow))


def read(path: Path, model=None) -> float:
    """Seconds to read what a search needs; with a model, and to run it once over the vectors."""
    start = time.perf_counter()
    columns = ["gridimage_id", "types", "distance_bucket", "embedding"]
    with torch.inference_mode(), pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(GROUP, columns=columns):
            vectors = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
            if model is None:
                vectors.sum()
                continue
            bucket = torch.from_numpy(batch.column("distance_bucket").to_numpy(zero_copy_only=False)).int()
            model(embedding=torch.from_numpy(vectors.reshape(len(batch), -1)), distance=bucket)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    flags = parser.parse_args()
    torch.manual_seed(0)
    model = GeographModel(GeographModel.config_class()).eval()
    near = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as folder:
        path = Path(folder) / "rows.parquet"
        write_rows(path, flags.rows)
        searches = {
            "by likeness beside reading": (Likeness(near), None),
            "by a model beside reading and a bare forward": (Probability(model, 6), model),
        }
        for name, (scorer, bare) in searches.items():

            def search(scorer=scorer) -> float:
                start = time.perf_counter()
                find([str(path)], scorer, DIM, 200)
                return time.perf_counter() - start

            search()  # the file's pages are in memory for both
            pairs = in_turn(lambda bare=bare: read(path, bare), search, flags.pairs)
            note(
                f"find_photos.py {name.partition(' beside')[0]}, rows/s",
                [flags.rows / own for _, own in pairs],
                "rows/s",
            )
            note(f"find_photos.py {name}", [base / own for base, own in pairs], goal="≥ 0.8")


if __name__ == "__main__":
    main()
