"""label.py at a service that answers at once, beside the official script's way, one row after another.

    .venv/bin/python -m benchmarks.label [--rows 100000] [--official_rows 4000] [--turns 3]
    .venv/bin/python -m benchmarks.label --rows 100000 --kills 2

Both work on the same rows, 500 a list, for the same service in a process of its own, on this machine. The service's
own cost is near nothing: its lists are bytes before anyone asks (benchmarks/ready_service.py). The official way is
written out here, step by step as its inference.py: ask, then row by row decode, check each number, one forward; then
post; then ask again. Ours is label.py whole, with its journal and log, from its first request to its last post;
starting Python and loading the model are left out of both. The target is 50 times the official rows/s.

Printed besides, the limit: one core that reads the service's bytes and parses their JSON and does no more; one core
that does the forward of lists of 500 and no more; and the two on all cores. Nothing that keeps the protocol can be
faster, and the service, the posts, the journal and the log want their share of the cores, too.

With --kills the command is killed (kill -9) so many times on its way and started again, and it is counted how often
each photo was posted.
"""

import argparse
import base64
import http.client
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson
import requests
import torch
from torch import nn

from benchmarks.measuring import note
from benchmarks.ready_service import Run
from geograph_types.files import ROOT
from geograph_types.inference import torch_threads
from names_geograph import CLASSES

LIMIT = 500


class OfficialModel(nn.Module):
    """The official script's module, as it stands there; takes our weights."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.dist_emb, self.fc = model.dist_emb, model.fc

    def forward(self, clip_vec: torch.Tensor, dist_idx: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.cat([clip_vec, self.dist_emb(dist_idx)], dim=1))


def official_way(url: str, model: nn.Module) -> None:
    """As the official script: ask, answer a row at a time, post, and only then ask again."""
    buckets = {str(2**i): i + 1 for i in range(21)} | {"0": 0, "Unknown": 22, "": 0}
    while rows := requests.get(f"{url}&embeddings=1&limit={LIMIT}&unique_number=3").json().get("rows"):  # noqa: S113
        final = []
        with torch.no_grad():
            for row in rows:
                numbers = np.frombuffer(base64.b64decode(row["embeddings"]), dtype=np.float32).copy()
                if any(math.isnan(x) or math.isinf(x) for x in numbers):
                    numbers = np.zeros(512, np.float32)
                bucket = buckets.get(str(row.get("distance", "Unknown")).strip(), 22)
                outputs = model(torch.from_numpy(numbers).unsqueeze(0), torch.tensor([bucket], dtype=torch.long))
                scores = torch.sigmoid(outputs).numpy()[0]
                image_id = int(row["gridimage_id"])
                found = [
                    {"image_id": image_id, "label": name, "score": float(score)}
                    for name, score in zip(CLASSES, scores, strict=True)
                    if score > 0.2
                ]
                final += found or [{"image_id": image_id, "label": "None", "score": 0.0}]
        requests.post(url, json=final, timeout=10).raise_for_status()


def limits(rows: int, model: nn.Module) -> tuple[float, float]:
    """Rows/s of one core that reads the service's bytes and parses their JSON; of one that does the forward."""
    with Run(rows, LIMIT) as run:
        host, _, path = run.url.partition("://")[2].partition("/")
        connection, start = http.client.HTTPConnection(host), time.perf_counter()
        for _ in range(math.ceil(rows / LIMIT)):
            connection.request("GET", f"/{path}&embeddings=1&limit={LIMIT}&unique_number=3")
            orjson.loads(connection.getresponse().read())
        reading = rows / (time.perf_counter() - start)
    vectors, buckets = torch.randn(LIMIT, 512), torch.full((LIMIT,), 5)
    with torch.inference_mode(), torch_threads(1):
        model(vectors, buckets)
        start = time.perf_counter()
        for _ in range(math.ceil(rows / LIMIT)):
            model(vectors, buckets)
        forward = rows / (time.perf_counter() - start)
    return reading, forward


def label(url: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, ROOT / "label.py", "--model", folder / "model", "--url", url, "--submit"]
    command += ["--output", folder / "labels.jsonl", "--empty_answers", 1, "--limit", LIMIT]
    return subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def ours(rows: int, kills: int, folder: Path) -> tuple[float, int, int]:
    """Seconds from the first request to the last post, photos posted, and how often one was at most.

    Raises:
        SystemExit: the command had ended by itself before it could be killed: that is no kill.
    """
    lists = math.ceil(rows / LIMIT)
    with Run(rows, LIMIT) as run:
        for kill in range(1, kills + 1):
            with label(run.url, folder) as process:
                while run.lists() < lists * kill / (kills + 1) and process.poll() is None:
                    time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
            if process.returncode != -signal.SIGKILL:
                raise SystemExit(f"kill {kill} came too late: label.py had ended ({process.returncode}); more --rows")
        for _ in range(5):  # what was handed out at a kill is handed out again after a while
            label(run.url, folder).wait()
            if run.lists() == lists:
                break
            time.sleep(10)
        return run.so_far()


def made_model() -> nn.Module:
    """A model of random weights that gives a photo about as many types as the official one does: 1.2 on average."""
    from modeling_geograph import GeographModel

    torch.manual_seed(0)
    model = GeographModel(GeographModel.config_class()).eval()
    with torch.no_grad():
        model.fc[3].weight *= 6
        model.fc[3].bias -= 2
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--official_rows", type=int, default=4_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--kills", type=int, default=0)
    flags = parser.parse_args()
    from geograph_types.hub.model_folder import save_model_repository

    model, found = made_model(), []
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as scratch:
        save_model_repository(model, Path(scratch, "model"))
        if flags.kills:
            _, photos, times = ours(flags.rows, flags.kills, Path(scratch))
            print(
                f"killed {flags.kills} times: {photos:,} of {flags.rows:,} photos posted, each at most {times} times"
            )
            return
        for turn in range(flags.turns):
            folder = Path(scratch, str(turn))
            folder.mkdir()
            (folder / "model").symlink_to(Path(scratch, "model"))
            seconds, photos, times = ours(flags.rows, 0, folder)
            if (photos, times) != (flags.rows, 1):
                raise SystemExit(f"{photos} of {flags.rows} photos were posted, one {times} times")
            with Run(flags.official_rows, LIMIT) as run:
                official_way(run.url, OfficialModel(model))
                official = flags.official_rows / run.so_far()[0]
            found.append((flags.rows / seconds, official, *limits(flags.rows, model)))
    own, official, reading, forward = (list(column) for column in zip(*found, strict=True))
    note("label.py", own, "rows/s", rows=flags.rows)
    note("official script's way", official, "rows/s")
    note("reading the service's bytes and parsing them, one core", reading, "rows/s")
    note("forward of lists of 500, one core", forward, "rows/s")
    both = [os.cpu_count() / (1 / r + 1 / f) for r, f in zip(reading, forward, strict=True)]
    note("reading, parsing and forward on all cores: the limit", both, "rows/s")
    note("label.py beside that limit", [o / b for o, b in zip(own, both, strict=True)])
    note("label.py beside the official script", [o / f for o, f in zip(own, official, strict=True)], goal="≥ 50")


if __name__ == "__main__":
    main()
