"""Reading and answering published Parquet, against reading it and one bare forward.

.venv/bin/python -m benchmarks.predict [--rows 60000] [--pairs 5]

The baseline reads the same columns with pyarrow and runs the model once over them, in batches of the same size; it
decides nothing and writes nothing. Ours is the whole of predict.py but for starting Python and loading the model.
Both take turns; the ratio is the median over the pairs. The target is 0.7.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch

import predict
from geograph_types.files import ROOT
from geograph_types.prediction.answering import DEFAULT_ROWS


def bare(path: Path, model, size: int) -> int:
    rows = 0
    # Batch by batch is the fastest plain way measured: `read_table` reaches half of it, as its memory is all new.
    with torch.inference_mode(), pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(size, columns=["gridimage_id", "distance_bucket", "embedding"]):
            vectors = batch.column("embedding").flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
            distance = torch.from_numpy(batch.column("distance_bucket").to_numpy(zero_copy_only=False)).long()
            rows += len(model(embedding=torch.from_numpy(vectors), distance=distance).logits)
    return rows


def timed(work) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--output_suffix", default=".parquet", choices=predict.OUTPUT_SUFFIXES)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as scratch:
        folder = Path(scratch)
        source = f"synthetic:{flags.rows}"
        command = [sys.executable, ROOT / "prepare_dataset.py", "--source", source, "--output_dir", folder / "data"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        path = next((folder / "data" / "large").glob("train-*.parquet"))
        from geograph_types.hub.model_folder import save_model_repository
        from modeling_geograph import GeographModel

        save_model_repository(GeographModel(GeographModel.config_class()), folder / "model")
        output = folder / f"answers{flags.output_suffix}"
        args = predict.PredictArguments(model=str(folder / "model"), input=[str(path)], output=str(output))
        model, asked, size = predict.load_model(args), predict.read_input(args), DEFAULT_ROWS

        def ours() -> None:
            predict.predict(args, asked, model)

        rows = bare(path, model, size)
        ours()  # warm, as the baseline is
        pairs = [(timed(lambda: bare(path, model, size)), timed(ours)) for _ in range(flags.pairs)]
    ratios = [base[0] / own[0] for base, own in pairs]
    cpu = statistics.median(base[1] / own[1] for base, own in pairs)
    print(f"rows: {rows:,}, answers as {flags.output_suffix}")
    print(f"baseline: {rows / statistics.median(base[0] for base, _ in pairs):,.0f} rows/s")
    print(f"predict.py: {rows / statistics.median(own[0] for _, own in pairs):,.0f} rows/s")
    print(
        f"ratio: {statistics.median(ratios):.2f} (target 0.7; {min(ratios):.2f} to {max(ratios):.2f}; CPU {cpu:.2f})"
    )


if __name__ == "__main__":
    main()
