"""label.py at a service that answers at once, beside the official script's way, one row after another.

    .venv/bin/python -m benchmarks.label [--rows 20000] [--official_rows 2000]
    .venv/bin/python -m benchmarks.label --rows 100000 --kills 2

Both work on the same rows, 500 a list, for the same service in a process of its own, on this machine. The official
way is written out here: ask, then row by row decode, check each number, one forward; then post; then ask again. Ours
is label.py whole, from its first request to its last post (starting Python and loading the model are left out of
both). The target is 50 times the official rows/s. With --kills the command is killed (kill -9) so many times on its
way and started again, and it is counted how often each photo was posted.
"""

import argparse
import http.client
import json
import math
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson
import pybase64
import torch

from benchmarks.measuring import note
from geograph_types.files import ROOT
from tests.support.labelling_service import LabellingService

LIMIT = 500


class PreparedService(LabellingService):
    """Its rows are JSON already: so the service answers at once. Notes when it was first asked and last posted to."""

    def __init__(self, rows: list[bytes]):
        super().__init__([], sleep=0, lease=20.0)
        self.made = dict(enumerate(rows, 1))
        self.open = dict.fromkeys(self.made, 0.0)
        self.begun = self.ended = 0.0

    def answer_of(self, limit: int) -> bytes:
        self.begun = self.begun or time.monotonic()
        with self.lock:
            now, given = time.monotonic(), []
            for image_id, until in self.open.items():
                if len(given) == limit:
                    break
                if until <= now:
                    given.append(image_id)
            self.open |= dict.fromkeys(given, now + self.lease)
        return b'{"sleep":0,"rows":[' + b",".join([self.made[i] for i in given]) + b"]}"

    def take(self, posted: list[dict]) -> None:
        super().take(posted)
        self.ended = time.monotonic()


def serve(rows: int, pipe) -> None:
    """The service's process: sends its address, and what it is asked for: the count of photos, or all of `so_far`."""
    service = PreparedService(made_rows(rows))

    def at_once(handler) -> bool:
        handler.answer(200, service.answer_of(int(service.asked.pop()["limit"][0])))
        return True

    service.on_get = at_once
    with service:
        pipe.send(service.url)
        while (word := pipe.recv()) != "end":
            if word == "count":
                pipe.send(rows - len(service.open))
                continue
            times = service.times()
            pipe.send((service.ended - service.begun, len(times), max(times.values(), default=0)))


def made_rows(count: int) -> list[bytes]:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((min(count, 5000), 512)).astype("<f4") * 0.45
    texts = [pybase64.b64encode_as_string(vector.tobytes()) for vector in vectors]
    return [
        orjson.dumps({"gridimage_id": i, "distance": "16", "embeddings": texts[i % len(texts)]})
        for i in range(1, count + 1)
    ]


def official_way(url: str, folder: Path) -> None:
    """As the official script: everything one after another, a row at a time."""
    import base64

    from geograph_types.hub.models import load_model

    model, post = load_model(folder, device="cpu"), url.partition("://")[2].partition("/")
    connection = http.client.HTTPConnection(post[0])
    while True:
        connection.request("GET", f"/{post[2]}&embeddings=1&limit={LIMIT}&unique_number=3")
        rows = json.loads(connection.getresponse().read()).get("rows")
        if not rows:
            return
        final = []
        for row in rows:
            numbers = np.frombuffer(base64.b64decode(row["embeddings"]), dtype=np.float32).copy()
            if any(math.isnan(x) or math.isinf(x) for x in numbers):
                continue
            with torch.no_grad():
                scores = torch.sigmoid(model(torch.from_numpy(numbers)[None], torch.tensor([5])).logits).numpy()[0]
            found = [
                {"image_id": int(row["gridimage_id"]), "label": name, "score": float(score)}
                for name, score in zip(model.config.classes, scores, strict=True)
                if score > 0.2
            ]
            final += found or [{"image_id": int(row["gridimage_id"]), "label": "None", "score": 0.0}]
        connection.request("POST", f"/{post[2]}", json.dumps(final))
        connection.getresponse().read()


class Run:
    """A service with so many rows, in a process of its own."""

    def __init__(self, rows: int):
        self.rows = rows
        self.pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=serve, args=(rows, other), daemon=True)
        self.process.start()
        self.url = self.pipe.recv()

    def count(self) -> int:
        """Photos posted, quickly."""
        self.pipe.send("count")
        return self.pipe.recv()

    def so_far(self) -> tuple[float, int, int]:
        """Seconds from the first request to the last post, photos posted, and how often one was at most."""
        self.pipe.send("so far")
        return self.pipe.recv()

    def end(self) -> None:
        self.pipe.send("end")
        self.process.join(10)


def label(url: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, ROOT / "label.py", "--model", folder / "model", "--url", url, "--submit"]
    command += ["--output", folder / "labels.jsonl", "--empty_answers", 1, "--limit", LIMIT]
    return subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def ours(rows: int, kills: int, folder: Path) -> tuple[float, int, int]:
    run = Run(rows)
    for kill in range(1, kills + 1):
        with label(run.url, folder) as process:
            while run.count() < rows * kill / (kills + 1) and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    for _ in range(5):  # what was handed out at a kill is handed out again after a while
        label(run.url, folder).wait()
        if run.count() == rows:
            break
        time.sleep(10)
    found = run.so_far()
    run.end()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--official_rows", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as scratch:
        from geograph_types.hub.model_folder import save_model_repository
        from modeling_geograph import GeographModel

        folder = Path(scratch)
        torch.manual_seed(0)
        save_model_repository(GeographModel(GeographModel.config_class()), folder / "model")
        seconds, photos, times = ours(flags.rows, flags.kills, folder)
        if flags.kills:
            print(
                f"killed {flags.kills} times: {photos:,} of {flags.rows:,} photos posted, each at most {times} times"
            )
            return
        run = Run(flags.official_rows)
        official_way(run.url, folder / "model")
        official_seconds = run.so_far()[0]
        run.end()
    own, official = flags.rows / seconds, flags.official_rows / official_seconds
    note("label.py", [own], "rows/s", posted=photos, most_times=times)
    note("official script's way", [official], "rows/s")
    note("label.py beside the official script", [own / official], goal="≥ 50")


if __name__ == "__main__":
    main()
