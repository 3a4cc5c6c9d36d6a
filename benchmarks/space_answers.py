"""How the Space answers when it has just started, when many ask at once, and when the vision tower cannot be fetched.

    python -m benchmarks.space_answers --model DIR --vision_model DIR [--at_once 50]

Prints seconds from the start of the process to the first answer for a photo, what a crowd is told, and what visitors
are told (and after how long) while the Hub refuses connections, and while it takes them and says nothing.
"""

import argparse
import collections
import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from benchmarks.space_memory import a_photo, start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--vision_model", required=True)
    parser.add_argument("--at_once", type=int, default=50)
    flags = parser.parse_args()
    began = time.perf_counter()
    with running(flags.model, flags.vision_model) as address:
        print(f"the page is there after {time.perf_counter() - began:.1f} s")
        took, said = question(address)
        print(f"the first answer after {time.perf_counter() - began:.1f} s ({took:.2f} s after the question): {said}")
        crowd(address, flags.at_once)
    with closed_port() as hub:
        without_hub(flags.model, hub, "the Hub refuses connections")
    with silent_port() as hub:
        without_hub(flags.model, hub, "the Hub takes connections and says nothing")


@contextlib.contextmanager
def running(model: str, vision_model: str | None) -> Iterator[str]:
    process, address = start(model, vision_model)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def question(address: str, seed: int = 0) -> tuple[float, str]:
    """Uploads a photo and asks for its types → seconds until the answer, "answered" or the sentence that came."""
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=120) as client:
        name, values = a_photo(client, np.random.default_rng(seed))
        began = time.perf_counter()
        asked = client.post(f"/call/{name}", json={"data": values})
        if asked.is_error:
            return time.perf_counter() - began, f"status {asked.status_code}: {sentence(asked.text)}"
        answer = client.get(f"/call/{name}/{asked.json()['event_id']}").text
        took = time.perf_counter() - began
    return took, "answered" if '"types"' in answer else sentence(answer.split("data: ", 1)[-1].split("\n")[0])


def sentence(text: str) -> str:
    said = json.loads(text)
    return said.get("detail") or said.get("error") if isinstance(said, dict) else str(said)


def crowd(address: str, at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as threads:
        answers = list(threads.map(lambda seed: question(address, seed), range(at_once)))
    print(f"{at_once} calls at once:")
    for said, count in collections.Counter(said for _, said in answers).most_common():
        slowest = max(took for took, words in answers if words == said)
        print(f"  {count} of them, the last after {slowest:.1f} s: {said}")


def without_hub(model: str, hub: str, what: str) -> None:
    """A Space whose vision tower is not on the machine, and a Hub that does not give it."""
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as empty:
        os.environ |= {"HF_HOME": empty, "HF_ENDPOINT": hub}
        print(f"{what}:")
        with running(model, None) as address:
            for i in range(3):
                took, said = question(address, i)
                print(f"  question {i + 1}, after {took:.1f} s: {said}")


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    with socket.socket() as bound:  # bound and not listening: each connection is refused
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextlib.contextmanager
def silent_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


if __name__ == "__main__":
    main()
